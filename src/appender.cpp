#include "appender.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "clock.hpp"
#include "retention.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/guard.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

std::uint32_t greatest_body(const Options& options) {
  constexpr std::uint32_t usual = 1u << 20;
  const std::uint32_t fits = body_bytes_max(options.segment_bytes);
  return std::min(options.batch_bytes_max.value_or(usual), fits);
}

}  // namespace

Appender::Appender(std::shared_ptr<LogCore> core, std::shared_ptr<ManifestKeeper> manifest,
                   const LogEnd& end, std::shared_ptr<SegmentWriter> active)
    : core_(std::move(core)),
      manifest_(std::move(manifest)),
      body_bytes_max_(greatest_body(core_->options)),
      packed_bytes_(SegmentWriter::written_body_bytes(core_->options.segment_bytes)),
      epoch_(manifest_->look([](const Manifest& now) { return now.epoch(); })),
      compression_(core_->options.compression.codec ? &core_->options.compression : nullptr),
      has_policy_(core_->options.sync.every_bytes != 0 || core_->options.sync.every.count() > 0),
      rolls_by_age_(filling_time(core_->options).count() != 0),
      needs_keys_(core_->options.compaction.has_value()),
      end_(end),
      active_(std::move(active)),
      clean_on_disk_(manifest_->look([](const Manifest& now) { return now.clean; })),
      now_ms_(std::max<std::int64_t>(end.append_time_ms, 0)),
      durable_position_(end.next_position),
      next_segment_id_(manifest_->look([](const Manifest& now) { return now.next_segment_id; })) {}

void Appender::on_work(std::function<void()> ahead, std::function<void()> chores) {
  const std::lock_guard lock(mutex_);
  call_ahead_ = std::move(ahead);
  call_chores_ = std::move(chores);
}

// ---- append ------------------------------------------------------------------------------------

Result<OffsetRange> Appender::append(std::span<const Record> records,
                                     const AppendOptions& options) {
  if (records.empty()) return refuse({Errc::invalid_argument, "an append of no records"});
  if (needs_keys_) {
    if (auto checked = check_keys(records); !checked) return refuse(checked.error());
  }
  // Sizing happens outside the lock.
  if (records.size() == 1) {
    const RecordSize size = measure(records[0]);
    if (body_size(size.total, 1) > body_bytes_max_) return too_large(1, 1, size.total);
    return append(records, {&size, 1}, size.total, options);
  }
  // Kept, so that it costs no allocation; but taken meanwhile, for a storage or an observer that this append calls
  // may append to another log.
  thread_local std::vector<RecordSize> kept;
  std::vector<RecordSize> sizes = std::exchange(kept, {});
  sizes.clear();
  std::uint64_t bytes = 0;
  for (const Record& record : records) {
    sizes.push_back(measure(record));
    bytes += sizes.back().total;
    if (bytes > body_bytes_max_ || body_size(bytes, sizes.size()) > body_bytes_max_)
      return too_large(sizes.size(), records.size(), bytes);
  }
  auto range = append(records, sizes, bytes, options);
  kept = std::move(sizes);
  return range;
}

Result<OffsetRange> Appender::append(std::span<const Record> records,
                                     std::span<const RecordSize> sizes, std::uint64_t bytes,
                                     const AppendOptions& options) {
  const Ack ack = options.ack;
  const Compression* const how =
      options.compression != nullptr ? options.compression : compression_;
  const bool compresses = how != nullptr && how->codec;
  if (compresses || bytes >= packed_bytes_) [[unlikely]] {
    auto range = append_packed(records, sizes, bytes, compresses ? how : nullptr, ack);
    if (!range) return refuse(range.error());
    if (*range) return **range;
  }
  OffsetRange range;
  const auto called =
      ack == Ack::disk ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
  {
    const std::lock_guard lock(mutex_);
    if (core_->failure.happened() || core_->closed.load(std::memory_order_relaxed)) [[unlikely]]
      return refuse(check_open().error());
    tick_clock(ack);
    // Nearly every append finds an open frame that takes it as it is.
    const bool joins = writing_ && active_ && active_->takes(bytes, records.size()) &&
                       records.size() <= offset_max.value - active_->next_offset();
    if (!joins) {
      if (auto room = make_room(bytes, records.size()); !room) return refuse(room.error());
      active_->reserve(records.size());
      if (!active_->has_records()) note_first_append();
      if (active_->open_frame_empty() && active_->open_time_ms() != now_ms_)
        active_->open_frame(fields(), sync_lag());
    }

    range = {{active_->next_offset()}, {active_->next_offset() + records.size()}};
    if (active_->append(records, sizes, bytes, now_ms_)) seal_and_open_frame();
    show(range, bytes);
    if (!joins || has_policy_) notice_work();
  }
  core_->marks.appended.notify_all();
  if (ack == Ack::disk) {
    if (auto durable = wait_disk(range.end.value, called); !durable) return refuse(durable.error());
  }
  return range;
}

