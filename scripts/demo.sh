#!/bin/sh
# Shows varve at work: takes a real file of 100,000 lines or more into a log, durably, kills the
# process in the middle, goes on, and compares what the log holds with the file, byte for byte.
#
#   scripts/demo.sh BUILD_DIR
set -eu

lines_min=100000
lines_max=400000

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
  echo "usage: scripts/demo.sh BUILD_DIR" >&2
  exit 2
fi
build=$1
work=$build/demo

# program NAME: where the build put it.
program() {
  find "$build" -type f -name "$1" -perm -u+x -not -path '*/CMakeFiles/*' | head -n 1
}

# text_of DIRECTORY [FIND_TEST..]: what the small files in it hold, in an order that stays.
text_of() {
  directory=$1
  shift
  [ -d "$directory" ] || return 0
  find "$directory" -type f -size -4096k "$@" -print 2>/dev/null | LC_ALL=C sort |
    tr '\n' '\0' | xargs -0 -r cat 2>/dev/null || true
}

# Text that every Debian machine has, the likeliest first; more of it than is needed on most.
sources() {
  find /var/lib/apt/lists -name '*_Packages' -exec cat {} + 2>/dev/null || true
  cat /var/lib/dpkg/status 2>/dev/null || true
  text_of /var/lib/dpkg/info -name '*.list'
  text_of /var/lib/dpkg/info -name '*.md5sums'
  text_of /usr/share/common-licenses
  text_of /usr/share/doc -name copyright
  text_of /usr/share/perl5 -name '*.pm'
  text_of /usr/include -name '*.h'
  text_of /usr/include/c++
  text_of /usr/share/i18n
}

count_lines() {
  wc -l <"$1" | tr -d ' '
}

demo=$(program ingest_demo)
if [ -z "$demo" ]; then
  echo "demo: there is no ingest_demo in $build; build the examples first" >&2
  exit 1
fi

mkdir -p "$work"
source=$work/source.txt
echo "== collecting the text of this machine's packages"
sources | head -n "$lines_max" >"$source" 2>/dev/null || true
if [ "$(count_lines "$source")" -lt "$lines_min" ]; then
  if [ ! -s "$source" ]; then
    echo "demo: found no text on this machine" >&2
    exit 1
  fi
  echo "== only $(count_lines "$source") lines on this machine: repeating them"
  cp "$source" "$work/once.txt"
  while [ "$(count_lines "$source")" -lt "$lines_min" ]; do
    cat "$work/once.txt" >>"$source"
  done
fi
echo "== $(count_lines "$source") lines in $source"

"$demo" "$work" "$source"

# What the program says of itself, checked by others.
if cmp "$source" "$work/restored"; then
  echo "cmp says the same: $source and $work/restored are equal"
else
  exit 1
fi
varve=$(program varve)
if [ -n "$varve" ]; then
  echo "== varve verify $work/ingest.varve"
  "$varve" verify "$work/ingest.varve"
fi
