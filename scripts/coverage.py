#!/usr/bin/env python3
"""Says how many of the branches of varve's core its tests take: coverage.py BUILD_DIRECTORY

Expects test programs that were built with clang's source-based coverage and have run with LLVM_PROFILE_FILE set to
BUILD_DIRECTORY/profiles/%p.profraw.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST = 90.0  # per cent of the branches of each part

PARTS = {
    "log": ["src/log.cpp", "src/log_core.cpp", "src/log_core.hpp"],
    "appender": [
        "src/appender.cpp",
        "include/varve/detail/segment_writer.hpp",
        "src/chores.cpp",
    ],
    "recovery": ["src/recovery.cpp", "src/survey.cpp", "src/segment_scan.cpp"],
    "index": ["include/varve/detail/index.hpp"],
    "codec": [
        "include/varve/detail/codec.hpp",
        "include/varve/detail/varint.hpp",
        "include/varve/detail/store.hpp",
    ],
    "manifest": ["src/manifest.cpp", "src/manifest.hpp"],
}


def tool(name):
    """Debian has some of LLVM's tools only with the version in their names."""
    for candidate in (name, f"{name}-14"):
        if found := shutil.which(candidate):
            return found
    sys.exit(f"coverage.py: {name} is missing (Debian: llvm)")


def summaries(build):
    profiles = sorted((build / "profiles").glob("*.profraw"))
    programs = sorted((build / "tests").glob("varve_*_tests")) + [build / "tests/crash/varve_crash"]
    merged = build / "tests.profdata"
    # A program that was killed may have left half a profile.
    command = [tool("llvm-profdata"), "merge", "-sparse", "-failure-mode=all", "-o", merged, *profiles]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    objects = [str(programs[0])] + [f"-object={program}" for program in programs[1:]]
    command = [tool("llvm-cov"), "export", "-summary-only", f"-instr-profile={merged}", *objects]
    exported = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        Path(file["filename"]).resolve(): file["summary"]
        for file in json.loads(exported)["data"][0]["files"]
    }


def main():
    build = Path(sys.argv[1]).resolve()
    found = summaries(build)
    worst = 100.0
    print(f"{'':46}{'lines':>8}{'branches':>10}")
    for part, names in PARTS.items():
        taken = count = 0
        for name in names:
            summary = found.get(ROOT / name)
            if summary is None:
                sys.exit(f"coverage.py: no test program knows {name}")
            branches, lines = summary["branches"], summary["lines"]
            taken += branches["covered"]
            count += branches["count"]
            print(f"  {name:44}{lines['percent']:7.1f}%{branches['percent']:9.1f}%")
        share = 100.0 * taken / count if count else 100.0
        worst = min(worst, share)
        print(f"{part:46}{'':8}{share:9.1f}%")
    print(f"the least covered part: {worst:.1f} % of its branches; {LEAST:.0f} % are wanted")
    return 0 if worst >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
