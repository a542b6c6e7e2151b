// EventCount: wait for "something happened" without a lock on the side that makes it happen.
//
// The scheme of Folly's and Eigen's event counts, on one futex word.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace varve::inline v0::detail {

using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // nullopt: never

class EventCount {
 public:
  // Waiters: key = prepare(); look whether there is anything to wait for; then wait(key) or cancel().
  std::uint32_t prepare() noexcept {
    waiters_.fetch_add(1, std::memory_order_seq_cst);
    return generation_.load(std::memory_order_seq_cst);
  }
  void cancel() noexcept { waiters_.fetch_sub(1, std::memory_order_relaxed); }

  // Returns once somebody was notified after prepare(), or spuriously; false when the time is over.
  bool wait(std::uint32_t key, const Deadline& deadline) noexcept;

  // Call it after the change that waiters look for. Costs a fence while nobody waits.
  void notify_all() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (waiters_.load(std::memory_order_relaxed) != 0) wake_all();
  }

  // The same for one of those who sleep, and all who are about to.
  void notify_one() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (waiters_.load(std::memory_order_relaxed) != 0) wake_one();
  }

 private:
  void wake_all() noexcept;
  void wake_one() noexcept;

  std::atomic<std::uint32_t> generation_{0};
  std::atomic<std::uint32_t> waiters_{0};
};

}  // namespace varve::inline v0::detail
