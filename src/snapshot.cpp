#include "varve/snapshot.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "event_log.hpp"
#include "examination.hpp"
#include "file_copy.hpp"
#include "pacer.hpp"
#include "recovery.hpp"
#include "survey_text.hpp"
#include "system_error.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/index.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0 {

using namespace detail;

namespace {

// Whether a storage could not share a file for reasons that do not keep anybody from copying it.
bool must_be_copied(const Error& error) {
  for (const std::errc reason : {std::errc::operation_not_supported, std::errc::cross_device_link,
                                 std::errc::operation_not_permitted, std::errc::too_many_links,
                                 std::errc::function_not_supported})
    if (error.code() == reason) return true;
  return false;
}

Result<void> check_empty(StorageBackend& to) {
  VARVE_TRY_ASSIGN(const auto entries, to.list());
  for (const FileEntry& entry : entries) {
    if (entry.name == lock_name || entry.name == "lost+found") continue;
    return Error(std::make_error_code(std::errc::directory_not_empty),
                 to.describe() + ": it holds '" + entry.name + "'");
  }
  return {};
}

class Snapshotter {
 public:
  Snapshotter(StorageBackend& from, StorageBackend& to, const SnapshotOptions& options)
      : from_(from), to_(to), options_(options), pacer_(options.time_percent) {}

  // `check`: what is still to be done with what was made before it is given away.
  template <class Check>
  Result<SnapshotReport> run(Check check) {
    if (options_.time_percent < 1 || options_.time_percent > 100)
      return Error(Errc::invalid_argument, "SnapshotOptions::time_percent is " +
                                               std::to_string(options_.time_percent) +
                                               ", it must be 1 to 100");
    VARVE_TRY(check_empty(to_));  // a lock is a file, too: where something else is, none is made
    VARVE_TRY_ASSIGN(const auto lock, to_.lock());
    VARVE_TRY(check_empty(to_));
    auto taken = take();
    // What a compaction replaces meanwhile is not there to be taken any more; what is in its place is.
    constexpr int attempts = 20;
    for (int attempt = 1; !taken && attempt < attempts && was_replaced(taken.error()); ++attempt) {
      empty_again();
      report_ = {};
      total_ = 0;
      taken = take();
    }
    if (taken) taken = check();
    if (taken) return std::move(report_);
    empty_again();
    return taken.error();
  }

 private:
  // The lock is held and there was nothing, so all of it is this snapshot's. Without a manifest it is no log.
  void empty_again() {
    (void)to_.remove(manifest_name);
    const auto entries = to_.list();
    if (!entries) return;
    for (const FileEntry& entry : *entries)
      if (is_varve_name(entry.name) && entry.name != lock_name) (void)to_.remove(entry.name);
  }

  // From the newest segment to the oldest: truncation goes the other way, so what is there when it is looked for was
  // not overtaken by it.
  Result<void> take() {
    VARVE_TRY_ASSIGN(Recovered found, recover_for_reading(from_, Options{}));
    if (!found.report.lost.empty())
      return Error(Errc::corrupt, from_.describe() + ": " + describe(found.report.lost.front()));
    manifest_ = std::move(found.manifest);
    generation_ = manifest_.generation;
    manifest_.dropped.clear();
    auto& segments = manifest_.segments;
    if (!segments.empty() && !segments.back().sealed) segments.pop_back();
    if (found.active) found.sealed_tail.push_back(*std::move(found.active));
    for (const SegmentMeta& meta : segments) total_ += meta.end_position;
    for (const TailSegment& segment : found.sealed_tail) total_ += segment.meta.end_position;

    std::vector<SegmentMeta> tail;
    for (TailSegment& segment : found.sealed_tail) VARVE_TRY(copy_tail(segment, tail));
    std::size_t first = segments.size();
    for (; first > 0; --first) {
      auto put = put_sealed(segments[first - 1]);
      if (put) continue;
      if (!is_missing(put.error()) || !was_truncated(segments[first - 1])) return put;
      manifest_.start_offset = segments[first - 1].end_offset;
      break;
    }
    segments.erase(segments.begin(), segments.begin() + static_cast<std::ptrdiff_t>(first));
    segments.insert(segments.end(), tail.begin(), tail.end());
    return commit(found.end);
  }

  // Whether a segment that is not there was given up by a writer since.
  bool was_truncated(const SegmentMeta& meta) const {
    const auto now = load_manifest(from_);
    return now && *now && (**now).log == manifest_.log && (**now).start_offset >= meta.end_offset;
  }

