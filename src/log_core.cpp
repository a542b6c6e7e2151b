#include "log_core.hpp"

#include <algorithm>
#include <thread>

#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

bool is_set(const std::atomic<bool>* flag) noexcept { return flag != nullptr && flag->load(); }

// Whether a closed log will not show any more. Closing makes durable what was not.
bool is_over(const LogCore& core, Visible visible) noexcept {
  if (!core.closed.load()) return false;
  const Watermarks& marks = core.marks;
  return visible != Visible::durable ||
         marks.durable.load(std::memory_order_acquire) >= marks.end.load(std::memory_order_acquire);
}

// Another process cannot wake us: look again and again, more and more seldom.
Result<bool> poll_visible(LogCore& core, std::uint64_t offset, Visible visible,
                          const Deadline& deadline, const std::atomic<bool>* given_up) {
  using std::chrono::microseconds;
  constexpr microseconds longest{1000};
  for (microseconds pause{20};; pause = std::min(2 * pause, longest)) {
    VARVE_TRY(core.refresher->refresh());
    if (offset < core.visible_end(visible)) return true;
    if (core.closed.load()) return Errc::closed;
    const auto now = std::chrono::steady_clock::now();
    if (is_set(given_up) || (deadline && now >= *deadline)) return false;
    const auto left = deadline ? std::chrono::ceil<microseconds>(*deadline - now) : longest;
    std::this_thread::sleep_for(std::min(pause, left));
  }
}

}  // namespace

Result<bool> wait_visible(LogCore& core, std::uint64_t offset, Visible visible,
                          const Deadline& deadline, const std::atomic<bool>* given_up) {
  if (core.refresher) return poll_visible(core, offset, visible, deadline, given_up);
  EventCount& event = visible == Visible::durable ? core.marks.synced : core.marks.appended;
  for (;;) {
    const std::uint32_t key = event.prepare();
    // These first: what is visible behind them will not change any more.
    const bool failed = core.failure.happened();
    const bool over = is_over(core, visible);
    const bool there = offset < core.visible_end(visible);
    if (there || failed || over || is_set(given_up)) {
      event.cancel();
      if (there) return true;
      if (is_set(given_up)) return false;
      if (failed) return core.failure.answer();
      return Errc::closed;
    }
    if (!event.wait(key, deadline)) return offset < core.visible_end(visible);
  }
}

}  // namespace varve::inline v0::detail
