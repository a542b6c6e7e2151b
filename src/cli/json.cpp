#include "json.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "parse.hpp"

namespace varve::cli {
namespace {

// How many bytes the UTF-8 sequence at the front of `text` has; 0 if it is none (RFC 3629: no
// overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t utf8_sequence(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < text.size() && at(i) >= low && at(i) <= high;
  };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_sequence(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string base64(Bytes bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (; !bytes.empty(); bytes = bytes.subspan(std::min<std::size_t>(3, bytes.size()))) {
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < bytes.size() ? static_cast<std::uint32_t>(bytes[i]) : 0);
    for (std::size_t i = 0; i < 4; ++i)
      out += i <= bytes.size() ? digits[group >> (18 - 6 * i) & 0x3F] : '=';
  }
  return out;
}

}  // namespace

Json json_of(Bytes bytes) {
  if (is_utf8(text(bytes))) return std::string(text(bytes));
  return {{"base64", base64(bytes)}};
}

Json json_of(std::string_view text) { return json_of(bytes(text)); }

Json json_of(const std::optional<Bytes>& bytes) { return bytes ? json_of(*bytes) : Json(); }

Json json_of(Timestamp time) {
  if (auto rfc3339 = format_rfc3339(time)) return *std::move(rfc3339);
  return time.time_since_epoch().count();
}

Json json_of(OffsetRange offsets) {
  return {{"begin", offsets.begin.value}, {"end", offsets.end.value}};
}

Json json_of(const RecordView& record) {
  Json headers = Json::array();
  for (const Header& header : record.headers)
    headers.push_back({{"name", json_of(bytes(header.name))}, {"value", json_of(header.value)}});
  return {{"offset", record.offset.value},  {"timestamp", json_of(record.timestamp)},
          {"epoch", record.epoch.value},    {"key", json_of(record.key)},
          {"value", json_of(record.value)}, {"headers", std::move(headers)}};
}

Json json_of(const SegmentInfo& segment) {
  return {{"file", json_of(segment.file)},
          {"offsets", json_of(segment.offsets)},
          {"bytes", segment.bytes},
          {"newest", json_of(segment.newest)},
          {"sealed", segment.sealed}};
}

Json json_of(const Damage& damage) {
  return {{"file", json_of(damage.file)},
          {"begin", damage.begin.value},
          {"end", damage.end.value},
          {"offsets", damage.offsets.empty() ? Json() : json_of(damage.offsets)},
          {"what", json_of(damage.what)}};
}

Json json_of(const RecoveryReport& report) {
  return {{"clean", report.clean},
          {"segments", report.segments},
          {"segments_scanned", report.segments_scanned},
          {"records_scanned", report.records_scanned},
          {"bytes_scanned", report.bytes_scanned},
          {"frames_dropped", report.frames_dropped},
          {"bytes_dropped", report.bytes_dropped},
          {"torn", json_of(report.torn)},
          {"lost", json_of(report.lost)},
          {"unknown_files", json_of(report.unknown_files)},
          {"took_us", report.took.count()}};
}

Json json_of(const VerifyReport& report) {
  return {{"intact", report.intact()},
          {"segments", report.segments},
          {"frames", report.frames},
          {"records", report.records},
          {"bytes", report.bytes},
          {"frames_compressed", report.frames_compressed},
          {"bytes_before_compression", report.bytes_before_compression},
          {"bytes_after_compression", report.bytes_after_compression},
          {"offsets", json_of(report.offsets)},
          {"damage", json_of(report.damage)},
          {"torn", json_of(report.torn)},
          {"stale_indexes", json_of(report.stale_indexes)},
          {"unknown_files", json_of(report.unknown_files)}};
}

Json json_of(const SnapshotReport& report) {
  return {{"offsets", json_of(report.offsets)},
          {"segments", report.segments},
          {"shared", report.shared},
          {"bytes", report.bytes},
          {"bytes_copied", report.bytes_copied}};
}

Json json_of(const CompactionReport& report) {
  return {{"dry_run", report.dry_run},
          {"passes", report.passes},
          {"cleaned", report.cleaned.value},
          {"segments_before", report.segments_before},
          {"segments_after", report.segments_after},
          {"segments_left_alone", report.segments_left_alone},
          {"bytes_before", report.bytes_before},
          {"bytes_after", report.bytes_after},
          {"records_before", report.records_before},
          {"records_removed", report.records_removed},
          {"tombstones_removed", report.tombstones_removed},
          {"tombstones_kept", report.tombstones_kept},
          {"keys", report.keys},
          {"key_map_bytes", report.key_map_bytes},
          {"took_ms", report.took.count()}};
}

Json json_of(const FrameInfo& frame) {
  return {{"file", json_of(frame.file)},
          {"position", frame.position.value},
          {"state", to_text(frame.state)},
          {"what", json_of(frame.what)},
          {"version", frame.version},
          {"flags", frame.flags},
          {"kind", json_of(frame.kind)},
          {"body_bytes", frame.body_bytes},
          {"records", frame.records},
          {"codec", frame.codec ? Json(to_text(*frame.codec)) : Json()},
          {"bytes_before_compression", frame.codec ? Json(frame.bytes_before_compression) : Json()},
          {"base_offset", frame.base_offset.value},
          {"end_offset", frame.end_offset.value},
          {"sequence", frame.sequence},
          {"append_time", json_of(frame.append_time)},
          {"epoch", frame.epoch.value},
          {"sync_lag", frame.sync_lag},
          {"header_check", fmt::format("{:08x}", frame.header_check)},
          {"body_check", fmt::format("{:016x}", frame.body_check)}};
}

std::string_view to_text(FrameInfo::State state) {
  switch (state) {
    case FrameInfo::State::sealed:
      return "sealed";
    case FrameInfo::State::open:
      return "open";
    case FrameInfo::State::damaged:
      return "damaged";
  }
  return "unknown";
}

std::string to_text(Timestamp time) {
  return format_rfc3339(time).value_or(fmt::format("@{} ms", time.time_since_epoch().count()));
}

std::string to_text(const Damage& damage) {
  std::string line =
      fmt::format("{} bytes [{}, {})", damage.file, damage.begin.value, damage.end.value);
  if (!damage.offsets.empty())
    line += fmt::format(" offsets [{}, {})", damage.offsets.begin.value, damage.offsets.end.value);
  return line + ": " + damage.what;
}

}  // namespace varve::cli
