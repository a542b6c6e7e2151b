#!/usr/bin/env python3
"""Runs the benchmarks in interleaved rounds and judges varve by its targets.

A work is what contenders are compared at. Each round takes one sample of every contender of a work, each in
a process of its own, starting with another contender every time. A figure is the median over rounds.

A sample counts if other programs had at most 8 % of the machine while it ran: what /proc/stat says was busy or
stolen, without the sample's own processes and the kernel's threads, which work for it. Otherwise it is taken
again, at most twice; of three such samples the quietest counts, and the report says how many there were.
What is counted, not timed, counts at once.
"""

import argparse
import collections
import datetime
import html
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "build/bench/bench"
PAGE = ROOT / "docs/benchmarks.md"
PLOT = ROOT / "docs/benchmarks.svg"

ROUNDS = 8
ROUNDS_QUICK = 3
OTHER_LOAD_MAX = 0.08  # of all cores
REPEATS_MAX = 2
REPEATING_S = 390  # no sample is repeated later than that, or a busy machine would take for ever
REPEATING_QUICK_S = 45
SAMPLE_S_MAX = 120
LONG_S = 5  # a sample that took longer is not repeated
# Works whose samples are long get fewer rounds where they would take more than so many seconds, but so many at least.
LONG_WORKS = {"sustained": (100, 3), "scale": (40, 1), "background": (30, 2), "compress": (20, 1)}
DISK_BYTES_MIN = 25 << 30

THREADS = (1, 4, 16, 64)
BACKGROUND = {  # what goes on while records are appended
    "retention": "while retention removes",
    "compaction": "while it is compacted",
    "snapshot": "beside snapshots",
    "scan": "beside a scan",
}
CODECS = ("zstd/1", "zstd/3", "zstd/9", "lz4/1", "lz4/9", "snappy/0", "gzip/6")

# ---- what is measured and what is asked for ------------------------------------------------------

# The contenders of each work, by their names in the programs.
WORKS = {
    "append": """append/varve append/write append/rocksdb append/leveldb append/lmdb append/lmdb_writemap
        append/sqlite append_latency/varve append_latency/write
        batch/varve/100 batch/varve/1024 batch/buffer/100 batch/buffer/1024""",
    "sustained": "sustained/varve sustained/odirect",
    "durable": " ".join(
        f"durable/{name}/{threads}"
        for threads in THREADS
        for name in ("varve", "group_commit", "rocksdb", "lmdb", "sqlite")
    )
    + """ durable/pwrite_fdatasync durable/odirect_odsync durable_tickets/varve durable_roll/varve
        durable_batch/varve durable_batch/odirect_odsync""",
    "scan": """scan/varve/100 scan/mapped_frames/100 scan/mapped_records/100 scan/mapped_frames_wide/100
        scan/lmdb/100 scan/leveldb/100 scan/rocksdb/100
        scan/varve/1024 scan/mapped_frames/1024 scan/mapped_frames_wide/1024""",
    "random": "random/varve random/pread random/lmdb",
    "tail": """tail/varve/thread/polling tail/varve/process/polling tail/varve/thread/waiting
        tail/varve/process/waiting tail/word/thread/waiting tail/word/process/waiting""",
    "open": """open/varve_closed open/varve_segments open/varve_killed open/read_tail
        open/read_tail_cached open/leveldb_killed""",
    "pieces": """codec/encode codec/decode codec/checksum/100 codec/checksum/4096
        index/add index/find""",
    "compress": " ".join(
        f"{what}/{codec}"
        for what in ("compress", "decompress", "compress_append", "compress_scan")
        for codec in (("none",) if what.count("_") else ()) + CODECS
    ),
    "footprint": """footprint/disk/one footprint/disk/batched footprint/memory/flow
        footprint/memory/idle footprint/memory/segment
        footprint/allocations/append footprint/allocations/read""",
    "background": " ".join(
        f"background/{ack}/{case}" for ack in ("os", "disk") for case in ("idle", *BACKGROUND)
    ),
    "scale": " ".join(
        f"scale/{what}/{segments}"
        for segments in (10, 1000, 10000)
        for what in ("append", "read", "open")
    )
    + " scale/logs/1000",
}
WORKS = {work: names.split() for work, names in WORKS.items()}
FULL_ONLY = {"sustained", "scale", "background", "compress"}
COUNTED = {"footprint"}  # bytes and allocations, which other load does not change