// Lets readers see what was appended, and counts it. The caller holds mutex_.
inline void Appender::show(const OffsetRange& range, std::uint64_t bytes) noexcept {
  core_->marks.end.store(range.end.value, std::memory_order_release);
  core_->counters.records.add(range.end - range.begin);
  core_->counters.batches.add(1);
  core_->counters.bytes.add(bytes);
}

// For an append with Ack::disk that was called then.
Result<void> Appender::wait_disk(std::uint64_t end, std::chrono::steady_clock::time_point called) {
  VARVE_TRY(wait_durable(end, std::nullopt));
  core_->counters.durable_append_time.add(std::chrono::steady_clock::now() - called);
  return {};
}

// Appends the records as a frame of their own, which is made before anybody has to wait for it: if they are many, or
// take less room compressed. Nullopt: they are not, or the time has come to be another meanwhile.
Result<std::optional<OffsetRange>> Appender::append_packed(std::span<const Record> records,
                                                           std::span<const RecordSize> sizes,
                                                           std::uint64_t bytes,
                                                           const Compression* how, Ack ack) {
  if (how != nullptr) {
    if (find_codec(core_->options.codecs, how->codec->id()) == nullptr)
      return Error(Errc::invalid_argument,
                   "AppendOptions::compression: " + std::string(to_text(how->codec->id())) +
                       " is not among Options::codecs");
    VARVE_TRY(check_level(*how));
    if (bytes < BatchPacker::native_bytes_min) return std::optional<OffsetRange>();
  }
  const auto called = std::chrono::steady_clock::now();
  std::int64_t base_time_ms = 0;
  {
    const std::lock_guard lock(mutex_);
    VARVE_TRY(check_open());
    tick_clock(ack);
    base_time_ms = now_ms_;
  }
  // Kept as the sizes are, unless it is much.
  thread_local BatchPacker kept;
  BatchPacker packer = std::exchange(kept, {});
  bool packed = bytes >= packed_bytes_;
  if (how == nullptr) {
    packer.pack_plain(records, sizes, bytes, base_time_ms);
  } else {
    VARVE_TRY_ASSIGN(const bool smaller, packer.pack(*how, records, sizes, bytes, base_time_ms));
    if (!smaller && packed) packer.stay_plain();
    packed = packed || smaller;
  }
  std::optional<OffsetRange> range;
  if (packed) {
    VARVE_TRY_ASSIGN(range, append_frame(packer, static_cast<std::uint32_t>(records.size()), bytes,
                                         base_time_ms, ack));
  }
  constexpr std::size_t kept_bytes_max = 8u << 20;
  if (packer.kept_bytes() <= kept_bytes_max) kept = std::move(packer);
  if (!range) return range;
  core_->marks.appended.notify_all();
  if (ack == Ack::disk) VARVE_TRY(wait_disk(range->end.value, called));
  return range;
}

