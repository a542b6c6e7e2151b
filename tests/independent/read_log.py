#!/usr/bin/env python3
"""Reads a log by docs/format.md alone, sharing no code with varve, and believes nothing unchecked.

Prints what `varve read DIR [--json]` prints. Where anything in the directory is not what the document
says, be it only an index or padding, it stops, names file and position and exits with 4.
"""

import argparse
import base64
import datetime
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from layout import (COMPACTED_ID, FRAME_HEADER_SIZE, GAP, INDEX_HEADER_SIZE, LEAST_I64, SEGMENT_BEGIN, SEGMENT_END,
                    SEGMENT_HEADER_SIZE, Entry, Frame, Invalid, Record, Segment, Unknown, durable_end, is_blank,
                    read_frame_header, read_index, read_manifest, require)


class Damage(Exception):
    def __init__(self, file: str, position: int, what: object) -> None:
        super().__init__(f"{file} at {position}: {what}")


class Read(NamedTuple):
    offset: int
    epoch: int
    record: Record


@dataclass
class Walk:
    """Of a segment: what was found in it, and how far."""

    segment: Segment
    pos: int = SEGMENT_HEADER_SIZE
    newest: int = LEAST_I64
    last: Frame | None = None
    # By position, what an index says of a frame: its base offset, the greatest timestamp before it.
    frames: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.last is not None and self.last.control == SEGMENT_END


