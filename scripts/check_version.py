#!/usr/bin/env python3
"""Fails when a file names another version than include/varve/version.hpp does."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def first(pattern, text):
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1) if match else None


def main():
    header = read("include/varve/version.hpp")
    version = ".".join(
        first(rf"define VARVE_VERSION_{part} (\d+)", header) for part in ("MAJOR", "MINOR", "PATCH")
    )
    found = {
        "include/varve/version.hpp (VARVE_VERSION_STRING)":
            first(r'define VARVE_VERSION_STRING "([^"]+)"', header),
        "vcpkg.json": json.loads(read("vcpkg.json")).get("version"),
        "packaging/vcpkg/ports/varve/vcpkg.json":
            json.loads(read("packaging/vcpkg/ports/varve/vcpkg.json")).get("version"),
        # The newest release in it, whatever stands above as unreleased.
        "CHANGELOG.md": first(r"^## \[?v?(\d+\.\d+\.\d+)", read("CHANGELOG.md")),
    }
    wrong = {name: other for name, other in found.items() if other != version}
    for name, other in wrong.items():
        print(f"{name}: {other} instead of {version}", file=sys.stderr)
    if not wrong:
        print(f"all {len(found) + 1} places say {version}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
