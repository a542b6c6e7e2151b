// The log's clock and random numbers: the host's Environment, or the system's.
#pragma once

#include <cstdint>

#include "varve/environment.hpp"

namespace varve::inline v0::detail {

enum class Precision : std::uint8_t {
  tick,  // of the kernel's timer, 1 to 4 ms: costs a few nanoseconds
  exact,
};

std::int64_t now_ms(Environment* environment, Precision precision) noexcept;
std::uint64_t random_bits(Environment* environment) noexcept;

}  // namespace varve::inline v0::detail
