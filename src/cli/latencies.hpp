// Latencies: how long many calls took, in little memory.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace varve::cli {

// Counts by duration, from nanoseconds to minutes, in buckets of which each is at most 1/32 of its durations wide.
class Latencies {
 public:
  void add(std::chrono::nanoseconds took) noexcept {
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0));
    ++counts_[std::min(bucket_of(ns), counts_.size() - 1)];
    ++count_;
    longest_ = std::max(longest_, ns);
  }

  void add(const Latencies& more) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += more.counts_[i];
    count_ += more.count_;
    longest_ = std::max(longest_, more.longest_);
  }

  std::uint64_t count() const noexcept { return count_; }
  std::chrono::nanoseconds longest() const noexcept { return nanoseconds(longest_); }

  // What `share` of all did not exceed, but for the width of a bucket; zero if there are none.
  std::chrono::nanoseconds percentile(double share) const noexcept {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(count_));
    std::uint64_t before = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      before += counts_[i];
      if (before > wanted) return nanoseconds(std::min(last_of(i), longest_));
    }
    return longest();
  }

 private:
  static constexpr std::size_t parts = 32;  // of each power of two

  static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < parts) return static_cast<std::size_t>(ns);
    const auto shift = static_cast<std::size_t>(std::bit_width(ns) - std::bit_width(parts));
    return shift * parts + static_cast<std::size_t>(ns >> shift);
  }
  static constexpr std::uint64_t last_of(std::size_t bucket) noexcept {
    if (bucket < 2 * parts) return bucket;
    const std::size_t shift = bucket / parts - 1;
    return ((std::uint64_t{bucket - shift * parts} + 1) << shift) - 1;
  }
  static std::chrono::nanoseconds nanoseconds(std::uint64_t ns) noexcept {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(ns));
  }

  std::array<std::uint64_t, parts * 36> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t longest_ = 0;
};

}  // namespace varve::cli
