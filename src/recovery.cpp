#include "recovery.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "chores.hpp"
#include "clock.hpp"
#include "survey_text.hpp"
#include "system_error.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

constexpr std::string_view kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::symlink:
      return "a symbolic link";
    case FileKind::directory:
      return "a directory";
    default:
      return "not a regular file";
  }
}

Manifest new_manifest(const Options& options) {
  Manifest manifest;
  manifest.log = {random_bits(options.environment.get()), random_bits(options.environment.get())};
  manifest.clean = true;
  manifest.start_offset = manifest.next_offset = options.first_offset.value;
  manifest.epochs = {{1, options.first_offset.value}};
  return manifest;
}

Error no_log(const StorageBackend& storage, const Inventory& inventory, const char* why) {
  std::string text = storage.describe() + ": " + why;
  if (!inventory.unknown.empty()) text += " (it holds '" + inventory.unknown.front() + "')";
  return {Errc::not_a_log, std::move(text)};
}

// Whether the manifest, or that there is none (null), goes with what the directory holds.
Result<void> check_manifest(const StorageBackend& storage, const Manifest* manifest,
                            const Inventory& inventory) {
  if (!inventory.misplaced.empty()) {
    const Damage& first = inventory.misplaced.front();
    return damage_error(first.file, first.what);
  }
  if (manifest != nullptr && manifest->salvaging)
    return damage_error(std::string(manifest_name), "a salvage was interrupted: run it again");
  if (manifest != nullptr) return {};
  if (!inventory.segments.empty())
    return damage_error(std::string(manifest_name), "missing, although there are segments");
  if (!inventory.unknown.empty()) return no_log(storage, inventory, "not a log, and not empty");
  return {};
}

}  // namespace

namespace {

const Inventory::File* find_file(const std::vector<Inventory::File>& files,
                                 std::uint64_t base_offset) noexcept {
  const auto found = std::lower_bound(
      files.begin(), files.end(), base_offset,
      [](const Inventory::File& file, std::uint64_t wanted) { return file.base_offset < wanted; });
  return found != files.end() && found->base_offset == base_offset ? &*found : nullptr;
}

void sort_files(std::vector<Inventory::File>& files) {
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.base_offset < b.base_offset; });
}

}  // namespace

const Inventory::File* Inventory::find(std::uint64_t base_offset) const noexcept {
  return find_file(segments, base_offset);
}

const Inventory::File* Inventory::find_compacted(std::uint64_t base_offset) const noexcept {
  return find_file(compacted, base_offset);
}

Result<Inventory> take_inventory(StorageBackend& storage) {
  VARVE_TRY_ASSIGN(const auto entries, storage.list());
  Inventory inventory;
  for (const FileEntry& entry : entries) {
    if (!is_varve_name(entry.name)) {
      if (entry.name != "lost+found") inventory.unknown.push_back(entry.name);
      continue;
    }
    const auto segment = parse_segment_name(entry.name);
    const auto compacted = parse_offset_name(entry.name, compact_suffix);
    FileStatus status{.kind = entry.kind};
    if ((segment || compacted) && entry.kind == FileKind::file) {
      const auto looked_at = storage.stat(entry.name);
      if (!looked_at && is_missing(looked_at.error())) continue;  // removed since it was listed
      if (!looked_at) return looked_at.error();
      status = *looked_at;
    }
    if (status.kind != FileKind::file) {
      inventory.misplaced.push_back(
          {entry.name,
           {},
           {},
           {},
           std::string(kind_name(status.kind)) + " stands where a file of the log belongs"});
      continue;
    }
    if (segment) inventory.segments.push_back({segment->value, status.size});
    if (compacted) inventory.compacted.push_back({compacted->value, status.size});
  }
  sort_files(inventory.segments);
  sort_files(inventory.compacted);
  std::sort(inventory.unknown.begin(), inventory.unknown.end());
  return inventory;
}

Result<void> name_compacted(StorageBackend& storage, const Manifest& manifest,
                            const Inventory& inventory) {
  bool named = false;
  for (const Inventory::File& file : inventory.compacted) {
    const auto listed = std::find_if(
        manifest.segments.begin(), manifest.segments.end(), [&](const SegmentMeta& meta) {
          return meta.base_offset == file.base_offset && meta.is_compacted();
        });
    bool given = false;
    if (listed != manifest.segments.end() && !named) {
      // What is about to be replaced is needed for as long as a loss of power could bring back the manifest before.
      VARVE_TRY(storage.sync_names());
    }
    if (listed != manifest.segments.end()) {
      VARVE_TRY_ASSIGN(given, name_compacted(storage, manifest.log, *listed));
    }
    if (listed != manifest.segments.end() && !given) {
      // Then it must be in place already. Else it is the one that is listed, and damaged: not to be touched.
      VARVE_TRY(
          SegmentFile::open(storage, listed->name(), OpenMode::read, manifest.log, listed->id));
    }
    if (!given) (void)storage.remove(compact_name({file.base_offset}));
    named = named || given;
  }
  return named ? storage.sync_names() : Result<void>();
}

