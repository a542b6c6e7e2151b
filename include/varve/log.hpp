// Log: a durable, append-only sequence of records in a directory.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "varve/export.hpp"
#include "varve/metrics.hpp"
#include "varve/observer.hpp"
#include "varve/options.hpp"
#include "varve/pin.hpp"
#include "varve/reader.hpp"
#include "varve/record.hpp"
#include "varve/result.hpp"
#include "varve/snapshot.hpp"
#include "varve/storage.hpp"
#include "varve/subscription.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// The log. Const members may be called from any thread; so may append, sync, wait, tick, compact and truncate_prefix.
// open, close, moving and destroying must not run beside anything else, except that close() lets
// appends that are under way finish or answer Errc::closed.
//
// After fork() a Log belongs to the parent: in the child, appends answer Errc::closed, and destroying it does
// nothing to the log.
//
// Offsets in the log: start_offset() <= durable_offset() <= end_offset(). Records in
// [start_offset(), end_offset()) can be read, those below durable_offset() survive a loss of power.
class VARVE_EXPORT Log {
 public:
  // Opens the log in `directory`, making it first if there is none (Options::create), and recovers it
  // if it was not closed. Recovery changes no segment, drops nothing that was durable, and is told by recovery().
  //
  // Errors: Errc::locked (somebody else writes), Errc::corrupt (durable records are damaged or files
  // missing: nothing was changed; open it read_only, or see salvage.hpp), Errc::not_a_log,
  // Errc::unsupported_format, Errc::invalid_argument (options), Errc::no_space, or the system's own.
  static Result<Log> open(const std::filesystem::path& directory, Options options = {});
  static Result<Log> open(std::shared_ptr<StorageBackend> storage, Options options = {});

  Log(Log&&) noexcept;
  Log& operator=(Log&&) noexcept;
  ~Log();  // closes; an error in that is lost, so call close() to see it

  // Makes everything durable and marks the log as closed properly, so that the next open is instant.
  // Appends after it answer Errc::closed. Calling it again does nothing.
  Result<void> close();

  // Appends a record and returns its offset once it is as safe as `options.ack` asks for.
  //
  // Errors: Errc::batch_too_large, Errc::no_space, EMFILE and the like: nothing was appended, and later
  // appends may succeed. Errc::invalid_argument: no key, though Options::compaction needs one. Errc::failed: a write or sync failed; records acknowledged before are what
  // they were, this one may or may not be there after reopening. Errc::closed, Errc::read_only.
  Result<Offset> append(const Record& record, AppendOptions options = {});

  // Appends records as one batch, all or nothing, also through a crash. An empty batch is refused. If it is to be
  // compressed, that is done as a whole and before anybody has to wait for this append; Errc::invalid_argument for a
  // codec or a level that the log does not have.
  Result<OffsetRange> append(std::span<const Record> records, AppendOptions options = {});

  // Makes all that was appended before the call durable.
  Result<void> sync();

  // Waits until the record at `offset` is as safe as `ack` asks for, flushing if need be: append many
  // with Ack::os, then wait once for the last. Waiting for an offset that was not yet handed out
  // waits for its append, too. False when the time is over.
  Result<bool> wait(Offset offset, Ack ack, std::chrono::milliseconds timeout) const;

  // Waits until the record at `offset` can be read. False when the time is over.
  Result<bool> wait(Offset offset, std::chrono::milliseconds timeout) const;

  // A cursor that reads `from` first. Never fails by itself: the first read does, if `from` is out
  // of range.
  Reader reader(Offset from, ReadOptions options = {}) const;

  // Hands the records from `from` on to `handler`, those that are there and those to come: see subscription.hpp. The
  // Subscription may outlive the Log. Errors: Errc::offset_out_of_range, Errc::closed, Errc::read_only (a pin), or the
  // system's, for want of a thread.
  Result<Subscription> subscribe(Offset from, RecordHandler handler,
                                 const SubscribeOptions& options = {}) const;

  // The offset of the first record whose timestamp is at or after `time`; end_offset() if there is
  // none. Timestamps need not be in order.
  Result<Offset> find(Timestamp time) const;

  // Forgets the records below `new_start`, durably, and removes the segments that hold none besides.
  // Errors: Errc::offset_out_of_range above end_offset(); below start_offset() it does nothing.
  Result<void> truncate_prefix(Offset new_start);

  // Compacts all sealed segments, now: of each key only the latest record in them stays, with its offset, and a
  // tombstone until its time is over. Options::compaction says what memory and which times it goes by, or the defaults of
  // Compaction do; its ratio, lags and limit of speed are not asked. Appending and reading go on. Nothing is lost when it
  // fails or is interrupted: what it replaced until then stays replaced.
  //
  // Errors: Errc::no_space, Errc::closed, Errc::read_only (but for a dry run), or the system's own. Segments that are
  // damaged are left alone.
  Result<CompactionReport> compact(const CompactOptions& options = {});

  // Keeps the records from `from` on out of reach of Options::retention for as long as the Pin lives.
  // Errors: Errc::offset_out_of_range outside [start_offset(), end_offset()]; Errc::read_only, for
  // a log is forgotten by its writer.
  Result<Pin> pin(Offset from) const;

  // Makes `directory`, which is made if it is missing and must be empty, a log of its own with all records that were
  // appended before the call: see snapshot.hpp, also for the errors. Makes them durable here first, and keeps
  // Options::retention from them meanwhile. Appends go on. Also of a log opened for reading.
  Result<SnapshotReport> snapshot(const std::filesystem::path& directory,
                                  const SnapshotOptions& options = {}) const;
  Result<SnapshotReport> snapshot(StorageBackend& to, const SnapshotOptions& options = {}) const;

  // The offsets of the first record kept, of the next one appended, and of the first that a loss of
  // power might take.
  Offset start_offset() const noexcept;
  Offset end_offset() const noexcept;
  Offset durable_offset() const noexcept;

  // Up to where readers see by default. Without replication, end_offset().
  Offset high_watermark() const noexcept;

  // The epoch that new records get.
  Epoch epoch() const noexcept;

  std::vector<SegmentInfo> segments() const;
  Metrics metrics() const noexcept;
  const RecoveryReport& recovery() const noexcept;  // of this open

  // Does the chores that are due (Background::manual) and returns. Harmless otherwise.
  Result<void> tick();

 private:
  struct Impl;
  explicit Log(std::unique_ptr<Impl> impl) noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace varve::inline v0
