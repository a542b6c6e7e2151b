#include "chores.hpp"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "clock.hpp"
#include "compaction.hpp"
#include "retention.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/index.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {

namespace {

// Sets `next` to then, unless it is earlier.
void be_called_at(Deadline& next, std::chrono::steady_clock::time_point then) {
  if (!next || then < *next) next = then;
}

// Not later than in an hour, for clocks are set.
void be_called_in(Deadline& next, std::chrono::milliseconds wait) {
  be_called_at(next, std::chrono::steady_clock::now() +
                         std::min<std::chrono::milliseconds>(wait, std::chrono::hours(1)));
}

// The append time of a frame of a segment whose frames end there; nullopt if there is none, or none of that kind.
std::optional<std::int64_t> time_of_frame(const SegmentFile& file, Position end, Position position,
                                          std::optional<ControlKind> kind) {
  MappedSource source(*file.mapping, end, file.populated.get(), file.name);
  const auto frame = FrameReader(source, file.header.salt).read(position);
  if (!frame || !frame->good() || control_kind(*frame) != kind) return std::nullopt;
  return frame->header.append_time_ms;
}

}  // namespace

Chores::Chores(std::shared_ptr<LogCore> core, std::shared_ptr<ManifestKeeper> manifest,
               Appender& appender)
    : core_(std::move(core)),
      manifest_(std::move(manifest)),
      appender_(appender),
      cached_from_(appender.end().next_position) {
  queue_removals();
}

Result<void> Chores::prepare() {
  if (core_->failure.happened()) return core_->failure.answer();
  auto ready = appender_.make_ready();
  auto spare = appender_.prepare_spare();
  return told(ready ? std::move(spare) : std::move(ready));
}

Result<void> Chores::run(Deadline& next) {
  if (core_->failure.happened()) return core_->failure.answer();
  Result<void> done = roll_when_old(next);
  if (auto recorded = record_rolled(); !recorded) done = std::move(recorded);
  if (auto forgot = forget_old(next); !forgot) {
    be_called_in(next, std::chrono::seconds(1));
    done = std::move(forgot);
  }
  if (auto synced = sync_when_due(next); !synced) done = std::move(synced);
  remove_when_due(next);
  return told(std::move(done));
}

// Passes a result on, once the observers have heard of a full disk.
Result<void> Chores::told(Result<void> result) {
  if (!result && result.error() == Errc::no_space)
    for (Observer* watching : core_->observers()) watching->on_no_space(result.error());
  return result;
}

Result<void> Chores::sync_when_due(Deadline& next) {
  // No clock is made to count further than that.
  const auto every =
      std::min<std::chrono::milliseconds>(core_->options.sync.every, std::chrono::hours(24));
  const bool timed = every > every.zero();
  const auto now = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point due;
  {
    const std::lock_guard lock(last_sync_mutex_);
    due = last_sync_ + every;
  }
  // While everything is durable there is nothing to wake up for: the next append tells.
  const bool unsynced = timed && appender_.has_unsynced();
  if (!appender_.wants_sync() && !(unsynced && now >= due)) {
    if (unsynced) be_called_at(next, due);
    return {};
  }
  auto synced = appender_.sync();
  const std::lock_guard lock(last_sync_mutex_);
  last_sync_ = std::chrono::steady_clock::now();
  return synced;
}

// So that what is too old can go even where little is appended.
Result<void> Chores::roll_when_old(Deadline& next) {
  const auto limit = filling_time(core_->options);
  if (limit == limit.zero()) return {};
  const Filling filling = appender_.filling();
  if (!filling.segment) return {};
  auto first = filling.first_append_ms;
  const SegmentFile& file = *filling.segment->shared_file();
  if (!first) first = time_of_frame(file, filling.end, behind_begin, std::nullopt);
  const std::int64_t now = now_ms(core_->options.environment.get(), Precision::exact);
  const auto age = age_at(now, first.value_or(file.header.created_ms));
  if (age >= limit) return appender_.roll_if_active(*filling.segment);
  be_called_in(next, limit - age);
  return {};
}