Result<std::optional<OffsetRange>> Appender::append_frame(const BatchPacker& batch,
                                                          std::uint32_t count, std::uint64_t bytes,
                                                          std::int64_t base_time_ms, Ack ack) {
  const std::lock_guard lock(mutex_);
  VARVE_TRY(check_open());
  tick_clock(ack);
  // Times of plain records count from that of their frame.
  if (batch.is_plain() && now_ms_ != base_time_ms) return std::optional<OffsetRange>();
  VARVE_TRY(make_room_for_frame(batch.body().size(), count));
  if (!active_->has_records()) note_first_append();
  FrameFields frame = fields();
  if (!batch.is_plain()) frame.flags = flag_compressed;
  const OffsetRange range{{frame.base_offset}, {frame.base_offset + count}};
  auto added = active_->append_frame(frame, batch.body(), batch.check(), count, batch.newest_ms(),
                                     sync_lag());
  active_->open_frame(fields(), sync_lag());
  if (!added) {
    if (!is_transient(added.error())) core_->fail(added.error());
    return added.error();
  }
  show(range, bytes);
  if (!batch.is_plain()) {
    core_->counters.bytes_before_compression.add(batch.native_bytes());
    core_->counters.bytes_after_compression.add(batch.body().size());
  }
  notice_work();
  return std::optional<OffsetRange>(range);
}

// From here on the active segment grows old. The chores see it when this append has given back the lock.
void Appender::note_first_append() noexcept {
  first_append_ms_ = now_ms_;
  if (rolls_by_age_ && call_chores_) call_chores_();
}

// What has no key would never be superseded.
Result<void> Appender::check_keys(std::span<const Record> records) const {
  const auto found = std::find_if(records.begin(), records.end(),
                                  [](const Record& record) { return !record.key; });
  if (found == records.end()) return {};
  return Error(Errc::invalid_argument, "record " + std::to_string(found - records.begin() + 1) +
                                           " of " + std::to_string(records.size()) +
                                           " has no key, which Options::compaction needs");
}

Error Appender::too_large(std::size_t record, std::size_t records, std::uint64_t bytes) noexcept {
  return refuse({Errc::batch_too_large,
                 "record " + std::to_string(record) + " of " + std::to_string(records) +
                     " takes the append to " + std::to_string(bytes) +
                     " encoded bytes; the limit is " + std::to_string(body_bytes_max_)});
}

Error Appender::refuse(Error error) noexcept {
  core_->counters.refused.fetch_add(1, std::memory_order_relaxed);
  return error;
}

Result<void> Appender::check_open() const {
  if (core_->failure.happened()) return core_->failure.answer();
  if (core_->closed.load(std::memory_order_relaxed)) return Errc::closed;
  return {};
}

void Appender::tick_clock(Ack ack) noexcept {
  // A flush takes far longer than looking at the exact time does; a cheap append does not.
  const auto precision = ack == Ack::disk ? Precision::exact : Precision::tick;
  now_ms_ = std::max(now_ms_, now_ms(core_->options.environment.get(), precision));
}

Result<void> Appender::check_offsets(std::uint64_t count) const {
  const std::uint64_t next = active_ ? active_->next_offset() : end_.next_offset;
  if (count <= offset_max.value - next) return {};
  return Error(Errc::offset_out_of_range, std::to_string(count) + " records at offset " +
                                              std::to_string(next) +
                                              " would exceed the greatest offset there is");
}

// Makes sure that an append of that size can be stored without any further ado.
Result<void> Appender::make_room(std::uint64_t bytes, std::uint64_t count) {
  VARVE_TRY(check_offsets(count));
  if (!writing_) VARVE_TRY(begin_writing());
  if (active_ && active_->starts_frame(bytes, count)) seal_and_open_frame();
  if (!active_ || !active_->fits(bytes, count)) VARVE_TRY(roll());
  return wait_ready(active_->reach(bytes, count));
}

// The same for a frame of its own; none is open then.
Result<void> Appender::make_room_for_frame(std::uint64_t body_bytes, std::uint64_t count) {
  VARVE_TRY(check_offsets(count));
  if (!writing_) VARVE_TRY(begin_writing());
  if (active_) seal_and_open_frame();
  if (!active_ || !active_->fits_frame(body_bytes)) VARVE_TRY(roll());
  const std::uint64_t reach = active_->reach_frame(body_bytes);
  if (!active_->writes_body(body_bytes)) return wait_ready(reach);
  if (reach > active_->ready()) VARVE_TRY(active_->claim(reach));
  noticed_at_ = active_->ready();  // nobody need make more of it ready ahead
  return {};
}

Result<void> Appender::wait_ready(std::uint64_t reach) {
  reach = std::min(reach, active_->capacity());
  if (reach <= active_->ready()) return {};
  core_->counters.stalls.fetch_add(1, std::memory_order_relaxed);
  return active_->make_ready(reach);
}

