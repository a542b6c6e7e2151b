"""What the bytes of a log's files mean, by docs/format.md alone. Nothing is returned unchecked."""

import gzip
import struct
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import xxhash

U64 = (1 << 64) - 1
LEAST_I64 = -(1 << 63)
SEGMENT_HEADER_SIZE = 4096
FRAME_HEADER_SIZE = 56
INDEX_HEADER_SIZE = 64
SEGMENT_BEGIN, SEGMENT_END, GAP = 1, 2, 3
CONTROL_FIELDS = {SEGMENT_BEGIN: 3, SEGMENT_END: 0, GAP: 2}
COMPRESSED_FLAG, CONTROL_FLAG, COMPACTED_FLAG = 2, 4, 16
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
NATIVE_SIZE_MAX = 1 << 30
COMPACTED_PREFIX_SIZE = 16
COMPACTED_SPAN_MAX = 1 << 31
COMPACTED_ID = 1 << 63
CLEAN_FLAG, SALVAGING_FLAG = 1, 2
LAG_SAYS_NOTHING = 0xFFFFFFFF
RUNNING_CHECK_FACTOR = 0x9E3779B97F4A7C15


class Invalid(Exception):
    """Something is not as it should be. Whether that is damage depends on where it is."""


class Unknown(Invalid):
    """Something is sound, but of a format that is not this one."""


def require(holds: bool, otherwise: str, kind: type[Invalid] = Invalid) -> None:
    if not holds:
        raise kind(otherwise)


def xxh3(data: bytes, seed: int = 0) -> int:
    return xxhash.xxh3_64_intdigest(data, seed=seed & U64)


def is_blank(data: bytes) -> bool:
    return data.count(0) == len(data)


def unpack_table(layout: str, data: bytes, begin: int, count: int) -> tuple[list[tuple[int, ...]], int]:
    """The entries of a table, and where it ends."""
    end = begin + count * struct.calcsize(layout)
    require(end <= len(data), "a table runs out of its file")
    return list(struct.iter_unpack(layout, data[begin:end])), end


# ---- MANIFEST ------------------------------------------------------------------------------------


class Epoch(NamedTuple):
    epoch: int
    zero: int
    first_offset: int


class Entry(NamedTuple):
    """A segment, as the manifest has it."""

    id: int
    base_offset: int
    end_offset: int
    base_sequence: int
    end_sequence: int
    base_position: int
    newest: int
    end: int
    sealed: int


class Replaced(NamedTuple):
    """What a compacted segment stands for."""

    id: int  # the compacted one's
    span: int
    last_id: int
    last_end: int


@dataclass
class Manifest:
    log_id: bytes
    clean: bool
    start_offset: int
    next_id: int
    next: tuple[int, int, int]  # offset, sequence, position
    append_time: int
    epochs: list[Epoch]
    segments: list[Entry]
    replaced: dict[int, Replaced]  # by id of the compacted segment

    def epoch_at(self, offset: int) -> int | None:
        return next((e.epoch for e in reversed(self.epochs) if e.first_offset <= offset), None)


