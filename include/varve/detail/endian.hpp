// Fixed-width little-endian numbers in memory, plain and atomic.
#pragma once

#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace varve::inline v0::detail {

static_assert(std::endian::native == std::endian::little,
              "varve maps its little-endian files; a big-endian host would need byte swaps here");

template <std::integral T>
T load_le(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <std::integral T>
void store_le(std::byte* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
}

// Eight bytes that another thread or process may be reading or writing right now. `at` is a multiple of 8.
inline std::uint64_t load_acquire(const std::byte* at) noexcept {
  // The file behind a read-only mapping is const to us alone, and atomic_ref wants a mutable object.
  auto& word = *reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(at));
  return std::atomic_ref<std::uint64_t>(word).load(std::memory_order_acquire);
}

inline void store_release(std::byte* at, std::uint64_t value) noexcept {
  std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(at))
      .store(value, std::memory_order_release);
}

}  // namespace varve::inline v0::detail