// The first append since the log was opened: from here on it is not cleanly closed any more.
Result<void> Appender::begin_writing() {
  if (clean_on_disk_) {
    if (auto stored = manifest_->update([](Manifest& manifest) { manifest.clean = false; });
        !stored) {
      if (!is_transient(stored.error())) core_->fail(stored.error());
      return stored.error();
    }
    clean_on_disk_ = false;
  }
  if (active_) {
    VARVE_TRY(active_->make_ready(active_->position().value + end_frame_bytes));
    active_->open_frame(fields(), sync_lag());
  }
  writing_ = true;
  return {};
}

void Appender::seal_and_open_frame() noexcept {
  if (active_->open_frame_empty()) return;
  active_->seal_frame(sync_lag());
  active_->open_frame(fields(), sync_lag());
}

FrameFields Appender::fields() const noexcept {
  return {active_->next_offset(), active_->next_sequence(), now_ms_, epoch_, 0};
}

std::uint64_t Appender::end_position() const noexcept {
  return active_ ? active_->base_position() + active_->position().value : end_.next_position;
}

std::uint32_t Appender::sync_lag() const noexcept { return lag_to(end_position()); }

// How far the durable end is behind a frame at that position of the log.
std::uint32_t Appender::lag_to(std::uint64_t position) const noexcept {
  const std::uint64_t lag = (position - durable_position_) / sync_lag_unit;
  return lag < sync_lag_unknown ? static_cast<std::uint32_t>(lag) : sync_lag_unknown;
}

// ---- segments ----------------------------------------------------------------------------------

// Makes the spare the active segment. On a transient error everything stays as it was.
Result<void> Appender::roll() {
  const std::lock_guard lock(spare_mutex_);
  VARVE_TRY(ensure_spare());
  const std::uint64_t base = active_ ? active_->next_offset() : end_.next_offset;
  std::string name = segment_name({base});
  if (auto taken = core_->storage->stat(name); taken)
    return damage_error(name, "a file that is not the log's stands where its next segment belongs");
  else if (!is_missing(taken.error()))
    return taken.error();

  // All memory first: behind the rename nothing may fail.
  rolled_.reserve(rolled_.size() + 1);
  unsynced_.reserve(unsynced_.size() + 1);
  auto view = std::make_shared<ActiveView>();
  auto draft = core_->segments.draft();
  if (auto renamed = core_->storage->rename(spare_name, name); !renamed) {
    if (!is_transient(renamed.error())) core_->fail(renamed.error());
    return renamed.error();
  }
  spare_->set_name(std::move(name));
  install(std::move(spare_), *draft.list);
  view->file = active_->shared_file();
  view->index = active_->index();
  view->id = active_->id();
  view->base_offset = active_->base_offset();
  draft.list->active = std::move(view);
  core_->segments.publish(std::move(draft));
  if (call_chores_) call_chores_();
  return {};
}

Result<void> Appender::roll_if_active(const SegmentWriter& segment) {
  const std::lock_guard lock(mutex_);
  VARVE_TRY(check_open());
  if (active_.get() != &segment) return {};
  if (!writing_) VARVE_TRY(begin_writing());
  return roll();
}

Result<void> Appender::ensure_spare() {
  if (spare_) return {};
  SegmentHeader header;
  header.log = core_->log;
  header.id = next_segment_id_;
  header.salt = random_bits(core_->options.environment.get());
  header.created_ms = now_ms(core_->options.environment.get(), Precision::exact);
  header.capacity = core_->options.segment_bytes;
  auto spare = SegmentWriter::prepare(*core_->storage, header, core_->options.index_interval_bytes);
  if (!spare) return spare.error();
  spare_ = *std::move(spare);
  ++next_segment_id_;
  return {};
}

