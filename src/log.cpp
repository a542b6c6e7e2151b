#include "varve/log.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "appender.hpp"
#include "background_thread.hpp"
#include "chores.hpp"
#include "compaction.hpp"
#include "compactor.hpp"
#include "follower.hpp"
#include "log_core.hpp"
#include "pin_impl.hpp"
#include "process.hpp"
#include "reader_impl.hpp"
#include "recovery.hpp"
#include "retention.hpp"
#include "subscription_impl.hpp"
#include "varve/detail/format.hpp"
#include "varve/detail/guard.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/try.hpp"
#include "varve/file_storage.hpp"

namespace varve::inline v0 {

using namespace detail;

struct Log::Impl {
  std::shared_ptr<LogCore> core{};
  RecoveryReport report{};
  std::unique_ptr<StorageLock> lock{};

  // Open for writing.
  std::shared_ptr<ManifestKeeper> manifest{};
  std::unique_ptr<Appender> appender{};
  std::unique_ptr<Chores> chores{};
  struct Helper {
    std::shared_ptr<BackgroundThread> thread{};
    std::unique_ptr<BackgroundThread::Registration> place{};
  };
  Helper ahead{};     // prepares what appends will need
  Helper recorder{};  // records and flushes, which waits for the medium
  Helper compactor{};

  // Open for reading only.
  std::shared_ptr<Follower> follower{};

  std::uint32_t process = process_generation();

