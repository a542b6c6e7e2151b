#include <algorithm>
#include <string>
#include <utility>

#include "recovery.hpp"
#include "survey_text.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

class Surveyor {
 public:
  Surveyor(StorageBackend& storage, const Manifest& manifest, Inventory inventory,
           const Options& options, bool writing)
      : storage_(storage), options_(options), writing_(writing) {
    found_.manifest = manifest;
    found_.inventory = std::move(inventory);
  }

  Result<Survey> run() {
    VARVE_TRY(check_listed());
    start_at_sealed_end();
    if (found_.manifest.clean) {
      VARVE_TRY(take_clean());
    } else {
      VARVE_TRY(open_tail());
      for (TailSegment& segment : found_.tail) VARVE_TRY(scan(segment));
      judge();
    }
    std::erase_if(found_.manifest.segments,
                  [&](const SegmentMeta& meta) { return is_missing(meta); });
    return std::move(found_);
  }

 private:
  // Listed segments are there, and long enough. Their contents are verified whenever they are read. A reader
  // goes on with the others.
  Result<void> check_listed() {
    for (const SegmentMeta& meta : found_.manifest.segments) {
      const Inventory::File* file = found_.inventory.find(meta.base_offset);
      if (file != nullptr && file->size >= meta.end_position) continue;
      if (meta.is_compacted()) {  // it may not have its name yet
        const Inventory::File* other = found_.inventory.find_compacted(meta.base_offset);
        if (other != nullptr && other->size >= meta.end_position) continue;
      }
      const std::string what =
          file == nullptr ? "the segment is missing" : too_short(file->size, meta.end_position);
      if (writing_) return damage_error(meta.name(), what);
      found_.lost.push_back({meta.name(), {}, {}, {{meta.base_offset}, {meta.end_offset}}, what});
      missing_.push_back(meta.id);
    }
    return {};
  }

  bool is_missing(const SegmentMeta& meta) const {
    return std::find(missing_.begin(), missing_.end(), meta.id) != missing_.end();
  }

  // Where the part that the manifest knows the extent of ends.
  void start_at_sealed_end() {
    const Manifest& manifest = found_.manifest;
    const auto& segments = manifest.segments;
    end_ = {manifest.next_offset,
            manifest.next_sequence,
            manifest.next_position,
            manifest.append_time_ms,
            0,
            0};
    std::size_t sealed = segments.size();
    if (sealed > 0 && !segments[sealed - 1].sealed) {
      --sealed;
      if (!manifest.clean) {
        const SegmentMeta& active = segments[sealed];
        end_ = {active.base_offset,
                active.base_sequence,
                active.base_position,
                manifest.append_time_ms,
                0,
                0};
      }
    }
    if (sealed > 0) {
      end_.segment_id = segments[sealed - 1].named_id();
      end_.segment_end = segments[sealed - 1].named_end();
    }
    found_.end = end_;
    found_.durable_position = end_.next_position;
  }

  bool is_dropped(std::uint64_t base_offset) const {
    return std::any_of(found_.manifest.dropped.begin(), found_.manifest.dropped.end(),
                       [&](const DroppedSegment& one) { return one.base_offset == base_offset; });
  }
  bool is_listed(std::uint64_t base_offset) const {
    return std::any_of(found_.manifest.segments.begin(), found_.manifest.segments.end(),
                       [&](const SegmentMeta& meta) { return meta.base_offset == base_offset; });
  }

  // The log was closed properly: what the manifest says is all there is.
  Result<void> take_clean() {
    for (const Inventory::File& file : found_.inventory.segments) {
      if (is_listed(file.base_offset) || is_dropped(file.base_offset)) continue;
      if (file.base_offset >= found_.manifest.next_offset)
        return damage_error(segment_name({file.base_offset}), "the log knows of no such segment");
      found_.inventory.unknown.push_back(segment_name({file.base_offset}));
    }
    if (found_.manifest.segments.empty() || found_.manifest.segments.back().sealed ||
        is_missing(found_.manifest.segments.back()))
      return {};
    TailSegment segment;
    segment.meta = found_.manifest.segments.back();
    VARVE_TRY(open(segment, segment.meta.id));
    segment.chained = true;
    SegmentState& end = segment.scan.end;
    end.position = {segment.meta.end_position};
    end.next_offset = segment.meta.end_offset;
    end.next_sequence = segment.meta.end_sequence;
    end.append_time_ms = found_.manifest.append_time_ms;
    end.newest_ms = segment.meta.newest_ms;
    segment.scan.far_end = end;
    if (writing_) VARVE_TRY(check_clean_end(segment));
    VARVE_TRY(load_index(segment));
    found_.end.segment_id = segment.meta.id;
    found_.end.segment_end = segment.meta.end_position;
    found_.tail.push_back(std::move(segment));
    return {};
  }

