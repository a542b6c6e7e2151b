#define XXH_INLINE_ALL  // no link dependency, and the compiler sees the sizes
#include "varve/detail/checksum.hpp"

#include <xxhash.h>

namespace varve::inline v0::detail {

std::uint64_t checksum(Bytes bytes) noexcept { return XXH3_64bits(bytes.data(), bytes.size()); }

std::uint64_t checksum(Bytes bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace varve::inline v0::detail
