// The one checksum of the format: XXH3, 64 bits. It detects accidents, not attackers.
#pragma once

#include <cstdint>

#include "varve/export.hpp"
#include "varve/types.hpp"

namespace varve::inline v0::detail {

VARVE_EXPORT std::uint64_t checksum(Bytes bytes) noexcept;

// Differs for every seed; meant for up to 240 bytes, where a seed costs nothing.
VARVE_EXPORT std::uint64_t checksum(Bytes bytes, std::uint64_t seed) noexcept;

}  // namespace varve::inline v0::detail
