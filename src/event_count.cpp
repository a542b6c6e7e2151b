#include "event_count.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

namespace varve::inline v0::detail {
namespace {

long futex(std::atomic<std::uint32_t>& word, int op, std::uint32_t value,
           const timespec* deadline) noexcept {
  static_assert(sizeof word == sizeof(std::uint32_t));
  return syscall(SYS_futex, &word, op, value, deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
}

}  // namespace

bool EventCount::wait(std::uint32_t key, const Deadline& deadline) noexcept {
  timespec until{};
  if (deadline) {
    const auto since_boot =
        std::max(deadline->time_since_epoch(), deadline->time_since_epoch().zero());
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(since_boot);
    until.tv_sec = static_cast<time_t>(ns.count() / 1'000'000'000);
    until.tv_nsec = static_cast<long>(ns.count() % 1'000'000'000);
  }
  bool in_time = true;
  while (generation_.load(std::memory_order_seq_cst) == key) {
    // FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC, which steady_clock is.
    const long result =
        futex(generation_, FUTEX_WAIT_BITSET_PRIVATE, key, deadline ? &until : nullptr);
    if (result != 0 && errno == ETIMEDOUT) {
      in_time = false;
      break;
    }
  }
  cancel();
  return in_time;
}

void EventCount::wake_all() noexcept {
  generation_.fetch_add(1, std::memory_order_seq_cst);
  futex(generation_, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, nullptr);
}

void EventCount::wake_one() noexcept {
  generation_.fetch_add(1, std::memory_order_seq_cst);
  futex(generation_, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr);
}

}  // namespace varve::inline v0::detail
