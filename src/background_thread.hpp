// BackgroundThread: the threads that work for all logs in the process, one of each kind.
#pragma once

#include <chrono>
#include <cstdint>
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

  enum class Kind : std::uint8_t {
    ahead,      // prepares: never waits for the medium for long, so that appends need not
    recorder,   // flushes and records
    compactor,  // takes its time
  };

  // The running thread of that kind, or an error if none can be started.
  static Result<std::shared_ptr<BackgroundThread>> shared(Kind kind);

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