# The program of a contender, by the first part of its name where it is not the program's own.
PROGRAM_OF = {
    "append_latency": "append",
    "batch": "append",
    "sustained": "append",
    "durable_tickets": "durable",
    "durable_roll": "durable",
    "durable_batch": "durable",
    "decompress": "compress",
    "compress_append": "compress",
    "compress_scan": "compress",
    "scan": "read",
    "random": "read",
}

# `value` is a formula over figures, "contender:metric". A limit of None: shown, not judged.
Target = collections.namedtuple("Target", "work what value comparison limit unit")


def targets():
    def at_most(work, what, value, limit, unit="x"):
        return Target(work, what, value, "<=", limit, unit)

    def at_least(work, what, value, limit, unit="x"):
        return Target(work, what, value, ">=", limit, unit)

    def shown(work, what, value, unit="x"):
        return Target(work, what, value, "", None, unit)

    def faster(work, what, contender, peer, limit):
        return at_least(
            work, what, f"{contender}:records_per_s / {peer}:records_per_s", limit
        )

    append = "append/varve"
    raw = "durable/pwrite_fdatasync"
    yield at_most(
        "append",
        "Ack::os, mean, of one write(2) a record",
        f"{append}:mean_ns / append/write:mean_ns",
        0.15,
    )
    yield at_most(
        "append",
        "Ack::os, p99, of write(2)'s p50",
        "append_latency/varve:p99_ns / append_latency/write:p50_ns",
        0.5,
    )
    for peer, title, limit in (
        ("rocksdb", "RocksDB", 50),
        ("leveldb", "LevelDB", 20),
        ("lmdb", "LMDB NOSYNC", 50),
        ("lmdb_writemap", "LMDB NOSYNC + WRITEMAP", 9),
        ("sqlite", "SQLite off", 60),
    ):
        yield faster("append", f"Ack::os, against {title}", append, f"append/{peer}", limit)
    yield at_least(
        "sustained",
        "10 GB of Ack::os, of the device's bandwidth",
        "sustained/varve:bytes_per_s / sustained/odirect:bytes_per_s",
        0.8,
    )
    yield at_most(
        "sustained",
        "10 GB of Ack::os, anonymous memory",
        "sustained/varve:anonymous_bytes / 1048576",
        8,
        "MiB",
    )
    yield shown(
        "sustained",
        "10 GB of Ack::os, an append of the last 1 GB against the first",
        "sustained/varve:last_tenth_ns / sustained/varve:first_tenth_ns",
    )
    yield at_most(
        "append",
        "100 a call, 100 B, of one Ack::os append",
        f"batch/varve/100:mean_ns / {append}:mean_ns",
        0.8,
    )
    yield faster(
        "append",
        "100 a call, 1 KiB, against 1 MiB buffer + XXH3 + write",
        "batch/varve/1024",
        "batch/buffer/1024",
        0.75,
    )
    yield at_most(
        "durable",
        "Ack::disk, 1 thread, p50, of pwrite + fdatasync",
        f"durable/varve/1:p50_ns / {raw}:p50_ns",
        1.10,
    )
    yield shown(
        "durable",
        "the same by O_DIRECT + O_DSYNC, of pwrite + fdatasync",
        f"durable/odirect_odsync:p50_ns / {raw}:p50_ns",
    )
    for peer, title, limits in (
        ("group_commit", "a bare group commit", (0.88, 0.88, 0.88, 0.88)),
        ("rocksdb", "RocksDB", (1.4, 1.8, 2.5, 4.5)),
        ("lmdb", "LMDB", (2, 6, 16, 37)),
        ("sqlite", "SQLite FULL", (1.15, 3, 8.5, 19)),
    ):
        for threads, limit in zip(THREADS, limits):
            yield faster(
                "durable",
                f"Ack::disk, {threads} thread{'s' * (threads > 1)}, against {title}",
                f"durable/varve/{threads}",
                f"durable/{peer}/{threads}",
                limit,
            )
    yield at_least(
        "durable",
        "64 appends, one wait, were a durable write 50 us",
        f"durable_tickets/varve:records_per_s * {raw}:p50_ns / 50e6",
        600,
        "k/s",
    )
    yield faster(
        "durable",
        "64 appends, one wait, against 64 threads",
        "durable_tickets/varve",
        "durable/varve/64",
        1.8,
    )
    yield at_most(
        "durable",
        "Ack::disk, 64 threads, p99, of RocksDB's",
        "durable/varve/64:p99_ns / durable/rocksdb/64:p99_ns",
        0.3,
    )
    yield at_most(
        "durable",
        "across a roll, p99.9, of 3 p50 + raw p99.9",
        f"durable_roll/varve:p999_ns / (3 * durable/varve/1:p50_ns + {raw}:p999_ns)",
        1.0,
    )
    yield faster(
        "durable",
        "durable batches of 100, against 12 KiB writes",
        "durable_batch/varve",
        "durable_batch/odirect_odsync",
        0.75,
    )
    for size, title in ((100, "100 B"), (1024, "1 KiB")):
        scan = f"scan/varve/{size}"
        yield faster(
            "scan", f"scan, {title}, against mmap + XXH3", scan, f"scan/mapped_frames/{size}", 0.9
        )
        yield shown(
            "scan",
            f"scan, {title}, against mmap + the widest XXH3",
            f"{scan}:records_per_s / scan/mapped_frames_wide/{size}:records_per_s",
        )
    for peer, title, limit in (
        ("lmdb", "LMDB, which verifies nothing", 0.9),
        ("leveldb", "LevelDB", 7),
        ("rocksdb", "RocksDB", 15),
    ):
        yield faster(
            "scan", f"scan, 100 B, against {title}", "scan/varve/100", f"scan/{peer}/100", limit
        )
    for percentile, limit in (("p50", 1.2), ("p99", 2)):
        yield at_most(
            "random",
            f"random read, {percentile}, of one pread",
            f"random/varve:{percentile}_ns / random/pread:{percentile}_ns",
            limit,
        )
    yield at_least(
        "random",
        "random read, p50, against LMDB",
        "random/lmdb:p50_ns / random/varve:p50_ns",
        1.15,
    )
    for where, how, limit in (
        ("thread", "polling", 0.5),
        ("process", "polling", 1),
        ("thread", "waiting", 6),
        ("process", "waiting", 15),
    ):
        yield at_most(
            "tail",
            f"append until seen by another {where}, {how}",
            f"tail/varve/{where}/{how}:p50_ns / 1000",
            limit,
            "us",
        )
    yield at_most("open", "open 1 GB after a clean close", "open/varve_closed:ms", 1, "ms")
    yield at_most("open", "open 1000 segments", "open/varve_segments:ms", 5, "ms")
    yield at_most(
        "open",
        "open after SIGKILL, of 1.2 times reading and hashing + 2 ms",
        "open/varve_killed:ms / (1.2 * open/read_tail:ms + 2)",
        1.0,
    )
    yield at_least(
        "open",
        "open after SIGKILL, against LevelDB",
        "open/leveldb_killed:ms / open/varve_killed:ms",
        15,
    )
    for codec in CODECS:
        title = f"JSON lines in batches of 100, {codec.replace('/', ' level ')}"
        yield shown("compress", f"{title}, ratio", f"compress/{codec}:ratio")
        for what in ("compress", "decompress"):
            yield shown(
                "compress",
                f"{title}, {what}",
                f"{what}/{codec}:batch_bytes * 1000 / {what}/{codec}:mean_ns",
                "MB/s",
            )
        for what, doing in (("append", "appending"), ("scan", "scanning")):
            name = f"compress_{what}"
            yield shown(
                "compress",
                f"{title}, {doing} a log, of one without",
                f"{name}/{codec}:records_per_s / {name}/none:records_per_s",
            )
        yield shown(
            "compress",
            f"{title}, disk, of one without",
            f"compress_append/{codec}:bytes_per_record / compress_append/none:bytes_per_record",
        )
    for how, limit in (("one", 112), ("batched", 106)):
        yield at_most(
            "footprint",
            f"disk a record of 100 B, {'one a call' if how == 'one' else how}",
            f"footprint/disk/{how}:bytes_per_record",
            limit,
            "B",
        )
    yield at_most(
        "footprint",
        "anonymous memory in full flow, indexes in use",
        "footprint/memory/flow:anonymous_bytes / 1048576",
        8,
        "MiB",
    )
    yield at_most(
        "footprint",
        "anonymous memory of an idle log",
        "footprint/memory/idle:anonymous_bytes / 1024",
        100,
        "KiB",
    )
    yield at_most(
        "footprint",
        "heap a sealed segment",
        "footprint/memory/segment:heap_bytes",
        64,
        "B",
    )
    # A roll, and the index of a segment as it grows, allocate: a few times in a million records.
    for what in ("append", "read"):
        yield at_most(
            "footprint",
            f"allocations a record, {what}",
            f"footprint/allocations/{what}:allocations_per_record",
            0.001,
            "",
        )
    for ack in ("os", "disk"):
        for case, title in BACKGROUND.items():
            yield at_most(
                "background",
                f"Ack::{ack}, p99 {title}, of idle",
                f"background/{ack}/{case}:p99_ns / background/{ack}/idle:p99_ns",
                2,
            )
    for what, title in (("append", "an append"), ("read", "a random read")):
        for segments in (1000, 10000):
            yield shown(
                "scale",
                f"{title} with {segments} segments, of one with 10",
                f"scale/{what}/{segments}:mean_ns / scale/{what}/10:mean_ns",
            )
    logs = "scale/logs/1000"
    yield shown("scale", "1000 open logs, threads in all", f"{logs}:thread_count", "")
    yield shown("scale", "1000 open logs, descriptors a log", f"{logs}:files", "")
    yield shown(
        "scale", "1000 open logs, anonymous memory a log", f"{logs}:anonymous_bytes / 1024", "KiB"
    )


