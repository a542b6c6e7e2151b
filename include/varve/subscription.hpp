// Subscriptions: a log's records handed to a function as they come.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "varve/export.hpp"
#include "varve/options.hpp"
#include "varve/record.hpp"
#include "varve/result.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// Called with one record after the other, in order of their offsets, on the subscription's own thread; the record is
// valid during the call. Returns whether it wants more. It may append, to this log too, but not destroy its own
// subscription.
using RecordHandler = std::function<bool(const RecordView&)>;

struct SubscribeOptions {
  Visible visible = Visible::committed;

  // A subscriber that has caught up looks again after so long, for some 20 ms before it goes to sleep: as long as records
  // keep coming no append has to wake it. This is then how late it is at most. 10 us to 20 ms; the nearest counts.
  std::chrono::microseconds linger{200};

  // Pass over records that were truncated before they were handed over, or are damaged, instead of ending.
  bool skip_lost = false;

  // Keep Options::retention from what was not handed over yet, unless one call of the handler takes longer than
  // Retention::pin_age (see Pin). Only for a log open for writing.
  bool pin = false;
};

// A subscriber, at its own pace: it reads the log as a Reader does, history first, so neither appends nor other
// subscribers wait for it. Costs a thread. Destroying it ends it, after the call of the handler that is under way. Any
// thread. In a forked child it is not active, and neither it nor the handler is ever destroyed.
class VARVE_EXPORT Subscription {
 public:
  Subscription(Subscription&&) noexcept;
  Subscription& operator=(Subscription&&) noexcept;
  ~Subscription();

  // Returns once the handler is not called any more; not for the handler itself to call.
  void stop() noexcept;

  // All records below it were handed over, or passed over.
  Offset next_offset() const noexcept;

  // How many were passed over.
  std::uint64_t skipped() const noexcept;

  // Whether it goes on.
  bool active() const noexcept;

  // Why it ended: fine if the handler or stop() wanted so, or if it goes on; Errc::closed when all was handed over of
  // a log that was closed; otherwise what reading met, or ECANCELED if the handler threw.
  Result<void> status() const;

 private:
  friend class Log;
  struct Impl;
  explicit Subscription(std::unique_ptr<Impl> impl) noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace varve::inline v0
