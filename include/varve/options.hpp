// Options: how a log is opened, appended to and read.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "varve/compression.hpp"
#include "varve/environment.hpp"
#include "varve/logger.hpp"
#include "varve/observer.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// What an append survives once it has returned.
enum class Ack : std::uint8_t {
  os,    // the death of this process, however sudden: the operating system has the bytes
  disk,  // a loss of power: the medium has the bytes
};

// Flushes in the background behind appends with Ack::os, so that a loss of power costs a bounded
// suffix: whichever limit is reached first. Zero means no such limit.
struct SyncPolicy {
  std::uint64_t every_bytes = 0;
  std::chrono::milliseconds every{0};
};

// What a log forgets by itself: its oldest segments, whole and sealed ones only. Zero means no such limit. Looked at
// by the log's chores (see Background) when it was opened, when a segment was sealed, and when one gets too old.
struct Retention {
  // The oldest segment goes while those behind it have at least so many bytes in all.
  std::uint64_t bytes = 0;

  // A segment goes when the last append to it, or the one that it had no room for, was so long ago by the log's own
  // append times, whatever timestamps records were given.
  //
  // The active segment is sealed for that when its first append was so long ago, so that a record is gone after
  // twice that time.
  std::chrono::milliseconds age{0};

  // Pins (Log::pin) that were neither made nor moved for so long count no more; zero: they always do.
  std::chrono::milliseconds pin_age = std::chrono::hours(24);
};

// What a log whose records are about keys keeps of each: the latest record, with its offset. A record without a value (a
// tombstone) says that its key is gone, and goes itself after a while. Order stays, offsets of what is gone are not used
// again, and reading passes over them. Looked at when a segment was sealed and when the log was opened; only sealed
// segments are compacted, and only records in them supersede others.
//
// Needs room for the largest segment once more. Pins and subscriptions keep nothing from being compacted: whoever reads
// meanwhile sees of each key the latest record in any case, and may miss those that it superseded.
struct Compaction {
  // A pass begins when so large a share of the bytes that may be compacted was not looked at yet.
  double min_dirty_ratio = 0.5;

  // Records stay as they are for so long after their append, by the log's own append times: what is younger, and all
  // behind it, is left alone.
  std::chrono::milliseconds min_lag{0};

  // A pass begins in any case when the first record that was not looked at is so old; the active segment is sealed for
  // that. Zero: it does not.
  std::chrono::milliseconds max_lag{0};

  // How long a tombstone stays, counted from the first pass that saw it: whoever reads the log from its start within
  // that time learns that the key is gone.
  std::chrono::milliseconds delete_retention = std::chrono::hours(24);

  // The most memory that a pass takes to remember keys, at 24 bytes a key and a quarter of it free. Where there are more
  // keys than fit it goes on with them in another pass. Keys are told by 128-bit hashes with a random seed: that any two
  // of a million are taken for one has a chance of one in 10^26.
  std::uint64_t key_map_bytes = 64u << 20;

  // The most that the background reads in a second, and so about the most that it writes; zero: all it can.
  std::uint64_t bytes_per_second = 64u << 20;
};

// How Log::compact goes about it.
struct CompactOptions {
  bool dry_run = false;  // only say what would be done; of a log that is open for reading, too
  Progress
      progress{};  // bytes read of all there are to read, in each pass; must not call compact() or tick()
};

enum class Access : std::uint8_t {
  read_write,  // one Log at a time, among all processes (Errc::locked)
  read_only,   // any number, beside a writer too; writes nothing, not even a lock
};

// What opening for append does about a tail that was never durable and is torn.
enum class Recovery : std::uint8_t {
  drop_torn_tail,      // cut it off and report it
  fail_on_any_damage,  // answer Errc::corrupt, so that somebody looks first
};

// Who does the log's chores: preparing segments, sealing them, removing files, compaction, SyncPolicy.
enum class Background : std::uint8_t {
  thread,  // two threads of varve's, shared by all logs of the process, and a third if any is compacted
  manual,  // the host, by calling Log::tick(); what cannot wait is done by the call that needs it
};

struct Options {
  Access access = Access::read_write;
  bool create = true;  // make the directory and the log if there is none

  // Size at which a segment is full: 16 KiB to 1 GiB, a multiple of 4096. A record never spans two.
  std::uint32_t segment_bytes = 64u << 20;

  // The sparse index has an entry about every so many bytes.
  std::uint32_t index_interval_bytes = 4096;

  // The greatest encoded size of one append. nullopt: 1 MiB, or what fits a segment if that is less.
  std::optional<std::uint32_t> batch_bytes_max{};

  // The first record's offset in a log that is being made; an existing log keeps its own.
  Offset first_offset{};

  // A segment that has records is sealed once its first append was so long ago, however small it is. Zero: not before
  // it is full.
  std::chrono::milliseconds segment_age{0};

  // How much of what this Log appended last the system is to keep in its page cache: sealed segments further back are
  // given back once they are durable, unless a reader has them mapped, so that a flood of appends does not push out what
  // the host needs. Reading them again takes the medium. nullopt: the system decides.
  std::optional<std::uint64_t> page_cache_bytes = std::uint64_t{1} << 30;

  Retention retention{};

  // nullopt: records are kept whatever their keys are. Else each one must have a key (Errc::invalid_argument); those of
  // the log's that have none are kept.
  std::optional<Compaction> compaction{};

  SyncPolicy sync{};
  Recovery recovery = Recovery::drop_torn_tail;
  Background background = Background::thread;
  std::shared_ptr<Observer> observer{};
  std::shared_ptr<Logger> logger{};            // null: nobody hears of events
  std::shared_ptr<Environment> environment{};  // null: the system's clock and random numbers

  // How appends are compressed that do not say so themselves: each by itself, so it pays for batches, not for
  // small records one by one. What does not get smaller is stored as it is.
  Compression compression{};

  // To read what was compressed with them, and for AppendOptions::compression; that of `compression` need not be
  // among them. Of several with the same id the first counts.
  std::vector<std::shared_ptr<const Codec>> codecs{};
};

struct AppendOptions {
  Ack ack = Ack::disk;

  // Null: Options::compression. Its codec, if it has one, is among those the log was opened with. Borrowed until
  // append returns.
  const Compression* compression = nullptr;
};

// Up to where a reader sees.
enum class Visible : std::uint8_t {
  committed,  // up to high_watermark(): in a log without replication all that was appended
  durable,    // up to durable_offset(): nothing that a loss of power could take back
};

struct ReadOptions {
  std::optional<Offset> until{};  // stop before this offset
  Visible visible = Visible::committed;
};

}  // namespace varve::inline v0