FIGURE = re.compile(r"[a-z_]+(?:/\w+)+:\w+")


def evaluate(formula, figures):
    """The formula's value; None if a figure of it was not measured."""
    wanted = set(FIGURE.findall(formula))
    if not wanted <= figures.keys():
        return None
    numbers = FIGURE.sub(lambda match: repr(figures[match.group()].median), formula)
    try:
        return eval(numbers, {"__builtins__": {}})  # nothing but numbers and + - * / ( )
    except ZeroDivisionError:
        return None


# ---- taking samples ------------------------------------------------------------------------------


class Figure:
    """One metric of one contender: a value a round."""

    def __init__(self):
        self.values = []

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def spread(self):
        """(max - min) / median"""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0


def unit_of(metric):
    for ending, unit in (
        ("_ns", "ns"),
        ("bytes_per_s", "B/s"),
        ("records_per_s", "1/s"),
        ("bytes_per_record", "B"),
        ("_bytes", "B"),
    ):
        if metric.endswith(ending):
            return unit
    return {"ms": "ms", "ratio": "x"}.get(metric, "")


def busy_seconds():
    """What all cores were busy with or robbed of, since the machine started."""
    tick = os.sysconf("SC_CLK_TCK")
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, _irq, _softirq, steal = fields[:8]
    return (user + nice + system + steal) / tick


