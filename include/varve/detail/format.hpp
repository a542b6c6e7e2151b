// The on-disk format of segments: constants and the frame header. docs/format.md is its grammar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "varve/detail/checksum.hpp"
#include "varve/detail/endian.hpp"
#include "varve/types.hpp"

namespace varve::inline v0::detail {

inline constexpr std::uint32_t format_version = 1;

inline constexpr std::uint64_t segment_magic = 0x4745534556524156;   // "VARVESEG"
inline constexpr std::uint64_t index_magic = 0x5844494556524156;     // "VARVEIDX"
inline constexpr std::uint64_t manifest_magic = 0x4E414D4556524156;  // "VARVEMAN"

inline constexpr std::uint32_t segment_header_bytes = 4096;
inline constexpr std::uint32_t frame_header_bytes = 56;
inline constexpr std::uint32_t frame_alignment = 8;

// An open frame is sealed once its body has about this size: small enough to verify for one record
// (some 100 ns), large enough to make its header cheap.
inline constexpr std::uint32_t frame_body_target = 4096 - frame_header_bytes;

inline constexpr std::uint32_t segment_bytes_min = 16u << 10;
inline constexpr std::uint32_t segment_bytes_limit = 1u << 30;

// Positions counted through all segments are far below it, so that sums with what else a log says fit an i64.
inline constexpr std::uint64_t position_max = std::uint64_t{1} << 62;

constexpr std::uint64_t align_frame(std::uint64_t bytes) noexcept {
  return (bytes + frame_alignment - 1) & ~std::uint64_t{frame_alignment - 1};
}

// Identifies a log; every segment and the manifest carry it.
struct LogId {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend constexpr bool operator==(LogId, LogId) = default;
};

// ---- segment header block ----------------------------------------------------------------------
//
//   0 u64 magic   8 u32 version   12 u32 block size   16 u128 log id   32 u64 segment id
//  40 u64 salt   48 i64 created (ms)   56 u32 greatest size of the file   60 zero
//  4088 u64 XXH3 of bytes [0, 4088)
//
// Written and synced before the file gets a segment's name, so a named segment has a valid one.

struct SegmentHeader {
  LogId log{};
  std::uint64_t id = 0;
  std::uint64_t salt = 0;
  std::int64_t created_ms = 0;
  std::uint32_t capacity = 0;
};

inline constexpr std::size_t segment_check_at = segment_header_bytes - 8;

inline void store_segment_header(std::byte* at, const SegmentHeader& header) noexcept {
  std::memset(at, 0, segment_header_bytes);
  store_le(at, segment_magic);
  store_le(at + 8, format_version);
  store_le(at + 12, segment_header_bytes);
  store_le(at + 16, header.log.low);
  store_le(at + 24, header.log.high);
  store_le(at + 32, header.id);
  store_le(at + 40, header.salt);
  store_le(at + 48, header.created_ms);
  store_le(at + 56, header.capacity);
  store_le(at + segment_check_at, checksum({at, segment_check_at}));
}

// ---- frame header ------------------------------------------------------------------------------
//
//   word 0   u32 header check   u16 magic   u8 version   u8 flags
//   word 1   u32 body bytes     u32 record count          (open: u32 body bytes, u32 running check)
//   word 2   u64 base offset
//   word 3   u64 sequence
//   word 4   i64 append time (ms)
//   word 5   u32 sync lag       u32 epoch                 (compacted: u32 span, u32 epoch)
//   word 6   u64 body check                               (open: u32 sync lag, u32 its check)
//
// A frame is open while records are being added to it: each append publishes itself by one store to
// word 1, whose running check covers the header and every record so far. So what a killed process had
// appended is found and verified, and another process can read along. Sealing turns it into what the
// left column says; the store to word 0 comes last.

inline constexpr std::uint16_t frame_magic_sealed = 0x4656;  // "VF"
inline constexpr std::uint16_t frame_magic_open = 0x4F56;    // "VO"

enum FrameFlags : std::uint8_t {
  flag_kafka = 1,       // the body is a Kafka record batch, else varve's own encoding
  flag_compressed = 2,  // of varve's own encoding
  flag_control = 4,     // the body is a control record, no user record is in it
  flag_transactional = 8,
  flag_compacted = 16,
  flag_pad = 32,  // nothing but filling
};

// Whether this version can read a complete frame of that kind.
constexpr bool is_known_kind(std::uint8_t flags) noexcept {
  return flags == 0 || flags == flag_control || flags == flag_compressed || flags == flag_compacted;
}

// Says that a frame proves nothing about what was durable.
inline constexpr std::uint32_t sync_lag_unknown = 0xFFFFFFFF;
inline constexpr std::uint32_t sync_lag_unit = 8;  // bytes

struct FrameHeader {
  std::uint32_t check = 0;
  std::uint16_t magic = 0;
  std::uint8_t version = 0;
  std::uint8_t flags = 0;
  std::uint32_t body_bytes = 0;
  std::uint32_t count = 0;  // open: the running check
  std::uint64_t base_offset = 0;
  std::uint64_t sequence = 0;
  std::int64_t append_time_ms = 0;
  std::uint32_t sync_lag = sync_lag_unknown;
  std::uint32_t epoch = 0;
  std::uint64_t body_check = 0;  // open: the durability word

  std::uint64_t frame_bytes() const noexcept {
    return frame_header_bytes + align_frame(body_bytes);
  }
  bool is_control() const noexcept { return (flags & flag_control) != 0; }
  bool is_compressed() const noexcept { return (flags & flag_compressed) != 0; }
  bool is_compacted() const noexcept { return (flags & flag_compacted) != 0; }

