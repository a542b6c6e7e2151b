#include "process.hpp"

#include <pthread.h>

namespace varve::inline v0::detail {
namespace {

void in_child() { forks.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

constinit std::atomic<std::uint32_t> forks{0};

void watch_forks() noexcept {
  // If there is no memory for it, a child is not noticed: it must not use the Log in any case.
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, &in_child);
}

}  // namespace varve::inline v0::detail
