// ServiceThread: a thread of varve's in somebody else's process.
#pragma once

#include <functional>
#include <memory>

#include "varve/result.hpp"

namespace varve::inline v0::detail {

// Destroying it waits for the work to be done. Has every signal blocked that is not a fault of its own, so that the
// host's handlers run on the host's threads.
class ServiceThread {
 public:
  // `name` is what debuggers show: at most 15 characters. `work` must not throw.
  static Result<std::unique_ptr<ServiceThread>> start(const char* name, std::function<void()> work);

  virtual ~ServiceThread() = default;
};

}  // namespace varve::inline v0::detail