  // Whether a segment was not found because the writer has changed since what the log consists of.
  bool was_replaced(const Error& error) const {
    if (error != Errc::corrupt && !is_missing(error)) return false;
    const auto now = load_manifest(from_);
    return now && *now && (**now).generation != generation_;
  }

  Result<void> put_sealed(const SegmentMeta& meta) {
    // A compacted one may still stand under the name that it was written with.
    std::string name = meta.name();
    if (meta.is_compacted()) {
      VARVE_TRY_ASSIGN(const auto file, open_listed(from_, meta, manifest_.log));
      name = file->name;
    }
    Result<void> shared = Error(std::make_error_code(std::errc::operation_not_supported));
    if (options_.share) shared = from_.share(name, to_);
    if (!shared && !must_be_copied(shared.error())) return shared;
    if (shared) {
      ++report_.shared;
    } else {
      VARVE_TRY_ASSIGN(const auto file, from_.open(name, OpenMode::read));
      VARVE_TRY_ASSIGN(const auto copy, to_.open(name, OpenMode::create));
      VARVE_TRY_ASSIGN(const std::uint64_t copied, copy_paced(*file, *copy, meta.end_position));
      VARVE_TRY(copy->sync());
      report_.bytes_copied += copied;
    }
    if (name != meta.name()) {
      VARVE_TRY(to_.rename(name, meta.name()));
      name = meta.name();
    }
    VARVE_TRY_ASSIGN(const auto put,
                     SegmentFile::open(to_, name, OpenMode::read, manifest_.log, meta.id));
    VARVE_TRY_ASSIGN(const std::uint64_t size, put->file->size());
    if (size < meta.end_position) return damage_error(name, too_short(size, meta.end_position));
    put_index(index_name({meta.base_offset}), shared.has_value());
    count(meta);
    return {};
  }

  // In pieces, each durable before the next where time is shared: a flush of all of it would be in the way of others'.
  Result<std::uint64_t> copy_paced(const StorageFile& from, StorageFile& to, std::uint64_t size) {
    return copy_bytes(from, to, size, [&]() -> Result<void> {
      if (!pacer_.rests()) return {};
      VARVE_TRY(to.sync());
      pacer_.rest();
      return {};
    });
  }

  // Only a convenience: a missing one is rebuilt.
  void put_index(const std::string& name, bool share) {
    if (share && from_.share(name, to_)) return;
    const auto file = from_.open(name, OpenMode::read);
    if (!file) return;
    const auto size = (*file)->size();
    if (!size) return;
    const auto copy = to_.open(name, OpenMode::create);
    if (!copy || !copy_bytes(**file, **copy, *size)) (void)to_.remove(name);
  }

  // A segment that may be growing. What the copy holds is what a reader of the copy would say: a frame that was being
  // written while it was copied may look torn, and is whole the next time.
  Result<void> copy_tail(const TailSegment& segment, std::vector<SegmentMeta>& tail) {
    const std::string name = segment.meta.name();
    VARVE_TRY_ASSIGN(const auto copy, to_.open(name, OpenMode::create));
    SegmentScan scan;
    std::unique_ptr<GrowingIndex> index;
    for (std::optional<std::uint64_t> before;; before = scan.end.next_offset) {
      VARVE_TRY_ASSIGN(const std::uint64_t size, segment.file->file->size());
      VARVE_TRY(copy_paced(*segment.file->file, *copy, size));
      index = std::make_unique<GrowingIndex>(Options{}.index_interval_bytes);
      VARVE_TRY_ASSIGN(scan, scan_copy(segment, *index));
      if (scan.end.next_offset >= segment.meta.end_offset) break;
      if (before == scan.end.next_offset)
        return damage_error(name, "its copy holds records up to offset " +
                                      std::to_string(scan.end.next_offset) + ", not " +
                                      std::to_string(segment.meta.end_offset));
    }
    if (scan.end.next_offset == segment.meta.base_offset) return to_.remove(name);
    SegmentMeta meta = segment.meta;
    meta.end_offset = scan.end.next_offset;
    meta.end_sequence = scan.end.next_sequence;
    meta.end_position = static_cast<std::uint32_t>(scan.end.position.value);
    meta.newest_ms = scan.end.newest_ms;
    meta.sealed = true;
    VARVE_TRY(copy->resize(meta.end_position));
    VARVE_TRY(copy->sync());
    (void)store_index(to_, *index, {meta.base_offset}, {manifest_.log, meta.id, meta.end_position});
    manifest_.append_time_ms = std::max(manifest_.append_time_ms, scan.end.append_time_ms);
    report_.bytes_copied += meta.end_position;
    count(meta);
    tail.push_back(meta);
    return {};
  }