def kernel_seconds():
    """What the kernel's threads took of it: they write and free pages for the sample."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # gone
        if fields[1] == "2" or path.parent.name == "2":
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    pass


class Sampler:
    def __init__(self, directory, quick):
        self.directory = directory
        self.environment = dict(os.environ, VARVE_BENCH_DIR=str(directory))
        self.environment.pop("VARVE_BENCH_QUICK", None)
        if quick:
            self.environment["VARVE_BENCH_QUICK"] = "1"
        self.repeat_until = time.monotonic() + (REPEATING_QUICK_S if quick else REPEATING_S)
        self.discarded = 0
        self.noisy = 0

    def sample(self, contender):
        """The metrics of one sample that counts."""
        best, least = None, math.inf
        for attempt in range(1 + REPEATS_MAX):
            metrics, other, wall = self.once(contender)
            if other < least:
                best, least = metrics, other
            if least <= OTHER_LOAD_MAX or contender.split("/")[0] in COUNTED:
                break
            if attempt == REPEATS_MAX or time.monotonic() > self.repeat_until or wall > LONG_S:
                self.noisy += 1
                break
            self.discarded += 1
        return best

    def once(self, contender):
        """The metrics of a sample, the share of the machine that others had, and the time it took."""
        first = contender.split("/")[0]
        name = f"{contender}/iterations:1/manual_time"
        command = [
            str(PROGRAMS / f"{PROGRAM_OF.get(first, first)}_bench"),
            f"--benchmark_filter=^{name}$",
            "--benchmark_format=json",
        ]
        os.sync()  # what the last sample left is not this one's
        busy, kernel, begin = busy_seconds(), kernel_seconds(), time.monotonic()
        output, own = self.run(command)
        wall = time.monotonic() - begin
        other = busy_seconds() - busy - (kernel_seconds() - kernel) - own
        return self.metrics(contender, output), max(other, 0) / (wall * os.cpu_count()), wall

    def run(self, command):
        """What the command prints, and the processor time that it and its children took."""
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            clock = threading.Timer(SAMPLE_S_MAX, process.kill)
            clock.start()
            try:
                output = process.stdout.read()
                errors = process.stderr.read()
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()  # or leaving would wait for it
                raise
            finally:
                clock.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            self.remove_samples()
            raise Failure(f"{' '.join(command)}: exit {process.returncode}\n{errors}")
        return output, usage.ru_utime + usage.ru_stime

    @staticmethod
    def metrics(contender, output):
        try:
            runs = json.loads(output)["benchmarks"]
        except (ValueError, KeyError):
            raise Failure(f"{contender}: there is no such benchmark") from None
        if len(runs) != 1 or runs[0].get("error_occurred"):
            raise Failure(f"{contender}: {runs[0].get('error_message') if runs else 'no result'}")
        known = {"iterations", "real_time", "cpu_time", "family_index", "repetitions", "threads"}
        return {
            key: value
            for key, value in runs[0].items()
            if isinstance(value, (int, float))
            and key not in known
            and not key.startswith(("per_family", "repetition"))
        }

    def remove_samples(self):
        for path in self.directory.glob("sample-*"):
            shutil.rmtree(path, ignore_errors=True)

    def remove_all(self):
        self.remove_samples()
        shutil.rmtree(self.directory / "fixtures", ignore_errors=True)


def measure(works, rounds, sampler):
    """Every figure of the works, by "contender:metric", and what failed."""
    figures = collections.defaultdict(Figure)
    failures = {}
    for work in works:
        begin = time.monotonic()
        for turn in range(rounds):
            seconds_max, least = LONG_WORKS.get(work, (math.inf, 0))
            if turn >= least and time.monotonic() - begin > seconds_max:
                break
            say(f"\r{work}: round {turn + 1} of {rounds} ", end="")
            names = WORKS[work]
            for contender in names[turn % len(names) :] + names[: turn % len(names)]:
                if contender in failures:
                    continue
                try:
                    for metric, value in sampler.sample(contender).items():
                        figures[f"{contender}:{metric}"].values.append(value)
                except Failure as failure:
                    failures[contender] = str(failure)
                    say(f"\n{failure}")
        say(f"took {time.monotonic() - begin:.0f} s")
    return dict(figures), failures


# ---- saying what came out ------------------------------------------------------------------------


def say(text, end="\n"):
    print(text, end=end, file=sys.stderr, flush=True)


Line = collections.namedtuple("Line", "target value verdict")


def judge(figures, works):
    lines = []
    for target in targets():
        if target.work not in works:
            continue
        value = evaluate(target.value, figures)
        if value is None:
            verdict = "not measured"
        elif target.limit is None:
            verdict = "shown"
        elif value <= target.limit if target.comparison == "<=" else value >= target.limit:
            verdict = "met"
        else:
            verdict = "missed"
        lines.append(Line(target, value, verdict))
    return lines


def number(value):
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) < 0.001:
        return f"{value:.1g}"
    return f"{value:.3g}"


def with_unit(value, unit):
    for larger in ("us", "ms") if unit == "ns" and value is not None else ():
        if value >= 1000:
            value, unit = value / 1000, larger
    space = "" if unit == "x" else " "
    return f"{number(value)}{space}{unit}".rstrip()


def row(line):
    target = line.target
    wanted = f"{target.comparison} {with_unit(target.limit, target.unit)}" if target.limit else ""
    return [target.work, target.what, with_unit(line.value, target.unit), wanted, line.verdict]


HEAD = ["work", "what", "measured", "target", "verdict"]


def summary(lines):
    judged = [line for line in lines if line.target.limit is not None]
    met = sum(line.verdict == "met" for line in judged)
    return f"{met} of {len(judged)} targets met"


def text_table(lines):
    rows = [HEAD] + [row(line) for line in lines]
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i == 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()
        for cells in rows
    )


def machine(directory):
    def first(path, pattern):
        match = re.search(pattern, Path(path).read_text(), re.MULTILINE)
        return match.group(1) if match else "unknown"

    # The deepest mount point above the directory.
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if directory.resolve().is_relative_to(mount[0])]
    memory_kib = int(first("/proc/meminfo", r"^MemTotal:\s*(\d+)"))
    return {
        "cpu": first("/proc/cpuinfo", r"^model name\s*:\s*(.*)$"),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 2**20),
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "file_system": max(above, key=lambda mount: len(mount[0]))[1],
    }


def report_json(path, about, figures, lines, failures):
    report = {
        **about,
        "figures": [
            {
                "name": name.split(":")[0],
                "metric": name.split(":")[1],
                "unit": unit_of(name.split(":")[1]),
                "median": figure.median,
                "min": min(figure.values),
                "max": max(figure.values),
                "spread": figure.spread,
                "samples": len(figure.values),
            }
            for name, figure in sorted(figures.items())
        ],
        "targets": [
            {
                "work": line.target.work,
                "what": line.target.what,
                "formula": line.target.value,
                "value": line.value,
                "unit": line.target.unit,
                "comparison": line.target.comparison or None,
                "limit": line.target.limit,
                "verdict": line.verdict,
            }
            for line in lines
        ],
        "failures": failures,
    }
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


# The metric that says most of a contender, for the table of figures.
MAIN_METRICS = """mean_ns p50_ns p99_ns p999_ns ms bytes_per_s bytes_per_record anonymous_bytes heap_bytes
    allocations_per_record""".split()


def figure_rows(figures):
    contenders = list(dict.fromkeys(name.split(":")[0] for name in figures))
    for contender in contenders:
        cells = []
        for metric in MAIN_METRICS:
            figure = figures.get(f"{contender}:{metric}")
            if figure is None or (metric == "mean_ns" and f"{contender}:ms" in figures):
                continue
            value = with_unit(figure.median, unit_of(metric))
            name = metric.removesuffix("_ns").replace("_", " ")
            cells.append(f"{name} {value} (±{figure.spread / 2:.0%})")
        yield [contender, ", ".join(cells)]


def markdown_table(head, rows):
    def escaped(cells):
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([escaped(head), "|" + "---|" * len(head), *map(escaped, rows)])


BEGIN = "<!-- figures: written by ./dev bench --write-docs, do not edit -->"
END = "<!-- end of figures -->"


def write_docs(about, figures, lines):
    host = about["machine"]
    written = f"""{BEGIN}
{about["date"]}, `{about["command"]}`: {about["rounds"]} rounds on {host["cpu"]}, {host["cores"]} cores,
{host["memory_gib"]} GiB, {host["kernel"]}, {host["file_system"]}. {summary(lines)}. {about["discarded"]} samples were
discarded for other load on the machine, {about["noisy"]} counted in spite of it.

