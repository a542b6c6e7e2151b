// A log that rolls often, does nothing by itself, and does the same every time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "support/workload.hpp"
#include "varve/options.hpp"

namespace varve::test {

constexpr std::uint32_t small_segment = 16u << 10;
constexpr AppendOptions os_ack{.ack = Ack::os};

// A clock that stands still until it is set, and random numbers that repeat with their seed.
class FakeEnvironment final : public Environment {
 public:
  explicit FakeEnvironment(std::uint64_t seed = 1, std::int64_t now_ms = 1'000'000)
      : random_(seed), now_ms_(now_ms) {}

  void set(std::int64_t now_ms) noexcept { now_ms_ = now_ms; }
  Timestamp now() noexcept override { return Timestamp(std::chrono::milliseconds(now_ms_)); }
  std::uint64_t random() noexcept override {
    return split_mix(random_.fetch_add(split_mix_step) + split_mix_step);
  }

 private:
  std::atomic<std::uint64_t> random_;
  std::atomic<std::int64_t> now_ms_;
};

// Options for a log that rolls often and does nothing by itself.
inline Options small_log() {
  Options options;
  options.segment_bytes = small_segment;
  options.background = Background::manual;
  return options;
}

}  // namespace varve::test