// ---- for reading -------------------------------------------------------------------------------

namespace {

// The log's structure at a time: what the manifest says, and the files, which are not older.
struct Structure {
  bool exists = false;  // the manifest does
  Manifest manifest{};
  Inventory inventory{};

  friend bool operator==(const Structure& a, const Structure& b) noexcept {
    return a.manifest.generation == b.manifest.generation &&
           a.inventory.segments == b.inventory.segments &&
           a.inventory.compacted == b.inventory.compacted;
  }
};

Result<Structure> look_at(StorageBackend& storage) {
  Structure structure;
  VARVE_TRY_ASSIGN(auto manifest, load_manifest(storage));
  structure.exists = manifest.has_value();
  if (manifest) structure.manifest = *std::move(manifest);
  VARVE_TRY_ASSIGN(structure.inventory, take_inventory(storage));
  return structure;
}

Result<Recovered> recover_as(StorageBackend& storage, const Structure& structure,
                             const Options& options) {
  const Inventory& inventory = structure.inventory;
  VARVE_TRY(check_manifest(storage, structure.exists ? &structure.manifest : nullptr, inventory));
  if (!structure.exists) return no_log(storage, inventory, "there is no log here");
  VARVE_TRY_ASSIGN(Survey found, survey(storage, structure.manifest, inventory, options, false));

  Recovered recovered;
  recovered.report = report_of(found);
  recovered.manifest = std::move(found.manifest);
  recovered.end = found.end;
  recovered.durable_offset = durable_offset_of(found);
  for (TailSegment& segment : found.tail) {
    if (found.lost.empty()) {
      if (!segment.chained) break;
      segment.scan.far_end = segment.scan.end;  // a torn tail: the log ends before it
      segment.scan.far_ended = segment.scan.ended;
    }
    // What stands behind lost records is readable, too.
    segment.meta.end_offset = std::max(segment.meta.end_offset, segment.scan.far_end.next_offset);
    segment.meta.end_sequence = segment.scan.far_end.next_sequence;
    segment.meta.end_position = static_cast<std::uint32_t>(segment.scan.far_end.position.value);
    if (recovered.active) recovered.sealed_tail.push_back(*std::move(recovered.active));
    recovered.active = std::move(segment);
  }
  if (recovered.active && !found.lost.empty()) {
    recovered.end.next_offset = recovered.active->meta.end_offset;
    recovered.end.next_sequence = recovered.active->meta.end_sequence;
  }
  return recovered;
}

}  // namespace

Result<Recovered> recover_for_reading(StorageBackend& storage, const Options& options) {
  VARVE_TRY_ASSIGN(Structure structure, look_at(storage));
  // What a writer changes meanwhile looks like damage. So that is damage only which is there twice, and nothing changed.
  constexpr int attempts = 20;
  std::optional<std::uint64_t> end_before;
  for (int attempt = 1;; ++attempt) {
    auto recovered = recover_as(storage, structure, options);
    if (recovered && recovered->report.lost.empty()) return recovered;
    VARVE_TRY_ASSIGN(Structure now, look_at(storage));
    const std::uint64_t end = recovered ? recovered->end.next_position : 0;
    if (attempt == attempts || (now == structure && end_before == end)) return recovered;
    structure = std::move(now);
    end_before = end;
  }
}

// ---- for writing -------------------------------------------------------------------------------

