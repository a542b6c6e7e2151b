// Records to bytes and back: the body of a frame in varve's own encoding.
//
//   body   = record* padding-free, then the table of record ends
//   record = u8 attributes, [zigzag varint timestamp - frame's append time], [varint key size],
//            [varint value size], [varint header count, varint size of all headers],
//            key, value, headers           (a bracket is there if its attribute bit is set)
//   header = varint name size, name, varint 0 (no value) or 1 + value size, value
//   table  = for each record where it ends, counted from the body's start: u16 if the whole body has at
//            most 65,535 bytes, else u32
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "varve/detail/endian.hpp"
#include "varve/detail/varint.hpp"
#include "varve/record.hpp"

namespace varve::inline v0::detail {

// Bits of a record's attributes.
inline constexpr unsigned has_key = 1;
inline constexpr unsigned has_value = 2;
inline constexpr unsigned has_headers = 4;
inline constexpr unsigned has_timestamp = 8;
inline constexpr unsigned all_attributes = 15;

// What encoding a record needs to know of it beforehand, so that a record is measured only once.
struct RecordSize {
  std::uint64_t headers = 0;  // encoded size of all headers together
  std::uint64_t total = 0;    // with room for the longest possible timestamp
};

inline RecordSize measure(const Record& record) noexcept {
  RecordSize size;
  size.total = 1 + varint_bytes_max;
  if (record.key) size.total += varint_size(record.key->size()) + record.key->size();
  if (record.value) size.total += varint_size(record.value->size()) + record.value->size();
  if (!record.headers.empty()) {
    for (const Header& header : record.headers) {
      size.headers += varint_size(header.name.size()) + header.name.size();
      size.headers +=
          header.value ? varint_size(header.value->size() + 1) + header.value->size() : 1;
    }
    size.total += varint_size(record.headers.size()) + varint_size(size.headers) + size.headers;
  }
  return size;
}

inline std::byte* put_bytes(std::byte* out, Bytes bytes) noexcept {
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

// Writes a record at `out`, which has room for its measured size, and returns what follows it.
inline std::byte* encode_record(std::byte* out, const Record& record, const RecordSize& size,
                                std::int64_t frame_time_ms, std::int64_t now_ms) noexcept {
  const std::int64_t time_ms =
      record.timestamp ? record.timestamp->time_since_epoch().count() : now_ms;
  // Two's complement wraps here and back when read, so that any timestamp survives.
  const auto delta = static_cast<std::int64_t>(static_cast<std::uint64_t>(time_ms) -
                                               static_cast<std::uint64_t>(frame_time_ms));
  const unsigned attributes = (record.key ? has_key : 0u) | (record.value ? has_value : 0u) |
                              (record.headers.empty() ? 0u : has_headers) |
                              (delta == 0 ? 0u : has_timestamp);
  *out++ = static_cast<std::byte>(attributes);
  if (delta != 0) out = put_varint(out, zigzag(delta));
  if (record.key) out = put_varint(out, record.key->size());
  if (record.value) out = put_varint(out, record.value->size());
  if (!record.headers.empty()) {
    out = put_varint(out, record.headers.size());
    out = put_varint(out, size.headers);
  }
  if (record.key) out = put_bytes(out, *record.key);
  if (record.value) out = put_bytes(out, *record.value);
  for (const Header& header : record.headers) {
    out = put_varint(out, header.name.size());
    out = put_bytes(out, bytes(header.name));
    out = put_varint(out, header.value ? header.value->size() + 1 : 0);
    if (header.value) out = put_bytes(out, *header.value);
  }
  return out;
}

// Whether `encoded` is exactly `count` headers.
inline bool valid_headers(Bytes encoded, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto name = take_varint(encoded);
    if (!name || !take_bytes(encoded, *name)) return false;
    const auto value = take_varint(encoded);
    if (!value || (*value != 0 && !take_bytes(encoded, *value - 1))) return false;
  }
  return encoded.empty();
}

// What most records are: no headers, no time of its own, sizes below 16 KiB, not at the very end of its
// bytes. False, and nothing done, for all others.
inline bool decode_plain_record(Bytes& in, std::int64_t frame_time_ms,
                                RecordView& record) noexcept {
  constexpr std::size_t head_bytes_max = 5;  // attributes and two sizes
  if (in.size() < head_bytes_max) return false;
  const std::byte* at = in.data();
  const auto attributes = static_cast<unsigned>(*at++);
  if (attributes > (has_key | has_value)) return false;
  const auto take_size = [&](bool there) -> std::uint64_t {
    if (!there) return 0;
    std::uint64_t size = static_cast<std::uint64_t>(*at++);
    if (size >= 0x80) size = (size & 0x7F) | static_cast<std::uint64_t>(*at++) << 7;
    return size;
  };
  const std::uint64_t key_size = take_size((attributes & has_key) != 0);
  const std::uint64_t value_size = take_size((attributes & has_value) != 0);
  constexpr std::uint64_t size_max = 0x3FFF;  // of two bytes; a third would follow
  const auto left = in.size() - static_cast<std::size_t>(at - in.data());
  if (key_size > size_max || value_size > size_max || key_size + value_size > left) return false;

  record.timestamp = Timestamp(std::chrono::milliseconds(frame_time_ms));
  record.headers = {};
  if ((attributes & has_key) != 0)
    record.key.emplace(at, key_size);
  else
    record.key.reset();
  if ((attributes & has_value) != 0)
    record.value.emplace(at + key_size, value_size);
  else
    record.value.reset();
  in = Bytes(at + key_size + value_size, left - key_size - value_size);
  return true;
}

// Takes a record off the front of `in` and fills what the bytes say of it; offset, epoch and append
// time are the frame's to tell. False if the bytes are no record; nothing is allocated.
inline bool decode_record(Bytes& in, std::int64_t frame_time_ms, RecordView& record) noexcept {
  if (decode_plain_record(in, frame_time_ms, record)) return true;
  if (in.empty()) return false;
  const auto attributes = static_cast<unsigned>(in[0]);
  if ((attributes & ~all_attributes) != 0) return false;
  in = in.subspan(1);

  std::int64_t time_ms = frame_time_ms;
  if ((attributes & has_timestamp) != 0) {
    const auto delta = take_varint(in);
    if (!delta) return false;
    time_ms = static_cast<std::int64_t>(static_cast<std::uint64_t>(frame_time_ms) +
                                        static_cast<std::uint64_t>(unzigzag(*delta)));
  }
  std::optional<std::uint64_t> key_size, value_size, header_count, header_bytes;
  if ((attributes & has_key) != 0 && !(key_size = take_varint(in))) return false;
  if ((attributes & has_value) != 0 && !(value_size = take_varint(in))) return false;
  if ((attributes & has_headers) != 0) {
    if (!(header_count = take_varint(in)) || !(header_bytes = take_varint(in))) return false;
    if (*header_count == 0 || *header_count > *header_bytes) return false;
  }

  record.timestamp = Timestamp(std::chrono::milliseconds(time_ms));
  record.key.reset();
  record.value.reset();
  record.headers = {};
  if (key_size && !(record.key = take_bytes(in, *key_size))) return false;
  if (value_size && !(record.value = take_bytes(in, *value_size))) return false;
  if (header_count) {
    const auto headers = take_bytes(in, *header_bytes);
    if (!headers || !valid_headers(*headers, *header_count)) return false;
    record.headers = HeadersView(static_cast<std::uint32_t>(*header_count), *headers);
  }
  return true;
}

// Writes a record that stood in a frame of one time as it is to stand in a frame of another. `record` is valid; at `out`
// there is room for it and varint_bytes_max more.
inline std::byte* rebase_record(std::byte* out, Bytes record, std::int64_t from_ms,
                                std::int64_t to_ms) noexcept {
  const auto attributes = static_cast<unsigned>(record[0]);
  Bytes rest = record.subspan(1);
  std::uint64_t delta = static_cast<std::uint64_t>(from_ms) - static_cast<std::uint64_t>(to_ms);
  if ((attributes & has_timestamp) != 0)
    delta += static_cast<std::uint64_t>(unzigzag(take_varint(rest).value_or(0)));
  *out++ = static_cast<std::byte>((attributes & ~has_timestamp) | (delta == 0 ? 0 : has_timestamp));
  if (delta != 0) out = put_varint(out, zigzag(static_cast<std::int64_t>(delta)));
  return put_bytes(out, rest);
}

// ---- the table of record ends ------------------------------------------------------------------

constexpr std::uint32_t table_width(std::uint64_t body_bytes) noexcept {
  return body_bytes <= 0xFFFF ? 2 : 4;
}

// The size of a body of `record_bytes` of records with its table.
constexpr std::uint64_t body_size(std::uint64_t record_bytes, std::uint64_t count) noexcept {
  const std::uint64_t narrow = record_bytes + 2 * count;
  return table_width(narrow) == 2 ? narrow : record_bytes + 4 * count;
}

inline void put_end(std::byte* table, std::uint32_t width, std::uint64_t i,
                    std::uint32_t end) noexcept {
  if (width == 2)
    store_le(table + 2 * i, static_cast<std::uint16_t>(end));
  else
    store_le(table + 4 * i, end);
}

// A verified body, taken apart.
class Body {
 public:
  Body() = default;

