// Observer: what happened to a log, told as it happens.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "varve/error.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// How far long work has come: bytes read, or put in place, of all there are.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// A segment of the log: a file of records with consecutive offsets.
struct SegmentInfo {
  std::string file{};       // name within the log's directory
  OffsetRange offsets{};    // that it covers; compaction leaves some without a record
  std::uint64_t bytes = 0;  // from the file's start to the end of its last frame
  Timestamp newest{};       // greatest timestamp of its records
  bool sealed = false;      // complete and immutable
};

// Bytes of a file that recovery found unusable, and what that means.
struct Damage {
  std::string file{};
  Position begin{};
  Position end{};
  OffsetRange
      offsets{};       // records that are lost or unreadable because of it; empty if none are known
  std::string what{};  // for people
};

// What opening a log found and did.
struct RecoveryReport {
  bool clean = true;                   // closed properly before: nothing was scanned
  std::uint64_t segments = 0;          // in the log now
  std::uint64_t segments_scanned = 0;  // read and verified frame by frame
  std::uint64_t records_scanned = 0;   // verified in them
  std::uint64_t bytes_scanned = 0;
  std::uint64_t frames_dropped =
      0;  // intact, but behind a tear: written, never durable, never acknowledged as such
  std::uint64_t bytes_dropped = 0;  // behind the end of the last good frame that are not blank
  std::vector<Damage> torn{};       // the tails that were cut off; nothing acknowledged as durable
  std::vector<Damage>
      lost{};  // durable records that are damaged (a read-only open goes on, others refuse)
  std::vector<std::string> unknown_files{};  // not varve's; kept
  std::chrono::microseconds took{0};
};

// What compaction did to a log's sealed segments, or would do.
struct CompactionReport {
  bool dry_run = false;  // nothing was changed
  std::uint64_t passes =
      0;             // over the log; more than one where keys exceed Compaction::key_map_bytes
  Offset cleaned{};  // below it a record is the latest of its key, as far as segments are sealed
  std::uint64_t segments_before = 0;
  std::uint64_t segments_after = 0;
  std::uint64_t segments_left_alone =
      0;  // they hold damage, a gap, or what this version cannot read
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
  std::uint64_t records_before = 0;
  std::uint64_t records_removed = 0;     // superseded by later ones
  std::uint64_t tombstones_removed = 0;  // whose time was over
  std::uint64_t tombstones_kept = 0;
  std::uint64_t keys = 0;           // the most that a pass had to remember,
  std::uint64_t key_map_bytes = 0;  // and the memory that this took
  std::chrono::milliseconds took{0};
};

// Derive from it and override what interests you. Members are called on the thread that acted, with no
// varve lock held; they must not call back into the Log and should return quickly, because that
// thread may be an appender.
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;

  virtual void on_recovered(const RecoveryReport&) {}
  virtual void on_rolled(const SegmentInfo& /*sealed*/) {}
  virtual void on_removed(const SegmentInfo&) {}
  virtual void on_compacted(const CompactionReport&) {}  // that changed something
  virtual void on_synced(Offset /*durable*/, std::chrono::nanoseconds /*took*/) {}
  virtual void on_no_space(const Error&) {
  }  // the next segment could not be prepared; see Errc::no_space
  virtual void on_failed(const Error&) {}  // the log takes no more appends until it is reopened
};

}  // namespace varve::inline v0
