// Names of the files in a log's directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "varve/types.hpp"

namespace varve::inline v0::detail {

inline constexpr std::string_view manifest_name = "MANIFEST";
inline constexpr std::string_view manifest_new_name = "MANIFEST.new";
inline constexpr std::string_view lock_name = "LOCK";
inline constexpr std::string_view spare_name = "spare.log";
inline constexpr std::string_view segment_suffix = ".log";
inline constexpr std::string_view index_suffix = ".idx";
inline constexpr std::string_view index_new_suffix = ".idx.new";
inline constexpr std::string_view salvaged_mark = ".salvaged-";
inline constexpr std::string_view salvage_new_suffix = ".log.new";
inline constexpr std::string_view compact_suffix = ".compact";
inline constexpr std::size_t base_offset_digits = 20;

// "00000000000000524288.log": sorts by name as by offset.
inline std::string offset_name(Offset base_offset, std::string_view suffix) {
  std::string name(base_offset_digits, '0');
  std::uint64_t left = base_offset.value;
  for (auto digit = name.rbegin(); left != 0; ++digit, left /= 10)
    *digit = static_cast<char>('0' + left % 10);
  return name.append(suffix);
}

inline std::string segment_name(Offset base_offset) {
  return offset_name(base_offset, segment_suffix);
}
// What compaction makes of a segment, until it takes that one's place.
inline std::string compact_name(Offset base_offset) {
  return offset_name(base_offset, compact_suffix);
}
inline std::string index_name(Offset base_offset) { return offset_name(base_offset, index_suffix); }

// The base offset in a name of 20 digits and that suffix, or nullopt.
inline std::optional<Offset> parse_offset_name(std::string_view name, std::string_view suffix) {
  if (name.size() != base_offset_digits + suffix.size() || !name.ends_with(suffix))
    return std::nullopt;
  std::uint64_t value = 0;
  for (const char digit : name.substr(0, base_offset_digits)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    const auto add = static_cast<std::uint64_t>(digit - '0');
    if (value > (offset_max.value - add) / 10) return std::nullopt;
    value = value * 10 + add;
  }
  return Offset{value};
}

inline std::optional<Offset> parse_segment_name(std::string_view name) {
  return parse_offset_name(name, segment_suffix);
}

// Whether varve may have made a file of that name.
inline bool is_varve_name(std::string_view name) {
  return name == manifest_name || name == manifest_new_name || name == lock_name ||
         name == spare_name || name.find(salvaged_mark) != std::string_view::npos ||
         parse_offset_name(name, segment_suffix) || parse_offset_name(name, index_suffix) ||
         parse_offset_name(name, index_new_suffix) || parse_offset_name(name, salvage_new_suffix) ||
         parse_offset_name(name, compact_suffix);
}

}  // namespace varve::inline v0::detail