class LogReader:
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        try:
            self.manifest = read_manifest(files.get("MANIFEST", b""))
        except Invalid as invalid:
            raise Damage("MANIFEST", 0, invalid) from None
        # What goes on here is what the next frame, or segment, has to begin with.
        self.offset, self.sequence, self.position = self.manifest.next
        if self.manifest.segments:
            first = self.manifest.segments[0]
            self.offset, self.sequence, self.position = first.base_offset, first.base_sequence, first.base_position
        self.append_time = LEAST_I64
        self.epoch = 0
        self.walks: dict[str, Walk] = {}  # by file, in order

    @property
    def last(self) -> Walk | None:
        return next(reversed(self.walks.values()), None)

    def records(self) -> Iterator[Read]:
        """All that is kept of the log. Raises Damage, behind the last record that is before it."""
        manifest = self.manifest
        yield from (read for read in self.all_records() if read.offset >= manifest.start_offset)
        if manifest.start_offset > self.offset:
            raise Damage("MANIFEST", 40, "the log starts behind its end")
        if not manifest.clean:
            return
        if manifest.next != (self.offset, self.sequence, self.position):
            raise Damage("MANIFEST", 72, "the log does not end where it says")
        salvaged = self.last and self.last.segment.salvaged
        if manifest.append_time < self.append_time and not salvaged:
            raise Damage("MANIFEST", 96, "it is older than the last frame")

    def all_records(self) -> Iterator[Read]:
        for entry in self.manifest.segments:
            segment = self.open_listed(entry)
            self.check_begin(entry, segment)
            known_end = entry.end if entry.sealed or self.manifest.clean else None
            yield from self.walk(segment, known_end)
            if known_end is not None:
                self.check_end(entry, self.walks[segment.name])
        if not self.manifest.clean:
            while successor := self.successor():
                yield from self.walk(successor, None)
            self.check_nothing_durable_follows()

    def open_listed(self, entry: Entry) -> Segment:
        """A compacted segment may still stand under the name that it was written with."""
        other = f"{entry.base_offset:020}.compact"
        if entry.id & COMPACTED_ID and other in self.files:
            try:
                segment = Segment(other, self.files[other], self.manifest.log_id)
                if segment.id == entry.id:
                    return segment
            except Invalid:
                pass
        return self.open_segment(entry.base_offset)

    def open_segment(self, base_offset: int) -> Segment:
        name = f"{base_offset:020}.log"
        try:
            return Segment(name, self.files.get(name, b""), self.manifest.log_id)
        except Invalid as invalid:
            raise Damage(name, 0, invalid) from None

    def check_begin(self, entry: Entry, segment: Segment) -> None:
        if segment.id != entry.id:
            raise Damage(segment.name, 32, "it is not the segment that the manifest lists")
        if segment.salvaged or self.last and self.last.segment.salvaged:
            # A salvaged segment has another size than it had, and may lack frames that nobody could count.
            self.sequence, self.position = entry.base_sequence, entry.base_position
        begin = (entry.base_offset, entry.base_sequence, entry.base_position)
        if begin != (self.offset, self.sequence, self.position):
            raise Damage("MANIFEST", 120, f"{segment.name} does not begin where the segment before it ends")

    def walk(self, segment: Segment, end: int | None) -> Iterator[Read]:
        """The records of a segment up to its end, or if that is not known, up to where no frame follows."""
        walk = Walk(segment)
        before = self.last
        self.walks[segment.name] = walk
        while walk.pos != end and not walk.ended and not (walk.last and walk.last.header.is_open):
            try:
                frame = segment.frame(walk.pos)
                self.check_follows(frame, walk, before)
                require(end is None or frame.end <= end, "a frame reaches over the segment's end")
            except Invalid as invalid:
                if end is None and not isinstance(invalid, Unknown):
                    break
                raise Damage(segment.name, walk.pos, invalid) from None
            if frame.is_place_of_next:
                break
            # An open frame has none: what follows its records was not finished.
            padding = walk.pos + FRAME_HEADER_SIZE + frame.header.size
            if not frame.header.is_open and not is_blank(segment.data[padding : frame.end]):
                raise Damage(segment.name, padding, "a frame's padding is not zero")
            walk.frames[walk.pos] = (self.offset, walk.newest)
            for offset, record in zip(frame.offsets, frame.records):
                walk.newest = max(walk.newest, record.timestamp)
                yield Read(offset, frame.header.epoch, record)
            self.go_behind(frame)
            walk.pos, walk.last = frame.end, frame
        if end is not None and walk.pos != end:
            raise Damage(segment.name, walk.pos, "the segment ends too early")
        self.check_index(walk)
        replaced = self.manifest.replaced.get(segment.id)
        self.position += replaced.span if replaced else walk.pos

    def check_follows(self, frame: Frame, walk: Walk, before: Walk | None) -> None:
        header, segment = frame.header, walk.segment
        require(header.base_offset == self.offset, "a frame's base offset does not continue the log")
        require(header.sequence == self.sequence, "a frame's sequence does not continue the log")
        is_first = walk.pos == SEGMENT_HEADER_SIZE
        require((frame.control == SEGMENT_BEGIN) == is_first, "the first frame, and only that, begins a segment")
        if is_first:
            position, *named = frame.fields
            require(position == self.position, "a segment begins at another position of the log")
            salvaged = segment.salvaged or before and before.segment.salvaged
            fits = before is None or salvaged or named == self.named(before)
            require(fits, "a segment names another one before it")
        if frame.control == GAP:
            offset, sequence = frame.fields
            require(offset >= self.offset and sequence >= self.sequence, "a gap goes backwards")
        if segment.salvaged and frame.control is not None:
            return  # whoever wrote it did not know of a time or an epoch
        require(header.append_time >= self.append_time, "a frame is older than the one before it")
        newest_epoch = self.manifest.epoch_at(self.offset)
        if newest_epoch is None:
            known = header.epoch < self.manifest.epochs[0].epoch
        elif frame.control is None:
            known = header.epoch == newest_epoch
        else:
            known = header.epoch <= newest_epoch  # the next record's may have begun behind it
        require(known and header.epoch >= self.epoch, "a frame has not the epoch that the manifest says")

    def go_behind(self, frame: Frame) -> None:
        if frame.control is None:
            self.append_time, self.epoch = frame.header.append_time, frame.header.epoch
            self.offset = frame.end_offset
            self.sequence += frame.sequences
        elif frame.control == GAP:
            self.offset, self.sequence = frame.fields

    def check_end(self, entry: Entry, walk: Walk) -> None:
        segment, rest = walk.segment, walk.pos
        if (self.offset, self.sequence) != (entry.end_offset, entry.end_sequence):
            raise Damage(segment.name, rest, "it does not end with what the manifest says")
        if walk.newest > entry.newest or walk.newest < entry.newest and not segment.salvaged:
            raise Damage(segment.name, rest, "its greatest timestamp is not what the manifest says")
        if entry.sealed and not walk.ended:
            return  # its writer died: what that was writing stands behind the end
        if not entry.sealed:
            try:
                place = segment.frame(rest)
                self.check_follows(place, walk, None)
            except Invalid:
                place = None
            if place and place.is_place_of_next:
                rest = place.end
        if not is_blank(segment.data[rest:]):
            raise Damage(segment.name, rest, "there is something behind the end")

    def check_index(self, walk: Walk) -> None:
        name = walk.segment.name[:20] + ".idx"
        if name not in self.files:
            return
        try:
            index = read_index(self.files[name], self.manifest.log_id)
            if index.segment_id != walk.segment.id:
                return  # it is of a segment that was replaced
            # The segment may have been appended to since.
            require(index.segment_end in (walk.pos, *walk.frames), "it ends where no frame does")
        except Invalid as invalid:
            raise Damage(name, 0, invalid) from None
        last_position = 0
        for i, (base_offset, position, newest) in enumerate(index.entries):
            fits = last_position < position < index.segment_end
            if not fits or walk.frames.get(position) != (base_offset, newest):
                raise Damage(name, INDEX_HEADER_SIZE + 24 * i, "an entry does not fit the segment's frames")
            last_position = position

    def named(self, walk: Walk) -> list[int]:
        """What the segment behind one names as the one before it."""
        replaced = self.manifest.replaced.get(walk.segment.id)
        return [replaced.last_id, replaced.last_end] if replaced else [walk.segment.id, walk.pos]

    def successor(self) -> Segment | None:
        """The segment behind the last one walked, which the manifest does not list."""
        name = f"{self.offset:020}.log"
        if name not in self.files or name in self.walks:
            return None
        segment = self.open_segment(self.offset)
        if segment.id < self.manifest.next_id or segment.begin is None:
            return None
        position, *named = segment.begin
        fits = self.last is None or named == self.named(self.last)
        return segment if fits and position == self.position else None

    def check_nothing_durable_follows(self) -> None:
        """The tail of an unfinished log may be torn, but nothing that was durable may be missing."""
        proofs = [entry.base_position + entry.end for entry in self.manifest.segments]
        file, pos = "MANIFEST", 0
        if self.last:
            file, pos = self.last.segment.name, self.last.pos
            proofs += durable_ends(self.last.segment, pos, self.position - pos)
        for name in self.files:
            if name.endswith(".log") and name not in self.walks and int(name[:20]) >= self.offset:
                segment = self.open_segment(int(name[:20]))
                # If it does not say where it begins, that is not before the end of what was walked.
                base = segment.begin[0] if segment.begin else self.position
                if segment.id >= self.manifest.next_id:
                    proofs += durable_ends(segment, SEGMENT_HEADER_SIZE, base)
        if max(proofs, default=0) > self.position:
            raise Damage(file, pos, f"the log ends, {max(proofs) - self.position} bytes before its durable end")