void Appender::install(std::shared_ptr<SegmentWriter> next, SegmentList& list) noexcept {
  BeginBody begin{end_.next_position, end_.segment_id, end_.segment_end};
  FrameFields first{end_.next_offset, end_.next_sequence, now_ms_, epoch_, 0};
  if (active_) {
    active_->seal_frame(sync_lag());
    active_->end(fields(), sync_lag());
    begin = {end_position(), active_->id(), active_->position().value};
    first = fields();
    const SegmentMeta sealed = active_->meta(true);
    list.sealed.push_back(sealed);
    unsynced_.push_back(active_->shared_file());
    rolled_.push_back({sealed, std::move(active_)});
    rolled_count_.store(rolled_.size(), std::memory_order_relaxed);
    core_->counters.rolled.add(1);
  } else {
    list_active_ = true;
  }
  next->begin(first, begin, lag_to(begin.base_position + segment_header_bytes));
  active_ = std::move(next);
  active_->open_frame(fields(), sync_lag());
  names_unsynced_ = true;
  spare_noticed_ = false;
  noticed_at_ = 0;
  first_append_ms_.reset();
}

// ---- durability --------------------------------------------------------------------------------

Result<bool> Appender::wait_durable(std::uint64_t end, const Deadline& deadline) {
  Watermarks& marks = core_->marks;
  for (;;) {
    if (marks.durable.load(std::memory_order_acquire) >= end) return true;
    if (core_->failure.happened()) return core_->failure.answer();
    if (marks.end.load(std::memory_order_acquire) < end) {  // not yet appended
      VARVE_TRY_ASSIGN(const bool there,
                       wait_visible(*core_, end - 1, Visible::committed, deadline));
      if (!there) return false;
      continue;
    }
    if (!flushing_.exchange(true)) {
      VARVE_TRY(lead_flush(Reach::all));
      continue;
    }
    const Coverage coverage = coverage_.load();
    EventCount& turn = marks.covered[coverage.covers(end) ? coverage.turn() : coverage.next_turn()];
    const std::uint32_t key = turn.prepare();
    if (marks.durable.load() >= end || core_->failure.happened() || !flushing_.load()) {
      turn.cancel();
    } else if (!turn.wait(key, deadline)) {  // and it was not this thread that was woken to lead
      return marks.durable.load(std::memory_order_acquire) >= end;
    }
  }
}

Result<void> Appender::sync(Reach reach) {
  Watermarks& marks = core_->marks;
  while (flushing_.exchange(true)) {  // one flush at a time, and ours must start after the call
    const std::uint32_t key = marks.synced.prepare();
    if (flushing_.load())
      marks.synced.wait(key, std::nullopt);
    else
      marks.synced.cancel();
  }
  return lead_flush(reach);
}

// Flushes, then lets others lead, whatever happened. The caller has set flushing_.
Result<void> Appender::lead_flush(Reach reach) {
  struct Lead {
    Appender& appender;
    ~Lead() {
      Watermarks& marks = appender.core_->marks;
      const Coverage coverage = appender.coverage_.load();
      appender.flushing_.store(false);
      marks.covered[coverage.next_turn()].notify_one();
      marks.covered[coverage.turn()].notify_all();
      marks.synced.notify_all();
    }
  };
  std::optional<Synced> synced;
  {
    const Lead lead{*this};
    auto flushed = flush(reach);
    if (!flushed) return flushed.error();
    synced = *flushed;
  }
  if (synced)
    for (Observer* watching : core_->observers())
      watching->on_synced({synced->end_offset}, synced->took);
  return {};
}