  Result<SegmentScan> scan_copy(const TailSegment& segment, GrowingIndex& index) {
    VARVE_TRY_ASSIGN(const auto file, SegmentFile::open(to_, segment.meta.name(), OpenMode::read,
                                                        manifest_.log, segment.meta.id));
    VARVE_TRY_ASSIGN(const std::uint64_t size, file->file->size());
    VARVE_TRY(file->map(size, MapMode::read));
    MappedSource source(*file->mapping, {size}, file->populated.get(), file->name);
    SegmentState start;
    start.next_offset = segment.meta.base_offset;
    start.next_sequence = segment.meta.base_sequence;
    return scan_segment(source, *file, size, start, {.index = &index});
  }

  void count(const SegmentMeta& meta) {
    ++report_.segments;
    report_.bytes += meta.end_position;
    if (options_.progress) options_.progress(std::min(report_.bytes, total_), total_);
    pacer_.rest();
  }

  // The manifest comes last, and only when all that it speaks of is durable.
  Result<void> commit(const LogEnd& end) {
    manifest_.clean = true;
    manifest_.next_offset = end.next_offset;
    manifest_.next_sequence = end.next_sequence;
    manifest_.next_position = end.next_position;
    manifest_.append_time_ms = std::max(manifest_.append_time_ms, end.append_time_ms);
    manifest_.end_behind_last();
    if (!manifest_.segments.empty())
      manifest_.next_segment_id =
          id_behind(manifest_.next_segment_id, manifest_.segments.back().id);
    // What the copy goes on with is not what the log does.
    manifest_.begin_epoch(manifest_.epoch() + 1, manifest_.next_offset);
    report_.offsets = {{manifest_.start_offset}, {manifest_.next_offset}};
    VARVE_TRY(to_.sync_names());
    return store_manifest(to_, manifest_);
  }

  StorageBackend& from_;
  StorageBackend& to_;
  const SnapshotOptions& options_;
  Pacer pacer_;
  Manifest manifest_{};
  std::uint64_t generation_ = 0;  // of the log's, when it was looked at last
  SnapshotReport report_{};
  std::uint64_t total_ = 0;  // bytes of all segments, as they were found
};

Result<void> check_intact(StorageBackend& storage, const Progress& progress) {
  VARVE_TRY_ASSIGN(const VerifyReport report, verify(storage, progress));
  if (report.intact()) return {};
  return Error(Errc::corrupt, storage.describe() + ": " + describe(report.damage.front()));
}

Result<SnapshotReport> restore_quietly(StorageBackend& backup, StorageBackend& to,
                                       const Progress& progress) {
  VARVE_TRY(check_empty(to));
  VARVE_TRY(check_intact(backup, progress));
  const SnapshotOptions options{.share = false, .time_percent = 100, .progress = progress};
  return Snapshotter(backup, to, options).run([&] { return check_intact(to, progress); });
}

}  // namespace

Result<SnapshotReport> snapshot(StorageBackend& from, StorageBackend& to,
                                const SnapshotOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  auto report = Snapshotter(from, to, options).run([] { return Result<void>(); });
  if (options.logger == nullptr) return report;
  const EventLog log(options.logger, from.describe());
  if (report)
    log.write(events::snapshot_taken, to.describe(), report->offsets.begin, report->offsets.end,
              report->segments, report->shared, report->bytes, report->bytes_copied,
              std::chrono::steady_clock::now() - begin);
  else
    log.write_error(events::snapshot_failed, report.error(), to.describe());
  return report;
}

Result<SnapshotReport> restore(StorageBackend& backup, StorageBackend& to, const Progress& progress,
                               Logger* logger) {
  const auto begin = std::chrono::steady_clock::now();
  auto report = restore_quietly(backup, to, progress);
  if (logger == nullptr) return report;
  const EventLog log(logger, to.describe());
  if (report)
    log.write(events::restored, backup.describe(), report->offsets.begin, report->offsets.end,
              report->segments, report->bytes, std::chrono::steady_clock::now() - begin);
  else
    log.write_error(events::restore_failed, report.error(), backup.describe());
  return report;
}

}  // namespace varve::inline v0