  // A compacted frame has the number of offsets that it covers in its place, and proves nothing.
  std::uint32_t proven_lag() const noexcept { return is_compacted() ? sync_lag_unknown : sync_lag; }
};

inline std::uint64_t pack(std::uint32_t low, std::uint32_t high) noexcept {
  return low | std::uint64_t{high} << 32;
}
inline std::uint32_t low32(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }
inline std::uint32_t high32(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 32);
}

// Words of a header as they stand in the file. Another thread or process may be changing the frame, so
// each word is one atomic load, and what they mean together is for the checks to say.
inline FrameHeader load_frame_header(const std::byte* at) noexcept {
  FrameHeader header;
  const std::uint64_t word0 = load_acquire(at);
  const std::uint64_t word1 = load_acquire(at + 8);
  header.check = low32(word0);
  header.magic = static_cast<std::uint16_t>(word0 >> 32);
  header.version = static_cast<std::uint8_t>(word0 >> 48);
  header.flags = static_cast<std::uint8_t>(word0 >> 56);
  header.body_bytes = low32(word1);
  header.count = high32(word1);
  header.base_offset = load_acquire(at + 16);
  header.sequence = load_acquire(at + 24);
  header.append_time_ms = static_cast<std::int64_t>(load_acquire(at + 32));
  const std::uint64_t word5 = load_acquire(at + 40);
  header.sync_lag = low32(word5);
  header.epoch = high32(word5);
  header.body_check = load_acquire(at + 48);
  return header;
}

inline void store_header_words(std::byte* to, const FrameHeader& header) noexcept {
  store_le(to, header.check);
  store_le(to + 4, header.magic);
  store_le(to + 6, header.version);
  store_le(to + 7, header.flags);
  store_le(to + 8, header.body_bytes);
  store_le(to + 12, header.count);
  store_le(to + 16, header.base_offset);
  store_le(to + 24, header.sequence);
  store_le(to + 32, header.append_time_ms);
  store_le(to + 40, header.sync_lag);
  store_le(to + 44, header.epoch);
  store_le(to + 48, header.body_check);
}

// The 64-bit check that headers are made of, over everything behind the check field. Salt and position
// are the seed: bytes of another segment, or of this one but elsewhere, do not validate.
inline std::uint64_t header_hash(const FrameHeader& header, std::uint64_t salt,
                                 Position position) noexcept {
  std::byte words[frame_header_bytes];
  store_header_words(words, header);
  return checksum({words + 4, frame_header_bytes - 4}, salt + position.value);
}

// The same for an open frame, of what does not change while it is open.
inline std::uint64_t open_header_hash(FrameHeader header, std::uint64_t salt,
                                      Position position) noexcept {
  header.body_bytes = header.count = header.sync_lag = 0;
  header.body_check = 0;
  return header_hash(header, salt, position);
}

// The running check of an open frame: starts as open_header_hash, takes in each record's bytes.
inline std::uint64_t running_check(std::uint64_t running, std::uint64_t record_hash) noexcept {
  return (running ^ record_hash) * 0x9E3779B97F4A7C15;
}

// The durability word of an open frame: how far behind it the durable end is, with a check of its own,
// because it changes by itself.
inline std::uint64_t durability_word(std::uint32_t sync_lag, std::uint64_t salt,
                                     Position position) noexcept {
  std::byte bytes[4];
  store_le(bytes, sync_lag);
  return pack(sync_lag, high32(checksum({bytes, 4}, salt + position.value)));
}

// ---- compacted frames --------------------------------------------------------------------------
//
// What is left of one or several frames: `span` offsets from the base offset on, of which `count` have a record. The body:
//
//   0 u64 sequences: the numbers that those frames had, from this one's on
//   8 i64 delete horizon (ms): its tombstones may go from then on; the least i64: no compaction has seen any
//  16 count x u32: the record's offset - base offset, ascending
//     then records and their ends as in any other frame

inline constexpr std::uint32_t compacted_prefix_bytes = 16;
inline constexpr std::uint32_t compacted_delta_bytes = 4;
inline constexpr std::uint64_t compacted_span_max = std::uint64_t{1} << 31;

// ---- control frames ----------------------------------------------------------------------------
//
// The body starts with u32 kind, u32 zero. Those below shape the segment and take no sequence number:
// theirs is that of the next frame of records, as their base offset is the next record's.

enum class ControlKind : std::uint32_t {
  segment_begin =
      1,  // u64 base position, u64 predecessor id (0: none), u64 predecessor's end position
  segment_end = 2,  // nothing
  gap = 3,  // u64 next offset, u64 next sequence: what lies between was lost, and salvaged around
};

inline constexpr std::uint32_t begin_body_bytes = 32;
inline constexpr std::uint32_t end_body_bytes = 8;
inline constexpr std::uint32_t gap_body_bytes = 24;
inline constexpr std::uint32_t begin_frame_bytes = frame_header_bytes + begin_body_bytes;
inline constexpr std::uint32_t end_frame_bytes = frame_header_bytes + end_body_bytes;

// The greatest body that a segment of `segment_bytes` can hold.
constexpr std::uint32_t body_bytes_max(std::uint32_t segment_bytes) noexcept {
  return segment_bytes - segment_header_bytes - begin_frame_bytes - end_frame_bytes -
         frame_header_bytes - frame_header_bytes;
}

}  // namespace varve::inline v0::detail
