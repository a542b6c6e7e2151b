// Unsigned LEB128 numbers, and the zigzag mapping for signed ones, as Protocol Buffers have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "varve/types.hpp"

namespace varve::inline v0::detail {

inline constexpr std::size_t varint_bytes_max = 10;

constexpr std::size_t varint_size(std::uint64_t value) noexcept {
  std::size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    ++size;
  }
  return size;
}

// Writes `value` at `out`, which has room for it, and returns what follows it.
inline std::byte* put_varint(std::byte* out, std::uint64_t value) noexcept {
  while (value >= 0x80) {
    *out++ = static_cast<std::byte>(value | 0x80);
    value >>= 7;
  }
  *out++ = static_cast<std::byte>(value);
  return out;
}

// Takes a number off the front of `in`, or nullopt when there is none of at most 64 bits.
inline std::optional<std::uint64_t> take_varint(Bytes& in) noexcept {
  if (!in.empty() && in[0] < std::byte{0x80}) {  // nearly all of them
    const auto value = static_cast<std::uint64_t>(in[0]);
    in = in.subspan(1);
    return value;
  }
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < in.size() && i < varint_bytes_max; ++i) {
    const auto byte = static_cast<std::uint64_t>(in[i]);
    if (i == varint_bytes_max - 1 && byte > 1) return std::nullopt;
    value |= (byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      in = in.subspan(i + 1);
      return value;
    }
  }
  return std::nullopt;
}

// Takes `size` bytes off the front of `in`, or nullopt when it has fewer.
inline std::optional<Bytes> take_bytes(Bytes& in, std::uint64_t size) noexcept {
  if (size > in.size()) return std::nullopt;
  const Bytes taken = in.first(static_cast<std::size_t>(size));
  in = in.subspan(static_cast<std::size_t>(size));
  return taken;
}

constexpr std::uint64_t zigzag(std::int64_t value) noexcept {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
constexpr std::int64_t unzigzag(std::uint64_t value) noexcept {
  return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

}  // namespace varve::inline v0::detail