// What retention asks for.
Result<void> Chores::forget_old(Deadline& next) {
  const Retention& retention = core_->options.retention;
  if (!forgets(retention)) return {};
  const std::int64_t now = now_ms(core_->options.environment.get(), Precision::exact);
  Forgotten forgotten;
  std::optional<Held> held;
  {
    const auto pinned = core_->pins.lock();
    const auto list = core_->segments.list();
    std::span<const SegmentMeta> recorded(list->sealed);
    if (const auto rolled = appender_.rolled(); !rolled.empty()) {  // since just now
      while (!recorded.empty() && recorded.back().base_offset >= rolled.front().meta.base_offset)
        recorded = recorded.first(recorded.size() - 1);
    }
    const Expiry expiry =
        expire(retention, {recorded, appender_.end().next_position, now,
                           [&](std::size_t i) { return last_append_ms(*list, i); }});
    if (expiry.next_in) be_called_in(next, *expiry.next_in);
    if (expiry.segments == 0) return {};
    std::uint64_t start = list->sealed[expiry.segments - 1].end_offset;
    if (const auto lowest = core_->pins.lowest(retention, now); lowest && *lowest < start) {
      be_called_in(next, std::chrono::minutes(1));
      held = Held{*lowest, start};
      start = 0;
      for (const SegmentMeta& meta : list->sealed)
        if (meta.end_offset <= *lowest) start = meta.end_offset;
    }
    const std::lock_guard lock(mutex_);
    VARVE_TRY_ASSIGN(forgotten, forget_below(start));
  }
  tell_forgotten(forgotten, "retention");
  tell_held(held);
  return {};
}

// When the last record of list.sealed[i] was appended, or the first behind it: the end of a segment tells.
std::optional<std::int64_t> Chores::last_append_ms(const SegmentList& list, std::size_t i) const {
  const auto open = [&](std::size_t which) -> std::shared_ptr<const SegmentFile> {
    if (which == list.sealed.size()) return list.active ? list.active->file : nullptr;
    const auto opened = core_->segments.open(list.sealed[which]);
    return opened ? opened->file : nullptr;
  };
  const Position end{list.sealed[i].end_position};
  if (end.value >= segment_header_bytes + end_frame_bytes) {
    if (const auto file = open(i)) {
      if (const auto time =
              time_of_frame(*file, end, {end.value - end_frame_bytes}, ControlKind::segment_end))
        return time;
    }
  }
  // One that was torn, or salvaged, has no end. Its successor's begin is not earlier.
  const auto successor = open(i + 1);
  if (!successor) return std::nullopt;
  return time_of_frame(*successor, behind_begin, {segment_header_bytes},
                       ControlKind::segment_begin);
}

// A failure that may have left the manifest's name in doubt ends the log's taking of appends: a later
// success would prove nothing.
Result<void> Chores::change_manifest(const std::function<void(Manifest&)>& change) {
  auto stored = manifest_->update(change);
  if (!stored &&
      stored.error() == Errc::no_space) {  // what frees space must not fail for want of it
    appender_.discard_spare();
    stored = manifest_->update(change);
  }
  if (!stored && !is_transient(stored.error())) core_->fail(stored.error());
  return stored;
}

Result<void> Chores::record_rolled() {
  std::unique_lock lock(mutex_);
  const std::vector<RolledSegment> rolled = appender_.rolled();
  if (rolled.empty()) return {};
  for (const RolledSegment& one : rolled) one.writer->shared_file()->mapping->finish();
  // Nothing may be called sealed that is not durable, the name of its successor included.
  auto recorded = appender_.sync(Appender::Reach::rolled);
  if (recorded) {
    for (const RolledSegment& one : rolled)
      if (auto written = write_index(*one.writer, one.meta); !written) break;  // only a convenience
    const SegmentMeta next = appender_.unrecorded_after(rolled.size());
    const std::int64_t append_time_ms = appender_.end().append_time_ms;
    recorded = change_manifest([&](Manifest& manifest) {
      for (const RolledSegment& one : rolled) {
        if (!manifest.segments.empty() && manifest.segments.back().id == one.meta.id)
          manifest.segments.pop_back();
        manifest.segments.push_back(one.meta);
      }
      manifest.end_behind_last();
      manifest.append_time_ms = append_time_ms;
      manifest.segments.push_back(next);
      manifest.next_segment_id = next.id + 1;
    });
  }
  if (!recorded) return recorded;
  appender_.forget_rolled(rolled.size());
  give_back_cache();
  lock.unlock();
  {
    const std::lock_guard calling(sealed_mutex_);
    if (call_sealed_) call_sealed_();
  }
  for (Observer* watching : core_->observers())
    for (const RolledSegment& one : rolled) watching->on_rolled(one.meta.info());
  return {};
}

