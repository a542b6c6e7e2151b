// BackgroundThread: the one thread that does the chores of all logs in the process.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "event_count.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::detail {

// Made when the first log needs it, gone with the last. Does not survive fork() in the child, as no thread does.
class BackgroundThread {
 public:
  // What a log wants done. Returns when it wants to be called again even if nobody asks.
  using Task = std::function<Deadline()>;

  // A task's place; destroying it waits for the task to finish if it runs, and forgets it.
  class Registration;

  // The running thread, or an error if none can be started.
  static Result<std::shared_ptr<BackgroundThread>> shared();

  virtual ~BackgroundThread() = default;
  virtual std::unique_ptr<Registration> add(Task task) = 0;
};

class BackgroundThread::Registration {
 public:
  virtual ~Registration() = default;
  virtual void
  notify() noexcept = 0;  // runs the task soon; any thread, cheap, may be called under locks
};

}  // namespace varve::inline v0::detail
