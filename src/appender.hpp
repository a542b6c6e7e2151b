// Appender: the one place where records enter a log. Any number of threads append; a short lock orders
// them; those who want durability share one flush (group commit).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "batch_packer.hpp"
#include "event_count.hpp"
#include "log_core.hpp"
#include "manifest.hpp"
#include "varve/detail/segment_writer.hpp"
#include "varve/options.hpp"
#include "varve/record.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::detail {

// Where the log ends, and so where appending goes on.
struct LogEnd {
  std::uint64_t next_offset = 0;
  std::uint64_t next_sequence = 0;
  std::uint64_t next_position = 0;  // counted through all segments
  std::int64_t append_time_ms = no_time;
  std::uint64_t segment_id = 0;   // of the last segment; 0: none
  std::uint64_t segment_end = 0;  // its end position
};

// A segment that was succeeded by another and is to be recorded as sealed.
struct RolledSegment {
  SegmentMeta meta{};
  std::shared_ptr<SegmentWriter> writer{};
};

// The active segment, if it has records.
struct Filling {
  std::shared_ptr<SegmentWriter> segment{};
  Position end{};                                 // of what is sealed in it
  std::optional<std::int64_t> first_append_ms{};  // unless that was before the log was opened
};

// Below which offset all is covered by the flush in progress, or else the last one, and the turn that those take who
// wait for it. One word, for they belong together; offsets leave a bit free.
class Coverage {
 public:
  bool covers(std::uint64_t end) const noexcept { return end <= word_ >> 1; }
  std::size_t turn() const noexcept { return word_ & 1; }
  std::size_t next_turn() const noexcept { return turn() ^ 1; }
  Coverage followed_by(std::uint64_t end) const noexcept {
    Coverage next;
    next.word_ = end << 1 | next_turn();
    return next;
  }

 private:
  std::uint64_t word_ = 0;
};

class Appender {
 public:
  // `active`: the segment to go on with, after a clean close; null otherwise.
  Appender(std::shared_ptr<LogCore> core, std::shared_ptr<ManifestKeeper> manifest,
           const LogEnd& end, std::shared_ptr<SegmentWriter> active);

  Result<OffsetRange> append(std::span<const Record> records, const AppendOptions& options);

  enum class Reach : std::uint8_t {
    all,     // everything
    rolled,  // the segments that were rolled: their successor is still growing, and dear to flush
  };

  // Makes that durable, the names of all files included.
  Result<void> sync(Reach reach = Reach::all);

  // Seals that segment, which has records, if it still is the active one.
  Result<void> roll_if_active(const SegmentWriter& segment);

  // Waits until all below `end` is durable, leading flushes if need be. False when the time is over.
  Result<bool> wait_durable(std::uint64_t end, const Deadline& deadline);

  // Refuses all appends from now on and makes the rest durable.
  Result<void> close();

  Epoch epoch() const noexcept { return {epoch_}; }

  // ---- for the background ----

  // Sets what is called when there is something to prepare, and when there is something to record or to
  // flush. Neither must call back.
  void on_work(std::function<void()> ahead, std::function<void()> chores);

  Result<void> make_ready();     // pages ahead of the active segment's end
  Result<void> prepare_spare();  // the next segment's file, if the active one is half full
  void discard_spare();
  std::vector<RolledSegment> rolled() const;       // those not yet recorded, oldest first
  void forget_rolled(std::size_t count) noexcept;  // the first ones are
  std::size_t rolled_count() const noexcept {
    return rolled_count_.load(std::memory_order_relaxed);
  }
  bool wants_sync() const;  // SyncPolicy::every_bytes is reached
  bool has_unsynced() const;
  std::shared_ptr<SegmentWriter> active() const;
  Filling filling() const;
  SegmentMeta active_meta() const;                         // id 0: there is none
  SegmentMeta unrecorded_after(std::size_t rolled) const;  // the segment behind that many, as begun
  bool wrote() const;                                      // anything, since the log was opened
  LogEnd end() const;