// Who appends without end would fill all memory with pages that are written out and hardly ever read again, and make
// the system find new ones for each that follows. The caller holds mutex_.
void Chores::give_back_cache() {
  const auto keep = core_->options.page_cache_bytes;
  const std::uint64_t end = appender_.end().next_position;
  if (!keep || end < *keep) return;
  const auto list = core_->segments.list();
  auto next = std::lower_bound(
      list->sealed.begin(), list->sealed.end(), cached_from_,
      [](const SegmentMeta& meta, std::uint64_t wanted) { return meta.base_position < wanted; });
  for (; next != list->sealed.end(); ++next) {
    const std::uint64_t behind = next->next_position();
    if (behind > end - *keep) return;
    cached_from_ = behind;
    if (auto file = core_->storage->open(next->name(), OpenMode::read)) (*file)->drop_cache();
  }
}

Result<void> Chores::write_index(const SegmentWriter& writer, const SegmentMeta& meta) {
  return store_index(*core_->storage, *writer.index(), {meta.base_offset},
                     {core_->log, meta.id, meta.end_position});
}

// Gives back the room reserved behind the end. The next frame's place stays, for those who look there
// whether there is more.
Result<void> Chores::trim_active(const SegmentWriter& writer) {
  constexpr std::uint64_t page = 4096;
  const std::uint64_t used = writer.position().value + frame_header_bytes;
  VARVE_TRY(writer.shared_file()->file->resize((used + page - 1) / page * page));
  return writer.shared_file()->file->sync();
}

Result<void> Chores::record_clean() {
  if (!appender_.wrote()) return {};
  const std::lock_guard lock(mutex_);
  const LogEnd end = appender_.end();
  const auto active = appender_.active();
  // A segment that was begun but got no record would stand in the way of one that starts at the same offset.
  const bool empty = active && !active->has_records();
  if (active && !empty) {
    (void)write_index(*active, active->meta(false));  // only a convenience
    if (auto trimmed = trim_active(*active); !trimmed) {
      core_->fail(trimmed.error());
      return trimmed;
    }
  }
  VARVE_TRY(change_manifest([&](Manifest& manifest) {
    manifest.clean = true;
    manifest.next_offset = end.next_offset;
    manifest.next_sequence = end.next_sequence;
    manifest.next_position = empty ? active->base_position() : end.next_position;
    manifest.append_time_ms = end.append_time_ms;
    if (!active) return;
    if (!manifest.segments.empty() && !manifest.segments.back().sealed)
      manifest.segments.pop_back();
    manifest.next_segment_id = std::max(manifest.next_segment_id, active->id() + 1);
    if (empty)
      manifest.dropped.push_back({active->id(), active->base_offset()});
    else
      manifest.segments.push_back(active->meta(false));
  }));
  if (empty) {
    // What cannot be removed now is tried again when the log is opened.
    (void)remove_dropped(*core_->storage, core_->log, {{active->id(), active->base_offset()}});
  }
  return {};
}

Result<void> Chores::truncate_prefix(Offset new_start) {
  Watermarks& marks = core_->marks;
  const std::uint64_t end = marks.end.load(std::memory_order_acquire);
  if (new_start.value > end) {
    return Error(Errc::offset_out_of_range, "cannot start at offset " +
                                                std::to_string(new_start.value) +
                                                ", the log ends at " + std::to_string(end));
  }
  if (new_start.value <= marks.start.load(std::memory_order_acquire)) return {};
  // A start above a torn-off end would make no sense after a crash.
  VARVE_TRY_ASSIGN([[maybe_unused]] const bool durable,
                   appender_.wait_durable(new_start.value, std::nullopt));
  VARVE_TRY(record_rolled());

  Forgotten forgotten;
  {
    const std::lock_guard lock(mutex_);
    VARVE_TRY_ASSIGN(forgotten, forget_below(new_start.value));
  }
  tell_forgotten(forgotten, "truncate_prefix");
  while (remove_some()) {
  }
  return {};
}

