// Tells a process from the one that forked it, at the cost of a load.
#pragma once

#include <cstdint>

namespace varve::inline v0::detail {

// A number that is another one in every child that this process forks.
std::uint32_t process_generation() noexcept;

}  // namespace varve::inline v0::detail