  // If the segment does not end where it was closed, the manifest or the segment is an older copy, and appending
  // would destroy records.
  Result<void> check_clean_end(const TailSegment& segment) {
    constexpr std::uint64_t one_block = 4096;  // it is only that place
    MediumSource medium(*segment.file->file, segment.file_size, one_block);
    VARVE_TRY_ASSIGN(const CleanEnd found, look_at_clean_end(medium, segment.file->header.salt,
                                                             {segment.meta.end_position}));
    if (found == CleanEnd::good) return {};
    return damage_error(
        segment.file->name,
        std::string(found == CleanEnd::blank ? "it ends before" : "it goes on behind") +
            " position " + std::to_string(segment.meta.end_position) +
            ", where it was closed by what " + std::string(manifest_name) +
            " says: one of them is an older copy");
  }

  Result<void> open(TailSegment& segment, std::optional<std::uint64_t> id) {
    VARVE_TRY_ASSIGN(
        segment.file,
        SegmentFile::open(storage_, segment_name({segment.meta.base_offset}),
                          writing_ ? OpenMode::write : OpenMode::read, found_.manifest.log, id));
    VARVE_TRY_ASSIGN(segment.file_size, segment.file->file->size());
    segment.index = std::make_shared<GrowingIndex>(options_.index_interval_bytes);
    return {};
  }

  // The index that closing wrote, or one made by walking the frames.
  Result<void> load_index(TailSegment& segment) {
    const auto stored =
        SealedIndex::load(storage_, index_name({segment.meta.base_offset}),
                          {found_.manifest.log, segment.meta.id, segment.meta.end_position});
    if (stored) {
      for (std::size_t i = 0; i < stored->size(); ++i) segment.index->add((*stored)(i));
      return {};
    }
    SegmentState start;
    start.next_offset = segment.meta.base_offset;
    start.next_sequence = segment.meta.base_sequence;
    ScanOptions scan;
    scan.stop = segment.meta.end_position;
    scan.index = segment.index.get();
    VARVE_TRY_ASSIGN([[maybe_unused]] const auto scanned, scan_bytes(segment, start, scan));
    return {};
  }

  Result<SegmentScan> scan_bytes(TailSegment& segment, const SegmentState& start,
                                 const ScanOptions& options) {
    if (writing_) {
      MediumSource medium(*segment.file->file, segment.file_size);
      return scan_segment(medium, *segment.file, segment.file_size, start, options);
    }
    if (!segment.file->mapping) {
      VARVE_TRY(segment.file->map(std::max<std::uint64_t>(segment.file_size, 1), MapMode::read));
    }
    MappedSource mapped(*segment.file->mapping, {segment.file_size}, segment.file->populated.get(),
                        segment.file->name);
    return scan_segment(mapped, *segment.file, segment.file_size, start, options);
  }

  // Finds the segments whose extent the manifest does not know: the active one as it was listed, and those
  // that were begun after that.
  Result<void> open_tail() {
    const auto& segments = found_.manifest.segments;
    if (!segments.empty() && !segments.back().sealed && !is_missing(segments.back())) {
      TailSegment segment;
      segment.meta = segments.back();
      VARVE_TRY(open(segment, segment.meta.id));
      found_.durable_position = segment.meta.base_position + segment.meta.end_position;
      found_.tail.push_back(std::move(segment));
    }
    for (const Inventory::File& file : found_.inventory.segments) {
      if (is_listed(file.base_offset) || is_dropped(file.base_offset)) continue;
      if (file.base_offset < end_.next_offset) {
        found_.inventory.unknown.push_back(segment_name({file.base_offset}));
        continue;
      }
      TailSegment segment;
      segment.meta.base_offset = file.base_offset;
      VARVE_TRY(open(segment, std::nullopt));
      segment.meta.id = segment.file->header.id;
      if (segment.meta.id < found_.manifest.next_segment_id) {
        return damage_error(segment.file->name,
                            "a segment that the log no longer has stands in its way");
      }
      found_.tail.push_back(std::move(segment));
    }
    // Before any of it is read: what the system holds but the medium does not must get there, or fail.
    if (writing_)
      for (const TailSegment& segment : found_.tail) VARVE_TRY(segment.file->file->sync());
    return {};
  }

