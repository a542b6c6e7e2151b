#!/usr/bin/env python3
"""Puts known bugs into a copy of the sources, one at a time, and demands that the tests find each.

The bugs, and the tests that should find them, are in tests/mutants/mutants.toml.
"""

import argparse
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests/mutants/mutants.toml"
COPY = ROOT / "build/mutants"
BUILD = COPY / "build/dev"

CONFIGURE = """cmake --preset dev -DVARVE_WERROR=OFF -DVARVE_BUILD_EXAMPLES=OFF -DVARVE_TEST_PACKAGING=OFF
    -DCMAKE_VERIFY_INTERFACE_HEADER_SETS=OFF""".split()
CRASH = "--seed 1 --states 20000".split()
SECONDS_MAX = 300  # of one test: what takes longer hangs, and that is red


class Unusable(Exception):
    """The list, or the copy, is not what it should be."""


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    return [Path(name) for name in listed if (ROOT / name).is_file()]


def refresh_copy():
    """Makes the copy the same as the sources, without touching what is: it need not be built again."""
    files = tracked_files()
    for file in files:
        wanted, there = (ROOT / file).read_bytes(), COPY / file
        if there.is_file() and there.read_bytes() == wanted:
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(wanted)
        there.chmod((ROOT / file).stat().st_mode)
    known = set(files)
    for folder in ("include", "src", "tests"):
        for there in (COPY / folder).rglob("*"):
            if there.is_file() and there.relative_to(COPY) not in known:
                there.unlink()


def program_of(test):
    return "varve_crash" if test == "crash" else f"varve_{test.split(':')[0]}_tests"


def command_of(test):
    if test == "crash":
        return [BUILD / "tests/crash/varve_crash", *CRASH]
    return [BUILD / "tests" / program_of(test), test.split(":", 1)[1], "--abort", "--warn", "NoTests"]


def build(targets):
    return subprocess.run(
        ["cmake", "--build", BUILD, "--target", *sorted(targets)], capture_output=True, text=True
    )


def is_red(test):
    try:
        run = subprocess.run(
            command_of(test), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=SECONDS_MAX, env=dict(os.environ, CLICOLOR="0"),
        )
    except subprocess.TimeoutExpired:
        return True
    return run.returncode != 0


def check_unchanged(tests):
    """What is red without any bug proves nothing."""
    made = build({program_of(test) for test in tests} | {"varve_cli"})
    if made.returncode != 0:
        raise Unusable(f"the sources do not build:\n{made.stdout[-4000:]}{made.stderr[-2000:]}")
    for test in sorted(tests):
        if is_red(test):
            raise Unusable(f"{test} is red without any mutant")


def try_mutant(mutant):
    """The test that found it, or None."""
    file = COPY / mutant["file"]
    original = file.read_text()
    if original.count(mutant["find"]) != 1:
        raise Unusable(
            f"{mutant['name']}: its text stands {original.count(mutant['find'])} times in {mutant['file']}"
        )
    try:
        file.write_text(original.replace(mutant["find"], mutant["replace"]))
        made = build({program_of(test) for test in mutant["tests"]})
        if made.returncode != 0:
            raise Unusable(f"{mutant['name']}: does not build:\n{made.stdout[-4000:]}")
        return next((test for test in mutant["tests"] if is_red(test)), None)
    finally:
        file.write_text(original)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", help="the mutants whose name has this in it")
    options = parser.parse_args()
    mutants = tomllib.loads(LIST.read_text())["mutant"]
    mutants = [one for one in mutants if not options.only or options.only in one["name"]]
    if not mutants:
        raise Unusable("there is no such mutant")

    begin = time.monotonic()
    refresh_copy()
    subprocess.run(CONFIGURE, cwd=COPY, check=True, stdout=subprocess.DEVNULL)
    print("the sources as they are", end=": ", flush=True)
    check_unchanged({test for one in mutants for test in one["tests"]})
    print(f"green, {time.monotonic() - begin:.0f} s")

    red, unusable = 0, 0
    for mutant in mutants:
        since = time.monotonic()
        print(mutant["name"], end=": ", flush=True)
        try:
            found_by = try_mutant(mutant)
        except Unusable as problem:
            unusable += 1
            print(f"UNUSABLE\n{problem}")
            continue
        red += found_by is not None
        verdict = f"red by {found_by}" if found_by else "GREEN, nothing found it"
        print(f"{verdict}, {time.monotonic() - since:.0f} s")
    print(f"{red} of {len(mutants)} mutants went red, in {time.monotonic() - begin:.0f} s")
    return 0 if red == len(mutants) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unusable as problem:
        sys.exit(f"mutants.py: {problem}")
