// The vocabulary of the log: bytes, offsets, positions, epochs and times, each a type of its own.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace varve::inline v0 {

// Bytes borrowed from somebody else, never owned. How long they live is said where they are handed over.
using Bytes = std::span<const std::byte>;

// Views text as bytes and bytes as text. Both borrow, neither checks an encoding.
inline Bytes bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view text(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The number of a record in its log: dense, counted from the log's first offset (0 unless chosen
// otherwise), never used twice within an epoch. At most `offset_max`.
struct Offset {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(Offset, Offset) = default;
  friend constexpr Offset operator+(Offset offset, std::uint64_t count) {
    return {offset.value + count};
  }
  friend constexpr std::uint64_t operator-(Offset end, Offset begin) {
    return end.value - begin.value;
  }
};

// One past the greatest offset that a record can have. Offsets fit a signed 64-bit integer, because
// the protocols and languages around a log expect that they do.
inline constexpr Offset offset_max{std::uint64_t{1} << 63};

// Offsets from `begin` up to, but not including, `end`.
struct OffsetRange {
  Offset begin{};
  Offset end{};

  friend constexpr bool operator==(OffsetRange, OffsetRange) = default;
  constexpr bool empty() const noexcept { return begin == end; }
  constexpr std::uint64_t size() const noexcept { return end - begin; }
};

// A place in a file, in bytes from its start.
struct Position {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(Position, Position) = default;
  friend constexpr Position operator+(Position position, std::uint64_t bytes) {
    return {position.value + bytes};
  }
  friend constexpr std::uint64_t operator-(Position end, Position begin) {
    return end.value - begin.value;
  }
};

// The reign in which a record was written. It rises when the log recovers from a crash (offsets that
// were handed out but never became durable may then be handed out again) and when leadership
// changes, so (epoch, offset) names a record for ever where offset alone might not.
struct Epoch {
  std::uint32_t value = 0;

  friend constexpr auto operator<=>(Epoch, Epoch) = default;
};

// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z.
using Timestamp = std::chrono::sys_time<std::chrono::milliseconds>;

}  // namespace varve::inline v0
