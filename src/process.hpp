// Tells a process from the one that forked it, at the cost of a load.
#pragma once

#include <atomic>
#include <cstdint>

namespace varve::inline v0::detail {

extern std::atomic<std::uint32_t> forks;  // goes up in a child, once watch_forks() was called

void watch_forks() noexcept;

// A number that is another one in every child that this process forks.
inline std::uint32_t process_generation() noexcept { return forks.load(std::memory_order_relaxed); }

}  // namespace varve::inline v0::detail