  // Scans a segment of the tail and decides whether it continues the log.
  Result<void> scan(TailSegment& segment) {
    SegmentState start;
    start.next_offset = segment.meta.base_offset;
    start.next_sequence = end_.next_sequence;
    ScanOptions options;
    options.index = segment.index.get();
    options.live = !writing_;
    const bool may_chain = !broken_ && segment.meta.base_offset == end_.next_offset;
    options.trust_start = may_chain;
    VARVE_TRY_ASSIGN(segment.scan, scan_bytes(segment, start, options));
    const auto& begin = segment.scan.begin;
    // No predecessor is known to a log whose older segments are all removed.
    const bool follows =
        end_.segment_id == 0 || (begin && begin->predecessor_id == end_.segment_id &&
                                 begin->predecessor_end == end_.segment_end);
    segment.chained = may_chain && begin && begin->base_position == end_.next_position && follows;
    if (!segment.chained) {
      broken_ = true;
      if (begin) segment.meta.base_position = begin->base_position;
      return {};
    }
    const SegmentState& at = segment.scan.end;
    segment.meta.base_position = begin->base_position;
    segment.meta.base_sequence = end_.next_sequence;
    segment.meta.end_offset = at.next_offset;
    segment.meta.end_sequence = at.next_sequence;
    segment.meta.end_position = static_cast<std::uint32_t>(at.position.value);
    segment.meta.newest_ms = at.newest_ms;
    end_ = {at.next_offset,
            at.next_sequence,
            segment.meta.base_position + at.position.value,
            at.append_time_ms == no_time ? end_.append_time_ms : at.append_time_ms,
            segment.meta.id,
            at.position.value};
    return {};
  }

  // Compares where the unbroken log ends with how far it is proven to have been durable.
  void judge() {
    found_.end = end_;
    const TailSegment* last = nullptr;
    for (const TailSegment& segment : found_.tail) {
      if (segment.chained) last = &segment;
      if (const auto proven = proven_position(segment))
        found_.durable_position = std::max(found_.durable_position, *proven);
    }
    const std::uint64_t start = found_.manifest.start_offset;  // what is below it was durable
    const bool lost = found_.durable_position > end_.next_position || start > end_.next_offset;
    std::vector<Damage>& damage = lost ? found_.lost : found_.torn;
    std::uint64_t expected = end_.next_offset;
    const TailSegment* before = nullptr;
    for (const TailSegment& segment : found_.tail) {
      const TailSegment* const predecessor = std::exchange(before, &segment);
      if (segment.chained && &segment != last) continue;
      if (!segment.chained) {
        add_break(damage, predecessor, segment, expected);
        expected = std::max(expected, segment.meta.base_offset);
      }
      if (!segment.scan.torn()) continue;
      const auto& broken = segment.scan.broken;
      damage.insert(damage.end(), broken.begin(), broken.end());
      if (broken.empty()) {
        add(damage, segment, segment.scan.end.position,
            segment.scan.end.position + segment.scan.bytes_behind, expected, expected,
            segment.scan.what.empty() ? "unfinished bytes" : segment.scan.what);
      }
      expected = std::max(expected, segment.scan.far_end.next_offset);
    }
    if (lost && damage.empty() && last != nullptr && found_.durable_position > end_.next_position) {
      const std::uint64_t bytes = found_.durable_position - end_.next_position;
      add(damage, *last, last->scan.end.position, last->scan.end.position + bytes, expected,
          expected, "durable bytes are blank");
    } else if (lost && damage.empty()) {
      found_.lost.push_back({std::string(manifest_name),
                             {},
                             {},
                             {{expected}, {std::max(expected, start)}},
                             "durable segments behind its last one are missing"});
    }
  }

  // Tells why a segment does not continue the one before it.
  static void add_break(std::vector<Damage>& damage, const TailSegment* before,
                        const TailSegment& segment, std::uint64_t expected) {
    const std::uint64_t base = std::max(expected, segment.meta.base_offset);
    if (base == expected && before != nullptr && before->scan.torn()) return;  // told already
    const auto& begin = segment.scan.begin;
    if (before != nullptr && begin && begin->predecessor_id == before->meta.id &&
        begin->predecessor_end > before->scan.far_end.position.value) {
      return add(damage, *before, before->scan.far_end.position, {begin->predecessor_end}, expected,
                 base, "its last bytes are missing");
    }
    add(damage, segment, {0}, {0}, expected, base,
        base > expected ? "records before this segment are missing"
                        : "it does not continue the segment before it");
  }

