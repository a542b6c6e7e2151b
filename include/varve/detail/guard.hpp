// guarded: runs what may run out of memory where nobody could catch it.
#pragma once

#include <utility>

namespace varve::inline v0::detail {

// Calls `action` and returns whether it came back without an exception: in varve's own code that can only
// have been std::bad_alloc, or what a host's Observer or StorageBackend threw.
template <class Action>
bool guarded(Action&& action) noexcept {
#if defined(__cpp_exceptions)
  try {
    std::forward<Action>(action)();
    return true;
  } catch (...) {
    return false;
  }
#else
  std::forward<Action>(action)();
  return true;
#endif
}

}  // namespace varve::inline v0::detail