// Seals what there is and makes it durable. Nullopt if there was nothing to do.
Result<std::optional<Appender::Synced>> Appender::flush(Reach reach) {
  const bool all = reach == Reach::all;
  if (all) sched_yield();  // lets those about to append join; a third more at four threads
  std::vector<std::shared_ptr<SegmentFile>> files;
  std::uint64_t end_offset = 0;
  std::uint64_t position = 0;
  bool names = false;
  bool list_active = false;
  {
    const std::lock_guard lock(mutex_);
    if (core_->failure.happened()) return core_->failure.answer();
    if (!writing_) return std::optional<Synced>();
    if (active_ && all) seal_and_open_frame();
    if (active_) {
      end_offset = all ? active_->next_offset() : active_->base_offset();
      position = all ? end_position() : active_->base_position();
    } else {
      end_offset = end_.next_offset;
      position = end_position();
    }
    if (position <= durable_position_ && unsynced_.empty() && !names_unsynced_)
      return std::optional<Synced>();
    files.reserve(unsynced_.size() + 1);  // before anything is taken: it may throw
    files = unsynced_;
    if (active_ && all) files.push_back(active_->shared_file());
    unsynced_.clear();
    coverage_.store(coverage_.load().followed_by(end_offset));
    names = std::exchange(names_unsynced_, false);
    if (all) {
      sync_noticed_ = false;
      list_active = std::exchange(list_active_, false);
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  if (!all)  // there may have been another roll since the chores saw to that
    for (const auto& file : files) file->mapping->finish();
  Result<void> synced;
  // From here on a failure must not be forgotten, not even for want of memory to tell of it.
  if (!guarded([&] { synced = sync_files(files, names); }))
    synced = Error(std::make_error_code(std::errc::not_enough_memory));
  if (!synced) {
    core_->fail(synced.error());
    return core_->failure.answer();
  }
  if (list_active && !guarded([&] { list_active = !list_first_segment(); })) list_active = true;
  const auto took = std::chrono::steady_clock::now() - begin;
  {
    const std::lock_guard lock(mutex_);
    position = durable_position_ = std::max(durable_position_, position);
    if (list_active) list_active_ = true;  // again with the next flush
    // Says so at the log's end, for whoever must tell a torn tail from lost data: not needed for what
    // was just acknowledged to be found, so it is not flushed itself.
    if (active_) active_->certify(sync_lag());
  }
  core_->counters.sync_time.add(took);
  if (end_offset > core_->marks.durable.load(std::memory_order_relaxed))
    core_->marks.durable.store(end_offset, std::memory_order_release);
  return std::optional<Synced>({end_offset, took});
}

// A roll is recorded by the chores. The first segment since the log was opened has no such roll: it is
// recorded by the first flush, so that its file cannot go missing unnoticed. False: not now.
bool Appender::list_first_segment() {
  const SegmentMeta first = unrecorded_after(0);
  auto stored = manifest_->update([&](Manifest& manifest) {
    if (!manifest.segments.empty() && !manifest.segments.back().sealed) return;
    manifest.segments.push_back(first);
    manifest.next_segment_id = std::max(manifest.next_segment_id, first.id + 1);
  });
  if (!stored && !is_transient(stored.error())) core_->fail(stored.error());
  return stored.has_value();
}

// Older files first: what is durable is then always a prefix of the log.
Result<void> Appender::sync_files(const std::vector<std::shared_ptr<SegmentFile>>& files,
                                  bool names) {
  for (const auto& file : files) {
    if (auto synced = file->file->sync(); !synced)  // it may have been opened under another name
      return Error(synced.error().code(), file->name + " (" + synced.error().context() + ")");
  }
  for (const auto& file : files) {
    if (file->mapping->faulted())
      return Error(
          std::make_error_code(std::errc::io_error),
          file->name + ": its bytes could not be written (cut short, or a failing medium)");
  }
  if (names) VARVE_TRY(core_->storage->sync_names());
  return {};
}

Result<void> Appender::close() {
  {
    const std::lock_guard lock(mutex_);
    core_->closed.store(true);
  }
  auto synced = sync();
  core_->marks.appended.notify_all();
  return synced;
}

// ---- chores ------------------------------------------------------------------------------------

namespace {
// How far ahead of the end pages are populated; more are when the end comes nearer than three quarters of that.
// The next flush writes them as well, so they are in proportion to what it has to write anyway.
std::uint64_t ahead_bytes(const SegmentWriter& segment, std::uint64_t unsynced) {
  const std::uint64_t most = std::min<std::uint64_t>(segment.capacity() / 4, 16u << 20);
  const std::uint64_t least = std::min<std::uint64_t>(most, 128u << 10);
  return std::clamp(4 * unsynced, least, most);
}
}  // namespace

// Tells the background, once, when the active segment will soon want something.
void Appender::notice_work() noexcept {
  if (!call_chores_) return;
  const std::uint64_t position = active_->end_if_sealed().value;
  const std::uint64_t ready = active_->ready();
  bool ahead = false;
  if (position + ahead_bytes(*active_, unsynced_bytes()) * 3 / 4 > ready &&
      ready < active_->capacity() && noticed_at_ != ready) {
    noticed_at_ = ready;
    ahead = true;
  }
  if (!spare_noticed_ && position > active_->capacity() / 2) spare_noticed_ = ahead = true;
  if (ahead) call_ahead_();
  if (!has_policy_) return;
  const std::uint64_t every = core_->options.sync.every_bytes;
  bool sync = every != 0 && unsynced_bytes() >= every;
  // From the first record that is not durable on, time counts. A log that is idle wakes nobody.
  if (!sync_noticed_ && core_->options.sync.every.count() > 0) sync_noticed_ = sync = true;
  if (sync) call_chores_();
}

Result<void> Appender::make_ready() {
  const std::shared_ptr<SegmentWriter> segment = active();
  if (!segment) return {};
  std::uint64_t wanted = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!writing_) return {};
    wanted = segment->end_if_sealed().value + ahead_bytes(*segment, unsynced_bytes());
  }
  wanted = std::min(wanted, segment->capacity());
  // An append that needs some of them waits for one such step.
  constexpr std::uint64_t step_bytes = 1u << 20;
  while (segment->ready() < wanted)
    VARVE_TRY(segment->make_ready(std::min(segment->ready() + step_bytes, wanted)));
  return {};
}

