#include "clock.hpp"

#include <sys/random.h>

#include <chrono>
#include <ctime>

namespace varve::inline v0::detail {

std::int64_t now_ms(Environment* environment, Precision precision) noexcept {
  if (environment != nullptr) return environment->now().time_since_epoch().count();
  timespec now{};
  clock_gettime(precision == Precision::tick ? CLOCK_REALTIME_COARSE : CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

std::uint64_t random_bits(Environment* environment) noexcept {
  if (environment != nullptr) return environment->random();
  std::uint64_t bits = 0;
  // Up to 256 bytes come whole once the kernel's pool is ready, which it is before any service runs.
  if (getrandom(&bits, sizeof bits, 0) == static_cast<ssize_t>(sizeof bits)) return bits;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 0x9E3779B97F4A7C15 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace varve::inline v0::detail