// Moves the log's start there, which is durable and recorded; the files of what is wholly before may then be removed. The
// caller holds mutex_.
Result<Chores::Forgotten> Chores::forget_below(std::uint64_t new_start) {
  Watermarks& marks = core_->marks;
  if (core_->failure.happened()) return core_->failure.answer();
  Forgotten forgotten{marks.start.load(std::memory_order_acquire), new_start, {}};
  std::vector<SegmentMeta>& gone = forgotten.segments;
  if (new_start <= forgotten.old_start) return Forgotten{};
  VARVE_TRY(change_manifest([&](Manifest& manifest) {
    gone.clear();
    manifest.start_offset = new_start;
    std::erase_if(manifest.segments, [&](const SegmentMeta& meta) {
      if (!meta.sealed || meta.end_offset > new_start) return false;
      gone.push_back(meta);
      manifest.dropped.push_back({meta.id, meta.base_offset});
      return true;
    });
  }));
  marks.start.store(new_start, std::memory_order_release);
  auto draft = core_->segments.draft();
  std::erase_if(draft.list->sealed, [&](const SegmentMeta& meta) {
    return std::any_of(gone.begin(), gone.end(),
                       [&](const SegmentMeta& g) { return g.id == meta.id; });
  });
  core_->segments.publish(std::move(draft));
  core_->segments.forget_below(new_start);
  core_->counters.removed.fetch_add(gone.size(), std::memory_order_relaxed);
  queue_removals();
  return forgotten;
}

void Chores::tell_forgotten(const Forgotten& forgotten, std::string_view why) const {
  if (forgotten.old_start == forgotten.start) return;
  core_->events.write(events::records_forgotten, why, forgotten.old_start, forgotten.start,
                      std::uint64_t{forgotten.segments.size()});
  for (Observer* watching : core_->observers())
    for (const SegmentMeta& meta : forgotten.segments) watching->on_removed(meta.info());
}

// Once, however often retention is held.
void Chores::tell_held(const std::optional<Held>& held) {
  {
    const std::lock_guard lock(removals_mutex_);
    if (std::exchange(told_held_, held) == held) return;
  }
  if (held) core_->events.write(events::retention_held, held->pinned, held->wanted);
}

// Everything that the manifest says is to go. Not what begins where the log's next segment might, or where a compacted one
// stands or will: between looking at such a file and removing it, it could become another. Compaction removes what it
// replaces, and opening what is left.
void Chores::queue_removals() {
  const std::uint64_t start = core_->marks.start.load(std::memory_order_acquire);
  std::vector<DroppedSegment> removals = manifest_->look([&](const Manifest& manifest) {
    std::vector<DroppedSegment> dropped = manifest.dropped;
    std::erase_if(dropped, [&](const DroppedSegment& one) {
      return one.base_offset >= start || manifest.lists(one.base_offset);
    });
    return dropped;
  });
  std::reverse(removals.begin(), removals.end());
  const std::lock_guard lock(removals_mutex_);
  removals_ = std::move(removals);
}

bool Chores::has_removals() const {
  const std::lock_guard lock(removals_mutex_);
  return !removals_.empty();
}

// Removes the next few files. Whether there are more. What cannot be removed is tried again when more is forgotten, or the
// log is opened: the manifest remembers it.
bool Chores::remove_some() {
  std::vector<DroppedSegment> some;
  {
    const std::lock_guard lock(removals_mutex_);
    for (; !removals_.empty() && some.size() < removals_max; removals_.pop_back())
      some.push_back(removals_.back());
  }
  if (some.empty()) return false;
  if (auto removed = remove_dropped(*core_->storage, core_->log, some))
    manifest_->forget_dropped(*removed);
  return has_removals();
}