  // Nullopt if the table cannot belong to `count` records.
  static std::optional<Body> parse(Bytes body, std::uint32_t count) noexcept {
    const std::uint32_t width = table_width(body.size());
    if (count > body.size() / (width + 1u)) return std::nullopt;
    Body parsed;
    parsed.records_ = body.first(body.size() - std::size_t{width} * count);
    parsed.table_ = body.last(std::size_t{width} * count);
    parsed.width_ = width;
    parsed.count_ = count;
    const std::uint64_t end = count == 0 ? 0 : parsed.end_of(count - 1);
    if (end != parsed.records_.size()) return std::nullopt;
    return parsed;
  }

  std::uint32_t count() const noexcept { return count_; }
  Bytes records() const noexcept { return records_; }

  // Where the table says that record `i` ends, counted from the body's start.
  std::uint64_t end_of(std::uint32_t i) const noexcept {
    return width_ == 2 ? load_le<std::uint16_t>(table_.data() + std::size_t{2} * i)
                       : load_le<std::uint32_t>(table_.data() + std::size_t{4} * i);
  }

  // The bytes from record `i` to the end of the records; nullopt if the table is nonsense.
  std::optional<Bytes> from(std::uint32_t i) const noexcept {
    const std::uint64_t begin = i == 0 ? 0 : end_of(i - 1);
    if (begin > records_.size()) return std::nullopt;
    return records_.subspan(static_cast<std::size_t>(begin));
  }

 private:
  Bytes records_{};
  Bytes table_{};
  std::uint32_t width_ = 2;
  std::uint32_t count_ = 0;
};

}  // namespace varve::inline v0::detail
