#include "process.hpp"

#include <pthread.h>

#include <atomic>

namespace varve::inline v0::detail {
namespace {

std::atomic<std::uint32_t> generation{0};

void in_child() { generation.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

std::uint32_t process_generation() noexcept {
  // If there is no memory for it, a child is not noticed: it must not use the Log in any case.
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, &in_child);
  return generation.load(std::memory_order_relaxed);
}

}  // namespace varve::inline v0::detail
