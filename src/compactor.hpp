// Compactor: one pass of key compaction over a log's sealed segments. It reads them, decides what of them is still
// needed, and writes that into new ones; what becomes of those is for Chores.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "key_map.hpp"
#include "log_core.hpp"
#include "varve/detail/frame_records.hpp"
#include "varve/detail/index.hpp"
#include "varve/detail/segment.hpp"
#include "varve/observer.hpp"
#include "varve/options.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::detail {

enum class Pace : std::uint8_t {
  free,
  limited,  // to Compaction::bytes_per_second
};

// A segment that was written to take the place of others. Its file is durable, under compact_name().
struct Rewritten {
  SegmentMeta meta{};
  std::vector<SegmentMeta> replaced{};
  std::unique_ptr<GrowingIndex> index{};
};

// Memory: the key map, about a megabyte to write with, and twice the largest frame. Gives up with Errc::closed when the log
// is closed.
class Compactor {
 public:
  // Segments to be replaced by one: [first, last) of those given.
  struct Group {
    std::size_t first = 0;
    std::size_t last = 0;
  };

  // `sealed`: all segments that may be compacted, from the log's first one on. Those below `cleaned` have been.
  // `core` and `progress` outlive it.
  Compactor(LogCore& core, std::vector<SegmentMeta> sealed, std::uint64_t cleaned,
            const Compaction& how, Pace pace, const Progress& progress);

  // Looks at all segments and decides. Changes nothing.
  Result<void> plan();

  // What is to be replaced, in the order in which it must be: a tombstone goes only when what it superseded is gone.
  const std::vector<Group>& groups() const noexcept { return groups_; }

  const SegmentMeta& segment(std::size_t i) const noexcept { return sealed_[i]; }

  // Up to where the log is clean once all of them are.
  std::uint64_t cleaned() const noexcept { return map_end_; }

  // What this pass does, as planned.
  const CompactionReport& report() const noexcept { return report_; }

  // Writes what is left of a group. The file stays even if that fails.
  Result<Rewritten> rewrite(const Group& group);

 private:
  // What is left of a segment, and whether that differs from what there is.
  struct Plan {
    bool looked_at = true;          // it begins where the map knows the keys
    bool whole = true;              // it can be read from end to end
    bool tombstones_may_go = true;  // all that they superseded is gone, or goes before them
    bool changes = false;
    std::uint64_t bytes = 0;  // about so many are left
    std::uint64_t records_removed = 0;
    std::uint64_t tombstones_removed = 0;
    std::uint64_t tombstones_kept = 0;
    std::uint64_t records = 0;
  };

  enum class Verdict : std::uint8_t { keep, superseded, expired };

  // A frame of records, and what to do with it.
  struct Judged;
  class Merger;

  // Calls visit(frame, newest timestamp so far) with every frame; it returns whether to go on. False: the segment is not
  // what it should be, or has something in it that is not to be touched.
  template <class Visit>
  Result<bool> walk(const SegmentMeta& meta, Visit visit);

  Result<void> fill_map();
  Result<void> plan_segment(std::size_t i);
  void form_groups();
  Result<std::optional<FrameRecords>> records_of(const Frame& frame, const SegmentMeta& meta);
  Result<bool> judge(const Frame& frame, const SegmentMeta& meta, bool tombstones_may_go,
                     Judged& judged);
  Verdict verdict(const RecordView& record, std::int64_t horizon_ms, bool tombstones_may_go) const;
  Result<void> spent(std::uint64_t bytes);

  LogCore& core_;
  const std::vector<SegmentMeta> sealed_;
  const std::uint64_t cleaned_;
  const Compaction how_;
  const Pace pace_;
  const Progress& progress_;
  const std::int64_t now_ms_;

  std::optional<KeyMap> map_{};
  std::uint64_t map_end_ = 0;  // it knows the keys of [cleaned_, map_end_)
  std::vector<Plan> plans_{};
  std::vector<Group> groups_{};
  CompactionReport report_{};
  std::vector<std::byte> unpacked_{};  // the records of the compressed frame that is looked at

  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// What a pass over these segments would do, as far as one key map reaches.
Result<CompactionReport> preview_compaction(LogCore& core, const std::vector<SegmentMeta>& sealed,
                                            const Progress& progress);

// Gives a compacted segment its own name, if it still has the one that it was written with. Whether it had. The names
// are to be synced.
Result<bool> name_compacted(StorageBackend& storage, LogId log, const SegmentMeta& meta);

}  // namespace varve::inline v0::detail