// So that removing takes no more than a quarter of the time, of the medium's as of this thread's.
void Chores::remove_when_due(Deadline& next) {
  const auto begin = std::chrono::steady_clock::now();
  if (core_->options.background ==
      Background::thread) {  // whose turns come whenever there is other work, too
    const std::lock_guard lock(removals_mutex_);
    if (begin < next_removal_) {
      if (!removals_.empty()) be_called_at(next, next_removal_);
      return;
    }
  }
  const bool more = remove_some();
  const auto end = std::chrono::steady_clock::now();
  const std::lock_guard lock(removals_mutex_);
  next_removal_ = end + 3 * (end - begin);
  if (more) be_called_at(next, next_removal_);
}

// ---- compaction --------------------------------------------------------------------------------

void Chores::on_sealed(std::function<void()> call) {
  const std::lock_guard lock(sealed_mutex_);
  call_sealed_ = std::move(call);
}

std::vector<SegmentMeta> Chores::recorded_sealed() const {
  auto sealed = manifest_->look([](const Manifest& manifest) { return manifest.segments; });
  std::erase_if(sealed, [](const SegmentMeta& meta) { return !meta.sealed; });
  return sealed;
}

Result<CompactionReport> Chores::compact(const CompactOptions& options) {
  VARVE_TRY(record_rolled());
  std::unique_lock lock(compaction_mutex_);
  const auto begin = std::chrono::steady_clock::now();
  const Compaction how = core_->options.compaction.value_or(Compaction{});
  const std::vector<SegmentMeta> sealed = recorded_sealed();
  const std::uint64_t end = sealed.empty() ? 0 : sealed.back().end_offset;
  const Goal goal{how, end, Pace::free, options.dry_run, options.progress};
  CompactionReport all;
  for (bool first = true;; first = false) {
    VARVE_TRY_ASSIGN(const auto pass, compact_once(goal));
    if (!pass) break;  // nothing is left to compact
    if (first) {
      all = *pass;
    } else {
      ++all.passes;
      all.records_before = pass->records_before + all.records_removed + all.tombstones_removed;
      all.cleaned = pass->cleaned;
      all.segments_after = pass->segments_after;
      all.bytes_after = pass->bytes_after;
      all.records_removed += pass->records_removed;
      all.tombstones_removed += pass->tombstones_removed;
      all.tombstones_kept = pass->tombstones_kept;
      all.segments_left_alone = pass->segments_left_alone;
      all.keys = std::max(all.keys, pass->keys);
      all.key_map_bytes = std::max(all.key_map_bytes, pass->key_map_bytes);
    }
    if (options.dry_run || pass->cleaned.value >= end) break;
  }
  all.dry_run = options.dry_run;
  all.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  lock.unlock();
  tell_compacted(all);
  return all;
}

Result<void> Chores::compact_when_due(Deadline& next, Pace pace) {
  if (!core_->options.compaction || core_->failure.happened() || core_->closed.load()) return {};
  std::unique_lock lock(compaction_mutex_, std::try_to_lock);
  if (!lock) {
    be_called_in(next, std::chrono::seconds(1));
    return {};
  }
  if (std::chrono::steady_clock::now() < next_pass_) {
    be_called_at(next, next_pass_);
    return {};
  }
  const Compaction& how = *core_->options.compaction;
  SegmentList list;
  list.sealed = recorded_sealed();
  const Due due_now =
      due(how, {list.sealed, core_->cleaned.load(),
                now_ms(core_->options.environment.get(), Precision::exact),
                [&](std::size_t i) -> std::optional<std::int64_t> {
                  const auto opened = core_->segments.open(list.sealed[i]);
                  if (!opened) return std::nullopt;
                  return time_of_frame(*opened->file, {list.sealed[i].end_position},
                                       {segment_header_bytes}, ControlKind::segment_begin);
                },
                [&](std::size_t i) { return last_append_ms(list, i); }});
  if (due_now.next_in) be_called_in(next, *due_now.next_in);
  if (!due_now.now) return {};
  const std::uint64_t end = list.sealed[due_now.segments - 1].end_offset;
  const Progress nobody;
  auto pass = compact_once({how, end, pace, false, nobody});
  if (!pass) {
    if (pass.error() == Errc::closed) return {};
    next_pass_ = std::chrono::steady_clock::now() + back_off(failed_passes_++);
    be_called_at(next, next_pass_);
    lock.unlock();
    core_->events.write_error(events::compaction_failed, pass.error());
    return told(pass.error());
  }
  failed_passes_ = 0;
  if (*pass && (**pass).cleaned.value < end) be_called_at(next, std::chrono::steady_clock::now());
  lock.unlock();
  if (*pass) tell_compacted(**pass);
  return {};
}