Result<void> Appender::prepare_spare() {
  {
    const std::lock_guard lock(mutex_);
    if (!active_ || active_->end_if_sealed().value <= active_->capacity() / 2) return {};
  }
  const std::lock_guard lock(spare_mutex_);
  return ensure_spare();
}

void Appender::discard_spare() {
  const std::lock_guard lock(spare_mutex_);
  if (!spare_) return;
  spare_.reset();
  (void)core_->storage->remove(spare_name);  // scratch: the next open would overwrite it
}

std::vector<RolledSegment> Appender::rolled() const {
  const std::lock_guard lock(mutex_);
  return rolled_;
}

void Appender::forget_rolled(std::size_t count) noexcept {
  const std::lock_guard lock(mutex_);
  rolled_.erase(rolled_.begin(), rolled_.begin() + static_cast<std::ptrdiff_t>(count));
  rolled_count_.store(rolled_.size(), std::memory_order_relaxed);
}

bool Appender::wants_sync() const {
  const std::uint64_t every = core_->options.sync.every_bytes;
  const std::lock_guard lock(mutex_);
  return every != 0 && unsynced_bytes() >= every;
}

std::uint64_t Appender::unsynced_bytes() const noexcept {
  const std::uint64_t end =
      active_ ? active_->base_position() + active_->end_if_sealed().value : end_.next_position;
  return end - durable_position_;
}

bool Appender::has_unsynced() const {
  const std::lock_guard lock(mutex_);
  return end_position() != durable_position_ || (active_ && !active_->open_frame_empty());
}

std::shared_ptr<SegmentWriter> Appender::active() const {
  const std::lock_guard lock(mutex_);
  return active_;
}

Filling Appender::filling() const {
  const std::lock_guard lock(mutex_);
  if (!active_ || !active_->has_records()) return {};
  return {active_, active_->position(), first_append_ms_};
}

SegmentMeta Appender::active_meta() const {
  const std::lock_guard lock(mutex_);
  return active_ ? active_->meta(false) : SegmentMeta{};
}

SegmentMeta Appender::unrecorded_after(std::size_t rolled) const {
  const std::lock_guard lock(mutex_);
  SegmentMeta meta = rolled_.size() > rolled ? rolled_[rolled].meta : active_->meta(false);
  meta.sealed = false;
  meta.end_offset = meta.base_offset;
  meta.end_sequence = meta.base_sequence;
  // As far as it is known to be durable: its begin, or nothing yet.
  constexpr auto begun = static_cast<std::uint32_t>(behind_begin.value);
  meta.end_position = durable_position_ >= meta.base_position + begun ? begun : 0;
  meta.newest_ms = no_time;
  return meta;
}

bool Appender::wrote() const {
  const std::lock_guard lock(mutex_);
  return writing_;
}

LogEnd Appender::end() const {
  const std::lock_guard lock(mutex_);
  if (!active_) return end_;
  return {active_->next_offset(), active_->next_sequence(), end_position(), now_ms_,
          active_->id(),          active_->position().value};
}

}  // namespace varve::inline v0::detail
