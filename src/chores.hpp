// Chores: what a log that is open for writing needs done besides appending. Run by the background threads,
// or by the host through Log::tick().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "appender.hpp"
#include "compactor.hpp"
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

  // Whether there are files that run() is to remove.
  bool has_removals() const;

  // Records rolled segments as sealed, with their indexes. Also the first step of closing.
  Result<void> record_rolled();

  // Forgets the records below `new_start`, then removes the files of the segments that hold none besides.
  Result<void> truncate_prefix(Offset new_start);

  // Compacts all that is sealed.
  Result<CompactionReport> compact(const CompactOptions& options);

  // Runs a pass of compaction if one is due; `next` is set to when it should be called again even if nobody asks. At no
  // Pace but Pace::free it may take very long; it ends soon after the log is closed.
  Result<void> compact_when_due(Deadline& next, Pace pace);

  // Sets what is called when segments were recorded as sealed. It must not call back.
  void on_sealed(std::function<void()> call);

  // The last step of closing: marks the log as closed properly. Everything is durable already.
  Result<void> record_clean();

 private:
  Result<void> told(Result<void> result);
  Result<void> sync_when_due(Deadline& next);
  Result<void> roll_when_old(Deadline& next);
  Result<void> forget_old(Deadline& next);
  std::optional<std::int64_t> last_append_ms(const SegmentList& list, std::size_t i) const;

  // What the log has forgotten: the records of [old_start, start), and these segments.
  struct Forgotten {
    std::uint64_t old_start = 0;
    std::uint64_t start = 0;
    std::vector<SegmentMeta> segments{};
  };
  // What retention would have forgotten, but for a pin.
  struct Held {
    std::uint64_t pinned = 0;
    std::uint64_t wanted = 0;
    friend bool operator==(const Held&, const Held&) = default;
  };
  Result<Forgotten> forget_below(std::uint64_t new_start);
  void tell_forgotten(const Forgotten& forgotten, std::string_view why) const;
  void tell_held(const std::optional<Held>& held);
  void queue_removals();
  bool remove_some();
  void remove_when_due(Deadline& next);
  void give_back_cache();

  // What a pass of compaction is to do.
  struct Goal {
    const Compaction& how;
    std::uint64_t end = 0;  // of the segments that may be compacted
    Pace pace = Pace::free;
    bool dry_run = false;
    const Progress& progress;
  };
  Result<std::optional<CompactionReport>> compact_once(const Goal& goal);
  Result<std::optional<CompactionReport>> try_pass(const Goal& goal);
  Result<bool> replace(const Rewritten& made);
  Result<void> sync_names();
  Result<void> put_in_place(const Rewritten& made);
  void tell_compacted(const CompactionReport& report) const;
  void discard_rewritten(const SegmentMeta& first);
  std::vector<SegmentMeta> recorded_sealed() const;
  Result<void> write_index(const SegmentWriter& writer, const SegmentMeta& meta);
  Result<void> trim_active(const SegmentWriter& writer);
  Result<void> change_manifest(const std::function<void(Manifest&)>& change);

  const std::shared_ptr<LogCore> core_;
  const std::shared_ptr<ManifestKeeper> manifest_;
  Appender& appender_;
  std::mutex mutex_;           // one change of structure at a time
  std::uint64_t cached_from_;  // position in the log behind what was given back; under mutex_

  mutable std::mutex removals_mutex_;  // taken after mutex_, never held while files are removed
  std::vector<DroppedSegment> removals_{};  // the next one last
  std::optional<Held> told_held_{};         // guarded by it, too
  std::chrono::steady_clock::time_point next_removal_{};
  std::mutex compaction_mutex_;      // one pass at a time; before mutex_
  std::uint64_t failed_passes_ = 0;  // in a row; under compaction_mutex_, like the next
  std::chrono::steady_clock::time_point next_pass_{};
  std::mutex sealed_mutex_;
  std::function<void()> call_sealed_;
  std::mutex last_sync_mutex_;
  std::chrono::steady_clock::time_point last_sync_ = std::chrono::steady_clock::now();
};

// The files of so many segments are removed at once: a medium that frees the room of hundreds of files stalls whoever
// flushes meanwhile, and the thread that removes them works for all logs of the process.
constexpr std::size_t removals_max = 16;

// Removes the files of segments that the manifest says are dropped; those that are not theirs (any more) stay.
// Returns which ones are gone, durably.
Result<std::vector<DroppedSegment>> remove_dropped(StorageBackend& storage, LogId log,
                                                   const std::vector<DroppedSegment>& dropped);

}  // namespace varve::inline v0::detail
