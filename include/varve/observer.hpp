// Observer: what happened to a log, told as it happens.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "varve/error.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// A segment of the log: a file of records with consecutive offsets.
struct SegmentInfo {
  std::string file{};       // name within the log's directory
  OffsetRange offsets{};    // of the records in it
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
  virtual void on_synced(Offset /*durable*/, std::chrono::nanoseconds /*took*/) {}
  virtual void on_no_space(const Error&) {
  }  // the next segment could not be prepared; see Errc::no_space
  virtual void on_failed(const Error&) {}  // the log takes no more appends until it is reopened
};

}  // namespace varve::inline v0