def durable_ends(segment: Segment, begin: int, base_position: int) -> Iterator[int]:
    """Up to where in the log the frames behind a position prove it to be durable."""
    for magic in re.finditer(rb"V[FO]", segment.data[begin:]):
        pos = begin + magic.start() - 4
        if pos < begin or pos % 8 != 0:
            continue
        try:
            header, _ = read_frame_header(segment.data, pos, segment.salt)
        except Invalid:
            continue
        end = durable_end(header, pos, segment.salt)
        if end is not None:
            yield base_position + end


def load(directory: Path) -> dict[str, bytes]:
    """The files that are the log. Whatever else is there holds nothing of it."""
    part = re.compile(r"MANIFEST|\d{20}\.(log|idx|compact)")
    return {path.name: path.read_bytes() for path in directory.iterdir() if part.fullmatch(path.name)}


def json_bytes(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def json_time(milliseconds: int) -> str | int:
    days, rest = divmod(milliseconds, 86_400_000)
    # The calendar repeats every 400 years, and Python's begins with the year 1.
    cycles, days = divmod(days, 146_097)
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days)
    year = day.year + 400 * cycles
    if not 0 <= year <= 9999:
        return milliseconds
    clock = datetime.datetime.min + datetime.timedelta(milliseconds=rest)
    return f"{year:04}-{day:%m-%d}T{clock:%H:%M:%S}.{rest % 1000:03}Z"


def json_line(read: Read) -> bytes:
    record = read.record
    line = {
        "offset": read.offset,
        "timestamp": json_time(record.timestamp),
        "epoch": read.epoch,
        "key": json_bytes(record.key),
        "value": json_bytes(record.value),
        "headers": [{"name": json_bytes(name), "value": json_bytes(value)} for name, value in record.headers],
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", metavar="DIR", type=Path)
    parser.add_argument("--json", action="store_true", help="an object a line, not only the value")
    arguments = parser.parse_args()
    try:
        for read in LogReader(load(arguments.directory)).records():
            line = json_line(read) if arguments.json else read.record.value or b""
            sys.stdout.buffer.write(line + b"\n")
    except Damage as damage:
        sys.stdout.flush()
        print(f"read_log: {damage}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