void Chores::tell_compacted(const CompactionReport& report) const {
  if (report.dry_run || (report.records_removed + report.tombstones_removed == 0 &&
                         report.segments_after == report.segments_before))
    return;
  for (Observer* watching : core_->observers()) watching->on_compacted(report);
}

// A pass, counted. Nullopt: there is nothing to compact. The caller holds compaction_mutex_.
Result<std::optional<CompactionReport>> Chores::compact_once(const Goal& goal) {
  const auto begin = std::chrono::steady_clock::now();
  Counters& counters = core_->counters;
  // What is truncated meanwhile makes a plan worthless, and is not there the next time.
  constexpr int attempts = 20;
  Result<std::optional<CompactionReport>> pass = std::optional<CompactionReport>();
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const std::vector<SegmentMeta> before = recorded_sealed();
    if (before.empty() || before.front().end_offset > goal.end) return pass;
    pass = try_pass(goal);
    if (!pass && is_missing(pass.error()) &&
        (recorded_sealed().empty() || recorded_sealed().front().id != before.front().id))
      continue;
    if (!pass || *pass) break;
  }
  if (!pass) {
    if (pass.error() != Errc::closed)
      counters.compactions_failed.fetch_add(1, std::memory_order_relaxed);
    return pass;
  }
  if (!*pass || goal.dry_run) return pass;
  CompactionReport& report = **pass;
  report.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  counters.compactions.fetch_add(1, std::memory_order_relaxed);
  counters.compaction_records.fetch_add(report.records_removed + report.tombstones_removed,
                                        std::memory_order_relaxed);
  if (report.bytes_after < report.bytes_before)
    counters.compaction_bytes.fetch_add(report.bytes_before - report.bytes_after,
                                        std::memory_order_relaxed);
  counters.compaction_map_bytes.store(report.key_map_bytes, std::memory_order_relaxed);
  counters.compaction_ms.store(static_cast<std::uint64_t>(report.took.count()),
                               std::memory_order_relaxed);
  return pass;
}

// Nullopt: the log was truncated meanwhile.
Result<std::optional<CompactionReport>> Chores::try_pass(const Goal& goal) {
  std::vector<SegmentMeta> sealed = recorded_sealed();
  std::erase_if(sealed, [&](const SegmentMeta& meta) { return meta.end_offset > goal.end; });
  Compactor compactor(*core_, std::move(sealed), core_->cleaned.load(), goal.how, goal.pace,
                      goal.progress);
  VARVE_TRY(compactor.plan());
  CompactionReport report = compactor.report();
  if (goal.dry_run) return std::optional<CompactionReport>(report);
  report.bytes_after = report.bytes_before;
  for (const Compactor::Group& group : compactor.groups()) {
    const SegmentMeta& first = compactor.segment(group.first);
    // One that has not got its own name yet, durably, must not be written over.
    if (first.is_compacted()) {
      VARVE_TRY_ASSIGN([[maybe_unused]] const bool named,
                       name_compacted(*core_->storage, core_->log, first));
      VARVE_TRY(sync_names());
    }
    auto made = compactor.rewrite(group);
    if (!made) {
      discard_rewritten(first);
      return made.error();
    }
    VARVE_TRY_ASSIGN(const bool replaced, replace(*made));
    if (!replaced) return std::optional<CompactionReport>();
    report.bytes_after += made->meta.end_position;
    for (const SegmentMeta& old : made->replaced) report.bytes_after -= old.end_position;
  }
  const std::uint64_t cleaned = compactor.cleaned();
  if (cleaned > core_->cleaned.load()) {
    const std::lock_guard lock(mutex_);
    if (core_->failure.happened()) return core_->failure.answer();
    VARVE_TRY(change_manifest([&](Manifest& manifest) { manifest.cleaned_offset = cleaned; }));
    core_->cleaned.store(cleaned);
  }
  return std::optional<CompactionReport>(report);
}