![how far each target is met or missed](benchmarks.svg)

{markdown_table(HEAD, [row(line) for line in lines])}

Medians, and half of what lies between the least and the greatest sample:

{markdown_table(["contender", "figures"], figure_rows(figures))}
{END}"""
    page = PAGE.read_text()
    begin, end = page.find(BEGIN), page.find(END)
    if begin < 0 or end < begin:
        raise SystemExit(f"bench.py: {PAGE} lacks the markers of where the figures go")
    PAGE.write_text(page[:begin] + written + page[end + len(END) :])
    PLOT.write_text(plot([line for line in lines if line.target.limit and line.value]))


def plot(lines):
    """Bars by how many times better than its target each line is, or worse: right of the middle is met."""
    bar, left, half, decades = 18, 440, 220, 1.0
    height = bar * (len(lines) + 2)
    middle = left + half
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {middle + half + 70} {height}" '
        f'font-family="sans-serif" font-size="11">',
        "<style>text{fill:#333}.met{fill:#2a9d5c}.missed{fill:#d1495b}.axis{stroke:#888}"
        "@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>",
        f'<text x="{middle}" y="{bar - 6}" text-anchor="middle">target</text>',
    ]
    for i, line in enumerate(lines):
        target = line.target
        better = line.value / target.limit if target.comparison == ">=" else target.limit / line.value
        length = half * max(-1.0, min(1.0, math.log10(better) / decades))
        y = bar * (i + 1)
        x = middle + min(length, 0)
        at = middle + length + (4 if length >= 0 else -4)
        anchor = "start" if length >= 0 else "end"
        parts += [
            f'<text x="{left - 45}" y="{y + 12}" text-anchor="end">{html.escape(target.what)}</text>',
            f'<rect class="{line.verdict}" x="{x:.1f}" y="{y + 3}" width="{abs(length):.1f}" '
            f'height="{bar - 6}"/>',
            f'<text x="{at:.1f}" y="{y + 12}" text-anchor="{anchor}">{better:.2f}x</text>',
        ]
    parts += [
        f'<line class="axis" x1="{middle}" x2="{middle}" y1="{bar}" y2="{height - bar}"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# ---- the command ---------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description="Measures varve and its peers, and judges varve.")
    parser.add_argument("--quick", action="store_true", help="three rounds of small samples")
    parser.add_argument("--json", metavar="FILE", help="write every figure, target and verdict")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md and its plot")
    parser.add_argument("--only", nargs="+", metavar="WORK", choices=WORKS, help=", ".join(WORKS))
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, or {ROUNDS_QUICK} with --quick")
    return parser.parse_args()


def command(options):
    """What to run for the same figures."""
    words = ["./dev bench"]
    if options.quick:
        words.append("--quick")
    if options.only:
        words += ["--only", *options.only]
    if options.rounds:
        words += ["--rounds", str(options.rounds)]
    return " ".join(words)


def main():
    options = arguments()
    rounds = options.rounds or (ROUNDS_QUICK if options.quick else ROUNDS)
    works = options.only or [work for work in WORKS if not (options.quick and work in FULL_ONLY)]
    directory = Path(os.environ.get("VARVE_BENCH_DIR", ROOT / "build/bench/data"))
    directory.mkdir(parents=True, exist_ok=True)
    if not options.quick and shutil.disk_usage(directory).free < DISK_BYTES_MIN:
        raise SystemExit(f"bench.py: {directory} needs {DISK_BYTES_MIN >> 30} GiB free")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that files are removed
    begin = time.monotonic()
    sampler = Sampler(directory, options.quick)
    sampler.remove_all()
    try:
        figures, failures = measure(works, rounds, sampler)
    finally:
        sampler.remove_all()
    lines = judge(figures, works)
    about = {
        "date": datetime.date.today().isoformat(),
        "command": command(options),
        "rounds": rounds,
        "machine": machine(directory),
        "seconds": round(time.monotonic() - begin),
        "discarded": sampler.discarded,
        "noisy": sampler.noisy,
    }
    print(text_table(lines))
    print(f"\n{summary(lines)}, in {about['seconds']} s")
    print(f"{sampler.discarded} samples discarded for other load, {sampler.noisy} counted in spite of it")
    if options.json:
        report_json(options.json, about, figures, lines, failures)
    if options.write_docs:
        write_docs(about, figures, lines)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
