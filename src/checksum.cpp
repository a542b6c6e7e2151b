#define XXH_INLINE_ALL  // no link dependency, and the compiler sees the sizes
#include "varve/detail/checksum.hpp"

#include <xxhash.h>

#include "checksum_wide.hpp"

namespace varve::inline v0::detail {
namespace {

using Hash = std::uint64_t (*)(const void* bytes, std::size_t size);

std::uint64_t narrow(const void* bytes, std::size_t size) { return XXH3_64bits(bytes, size); }

// Frames are hashed up to three times as fast with the widest vectors that there are.
Hash choose() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return &varve_checksum_avx512;
  if (__builtin_cpu_supports("avx2")) return &varve_checksum_avx2;
#endif
  return &narrow;
}

constexpr std::size_t short_bytes = 240;  // up to here XXH3 uses no vectors

}  // namespace

std::uint64_t checksum(Bytes bytes) noexcept {
  if (bytes.size() <= short_bytes) return narrow(bytes.data(), bytes.size());
  static const Hash wide = choose();
  return wide(bytes.data(), bytes.size());
}

std::uint64_t checksum(Bytes bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace varve::inline v0::detail