// Nobody knows of the file.
void Chores::discard_rewritten(const SegmentMeta& first) {
  (void)core_->storage->remove(compact_name({first.base_offset}));
}

// Makes a rewritten segment part of the log, in place of those that it replaces. False: they are not all in it any more.
Result<bool> Chores::replace(const Rewritten& made) {
  const std::lock_guard giving(core_->giving_files);
  const std::lock_guard lock(mutex_);
  const auto is_old = [&](const SegmentMeta& meta) {
    return std::any_of(made.replaced.begin(), made.replaced.end(),
                       [&](const SegmentMeta& old) { return old.id == meta.id; });
  };
  // By offsets: where memory ran out after an earlier change, the list may still have what that replaced.
  const auto swap = [&](std::vector<SegmentMeta>& segments) {
    const auto from = [&](std::uint64_t offset) {
      return std::find_if(segments.begin(), segments.end(),
                          [&](const SegmentMeta& meta) { return meta.base_offset >= offset; });
    };
    const auto behind = segments.erase(from(made.meta.base_offset), from(made.meta.end_offset));
    segments.insert(behind, made.meta);
  };
  const std::vector<SegmentMeta> now = recorded_sealed();
  if (core_->failure.happened() || std::count_if(now.begin(), now.end(), is_old) !=
                                       static_cast<std::ptrdiff_t>(made.replaced.size())) {
    discard_rewritten(made.meta);
    if (core_->failure.happened()) return core_->failure.answer();
    return false;
  }
  // The manifest must not speak of a name that a loss of power could take.
  VARVE_TRY(sync_names());
  if (auto changed = change_manifest([&](Manifest& manifest) {
        for (const SegmentMeta& old : made.replaced)
          manifest.dropped.push_back({old.id, old.base_offset});
        swap(manifest.segments);
      });
      !changed) {
    if (!core_->failure.happened()) discard_rewritten(made.meta);
    return changed.error();
  }
  // From here on it counts. Readers with the new list find it under either name, those with the old one look for a newer
  // when they do not find theirs.
  auto draft = core_->segments.draft();
  swap(draft.list->sealed);
  core_->segments.publish(std::move(draft));
  core_->segments.forget(made.replaced);
  VARVE_TRY(put_in_place(made));
  return true;
}

// One that fails may have lost the names of others as well.
Result<void> Chores::sync_names() {
  auto synced = core_->storage->sync_names();
  if (!synced && !is_transient(synced.error())) core_->fail(synced.error());
  return synced;
}

Result<void> Chores::put_in_place(const Rewritten& made) {
  const SegmentMeta& meta = made.meta;
  VARVE_TRY_ASSIGN(const bool named, name_compacted(*core_->storage, core_->log, meta));
  if (!named) return damage_error(compact_name({meta.base_offset}), "it is not there any more");
  (void)store_index(*core_->storage, *made.index, {meta.base_offset},
                    {core_->log, meta.id, meta.end_position});  // only a convenience
  VARVE_TRY(sync_names());
  // What cannot be removed now is tried again when the log is opened.
  std::vector<DroppedSegment> old;
  for (const SegmentMeta& one : made.replaced) old.push_back({one.id, one.base_offset});
  if (auto removed = remove_dropped(*core_->storage, core_->log, old))
    manifest_->forget_dropped(*removed);
  return {};
}

Result<std::vector<DroppedSegment>> remove_dropped(StorageBackend& storage, LogId log,
                                                   const std::vector<DroppedSegment>& dropped) {
  std::vector<DroppedSegment> gone;
  for (const DroppedSegment& one : dropped) {
    const std::string name = segment_name({one.base_offset});
    auto file = SegmentFile::open(storage, name, OpenMode::read, log, one.id);
    if (!file) {
      // Gone already, or another segment's by now: nothing is left to do. Anything else may pass.
      if (is_missing(file.error()) || file.error() == Errc::corrupt) gone.push_back(one);
      continue;
    }
    file->reset();
    (void)storage.remove(index_name({one.base_offset}));  // may never have been written
    if (storage.remove(name)) gone.push_back(one);
  }
  if (!gone.empty()) VARVE_TRY(storage.sync_names());
  return gone;
}

}  // namespace varve::inline v0::detail
