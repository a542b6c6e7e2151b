// Manifest: which segments are the log, in order, and the few facts that must not be guessed. One small
// file, replaced as a whole: the rename, made durable, is the commit point of every change of structure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "varve/detail/segment.hpp"
#include "varve/detail/try.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// The first offset of an epoch.
struct EpochStart {
  std::uint32_t epoch = 0;
  std::uint64_t offset = 0;
};

// A segment that no longer belongs to the log and whose file is to go.
struct DroppedSegment {
  std::uint64_t id = 0;
  std::uint64_t base_offset = 0;
};

struct Manifest {
  LogId log{};
  std::uint64_t generation = 0;
  std::uint64_t start_offset = 0;
  std::uint64_t next_segment_id = 1;
  bool clean = false;  // closed properly: the state below is that of the log's very end
  bool salvaging =
      false;  // files are being replaced by those that the list below names: see salvage.hpp

  // What the segment behind the last one listed continues; with `clean`, what the next frame does.
  std::uint64_t next_offset = 0;
  std::uint64_t next_sequence = 0;
  std::uint64_t next_position = 0;  // counted through all segments
  std::int64_t append_time_ms = no_time;

  // Compaction has seen all records below it, and left the latest of each key.
  std::uint64_t cleaned_offset = 0;

  std::vector<EpochStart> epochs{};
  std::vector<SegmentMeta>
      segments{};  // the last one may be unsealed; its end is then what was durable
  std::vector<DroppedSegment> dropped{};

  std::uint32_t epoch() const noexcept { return epochs.empty() ? 0 : epochs.back().epoch; }

  // Whether a segment that begins there is in the log.
  bool lists(std::uint64_t base_offset) const noexcept {
    return std::any_of(segments.begin(), segments.end(),
                       [&](const SegmentMeta& meta) { return meta.base_offset == base_offset; });
  }

  // From there on records have that epoch. One that got no record is forgotten.
  void begin_epoch(std::uint32_t epoch, std::uint64_t offset) {
    if (!epochs.empty() && epochs.back().offset == offset) epochs.pop_back();
    epochs.push_back({epoch, offset});
  }

  // The log ends behind the last segment listed, if there is one.
  void end_behind_last() noexcept {
    if (segments.empty()) return;
    const SegmentMeta& last = segments.back();
    next_offset = last.end_offset;
    next_sequence = last.end_sequence;
    next_position = last.next_position();
  }
};

std::vector<std::byte> encode_manifest(const Manifest& manifest);

// Errors: Errc::corrupt, Errc::unsupported_format.
Result<Manifest> decode_manifest(Bytes file);

// Nullopt if there is no such file.
Result<std::optional<Manifest>> load_manifest(StorageBackend& storage);

// Replaces the manifest by this one, durably. A transient error (see is_transient) leaves the old one; after
// any other it is not known which one the medium holds.
Result<void> store_manifest(StorageBackend& storage, const Manifest& manifest);

// The manifest of a log that is open for writing. Any thread.
class ManifestKeeper {
 public:
  ManifestKeeper(StorageBackend& storage, Manifest manifest)
      : storage_(&storage), manifest_(std::move(manifest)) {}

  Manifest snapshot() const {
    const std::lock_guard lock(mutex_);
    return manifest_;
  }

  // What `look` makes of the manifest, which is not copied for it: a list of thousands of segments is some 100 KB.
  template <class Look>
  auto look(Look look) const {
    const std::lock_guard lock(mutex_);
    return look(manifest_);
  }

  // Applies `change` to the manifest and stores the result. On an error the old one stands, on disk
  // as here, unless the medium failed between renaming and syncing the name.
  template <class Change>
  Result<void> update(Change change) {
    const std::lock_guard lock(mutex_);
    Manifest next = manifest_;
    change(next);
    // Whatever becomes of it, it may be on the medium: never used for another.
    next.generation = ++manifest_.generation;
    VARVE_TRY(store_manifest(*storage_, next));
    manifest_ = std::move(next);
    return {};
  }

  // Leaves these out from the next update on: their files are gone.
  void forget_dropped(const std::vector<DroppedSegment>& gone) {
    const std::lock_guard lock(mutex_);
    std::erase_if(manifest_.dropped, [&](const DroppedSegment& one) {
      return std::any_of(gone.begin(), gone.end(),
                         [&](const DroppedSegment& other) { return other.id == one.id; });
    });
  }

 private:
  StorageBackend* storage_;
  mutable std::mutex mutex_;
  Manifest manifest_;
};

}  // namespace varve::inline v0::detail
