#!/bin/sh
# build_and_run.sh COMPILER PREFIX DIR: builds and runs hello in DIR with what pkg-config says about the varve
# that is installed in PREFIX.
set -eu
compiler=$1 prefix=$2 dir=$3
hello=$(dirname "$0")/../../../examples/hello.cpp

PKG_CONFIG_PATH=$(find "$prefix" -type d -name pkgconfig)
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir varve)
static=--static
[ ! -e "$libdir/libvarve.so" ] || static=

rm -rf "$dir"
mkdir -p "$dir"
# shellcheck disable=SC2046,SC2086
"$compiler" -std=c++20 "$hello" -o "$dir/hello" $(pkg-config --cflags --libs $static varve)
cd "$dir"
LD_LIBRARY_PATH=$libdir ./hello