namespace {

Result<Recovered> create_log(StorageBackend& storage, const Options& options) {
  Recovered recovered;
  recovered.manifest = new_manifest(options);
  VARVE_TRY(store_manifest(storage, recovered.manifest));
  recovered.end.next_offset = recovered.durable_offset = recovered.manifest.next_offset;
  return recovered;
}

// Says what opening for append refuses to go on with, and why.
Error refusal(const Survey& found) {
  std::string text = describe(found.lost.front());
  if (found.lost.size() > 1)
    text += "; and " + std::to_string(found.lost.size() - 1) + " more damaged places";
  text += ". Nothing was changed; the log can be read (Access::read_only) or salvaged";
  return {Errc::corrupt, std::move(text)};
}

// The manifest that makes the surveyed tail what the log is: every segment of it sealed where its valid frames end.
// `sealed` gets those that are kept, `manifest.dropped` the others.
Manifest settle(Survey& found, std::vector<const TailSegment*>& sealed) {
  Manifest manifest = found.manifest;
  if (!manifest.segments.empty() && !manifest.segments.back().sealed) manifest.segments.pop_back();
  for (TailSegment& segment : found.tail) {
    manifest.next_segment_id = std::max(manifest.next_segment_id, segment.meta.id + 1);
    if (!segment.chained || segment.meta.end_offset == segment.meta.base_offset) {
      manifest.dropped.push_back({segment.meta.id, segment.meta.base_offset});
      continue;
    }
    segment.meta.sealed = true;
    manifest.segments.push_back(segment.meta);
    sealed.push_back(&segment);
  }
  manifest.begin_epoch(manifest.epoch() + 1, found.end.next_offset);
  manifest.clean = true;
  ++manifest.generation;
  manifest.next_offset = found.end.next_offset;
  manifest.next_sequence = found.end.next_sequence;
  manifest.append_time_ms = found.end.append_time_ms;
  manifest.end_behind_last();
  return manifest;
}

// Gives back the blank room behind a segment's end, and writes its index: conveniences, so that failing
// at them does not matter.
void tidy(StorageBackend& storage, const LogId& log, const TailSegment& segment) {
  constexpr std::uint64_t page = 4096;
  if (!segment.scan.torn()) {
    const std::uint64_t size = (segment.meta.end_position + page - 1) / page * page;
    if (size < segment.file_size) (void)segment.file->file->resize(size);
  }
  (void)store_index(storage, *segment.index, {segment.meta.base_offset},
                    {log, segment.meta.id, segment.meta.end_position});
}

// Opening does not wait until hundreds of files are removed: the chores go on with it. But what has the name that the
// log's next segment may get must be gone before there is one.
std::vector<DroppedSegment> removed_by_opening(const Manifest& manifest) {
  std::vector<DroppedSegment> some;
  std::size_t others = 0;
  for (const DroppedSegment& one : manifest.dropped)
    if (one.base_offset >= manifest.start_offset || others++ < removals_max) some.push_back(one);
  return some;
}

}  // namespace

Result<Recovered> recover_for_writing(StorageBackend& storage, const Options& options) {
  VARVE_TRY_ASSIGN(Inventory inventory, take_inventory(storage));
  VARVE_TRY_ASSIGN(const auto manifest, load_manifest(storage));
  VARVE_TRY(check_manifest(storage, manifest ? &*manifest : nullptr, inventory));
  if (!manifest) {
    if (options.create) return create_log(storage, options);
    return no_log(storage, inventory, "there is no log here, and none is to be made");
  }
  if (!inventory.compacted.empty()) {
    VARVE_TRY(name_compacted(storage, *manifest, inventory));
    VARVE_TRY_ASSIGN(inventory, take_inventory(storage));
  }
  VARVE_TRY_ASSIGN(Survey found, survey(storage, *manifest, std::move(inventory), options, true));
  if (!found.lost.empty()) return refusal(found);
  if (!found.torn.empty() && options.recovery == Recovery::fail_on_any_damage) {
    return Error(Errc::corrupt, describe(found.torn.front()) +
                                    "; refused because of Recovery::fail_on_any_damage");
  }

  Recovered recovered;
  recovered.report = report_of(found);
  recovered.end = found.end;
  recovered.durable_offset = found.end.next_offset;
  if (found.manifest.clean) {
    recovered.manifest = std::move(found.manifest);
    if (!found.tail.empty()) recovered.active = std::move(found.tail.back());
  } else {
    std::vector<const TailSegment*> sealed;
    recovered.manifest = settle(found, sealed);
    // Files may have been named, but their names not synced, before the crash.
    VARVE_TRY(storage.sync_names());
    VARVE_TRY(store_manifest(storage, recovered.manifest));
    for (const TailSegment* segment : sealed) tidy(storage, recovered.manifest.log, *segment);
    if (!recovered.manifest.segments.empty()) {
      const SegmentMeta& last = recovered.manifest.segments.back();
      recovered.end.segment_id = last.named_id();
      recovered.end.segment_end = last.named_end();
    } else {
      recovered.end.segment_id = recovered.end.segment_end = 0;
    }
    recovered.end.next_position = recovered.manifest.next_position;
    recovered.report.segments = recovered.manifest.segments.size();
  }
  if (!recovered.manifest.dropped.empty()) {
    found.tail.clear();  // closes what is about to be removed
    // A process that was killed may not have made durable the manifest that drops it.
    VARVE_TRY(storage.sync_names());
    VARVE_TRY_ASSIGN(const auto gone, remove_dropped(storage, recovered.manifest.log,
                                                     removed_by_opening(recovered.manifest)));
    std::erase_if(recovered.manifest.dropped, [&](const DroppedSegment& one) {
      return std::any_of(gone.begin(), gone.end(),
                         [&](const DroppedSegment& other) { return other.id == one.id; });
    });
  }
  return recovered;
}

}  // namespace varve::inline v0::detail