  Impl() noexcept { watch_forks(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (here()) return;
    // The copy that fork() made: the log, its files and its thread are the parent's. What destructors would do
    // to them is left undone.
    for (Helper* helper : {&ahead, &recorder, &compactor}) {
      (void)helper->place.release();
      (void)new std::shared_ptr<BackgroundThread>(std::move(helper->thread));
    }
    (void)chores.release();
    (void)appender.release();
    (void)lock.release();
  }

  // Whether this is the process that opened the log.
  bool here() const noexcept { return process == process_generation(); }

  Result<void> check_open() const {
    if (!here()) return Error(Errc::closed, "the Log belongs to the process that forked this one");
    if (core->closed.load(std::memory_order_relaxed)) return Errc::closed;
    return {};
  }
  Result<void> check_writable() const {
    VARVE_TRY(check_open());
    return appender ? Result<void>() : Errc::read_only;
  }

  // Whether something may begin at that offset.
  Result<void> check_in_range(Offset from) const {
    const std::uint64_t start = core->marks.start.load(std::memory_order_acquire);
    const std::uint64_t end = core->marks.end.load(std::memory_order_acquire);
    if (from.value >= start && from.value <= end) return {};
    return Error(Errc::offset_out_of_range, "offset " + std::to_string(from.value) +
                                                " is not in [" + std::to_string(start) + ", " +
                                                std::to_string(end) + "]");
  }

  // Passes an answer on, once the observer has heard of the failure behind it.
  template <class Answer>
  Answer told(Answer answer) const {
    if (!answer) core->tell_failure();
    return answer;
  }

  Result<OffsetRange> append(std::span<const Record> records, const AppendOptions& options) {
    if (!appender || !here()) [[unlikely]]
      return check_writable().error();
    auto range = appender->append(records, options);
    if (!range) [[unlikely]]
      core->tell_failure();
    // Without a background thread nobody may be recording what rolls, which keeps every file open.
    constexpr std::size_t rolled_max = 8;
    if (appender->rolled_count() >= rolled_max && core->options.background == Background::manual)
      (void)told(chores->record_rolled());
    return range;
  }

  static Result<std::unique_ptr<Impl>> open(std::shared_ptr<StorageBackend> storage,
                                            Options options);
  Result<void> open_writer(std::shared_ptr<StorageBackend> storage, Options options);
  Result<void> open_reader(std::shared_ptr<StorageBackend> storage, Options options);
  Result<void> start_background();
  Result<void> close();
  Result<void> close_writer();
  Result<void> prepare_snapshot() const;
  Result<Offset> find(const Log& log, Timestamp time) const;
};

namespace {

// Looks for news as far as that can be done; what is known stays true.
void refresh(LogCore& core) noexcept {
  if (core.refresher) (void)guarded([&] { (void)core.refresher->refresh(); });
}

// When chores that ran out of memory are tried again.
constexpr std::chrono::milliseconds retry_after{100};

Error bad_option(std::string what) { return {Errc::invalid_argument, std::move(what)}; }

Result<void> check(const Options& options) {
  if (options.segment_bytes < segment_bytes_min || options.segment_bytes > segment_bytes_limit) {
    return bad_option("Options::segment_bytes is " + std::to_string(options.segment_bytes) +
                      ", it must be " + std::to_string(segment_bytes_min) + " to " +
                      std::to_string(segment_bytes_limit));
  }
  if (options.segment_bytes % 4096 != 0)
    return bad_option("Options::segment_bytes is no multiple of 4096");
  if (options.index_interval_bytes < 1024)
    return bad_option("Options::index_interval_bytes is less than 1024");
  const std::uint32_t fits = body_bytes_max(options.segment_bytes);
  if (options.batch_bytes_max &&
      (*options.batch_bytes_max == 0 || *options.batch_bytes_max > fits)) {
    return bad_option("Options::batch_bytes_max is " + std::to_string(*options.batch_bytes_max) +
                      ", but a segment of " + std::to_string(options.segment_bytes) +
                      " bytes holds batches of 1 to " + std::to_string(fits));
  }
  if (options.first_offset > offset_max)
    return bad_option("Options::first_offset exceeds the greatest offset there is");
  if (options.sync.every < options.sync.every.zero())
    return bad_option("Options::sync.every is negative");
  if (std::find(options.codecs.begin(), options.codecs.end(), nullptr) != options.codecs.end())
    return bad_option("one of Options::codecs is null");
  if (options.compaction) {
    const Compaction& compaction = *options.compaction;
    if (!(compaction.min_dirty_ratio >= 0 && compaction.min_dirty_ratio <= 1))
      return bad_option("Options::compaction.min_dirty_ratio is not between 0 and 1");
    for (const auto time : {compaction.min_lag, compaction.max_lag, compaction.delete_retention})
      if (time < time.zero()) return bad_option("a time in Options::compaction is negative");
    if (compaction.max_lag > compaction.max_lag.zero() && compaction.max_lag < compaction.min_lag)
      return bad_option("Options::compaction.max_lag is less than its min_lag");
  }
  return check_level(options.compression);
}

}  // namespace

// ---- opening and closing -----------------------------------------------------------------------

Result<Log> Log::open(const std::filesystem::path& directory, Options options) {
  const bool create = options.create && options.access == Access::read_write;
  auto checked = check(options);
  auto storage = checked ? open_file_storage(directory, create) : std::move(checked).error();
  if (storage) return open(*std::move(storage), std::move(options));
  EventLog(options.logger.get(), directory.string())
      .write_error(events::open_failed, storage.error());
  return storage.error();
}

Result<Log> Log::open(std::shared_ptr<StorageBackend> storage, Options options) {
  if (!storage) return bad_option("no storage");
  const std::shared_ptr<Logger> logger = options.logger;
  auto impl = Impl::open(storage, std::move(options));
  if (!impl) {
    EventLog(logger.get(), storage->describe()).write_error(events::open_failed, impl.error());
    return impl.error();
  }
  const LogCore& core = *(**impl).core;
  const RecoveryReport& report = (**impl).report;
  for (Observer* watching : core.observers()) watching->on_recovered(report);
  const bool writes = core.options.access == Access::read_write;
  core.events.write(events::opened, writes ? "read_write" : "read_only",
                    Offset{core.marks.start.load()}, Offset{core.marks.end.load()}, report.segments,
                    report.took);
  return Log(*std::move(impl));
}

Result<std::unique_ptr<Log::Impl>> Log::Impl::open(std::shared_ptr<StorageBackend> storage,
                                                   Options options) {
  VARVE_TRY(check(options));
  auto impl = std::make_unique<Impl>();
  const auto begin = std::chrono::steady_clock::now();
  if (options.access == Access::read_only)
    VARVE_TRY(impl->open_reader(std::move(storage), std::move(options)));
  else
    VARVE_TRY(impl->open_writer(std::move(storage), std::move(options)));
  impl->report.took = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - begin);
  return impl;
}

Result<void> Log::Impl::open_writer(std::shared_ptr<StorageBackend> storage, Options options) {
  VARVE_TRY_ASSIGN(lock, storage->lock());
  VARVE_TRY_ASSIGN(Recovered recovered, recover_for_writing(*storage, options));
  report = std::move(recovered.report);
  core = std::make_shared<LogCore>(std::move(storage), recovered.manifest.log, std::move(options));

  std::shared_ptr<SegmentWriter> active;
  auto list = std::make_shared<SegmentList>();
  for (const SegmentMeta& meta : recovered.manifest.segments)
    if (meta.sealed) list->sealed.push_back(meta);
  if (recovered.active) {
    TailSegment& tail = *recovered.active;
    VARVE_TRY_ASSIGN(active,
                     SegmentWriter::resume(tail.file, tail.meta, tail.scan.end, tail.index));
    auto view = std::make_shared<ActiveView>();
    view->file = active->shared_file();
    view->index = tail.index;
    view->id = active->id();
    view->base_offset = active->base_offset();
    list->active = std::move(view);
  }
  core->segments.publish(std::move(list));
  core->marks.start.store(recovered.manifest.start_offset);
  core->marks.durable.store(recovered.durable_offset);
  core->marks.end.store(recovered.end.next_offset);
  core->cleaned.store(recovered.manifest.cleaned_offset);

  manifest = std::make_shared<ManifestKeeper>(*core->storage, std::move(recovered.manifest));
  appender = std::make_unique<Appender>(core, manifest, recovered.end, std::move(active));
  chores = std::make_unique<Chores>(core, manifest, *appender);
  return start_background();
}

Result<void> Log::Impl::start_background() {
  if (core->options.background == Background::manual) return {};
  VARVE_TRY_ASSIGN(ahead.thread, BackgroundThread::shared(BackgroundThread::Kind::ahead));
  VARVE_TRY_ASSIGN(recorder.thread, BackgroundThread::shared(BackgroundThread::Kind::recorder));
  // What matters of their errors is told to the observer and to appends.
  ahead.place = ahead.thread->add([this]() -> Deadline {
    if (guarded([&] { (void)told(chores->prepare()); })) return std::nullopt;
    return std::chrono::steady_clock::now() + retry_after;
  });
  recorder.place = recorder.thread->add([this]() -> Deadline {
    Deadline next;
    if (!guarded([&] { (void)told(chores->run(next)); }))
      next = std::chrono::steady_clock::now() + retry_after;
    return next;
  });
  if (core->options.compaction) {
    VARVE_TRY_ASSIGN(compactor.thread, BackgroundThread::shared(BackgroundThread::Kind::compactor));
    compactor.place = compactor.thread->add([this]() -> Deadline {
      Deadline next;
      if (!guarded([&] { (void)told(chores->compact_when_due(next, Pace::limited)); }))
        next = std::chrono::steady_clock::now() + retry_after;
      return next;
    });
    chores->on_sealed([this] { compactor.place->notify(); });
    compactor.place->notify();
  }
  appender->on_work([this] { ahead.place->notify(); }, [this] { recorder.place->notify(); });
  // For what has grown old since the log was open last, and what it did not get to remove then.
  if (forgets(core->options.retention) || filling_time(core->options).count() != 0 ||
      chores->has_removals())
    recorder.place->notify();
  return {};
}

Result<void> Log::Impl::open_reader(std::shared_ptr<StorageBackend> storage, Options options) {
  VARVE_TRY_ASSIGN(Recovered recovered, recover_for_reading(*storage, options));
  report = recovered.report;
  core = std::make_shared<LogCore>(std::move(storage), recovered.manifest.log, std::move(options));
  follower = std::make_shared<Follower>(*core);
  VARVE_TRY(follower->adopt(std::move(recovered)));
  core->refresher = follower;
  return {};
}

Result<void> Log::Impl::close() {
  if (!here() || core->closed.load()) return {};
  auto closed = appender ? close_writer() : Result<void>();
  core->closed.store(true);
  if (closed)
    core->events.write(events::closed, Offset{core->marks.end.load()});
  else
    core->events.write_error(events::close_failed, closed.error());
  return closed;
}

Result<void> Log::Impl::close_writer() {
  auto closed = appender->close();
  appender->on_work(nullptr, nullptr);
  ahead.place.reset();
  recorder.place.reset();
  chores->on_sealed(nullptr);
  compactor.place.reset();
  if (closed) closed = chores->record_rolled();
  if (closed) closed = chores->record_clean();
  appender->discard_spare();
  lock.reset();
  return told(std::move(closed));
}

Log::Log(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Log::Log(Log&&) noexcept = default;
Log& Log::operator=(Log&& other) noexcept {
  if (this != &other) {
    if (impl_) (void)guarded([&] { (void)close(); });
    impl_ = std::move(other.impl_);
  }
  return *this;
}
Log::~Log() {
  if (impl_) (void)guarded([&] { (void)close(); });
}

Result<void> Log::close() { return impl_->close(); }

// ---- appending ---------------------------------------------------------------------------------

Result<Offset> Log::append(const Record& record, AppendOptions options) {
  const auto range = impl_->append({&record, 1}, options);
  if (!range) [[unlikely]]
    return range.error();
  return range->begin;
}

Result<OffsetRange> Log::append(std::span<const Record> records, AppendOptions options) {
  return impl_->append(records, options);
}

Result<void> Log::sync() {
  VARVE_TRY(impl_->check_writable());
  return impl_->told(impl_->appender->sync());
}

Result<bool> Log::wait(Offset offset, Ack ack, std::chrono::milliseconds timeout) const {
  const Deadline deadline = deadline_after(timeout);
  if (ack == Ack::os) return wait_visible(*impl_->core, offset.value, Visible::committed, deadline);
  const std::uint64_t end =
      std::max(offset.value + 1, offset.value);  // of the greatest number: itself
  if (impl_->appender) return impl_->told(impl_->appender->wait_durable(end, deadline));
  return wait_visible(*impl_->core, offset.value, Visible::durable, deadline);
}

Result<bool> Log::wait(Offset offset, std::chrono::milliseconds timeout) const {
  return wait(offset, Ack::os, timeout);
}

Result<void> Log::truncate_prefix(Offset new_start) {
  VARVE_TRY(impl_->check_writable());
  return impl_->told(impl_->chores->truncate_prefix(new_start));
}

Result<CompactionReport> Log::compact(const CompactOptions& options) {
  VARVE_TRY(impl_->check_open());
  if (options.dry_run && !impl_->appender) {
    refresh(*impl_->core);
    return preview_compaction(*impl_->core, impl_->core->segments.list()->sealed, options.progress);
  }
  VARVE_TRY(impl_->check_writable());
  return impl_->told(impl_->chores->compact(options));
}

Result<Pin> Log::pin(Offset from) const {
  VARVE_TRY(impl_->check_writable());
  const std::shared_ptr<LogCore>& core = impl_->core;
  const auto lock = core->pins.lock();
  VARVE_TRY(impl_->check_in_range(from));
  return Pin(std::make_unique<Pin::Impl>(core, from.value));
}

Result<SnapshotReport> Log::snapshot(const std::filesystem::path& directory,
                                     const SnapshotOptions& options) const {
  VARVE_TRY(impl_->check_open());
  VARVE_TRY_ASSIGN(const auto to, open_file_storage(directory, true));
  return snapshot(*to, options);
}

Result<SnapshotReport> Log::snapshot(StorageBackend& to, const SnapshotOptions& options) const {
  const std::shared_ptr<LogCore>& core = impl_->core;
  std::unique_ptr<Pin::Impl> kept;
  VARVE_TRY(impl_->check_open());
  SnapshotOptions how = options;
  if (how.logger == nullptr) how.logger = core->options.logger.get();
  if (impl_->appender) {
    {
      const auto lock = core->pins.lock();
      kept = std::make_unique<Pin::Impl>(core, core->marks.start.load(std::memory_order_acquire));
    }
    if (auto ready = impl_->prepare_snapshot(); !ready) {
      EventLog(how.logger, core->storage->describe())
          .write_error(events::snapshot_failed, ready.error(), to.describe());
      return ready.error();
    }
  }
  const std::lock_guard lock(core->giving_files);
  return varve::snapshot(*core->storage, to, how);
}

// Makes durable what there is, and records what is sealed.
Result<void> Log::Impl::prepare_snapshot() const {
  VARVE_TRY(told(appender->sync()));
  // What is not recorded as sealed is copied: where that is for want of room here, there may be some in `to`.
  auto recorded = told(chores->record_rolled());
  if (!recorded && !is_transient(recorded.error())) return recorded;
  return {};
}

Result<void> Log::tick() {
  if (!impl_->appender || !impl_->here() || impl_->core->closed.load()) return {};
  Deadline ignored;
  auto prepared = impl_->chores->prepare();
  auto done = impl_->chores->run(ignored);
  if (auto compacted = impl_->chores->compact_when_due(ignored, Pace::free); done)
    done = std::move(compacted);
  return impl_->told(prepared ? std::move(done) : std::move(prepared));
}

// ---- reading -----------------------------------------------------------------------------------

Reader Log::reader(Offset from, ReadOptions options) const {
  return Reader(std::make_unique<Reader::Impl>(impl_->core, from, options));
}

Result<Subscription> Log::subscribe(Offset from, RecordHandler handler,
                                    const SubscribeOptions& options) const {
  VARVE_TRY(impl_->check_open());
  if (!handler) return bad_option("a subscription without a handler");
  std::optional<Pin> kept;
  if (options.pin) {
    VARVE_TRY_ASSIGN(kept, pin(from));
  }
  refresh(*impl_->core);
  VARVE_TRY(impl_->check_in_range(from));
  auto subscription =
      std::make_unique<Subscription::Impl>(impl_->core, reader(from, {.visible = options.visible}),
                                           std::move(handler), options, std::move(kept));
  VARVE_TRY(subscription->start());
  return Subscription(std::move(subscription));
}

Result<Offset> Log::find(Timestamp time) const {
  LogCore& core = *impl_->core;
  if (core.refresher) VARVE_TRY(core.refresher->refresh());
  for (;;) {
    const std::uint64_t version = core.segments.version();
    auto found = impl_->find(*this, time);
    if (found) return found;
    // What was looked at may have been truncated away meanwhile, or replaced.
    if (core.refresher) VARVE_TRY(core.refresher->refresh_structure());
    if (core.segments.version() == version) return found;
  }
}

Result<Offset> Log::Impl::find(const Log& log, Timestamp time) const {
  const std::int64_t wanted = time.time_since_epoch().count();
  const auto list = core->segments.list();
  std::uint64_t from = core->marks.start.load(std::memory_order_acquire);
  const auto segment =
      std::find_if(list->sealed.begin(), list->sealed.end(),
                   [&](const SegmentMeta& meta) { return meta.newest_ms >= wanted; });
  std::optional<IndexEntry> entry;
  std::uint64_t end = 0;  // what the index speaks of
  if (segment != list->sealed.end()) {
    VARVE_TRY_ASSIGN(const OpenSegment open, core->segments.open(*segment));
    from = std::max(from, segment->base_offset);
    end = segment->end_offset;
    entry = open.find(time);
  } else if (list->active) {
    from = std::max(from, list->active->base_offset);
    end = core->marks.end.load(std::memory_order_acquire);
    entry = list->active->index->find(time);
  } else if (!list->sealed.empty()) {
    from = std::max(from, list->sealed.back().end_offset);  // none is as young as that
  }
  if (entry && entry->offset < end) from = std::max(from, entry->offset);
  Reader reader = log.reader({from});
  for (const RecordView& record : reader)
    if (record.timestamp >= time) return record.offset;
  VARVE_TRY(reader.status());
  return reader.next_offset();
}

// ---- looking at it -----------------------------------------------------------------------------

Offset Log::start_offset() const noexcept {
  refresh(*impl_->core);
  return {impl_->core->marks.start.load(std::memory_order_acquire)};
}

Offset Log::end_offset() const noexcept {
  refresh(*impl_->core);
  return {impl_->core->marks.end.load(std::memory_order_acquire)};
}

Offset Log::durable_offset() const noexcept {
  refresh(*impl_->core);
  return {impl_->core->marks.durable.load(std::memory_order_acquire)};
}

Offset Log::high_watermark() const noexcept {
  refresh(*impl_->core);
  return {impl_->core->visible_end(Visible::committed)};
}

Epoch Log::epoch() const noexcept {
  return impl_->appender ? impl_->appender->epoch() : impl_->follower->epoch();
}

std::vector<SegmentInfo> Log::segments() const {
  const LogCore& core = *impl_->core;
  if (core.refresher) (void)core.refresher->refresh();
  const auto list = core.segments.list();
  std::vector<SegmentInfo> infos;
  infos.reserve(list->sealed.size() + 1);
  for (const SegmentMeta& meta : list->sealed) infos.push_back(meta.info());
  if (list->active) {
    SegmentMeta meta;
    meta.base_offset = list->active->base_offset;
    meta.end_offset = std::max(core.marks.end.load(std::memory_order_acquire), meta.base_offset);
    const SegmentMeta active =
        impl_->appender ? impl_->appender->active_meta() : impl_->follower->active_meta();
    if (active.id == list->active->id) meta = active;
    meta.sealed = false;
    infos.push_back(meta.info());
  }
  return infos;
}

Metrics Log::metrics() const noexcept {
  const LogCore& core = *impl_->core;
  const Counters& counters = core.counters;
  Metrics metrics;
  metrics.records_appended = counters.records.get();
  metrics.bytes_appended = counters.bytes.get();
  metrics.batches_appended = counters.batches.get();
  metrics.bytes_before_compression = counters.bytes_before_compression.get();
  metrics.bytes_after_compression = counters.bytes_after_compression.get();
  metrics.appends_refused = counters.refused.load(std::memory_order_relaxed);
  metrics.sync_time = counters.sync_time.get();
  metrics.durable_append_time = counters.durable_append_time.get();
  metrics.segments_rolled = counters.rolled.get();
  metrics.segments_removed = counters.removed.load(std::memory_order_relaxed);
  metrics.segments_opened = core.segments.opened();
  metrics.populate_stalls = counters.stalls.load(std::memory_order_relaxed);
  metrics.compactions = counters.compactions.load(std::memory_order_relaxed);
  metrics.compactions_failed = counters.compactions_failed.load(std::memory_order_relaxed);
  metrics.compaction_records_removed = counters.compaction_records.load(std::memory_order_relaxed);
  metrics.compaction_bytes_removed = counters.compaction_bytes.load(std::memory_order_relaxed);
  metrics.compaction_key_map_bytes = counters.compaction_map_bytes.load(std::memory_order_relaxed);
  metrics.compaction_milliseconds = counters.compaction_ms.load(std::memory_order_relaxed);
  (void)guarded([&] {
    for (const SegmentInfo& segment : segments()) {
      ++metrics.segments;
      metrics.bytes += segment.bytes;
    }
    if (!core.options.compaction && core.cleaned.load() == 0) return;  // nobody compacts it
    metrics.compaction_dirty_percent = static_cast<std::uint64_t>(
        100 * dirty_ratio(core.segments.list()->sealed, core.cleaned.load()));
  });
  metrics.start_offset = start_offset().value;
  metrics.end_offset = core.marks.end.load(std::memory_order_relaxed);
  metrics.durable_offset = core.marks.durable.load(std::memory_order_relaxed);
  return metrics;
}

const RecoveryReport& Log::recovery() const noexcept { return impl_->report; }

}  // namespace varve::inline v0
