// Pacer: work that takes no more than a share of the time, so that others get theirs of the medium.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

namespace varve::inline v0::detail {

class Pacer {
 public:
  // Of the time, in percent: 1 to 100.
  explicit Pacer(std::uint32_t time_percent) noexcept : percent_(time_percent) {}

  // Between pieces of work: waits as long as those since the last time ask for, once they are worth it.
  void rest() {
    if (percent_ >= 100) return;
    const auto now = Clock::now();
    const auto worked = now - begin_;
    if (worked < least) return;
    std::this_thread::sleep_for(worked * (100 - percent_) / percent_);
    begin_ = Clock::now();
  }

  bool rests() const noexcept { return percent_ < 100; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds least{
      1};  // what a thread oversleeps is little beside that

  const std::uint32_t percent_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace varve::inline v0::detail
