// Snapshots: a log as it is at one moment, as a log of its own. What backups are made of.
#pragma once

#include <cstdint>

#include "varve/export.hpp"
#include "varve/inspect.hpp"
#include "varve/logger.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

struct SnapshotOptions {
  // Sealed segments, which never change again, become second names of the same files where the storage can do that
  // (hard links): at once, and without taking room. They then share what a failing medium does to them.
  bool share = true;

  // At work for no more than so much of the time, in percent (1 to 100), so that appends get theirs of the medium.
  std::uint32_t time_percent = 25;

  // Bytes put in place, of all there are. While a log takes a snapshot it must not be called back for another, for a
  // tick(), or to be compacted.
  Progress progress{};

  // Hears how it went; borrowed during the call. Null: of a log that is open, Options::logger does.
  Logger* logger = nullptr;
};

struct SnapshotReport {
  OffsetRange offsets{};  // of the records in it
  std::uint64_t segments = 0;
  std::uint64_t shared = 0;        // of these
  std::uint64_t bytes = 0;         // of all segments
  std::uint64_t bytes_copied = 0;  // what was not shared
};

// Makes `to`, which must be empty, a log with the records that can be read in `from` now; it is durable, closed
// properly, has the same log id, and a new epoch for what it may be given itself. Changes nothing in `from`, and works
// beside a writer, who does not wait for it; what that truncates meanwhile may be left out. See Log::snapshot for a log
// that is open.
//
// Sealed segments are taken as they are, unread: verify() tells whether one has gone bad.
//
// Errors: Errc::corrupt (the tail is damaged, or a segment missing, too short or another's), ENOTEMPTY, Errc::locked,
// Errc::no_space or the system's own; `to` is then as empty as it was, but for its lock and what could not be removed. A
// snapshot that was interrupted has no manifest, and is refused as a log.
VARVE_EXPORT Result<SnapshotReport> snapshot(StorageBackend& from, StorageBackend& to,
                                             const SnapshotOptions& options = {});

// Makes `to`, which must be empty, the log that `backup` holds. Shares nothing with it, and verifies every byte of
// both: a backup that is damaged is refused (Errc::corrupt) before anything is written, and a copy that does not verify is
// removed. Verifying, copying and verifying each tell their own progress; `logger`, borrowed during the call, hears how it
// went. Errors: as snapshot().
VARVE_EXPORT Result<SnapshotReport> restore(StorageBackend& backup, StorageBackend& to,
                                            const Progress& progress = {},
                                            Logger* logger = nullptr);

}  // namespace varve::inline v0