def read_manifest(data: bytes) -> Manifest:
    layout = struct.Struct("<8sII16sQQQIIIIQQQqQII")
    require(len(data) >= layout.size + 8, "it is missing or cut short")
    (magic, version, size, log_id, _generation, start, next_id, flags, epochs, segments, dropped,
     next_offset, next_sequence, next_position, append_time, cleaned, compacted, zero) = layout.unpack_from(data)
    require(xxh3(data[:-8]) == int.from_bytes(data[-8:], "little"), "its check does not match")
    require(magic == b"VARVEMAN" and version == 1 and zero == 0, "it is of another format", Unknown)
    require(flags <= CLEAN_FLAG | SALVAGING_FLAG, "it has unknown flags", Unknown)
    require(not flags & SALVAGING_FLAG, "a salvage is under way")
    epoch_table, end = unpack_table("<IIQ", data, layout.size, epochs)
    segment_table, end = unpack_table("<QQQQQQqII", data, end, segments)
    dropped_table, end = unpack_table("<QQ", data, end, dropped)
    replaced_table, end = unpack_table("<QQQQ", data, end, compacted)
    require(size == len(data) == end + 8, "it does not have the size that it gives")
    manifest = Manifest(log_id, bool(flags & CLEAN_FLAG), start, next_id, (next_offset, next_sequence, next_position),
                        append_time, [Epoch(*e) for e in epoch_table], [Entry(*s) for s in segment_table],
                        {r[0]: Replaced(*r) for r in replaced_table})
    require(cleaned < 1 << 63, "it is clean up to where no offset is")
    listed = [entry.id for entry in manifest.segments if entry.id & COMPACTED_ID and entry.sealed == 1]
    in_order = [id for id in listed if id in manifest.replaced]
    require(in_order == [r[0] for r in replaced_table], "it does not list who replaced what")
    ids = [entry.id for entry in manifest.segments] + [id for id, _ in dropped_table]
    require(len(set(ids)) == len(ids) and all(
        id & COMPACTED_ID or 0 < id < next_id for id in ids), "its segments' ids are wrong")
    require(all(entry.sealed == 1 for entry in manifest.segments[:-1]), "a segment before the last is unsealed")
    require(all(entry.sealed <= 1 for entry in manifest.segments), "a segment has unknown flags", Unknown)
    ascend = all(a.epoch < b.epoch and a.first_offset <= b.first_offset
                 for a, b in zip(manifest.epochs, manifest.epochs[1:]))
    require(ascend and all(epoch.zero == 0 for epoch in manifest.epochs), "its epochs are wrong")
    return manifest


# ---- records -------------------------------------------------------------------------------------


class Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        require(size <= len(self.data) - self.at, "a record runs out of its frame")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                require(value <= U64, "a varint has more than 64 bits")
                return value
        raise Invalid("a varint has more than ten bytes")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)


class Header(NamedTuple):
    name: bytes
    value: bytes | None


class Record(NamedTuple):
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]


def read_record(body: Cursor, append_time: int) -> Record:
    attributes = body.take(1)[0]
    require(attributes < 16, "a record has unknown attributes")
    delta = body.zigzag() if attributes & 8 else 0
    key_size = body.varint() if attributes & 1 else None
    value_size = body.varint() if attributes & 2 else None
    header_count, headers_size = (body.varint(), body.varint()) if attributes & 4 else (0, 0)
    key = None if key_size is None else body.take(key_size)
    value = None if value_size is None else body.take(value_size)
    encoded = Cursor(body.take(headers_size))
    headers = [read_record_header(encoded) for _ in range(header_count)]
    require(encoded.at == headers_size, "a record's headers do not have the size that it gives")
    timestamp = (append_time + delta - LEAST_I64 & U64) + LEAST_I64  # wraps, as an i64 does
    return Record(timestamp, key, value, headers)


def read_record_header(encoded: Cursor) -> Header:
    name = encoded.take(encoded.varint())
    value_size = encoded.varint()
    return Header(name, encoded.take(value_size - 1) if value_size else None)


# ---- frames --------------------------------------------------------------------------------------


class FrameHeader(NamedTuple):
    check: int
    magic: bytes
    version: int
    flags: int
    size: int
    count: int  # of an open frame: the running check
    base_offset: int
    sequence: int
    append_time: int
    lag: int  # of an open frame: nothing
    epoch: int
    body_check: int  # of an open frame: sync lag and its check

    @property
    def is_open(self) -> bool:
        return self.magic == b"VO"


@dataclass
class Frame:
    header: FrameHeader
    end: int  # behind its padding
    records: list[Record] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # of these
    end_offset: int = 0
    sequences: int = 0  # numbers that it takes up
    control: int | None = None
    fields: tuple[int, ...] = ()

    @property
    def is_place_of_next(self) -> bool:
        return self.header.is_open and not self.records


def read_frame_header(data: bytes, pos: int, salt: int) -> tuple[FrameHeader, int]:
    """The header, and the hash that an open frame's running check starts from."""
    raw = data[pos : pos + FRAME_HEADER_SIZE]
    require(len(raw) == FRAME_HEADER_SIZE and raw[4:6] in (b"VF", b"VO"), "no frame starts here")
    header = FrameHeader._make(struct.unpack("<I2sBBIIQQqIIQ", raw))
    if header.is_open:
        raw = raw[:8] + bytes(8) + raw[16:40] + bytes(4) + raw[44:48] + bytes(8)
    hash = xxh3(raw[4:], salt + pos)
    require(header.check == hash & 0xFFFFFFFF, "a frame's header is damaged")
    known = header.version == 1 and header.flags in (0, COMPRESSED_FLAG, CONTROL_FLAG, COMPACTED_FLAG)
    require(known, "a frame of another format", Unknown)
    return header, hash