  static void add(std::vector<Damage>& damage, const TailSegment& segment, Position begin,
                  Position end, std::uint64_t first, std::uint64_t last, std::string what) {
    damage.push_back({segment.file->name, begin, end, {{first}, {last}}, std::move(what)});
  }

  // What a segment's frames prove of the log, in bytes through all segments.
  std::optional<std::uint64_t> proven_position(const TailSegment& segment) const {
    if (!segment.scan.proof) return std::nullopt;
    const std::int64_t proof = *segment.scan.proof;
    if (segment.chained || segment.scan.begin) {
      const auto base = static_cast<std::int64_t>(segment.meta.base_position);
      return static_cast<std::uint64_t>(std::max<std::int64_t>(base + proof, 0));
    }
    // Where it belongs is unknown, but if part of it was durable then so was all before it.
    if (proof < segment_header_bytes) return std::nullopt;
    return end_.next_position + 1;
  }

  StorageBackend& storage_;
  const Options& options_;
  bool writing_;
  Survey found_{};
  LogEnd end_{};
  std::vector<std::uint64_t> missing_{};  // ids of listed segments without a usable file
  bool broken_ = false;
};

}  // namespace

Result<CleanEnd> look_at_clean_end(ByteSource& source, std::uint64_t salt, Position end) {
  VARVE_TRY_ASSIGN(const Frame frame, FrameReader(source, salt).read(end));
  if (frame.state == FrameState::blank) return CleanEnd::blank;
  const bool more = frame.state == FrameState::sealed || frame.header_valid ||
                    (frame.state == FrameState::open && frame.count > 0);
  return more ? CleanEnd::more : CleanEnd::good;
}

Result<Survey> survey(StorageBackend& storage, const Manifest& manifest, Inventory inventory,
                      const Options& options, bool writing) {
  return Surveyor(storage, manifest, std::move(inventory), options, writing).run();
}

std::string describe(const Damage& damage) {
  std::string text = damage.file;
  if (damage.end > damage.begin) {
    text += " at " + std::to_string(damage.begin.value) + " to " + std::to_string(damage.end.value);
  }
  text += ": " + (damage.what.empty() ? std::string("damaged") : damage.what);
  if (!damage.offsets.empty()) {
    text += "; offsets [" + std::to_string(damage.offsets.begin.value) + ", " +
            std::to_string(damage.offsets.end.value) + ") are lost";
  } else {
    text += "; records from offset " + std::to_string(damage.offsets.begin.value) + " on";
  }
  return text;
}

RecoveryReport report_of(const Survey& found) {
  RecoveryReport report;
  report.clean = found.manifest.clean;
  report.segments = found.manifest.segments.size();
  report.torn = found.torn;
  report.lost = found.lost;
  report.unknown_files = found.inventory.unknown;
  if (report.clean) return report;
  for (const TailSegment& segment : found.tail) {
    ++report.segments_scanned;
    report.records_scanned += segment.scan.records;
    report.bytes_scanned += segment.scan.end.position.value;
    if (!found.lost.empty()) continue;  // then what is behind the damage is kept
    report.frames_dropped +=
        segment.scan.frames_behind + (segment.chained ? 0 : segment.scan.frames);
    report.bytes_dropped += segment.scan.bytes_behind;
    if (!segment.chained)
      report.bytes_dropped += segment.scan.end.position.value - segment_header_bytes;
  }
  return report;
}

std::uint64_t durable_offset_of(const Survey& found) {
  if (found.durable_position >= found.end.next_position) return found.end.next_offset;
  std::uint64_t durable =
      found.tail.empty() ? found.end.next_offset : found.tail[0].meta.base_offset;
  for (const TailSegment& segment : found.tail) {
    if (!segment.chained || segment.meta.base_position > found.durable_position) break;
    const std::uint64_t position = found.durable_position - segment.meta.base_position;
    const auto entry = segment.index->find(Position{position});
    durable = entry ? entry->offset : segment.meta.base_offset;
  }
  return durable;
}

}  // namespace varve::inline v0::detail
