// Chores: what a log that is open for writing needs done besides appending. Run by the background threads,
// or by the host through Log::tick().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "appender.hpp"
#include "log_core.hpp"
#include "manifest.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::detail {

class Chores {
 public:
  Chores(std::shared_ptr<LogCore> core, std::shared_ptr<ManifestKeeper> manifest,
         Appender& appender);

  // Gets ready what appends will need next: pages, and the next segment's file.
  Result<void> prepare();

  // Records and flushes what is due; `next` is set to when it should be called again even if nobody asks.
  Result<void> run(Deadline& next);

  // Records rolled segments as sealed, with their indexes. Also the first step of closing.
  Result<void> record_rolled();

  // Forgets the records below `new_start`, then the files of the segments that hold none besides.
  Result<void> truncate_prefix(Offset new_start);

  // The last step of closing: marks the log as closed properly. Everything is durable already.
  Result<void> record_clean();

 private:
  Result<void> told(Result<void> result);
  Result<void> sync_when_due(Deadline& next);
  Result<void> roll_when_old(Deadline& next);
  Result<void> forget_old(Deadline& next);
  std::optional<std::int64_t> last_append_ms(const SegmentList& list, std::size_t i) const;
  Result<std::vector<SegmentMeta>> forget_below(std::uint64_t new_start);
  void tell_removed(const std::vector<SegmentMeta>& gone) const;
  Result<void> write_index(const SegmentWriter& writer, const SegmentMeta& meta);
  Result<void> trim_active(const SegmentWriter& writer);
  Result<void> change_manifest(const std::function<void(Manifest&)>& change);

  const std::shared_ptr<LogCore> core_;
  const std::shared_ptr<ManifestKeeper> manifest_;
  Appender& appender_;
  std::mutex mutex_;  // one change of structure at a time
  std::mutex last_sync_mutex_;
  std::chrono::steady_clock::time_point last_sync_ = std::chrono::steady_clock::now();
};

// Removes the files of segments that the manifest says are dropped; those that are not theirs (any more) stay.
// Returns which ones are gone, durably.
Result<std::vector<DroppedSegment>> remove_dropped(StorageBackend& storage, LogId log,
                                                   const std::vector<DroppedSegment>& dropped);

}  // namespace varve::inline v0::detail
