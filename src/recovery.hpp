// Recovery: the one way in which a log is opened. Finds its files, decides what of them is the log, and
// says where appending goes on. docs/durability.md has the table of damage that it follows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "appender.hpp"
#include "manifest.hpp"
#include "segment_scan.hpp"
#include "varve/observer.hpp"
#include "varve/options.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// What the directory holds.
struct Inventory {
  struct File {
    std::uint64_t base_offset = 0;
    std::uint64_t size = 0;
    friend bool operator==(const File&, const File&) = default;
  };
  std::vector<File> segments{};   // by base offset
  std::vector<File> compacted{};  // that have not taken their place yet, likewise
  std::vector<std::string> unknown{};
  std::vector<Damage> misplaced{};  // links, directories and the like under a name of varve's

  const File* find(std::uint64_t base_offset) const noexcept;
  const File* find_compacted(std::uint64_t base_offset) const noexcept;
};

Result<Inventory> take_inventory(StorageBackend& storage);

// Gives those compacted segments their names that the manifest lists, and removes what compactions that never counted left.
// The caller holds the lock.
Result<void> name_compacted(StorageBackend& storage, const Manifest& manifest,
                            const Inventory& inventory);

// A segment at the log's end whose extent only its frames tell.
struct TailSegment {
  std::shared_ptr<SegmentFile> file{};
  SegmentMeta meta{};  // its end: as scanned, or as the manifest has it
  SegmentScan scan{};
  std::shared_ptr<GrowingIndex> index{};
  std::uint64_t file_size = 0;
  bool chained = false;  // continues the segment before it
};

// What a log's frames and manifest say, without anything having been changed.
struct Survey {
  Inventory inventory{};
  Manifest manifest{};
  std::vector<TailSegment> tail{};     // in order; those not chained lie behind damage
  LogEnd end{};                        // of the unbroken log
  std::uint64_t durable_position = 0;  // at least up to here it was durable
  std::vector<Damage> torn{};
  std::vector<Damage> lost{};  // damage below the durable end; empty: nothing is lost
};

// Reads the manifest and, unless it says that the log was closed properly, scans the tail. `writing`: reads
// from the medium itself, after flushing what the system still holds.
// Errors: Errc::corrupt for what not even reading can get around (no manifest, a missing segment, ...).
Result<Survey> survey(StorageBackend& storage, const Manifest& manifest, Inventory inventory,
                      const Options& options, bool writing);

// What stands where a segment was closed. Closing leaves the place of the next frame there.
enum class CleanEnd : std::uint8_t {
  good,   // that place, or what damage made of it: it does not matter
  blank,  // nothing: the segment is an older copy, or was blanked
  more,   // a frame: the manifest is an older copy
};
Result<CleanEnd> look_at_clean_end(ByteSource& source, std::uint64_t salt, Position end);

struct Recovered {
  Manifest manifest{};
  LogEnd end{};
  std::uint64_t durable_offset = 0;
  RecoveryReport report{};
  std::optional<TailSegment> active{};  // writing: to go on with; reading: to follow
  std::vector<TailSegment>
      sealed_tail{};  // reading: those before it that the manifest does not know as sealed
};

// Opens a log for appending: makes it if it is not there, recovers it if it was not closed. The caller
// holds the lock.
Result<Recovered> recover_for_writing(StorageBackend& storage, const Options& options);

// The same for reading only: changes nothing, and goes on in the face of damage.
Result<Recovered> recover_for_reading(StorageBackend& storage, const Options& options);

}  // namespace varve::inline v0::detail
