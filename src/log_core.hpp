// LogCore: what the parts of an open log share. It outlives the Log for as long as a Reader needs it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "event_log.hpp"
#include "pins.hpp"
#include "segment_set.hpp"
#include "system_error.hpp"
#include "varve/detail/guard.hpp"
#include "varve/error.hpp"
#include "varve/metrics.hpp"
#include "varve/options.hpp"
#include "varve/storage.hpp"
#include "watermarks.hpp"

namespace varve::inline v0::detail {

// The first error after which the log takes no more appends. Set once.
class Failure {
 public:
  bool happened() const noexcept { return happened_.load(std::memory_order_acquire); }

  // True for the one caller whose error it became.
  bool set(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (error_) return false;
    // Even if there is no memory for the text: that it happened must not be lost.
    if (!guarded([&] { error_.emplace(error); })) error_.emplace(error.code());
    happened_.store(true, std::memory_order_release);
    return true;
  }

  Error cause() const {
    const std::lock_guard lock(mutex_);
    return *error_;
  }

  // What an append is answered from then on.
  Error answer() const {
    const std::lock_guard lock(mutex_);
    return {Errc::failed, error_->message()};
  }

 private:
  std::atomic<bool> happened_{false};
  mutable std::mutex mutex_;
  std::optional<Error> error_;
};

// Counters that one thread at a time adds to, under a lock, and any thread reads.
class Counter {
 public:
  void add(std::uint64_t n) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// A Histogram that any thread adds to and any reads.
class LiveHistogram {
 public:
  void add(std::chrono::nanoseconds took) noexcept {
    counts_[Histogram::bucket_of(took)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(static_cast<std::uint64_t>(took.count()), std::memory_order_relaxed);
  }
  Histogram get() const noexcept {
    Histogram now;
    for (std::size_t i = 0; i < counts_.size(); ++i)
      now.counts[i] = counts_[i].load(std::memory_order_relaxed);
    now.sum_nanoseconds = sum_.load(std::memory_order_relaxed);
    return now;
  }

 private:
  std::array<std::atomic<std::uint64_t>, Histogram::bounds + 1> counts_{};
  std::atomic<std::uint64_t> sum_{0};
};

struct Counters {
  Counter records;
  Counter bytes;
  Counter batches;
  Counter bytes_before_compression;
  Counter bytes_after_compression;
  std::atomic<std::uint64_t> refused{0};
  LiveHistogram sync_time;
  LiveHistogram durable_append_time;
  Counter rolled;
  std::atomic<std::uint64_t> removed{0};
  std::atomic<std::uint64_t> stalls{0};
  std::atomic<std::uint64_t> compactions{0};
  std::atomic<std::uint64_t> compactions_failed{0};
  std::atomic<std::uint64_t> compaction_records{0};
  std::atomic<std::uint64_t> compaction_bytes{0};
  std::atomic<std::uint64_t> compaction_map_bytes{0};  // of the last pass
  std::atomic<std::uint64_t> compaction_ms{0};         // likewise
};

// Discovers what another process appends; see follower.hpp.
class Refresher {
 public:
  virtual ~Refresher() = default;
  virtual Result<void> refresh() = 0;

  // The same, with a look at the log's structure even if there was one just now.
  virtual Result<void> refresh_structure() = 0;
};

struct LogCore {
  LogCore(std::shared_ptr<StorageBackend> backend, LogId id, Options opened_with)
      : storage(backend),
        log(id),
        options(std::move(opened_with)),
        events(options.logger.get(), storage->describe()),
        segments(std::move(backend), id, options.index_interval_bytes) {
    if (options.observer) observers_[observer_count_++] = options.observer.get();
    if (events.has_logger()) observers_[observer_count_++] = &events;
    // From here on they are all in one place.
    if (options.compression.codec)
      options.codecs.insert(options.codecs.begin(), options.compression.codec);
  }

  std::shared_ptr<StorageBackend> storage;
  LogId log;
  Options options;
  EventLog events;
  Watermarks marks;
  SegmentSet segments;
  Pins pins;
  Failure failure;
  Counters counters;
  std::atomic<bool> closed{false};
  std::atomic<std::uint64_t> cleaned{0};  // compaction has looked at the records below it
  std::mutex giving_files;  // held while files are replaced, or shared with a snapshot
  std::shared_ptr<Refresher> refresher{};  // of a read-only log; null otherwise

  // All who are to be told what happens: the host's observer, and what its logger hears through.
  std::span<Observer* const> observers() const noexcept {
    return {observers_.data(), observer_count_};
  }

  // Up to where a reader sees. After a failure what is not durable may never have been.
  std::uint64_t visible_end(Visible visible) const noexcept {
    if (visible == Visible::durable || failure.happened())
      return marks.durable.load(std::memory_order_acquire);
    return marks.end.load(std::memory_order_acquire);
  }

  // The log is unusable from here on: tells those who wait.
  void fail(const Error& error) {
    if (!failure.set(error)) return;
    marks.appended.notify_all();
    marks.synced.notify_all();
    for (EventCount& turn : marks.covered) turn.notify_all();
  }

  // And the observers, once; to be called when something went wrong and no lock is held.
  void tell_failure() {
    if (!failure.happened() || told_.exchange(true)) return;
    for (Observer* watching : observers()) watching->on_failed(failure.cause());
  }

 private:
  std::atomic<bool> told_{false};
  std::array<Observer*, 2> observers_{};
  std::size_t observer_count_ = 0;
};

// Waits until `offset` is visible at that level (true), or the time is over or it was given up (false). Whoever gives up
// wakes those who wait.
Result<bool> wait_visible(LogCore& core, std::uint64_t offset, Visible visible,
                          const Deadline& deadline, const std::atomic<bool>* given_up = nullptr);

}  // namespace varve::inline v0::detail
