// A clock that is cheap enough for single appends, and what is made of its readings.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

namespace bench {

// CLOCK_MONOTONIC in ns: the same in all processes.
inline std::uint64_t clock_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return clock_ns();
#endif
}

// Measured once a process, for some milliseconds.
inline double ns_per_tick() {
  static const double ratio = [] {
    const std::uint64_t begin_ns = clock_ns();
    const std::uint64_t begin = ticks();
    while (clock_ns() - begin_ns < 5'000'000) {
    }
    const std::uint64_t end = ticks();
    return static_cast<double>(clock_ns() - begin_ns) / static_cast<double>(end - begin);
  }();
  return ratio;
}

class Stopwatch {
 public:
  double seconds() const { return static_cast<double>(clock_ns() - begin_) * 1e-9; }

 private:
  std::uint64_t begin_ = clock_ns();
};

// The latencies of single operations, in ticks. Memory for the expected number is touched beforehand, so
// that adding costs a store.
class Latencies {
 public:
  explicit Latencies(std::size_t expected = 0) : ticks_(expected) { ticks_.clear(); }

  void add(std::uint64_t ticks) {
    ticks_.push_back(static_cast<std::uint32_t>(
        std::min<std::uint64_t>(ticks, std::numeric_limits<std::uint32_t>::max())));
  }
  void add(const Latencies& more) {
    ticks_.insert(ticks_.end(), more.ticks_.begin(), more.ticks_.end());
  }

  std::size_t size() const { return ticks_.size(); }

  // The latency in ns that `share` of all operations do not exceed.
  double percentile_ns(double share) {
    if (ticks_.empty()) return 0;
    const auto rank = static_cast<std::size_t>(share * static_cast<double>(ticks_.size()));
    const auto at = ticks_.begin() + static_cast<std::ptrdiff_t>(std::min(rank, ticks_.size() - 1));
    std::nth_element(ticks_.begin(), at, ticks_.end());
    return *at * ns_per_tick();
  }

 private:
  std::vector<std::uint32_t> ticks_;
};

}  // namespace bench