def durable_end(header: FrameHeader, pos: int, salt: int) -> int | None:
    """Up to where in its file a frame proves the log to be durable; below 0 is in the segments before."""
    lag = LAG_SAYS_NOTHING if header.flags & COMPACTED_FLAG else header.lag
    if header.is_open:
        lag, check = header.body_check & 0xFFFFFFFF, header.body_check >> 32
        if check != xxh3(lag.to_bytes(4, "little"), salt + pos) >> 32:
            return None
    return None if lag == LAG_SAYS_NOTHING else pos - 8 * lag


def read_frame(data: bytes, pos: int, salt: int) -> Frame:
    header, hash = read_frame_header(data, pos, salt)
    begin = pos + FRAME_HEADER_SIZE
    body = data[begin : begin + header.size]
    require(len(body) == header.size, "a frame runs out of its file")
    frame = Frame(header, begin + (header.size + 7) // 8 * 8, end_offset=header.base_offset)
    if header.is_open:
        is_place = header.flags == COMPRESSED_FLAG and header.size == 0
        require(header.flags == 0 or is_place, "an open frame is not of records")
        records = read_open_body(body, header, hash)
        if records is not None:
            set_records(frame, records)
            return frame
        # It may have been caught while being sealed.
    require(xxh3(body) == header.body_check, "a frame's body is damaged")
    if header.flags & CONTROL_FLAG:
        frame.control, frame.fields = read_control_body(body, header)
    elif header.flags & COMPRESSED_FLAG:
        set_records(frame, read_compressed_body(body, header))
    elif header.flags & COMPACTED_FLAG:
        read_compacted_body(body, frame)
    else:
        set_records(frame, read_sealed_body(body, header.count, header.append_time))
    return frame


def set_records(frame: Frame, records: list[Record]) -> None:
    frame.records = records
    frame.end_offset = frame.header.base_offset + len(records)
    frame.offsets = list(range(frame.header.base_offset, frame.end_offset))
    frame.sequences = 1 if records else 0


def read_compacted_body(body: bytes, frame: Frame) -> None:
    header, span = frame.header, frame.header.lag
    begin = COMPACTED_PREFIX_SIZE + 4 * header.count
    require(len(body) >= begin, "a compacted frame is cut short")
    frame.sequences, _horizon = struct.unpack_from("<Qq", body)
    deltas = struct.unpack_from(f"<{header.count}I", body, COMPACTED_PREFIX_SIZE)
    require(0 < span <= COMPACTED_SPAN_MAX and frame.sequences <= span, "a compacted frame covers what it cannot")
    require(not deltas or frame.sequences > 0, "a compacted frame has records and no number")
    ascend = all(a < b for a, b in zip(deltas, (*deltas[1:], span)))
    require(ascend, "the offsets in a compacted frame are out of order")
    frame.records = read_sealed_body(body[begin:], frame.header.count, frame.header.append_time) if deltas else []
    require(deltas or len(body) == begin, "a compacted frame without records has bytes for them")
    frame.offsets = [header.base_offset + delta for delta in deltas]
    frame.end_offset = header.base_offset + span


def read_open_body(body: bytes, header: FrameHeader, hash: int) -> list[Record] | None:
    cursor, records = Cursor(body), []
    try:
        while cursor.at < len(body):
            begin = cursor.at
            records.append(read_record(cursor, header.append_time))
            hash = (hash ^ xxh3(body[begin : cursor.at])) * RUNNING_CHECK_FACTOR & U64
    except Invalid:
        return None
    return records if hash >> 32 == header.count else None


def read_compressed_body(body: bytes, header: FrameHeader) -> list[Record]:
    layout = struct.Struct("<B3sIqq")
    require(len(body) >= layout.size, "a compressed frame is cut short")
    codec, zero, size, base_time, newest = layout.unpack_from(body)
    require(is_blank(zero) and size <= NATIVE_SIZE_MAX, "a compressed frame is malformed")
    require(codec in (GZIP, SNAPPY, LZ4, ZSTD), "a frame of an unknown codec", Unknown)
    require(codec == GZIP, "a frame of a codec that Python does not bring along", Unknown)
    require(base_time <= header.append_time, "a frame's base time is behind it")
    try:
        native = gzip.decompress(body[layout.size :])
    except (EOFError, OSError, zlib.error):
        raise Invalid("a frame cannot be decompressed") from None
    require(len(native) == size, "a frame decompresses to another size")
    records = read_sealed_body(native, header.count, base_time)
    require(max(record.timestamp for record in records) == newest, "a frame's greatest timestamp is wrong")
    return records


def read_sealed_body(body: bytes, count: int, base_time: int) -> list[Record]:
    table_entry = struct.Struct("<H" if len(body) <= 65535 else "<I")
    table_begin = len(body) - count * table_entry.size
    require(count > 0 and table_begin >= 0, "a frame's number of records is wrong")
    cursor, records = Cursor(body[:table_begin]), []
    for (end,) in table_entry.iter_unpack(body[table_begin:]):
        records.append(read_record(cursor, base_time))
        require(cursor.at == end, "a frame's table does not fit its records")
    require(cursor.at == table_begin, "there is something between a frame's records and their table")
    return records


def read_control_body(body: bytes, header: FrameHeader) -> tuple[int, tuple[int, ...]]:
    require(len(body) >= 8, "a control frame is cut short")
    control, zero = struct.unpack_from("<II", body)
    require(control in CONTROL_FIELDS, "a control frame of an unknown kind", Unknown)
    count = CONTROL_FIELDS[control]
    require(zero == 0 and header.count == 0 and len(body) == 8 + 8 * count, "a control frame is malformed")
    return control, struct.unpack_from(f"<{count}Q", body, 8)


# ---- segments and their indexes ------------------------------------------------------------------


class Segment:
    def __init__(self, name: str, data: bytes, log_id: bytes) -> None:
        block = data[:SEGMENT_HEADER_SIZE]
        require(len(block) == SEGMENT_HEADER_SIZE, "the segment is missing or cut short")
        (magic, version, block_size, id_of_log, id, salt, _created, size_max) = struct.unpack_from(
            "<8sII16sQQqI", block)
        require(xxh3(block[:-8]) == int.from_bytes(block[-8:], "little"), "the segment's header is damaged")
        known = magic == b"VARVESEG" and version == 1 and block_size == SEGMENT_HEADER_SIZE
        require(known and is_blank(block[60:-8]), "the segment is of another format", Unknown)
        require(id_of_log == log_id, "the segment is of another log")
        require(len(data) <= size_max, "the segment is larger than it may be")
        self.name = name
        self.data = data
        self.id = id
        self.salt = salt
        self.begin: tuple[int, ...] | None = None  # what its first frame says, if that is sound
        self.salvaged = False
        try:
            first = self.frame(SEGMENT_HEADER_SIZE)
        except Invalid:
            return
        if first.control == SEGMENT_BEGIN:
            self.begin = first.fields
            self.salvaged = first.fields[1] == 0 and first.header.lag == LAG_SAYS_NOTHING

    def frame(self, pos: int) -> Frame:
        return read_frame(self.data, pos, self.salt)


@dataclass
class Index:
    segment_id: int
    segment_end: int
    entries: list[tuple[int, ...]]  # base offset, position, greatest timestamp before


def read_index(data: bytes, log_id: bytes) -> Index:
    require(len(data) >= INDEX_HEADER_SIZE, "it is cut short")
    magic, version, count, id_of_log, segment_id, end, zero, check = struct.unpack_from("<8sII16sQQQQ", data)
    require(check == xxh3(data[:56], xxh3(data[INDEX_HEADER_SIZE:])), "its check does not match")
    require(magic == b"VARVEIDX" and version == 1 and zero == 0, "it is of another format", Unknown)
    require(id_of_log == log_id, "it is of another log")
    entries, table_end = unpack_table("<QQq", data, INDEX_HEADER_SIZE, count)
    require(table_end == len(data), "it does not have the entries that it counts")
    return Index(segment_id, end, entries)
