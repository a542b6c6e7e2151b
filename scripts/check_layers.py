#!/usr/bin/env python3
"""Fails on an include that points upwards, and on a file that has no place yet.

A unit is a name: include/varve/NAME.hpp, include/varve/detail/NAME.hpp, src/NAME.hpp and
src/NAME.cpp are one unit. A file may include its own unit and the units of lower layers, no others.
A new unit gets its place in LAYERS, below.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. NAME=OTHER is a unit of several files' names.
LAYERS = [
    "version export",
    "types",
    "varint",
    "error record environment metrics logger",
    "result observer",
    "compression",
    "storage options prometheus",
    "fmt",
    # Inside: words, then the layers Store, Index, Segment.
    "try assert endian guard",
    "checksum_wide=checksum_avx2=checksum_avx512 system_error storage_name event_count sigbus_guard clock process durable_image event_log=events",
    "file_storage memory_storage faulty_storage=durable_state file_copy pacer service_thread key_map",
    "background_thread",
    "checksum filename",
    "format",
    "codec",
    "record_cursor",
    "store",
    "native_body",
    "frame_records index",
    "segment",
    "segment_writer",
    "segment_list retention",
    "compaction",
    # The parts of the log.
    "segment_scan watermarks pins",
    "segment_set",
    "manifest log_core batch_packer",
    "appender compactor",
    "chores",
    "recovery=survey=survey_text",
    "follower",
    "reader=reader_impl pin=pin_impl",
    "subscription=subscription_impl",
    # What people open.
    "inspect=examination",
    "snapshot salvage",
    "log",
    "varve",
]

# Folders of include/varve/ and src/, each a component of its own: nothing in the core includes them.
MODULES = {"compress"}

# Promised headers include promised headers only, and this.
PROMISED_MAY_INCLUDE_DETAIL = {"varint", "record_cursor"}

# The only headers of others that installed headers include; all else of theirs is the standard's.
THIRD_PARTY = {"include/varve/fmt.hpp": {"fmt/format.h"}}

UNIT = {name: names for layer in LAYERS for names in layer.split() for name in names.split("=")}
LEVEL = {unit: level for level, layer in enumerate(LAYERS) for unit in layer.split()}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.MULTILINE)
STANDARD = re.compile(r"[a-z_0-9]+")

errors = []


def error(path, text):
    errors.append(f"{path.relative_to(ROOT)}: {text}")


def resolve(path, name):
    """The file of ours that `name` means in `path`, or None for somebody else's header."""
    for folder in (path.parent, ROOT / "include", ROOT / "src"):
        candidate = folder / name
        if candidate.is_file():
            return candidate.resolve()
    return None


def is_promised(path):
    return path.parent == ROOT / "include/varve"


def is_detail(path):
    return path.parent == ROOT / "include/varve/detail"


def check_core(path, includes):
    unit = UNIT.get(path.stem)
    if unit is None:
        error(path, f"has no place: add '{path.stem}' to LAYERS in scripts/check_layers.py")
        return
    for _, target in includes:
        if target and is_of_module(target):
            error(path, f"includes {target.relative_to(ROOT)}, which is a module's")
            continue
        below = target and UNIT.get(target.stem)
        if below and below != unit and LEVEL[below] >= LEVEL[unit]:
            error(path, f"includes {target.relative_to(ROOT)}, which is not below it")


def check_installed(path, text, includes):
    if not re.search(r"^#pragma once$", text, re.MULTILINE):
        error(path, "has no #pragma once")
    for name, target in includes:
        if target is None:
            allowed = THIRD_PARTY.get(str(path.relative_to(ROOT)), set())
            if not STANDARD.fullmatch(name) and name not in allowed:
                error(path, f"includes <{name}>, which is neither varve's nor the standard's")
        elif not (is_promised(target) or is_detail(target) or is_of_module(target)):
            error(path, f"includes {target.relative_to(ROOT)}, which is not installed")
        elif is_promised(path) and is_detail(target):
            if target.stem not in PROMISED_MAY_INCLUDE_DETAIL:
                error(path, f"includes {target.relative_to(ROOT)}, which is not promised")


def is_of_module(path):
    return path.parent.parent == ROOT / "include/varve" and path.parent.name in MODULES


def check_module_header(path, includes):
    for _, target in includes:
        if target and target.parent != path.parent and not is_promised(target):
            error(path, f"includes {target.relative_to(ROOT)}, which is not promised")


def check_user(path, includes):
    """The command, the examples and the modules use varve as anybody would."""
    for _, target in includes:
        if target and target.parent != path.parent and not (is_promised(target) or is_of_module(target)):
            error(path, f"includes {target.relative_to(ROOT)}, which is not promised")


def files(*patterns):
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def read(path):
    text = path.read_text(encoding="utf-8")
    includes = []
    for quote, name in INCLUDE.findall(text):
        target = resolve(path, name)
        if target is None and quote == '"':
            error(path, f'includes "{name}", which does not exist')
        else:
            includes.append((name, target))
    return text, includes


def main():
    installed = files("include/**/*.hpp")
    for path in installed:
        text, includes = read(path)
        check_installed(path, text, includes)
        if is_of_module(path):
            check_module_header(path, includes)
        else:
            check_core(path, includes)
    for path in files("src/*.hpp", "src/*.cpp"):
        _, includes = read(path)
        check_core(path, includes)
    for path in files(*(f"src/{module}/*.?pp" for module in MODULES)):
        _, includes = read(path)
        check_user(path, includes)
    for path in files("src/cli/*.hpp", "src/cli/*.cpp", "examples/*.cpp", "examples/*.hpp"):
        _, includes = read(path)
        check_user(path, includes)

    for line in errors:
        print(line, file=sys.stderr)
    if not errors:
        print(f"{len(installed)} installed headers and all sources include downwards only")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