 private:
  Result<OffsetRange> append(std::span<const Record> records, std::span<const RecordSize> sizes,
                             std::uint64_t bytes, const AppendOptions& options);
  Result<std::optional<OffsetRange>> append_packed(std::span<const Record> records,
                                                   std::span<const RecordSize> sizes,
                                                   std::uint64_t bytes, const Compression* how,
                                                   Ack ack);
  Result<std::optional<OffsetRange>> append_frame(const BatchPacker& batch, std::uint32_t count,
                                                  std::uint64_t bytes, std::int64_t base_time_ms,
                                                  Ack ack);
  void show(const OffsetRange& range, std::uint64_t bytes) noexcept;
  Result<void> wait_disk(std::uint64_t end, std::chrono::steady_clock::time_point called);
  Result<void> check_keys(std::span<const Record> records) const;
  Error too_large(std::size_t record, std::size_t records, std::uint64_t bytes) noexcept;
  Result<void> check_open() const;
  Result<void> check_offsets(std::uint64_t count) const;
  Result<void> make_room(std::uint64_t bytes, std::uint64_t count);
  Result<void> make_room_for_frame(std::uint64_t body_bytes, std::uint64_t count);
  Result<void> wait_ready(std::uint64_t reach);
  Result<void> begin_writing();
  Result<void> roll();
  Result<void> ensure_spare();
  void install(std::shared_ptr<SegmentWriter> next, SegmentList& list) noexcept;
  void seal_and_open_frame() noexcept;
  FrameFields fields() const noexcept;
  std::uint64_t end_position() const noexcept;  // where the open frame starts
  std::uint64_t unsynced_bytes() const noexcept;
  std::uint32_t sync_lag() const noexcept;
  std::uint32_t lag_to(std::uint64_t position) const noexcept;
  void tick_clock(Ack ack) noexcept;
  void note_first_append() noexcept;
  void notice_work() noexcept;
  struct Synced {
    std::uint64_t end_offset = 0;
    std::chrono::nanoseconds took{};
  };
  Result<void> lead_flush(Reach reach);
  Result<std::optional<Synced>> flush(Reach reach);
  bool list_first_segment();
  Result<void> sync_files(const std::vector<std::shared_ptr<SegmentFile>>& files, bool names);
  Error refuse(Error error) noexcept;

  const std::shared_ptr<LogCore> core_;
  const std::shared_ptr<ManifestKeeper> manifest_;
  const std::uint32_t body_bytes_max_;
  const std::uint64_t
      packed_bytes_;  // appends of so many are frames of their own, made before they are placed
  const std::uint32_t epoch_;
  const Compression* const compression_;  // what Options ask for; null: nothing
  const bool has_policy_;                 // SyncPolicy asks for a look at every append
  const bool rolls_by_age_;
  const bool needs_keys_;

  // The end of the log. The lock is held for the placing of records, and for a roll.
  mutable std::mutex mutex_;
  LogEnd end_;                             // of the last segment, while none is active
  std::shared_ptr<SegmentWriter> active_;  // null until the first append to a new or recovered log
  std::optional<std::int64_t> first_append_ms_;  // to the active segment, since the log was opened
  bool writing_ = false;                         // begin_writing() is done
  bool clean_on_disk_;                           // the manifest still says so
  std::int64_t now_ms_;                          // the log's clock: never runs backwards
  std::uint64_t durable_position_;               // of the durable end, counted through all segments
  std::vector<std::shared_ptr<SegmentFile>> unsynced_;  // rolled since the last flush
  bool names_unsynced_ = false;
  bool list_active_ = false;  // the manifest does not list the active segment yet
  std::vector<RolledSegment> rolled_;
  std::atomic<std::size_t> rolled_count_{0};
  std::uint64_t noticed_at_ = 0;  // ready() of the active segment when the chores were last told
  bool spare_noticed_ = false;
  bool sync_noticed_ = false;         // since the last flush
  std::atomic<Coverage> coverage_{};  // stored under the lock
  std::function<void()> call_ahead_;
  std::function<void()> call_chores_;

  std::mutex spare_mutex_;  // after mutex_, if both
  std::shared_ptr<SegmentWriter> spare_;
  std::uint64_t next_segment_id_;

  std::atomic<bool> flushing_{false};  // whoever sets it leads the flush
};

}  // namespace varve::inline v0::detail
