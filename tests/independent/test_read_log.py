"""What varve wrote, a reader made from docs/format.md alone reads alike, or says that it is damaged.

VARVE_CLI is the varve command, VARVE_MAKE_LOGS the program make_logs beside this file.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path

from layout import SEGMENT_HEADER_SIZE
from read_log import Damage, LogReader, json_line, load

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden" / "v1"
CLI = os.environ["VARVE_CLI"]
MAKE_LOGS = os.environ["VARVE_MAKE_LOGS"]
SEED = 20240229


def varve(*arguments: object, stdin: bytes = b"") -> bytes:
    command = [CLI, *map(str, arguments)]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def run_reader(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, HERE / "read_log.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True)


def read_lines(files: dict[str, bytes]) -> list[bytes]:
    return [json_line(read) for read in LogReader(files).records()]


def flipped(files: dict[str, bytes], name: str, position: int, bit: int) -> dict[str, bytes]:
    damaged = bytearray(files[name])
    damaged[position] ^= 1 << bit
    return {**files, name: bytes(damaged)}


class IndependentReader(unittest.TestCase):
    made: Path  # what make_logs wrote: not to be changed
    scratch: Path

    @classmethod
    def setUpClass(cls) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="varve-independent-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = Path(scratch.name)
        cls.made = cls.scratch / "made"
        cls.made.mkdir()
        subprocess.run([MAKE_LOGS, cls.made], check=True)

    def setUp(self) -> None:
        self.choose = random.Random(SEED)

    def new_directory(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def check_same(self, log: Path) -> list[bytes]:
        expected = varve("read", log, "--json").splitlines()
        self.assertEqual(read_lines(load(log)), expected)
        return expected

    def test_golden_logs(self) -> None:
        for log in sorted(GOLDEN.iterdir()):
            for options in ([], ["--json"]):
                with self.subTest(log=log.name, options=options):
                    ours = run_reader(log, *options)
                    self.assertEqual((ours.returncode, ours.stdout), (0, varve("read", log, *options)))

    def test_logs_with_everything(self) -> None:
        for log in sorted(self.made.iterdir()):
            with self.subTest(log=log.name):
                self.check_same(log)

    def test_compressed_lines(self) -> None:
        lines = [b"key%d=" % (i % 7) + b"value " * self.choose.randrange(30) for i in range(3000)]
        for codec, known in (("gzip", True), ("gzip:9", True), ("zstd", False)):
            with self.subTest(codec=codec):
                log = self.new_directory() / "log"
                text = b"".join(line + b"\n" for line in lines)
                append = [CLI, "append", log, "--key-separator", "=", "--compress", codec]
                appended = subprocess.run(append, input=text, capture_output=True)
                if b"built without varve::compress" in appended.stderr:
                    self.skipTest("the command has no codecs")
                self.assertEqual(appended.returncode, 0)
                self.assertIn(codec.split(":")[0].encode(), varve("dump", log))
                if known:
                    self.assertEqual(len(self.check_same(log)), len(lines))
                else:
                    self.assertRaises(Damage, read_lines, load(log))

    def test_appended_lines(self) -> None:
        keys = [b"", b"key=", b"=", b"==", "schlüssel=".encode(), b"\xff\xfe="]
        values = [b"", b"value", b'"\\\x01\t\x7f', "größe €".encode(), b"\xc0\x80\xed\xa0\x80", b"v" * 300]
        lines = [self.choose.choice(keys) + self.choose.choice(values) for _ in range(1500)]
        # About where the table of a frame's records becomes wider.
        lines += [b"v" * size for size in range(65_526, 65_532)] + [b"long" * 50_000]
        for segment_bytes in (16_384, 1 << 20):
            with self.subTest(segment_bytes=segment_bytes):
                log = self.new_directory()
                fitting = [line for line in lines if len(line) < segment_bytes // 2]
                for part in (fitting[:700], fitting[700:]):
                    varve("append", log, "--key-separator", "=", "--segment-bytes", segment_bytes,
                          stdin=b"".join(line + b"\n" for line in part))
                self.assertEqual(len(self.check_same(log)), len(fitting))

    def test_killed_while_appending(self) -> None:
        left_open = False
        for acknowledged in (1, 40, 300):
            with self.subTest(acknowledged=acknowledged):
                log = self.new_directory()
                command = [CLI, "append", log, "--ack", "os", "--segment-bytes", "16384"]
                with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
                    for i in range(acknowledged):
                        writer.stdin.write(b"line %060d\n" % i)
                        writer.stdin.flush()
                        self.assertEqual(int(writer.stdout.readline()), i)
                    writer.send_signal(signal.SIGKILL)
                self.assertEqual(len(self.check_same(log)), acknowledged)
                reader = LogReader(load(log))
                list(reader.records())
                self.assertFalse(reader.manifest.clean)
                left_open |= reader.last.last.header.is_open
        self.assertTrue(left_open)

    def test_salvaged(self) -> None:
        for _ in range(3):
            log = shutil.copytree(GOLDEN / "closed", self.new_directory(), dirs_exist_ok=True)
            segment = self.choose.choice(sorted(log.glob("*.log")))
            content = bytearray(segment.read_bytes())
            position = self.choose.randrange(SEGMENT_HEADER_SIZE + 200, 8000)
            content[position : position + 100] = bytes(100)
            segment.write_bytes(content)
            with self.subTest(segment=segment.name, position=position):
                with self.assertRaises(Damage):
                    read_lines(load(log))
                varve("salvage", log)
                before = self.check_same(log)
                varve("append", log, stdin=b"more\n")
                self.assertEqual(self.check_same(log)[:-1], before)

    def check_damaged(self, files: dict[str, bytes], name: str, positions: range,
                      check: Callable[[list[bytes]], None]) -> None:
        """Flips a bit of each byte. Where no damage is reported, what is read has to pass the check."""
        for position in positions:
            bit = self.choose.randrange(8)
            with self.subTest(file=name, position=position, bit=bit):
                try:
                    lines = read_lines(flipped(files, name, position, bit))
                except Damage:
                    continue
                check(lines)

    def test_every_flipped_byte_is_reported_or_harmless(self) -> None:
        files = load(self.made / "small")
        intact = read_lines(files)
        self.assertEqual(len(intact), 12)
        for name, content in files.items():
            self.check_damaged(files, name, range(len(content)), lambda lines: self.assertEqual(lines, intact))

    def test_a_flipped_byte_of_an_unfinished_log_takes_nothing_that_was_durable(self) -> None:
        log = self.made / "small-killed"
        files = load(log)
        intact = read_lines(files)
        durable = json.loads(varve("info", log, "--json"))["durable_offset"]
        self.assertTrue(0 < durable < len(intact))

        def check(lines: list[bytes]) -> None:
            self.assertGreaterEqual(len(lines), durable)
            self.assertEqual(lines, intact[: len(lines)])

        self.check_damaged(files, "MANIFEST", range(len(files["MANIFEST"])), check)
        segment = "00000000000000000000.log"
        used = len(files[segment].rstrip(b"\0"))
        self.check_damaged(files, segment, range(used + 16), check)

    def test_varve_sees_in_damage_what_the_reader_sees(self) -> None:
        for name in ("small-killed", "many-killed", "recovered-killed"):
            files = load(self.made / name)
            for _ in range(4):
                file = self.choose.choice([file for file in files if not file.endswith(".idx")])
                position = self.choose.randrange(len(files[file].rstrip(b"\0")))
                with self.subTest(log=name, file=file, position=position):
                    damaged = flipped(files, file, position, self.choose.randrange(8))
                    log = self.new_directory()
                    for damaged_file, content in damaged.items():
                        (log / damaged_file).write_bytes(content)
                    ours = run_reader(log, "--json")
                    if ours.returncode == 0:
                        self.assertEqual(ours.stdout, varve("read", log, "--json"))
                    else:
                        # varve may see no harm where the reader is stricter, as about padding.
                        self.assertEqual(ours.returncode, 4)
                        self.assertRegex(ours.stderr.decode(), r"^read_log: \S+ at \d+: .+\n$")


if __name__ == "__main__":
    unittest.main()
