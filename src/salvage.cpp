#include "varve/salvage.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "clock.hpp"
#include "examination.hpp"
#include "file_copy.hpp"
#include "system_error.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/store.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0 {

using namespace detail;

namespace {

// Writes one segment anew from the intact frames of a damaged one, with gaps for what is lost.
class Rewriter {
 public:
  Rewriter(const SegmentHeader& header, SegmentMeta meta)
      : header_(header), meta_(meta), buffer_(header.capacity) {
    store_segment_header(buffer_.data(), header);
    writer_.emplace(buffer_.data(), header.salt, Position{segment_header_bytes});
    next_offset_ = meta.base_offset;
    next_sequence_ = meta.base_sequence;
    meta_.replaced.reset();
    meta_.newest_ms = no_time;  // as long as it has no records
  }

  // `time_ms` and `epoch` are those of the frame before it.
  void begin(const BeginBody& begin, std::int64_t time_ms, std::uint32_t epoch) {
    time_ms_ = time_ms;
    epoch_ = epoch;
    std::array<std::byte, begin_body_bytes> body{};
    store_le(body.data(), static_cast<std::uint32_t>(ControlKind::segment_begin));
    store_le(body.data() + 8, begin.base_position);
    store_le(body.data() + 16, begin.predecessor_id);
    store_le(body.data() + 24, begin.predecessor_end);
    control(body);
  }

  // Whether a frame of records can come next in a segment that ends at `end_offset`. One that goes back, in offsets or
  // in time, cannot: no gap leads there, and what it is doing in the segment nobody knows. Nor can one for which
  // there is no room, which only frames that no writer makes come to.
  bool takes(const Frame& frame, std::uint64_t end_offset) const noexcept {
    constexpr std::uint64_t gap_bytes = frame_header_bytes + gap_body_bytes;
    const std::uint64_t body = frame.state == FrameState::sealed
                                   ? frame.body.size()
                                   : body_size(frame.body.size(), frame.count);
    const Position end = writer_->position() + gap_bytes + frame_header_bytes + align_frame(body);
    // The header of an open frame may stand behind it for a while, and a gap and the segment's end for good.
    if (end + gap_bytes + end_frame_bytes + frame_header_bytes > Position{header_.capacity})
      return false;
    return frame.header.base_offset >= next_offset_ && frame.header.append_time_ms >= time_ms_ &&
           frame.end_offset() <= end_offset;
  }

  // Takes over a frame of records, behind a gap if it does not follow.
  void copy(const Frame& frame) {
    const FrameHeader& header = frame.header;
    time_ms_ = header.append_time_ms;
    epoch_ = header.epoch;
    if (header.base_offset != next_offset_ || header.sequence != next_sequence_)
      gap(header.base_offset, header.sequence);
    const FrameFields fields{header.base_offset, header.sequence, header.append_time_ms,
                             header.epoch, header.flags};
    if (frame.state == FrameState::sealed) {
      writer_->write(fields, frame.body, frame.count,
                     header.is_compacted() ? header.sync_lag : sync_lag_unknown);
    } else {
      copy_open(fields, frame.body);
    }
    next_offset_ = frame.end_offset();
    if (header.is_compressed()) {
      meta_.newest_ms =
          std::max(meta_.newest_ms, parse_compressed_prefix(frame.body, frame.count)->newest_ms);
      next_sequence_ = header.sequence + 1;
    } else {
      const auto body = FrameRecords::parse(frame);
      Bytes records = body->records();
      RecordView record;
      while (decode_record(records, header.append_time_ms, record))
        meta_.newest_ms = std::max(meta_.newest_ms, record.timestamp.time_since_epoch().count());
      next_sequence_ = header.sequence + body->sequences();
    }
    records_ += frame.count;
  }

  // Ends the segment at the given offset, and returns what the manifest is to say of it.
  SegmentMeta end(std::uint64_t end_offset, std::uint64_t end_sequence) {
    if (next_offset_ != end_offset || next_sequence_ != end_sequence) gap(end_offset, end_sequence);
    std::array<std::byte, end_body_bytes> body{};
    store_le(body.data(), static_cast<std::uint32_t>(ControlKind::segment_end));
    control(body);
    meta_.id = header_.id;
    meta_.end_offset = end_offset;
    meta_.end_sequence = end_sequence;
    meta_.end_position = static_cast<std::uint32_t>(writer_->position().value);
    meta_.sealed = true;
    return meta_;
  }

  Bytes bytes() const noexcept {
    return {buffer_.data(), static_cast<std::size_t>(writer_->position().value)};
  }
  std::uint64_t records() const noexcept { return records_; }
  std::uint64_t next_sequence() const noexcept { return next_sequence_; }

 private:
  void gap(std::uint64_t to_offset, std::uint64_t to_sequence) {
    std::array<std::byte, gap_body_bytes> body{};
    store_le(body.data(), static_cast<std::uint32_t>(ControlKind::gap));
    store_le(body.data() + 8, to_offset);
    store_le(body.data() + 16, to_sequence);
    control(body);
    next_offset_ = to_offset;
    next_sequence_ = to_sequence;
  }

  void control(Bytes body) {
    writer_->write({next_offset_, next_sequence_, time_ms_, epoch_, flag_control}, body, 0,
                   sync_lag_unknown);
  }

  // A frame that was never sealed: its records, one by one.
  void copy_open(const FrameFields& fields, Bytes left) {
    writer_->open(fields, sync_lag_unknown);
    RecordView ignored;
    while (!left.empty()) {
      const Bytes before = left;
      if (!decode_record(left, fields.append_time_ms, ignored)) break;
      writer_->reserve(1);
      writer_->add(put_bytes(writer_->tail(), before.first(before.size() - left.size())), false);
    }
    writer_->seal(sync_lag_unknown);
  }

  SegmentHeader header_;
  SegmentMeta meta_;
  std::vector<std::byte> buffer_;
  std::optional<StoreWriter> writer_{};
  std::int64_t time_ms_ = 0;
  std::uint32_t epoch_ = 0;
  std::uint64_t next_offset_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t records_ = 0;
};

class Salvager {
 public:
  Salvager(StorageBackend& storage, const Progress& progress) : storage_(storage) {
    options_.progress = progress;
    options_.settle = true;
  }

  Result<SalvageReport> run() {
    VARVE_TRY_ASSIGN(const auto lock, storage_.lock());
    VARVE_TRY(finish_interrupted());
    if (const auto manifest = load_manifest(storage_); manifest && *manifest) {
      VARVE_TRY_ASSIGN(const Inventory inventory, take_inventory(storage_));
      VARVE_TRY(name_compacted(storage_, **manifest, inventory));
    }
    VARVE_TRY_ASSIGN(found_, examine(storage_, options_));
    if (found_.intact()) return std::move(report_);
    report_.needed = true;
    report_.lost = found_.damage;
    next_id_ = found_.manifest.next_segment_id;
    for (const ExaminedSegment& segment : found_.segments)
      next_id_ = id_behind(next_id_, segment.meta.id);

    VARVE_TRY(choose_copy_suffix());
    for (const Damage& one : found_.inventory.misplaced) VARVE_TRY(move_aside(one.file));
    if (found_.manifest_rebuilt && storage_.stat(manifest_name))
      VARVE_TRY(copy(std::string(manifest_name)));
    for (std::size_t i = 0; i < found_.segments.size(); ++i) {
      VARVE_TRY(keep(i));
      const SegmentScan& scan = found_.segments[i].scan;
      time_ms_ = std::max(time_ms_, scan.far_end.append_time_ms);
      epoch_ = std::max(epoch_, scan.epoch);
    }
    VARVE_TRY(commit());
    return std::move(report_);
  }

 private:
  // A salvage that was interrupted behind its commit point has only names left to change.
  Result<void> finish_interrupted() {
    auto manifest = load_manifest(storage_);
    if (!manifest || !*manifest || !(**manifest).salvaging) return {};
    report_.needed = true;
    return put_in_place(**std::move(manifest));
  }

  // Gives the rewritten segments their names, then says that this is done.
  Result<void> put_in_place(Manifest manifest) {
    for (const SegmentMeta& meta : manifest.segments) {
      const std::string rewritten = offset_name({meta.base_offset}, salvage_new_suffix);
      if (!SegmentFile::open(storage_, rewritten, OpenMode::read, manifest.log, meta.id)) continue;
      VARVE_TRY(storage_.rename(rewritten, meta.name()));
      // The index is that of what it replaces.
      if (auto removed = storage_.remove(index_name({meta.base_offset}));
          !removed && !is_missing(removed.error()))
        return removed;
    }
    VARVE_TRY(storage_.sync_names());
    manifest.salvaging = false;
    ++manifest.generation;
    return store_manifest(storage_, manifest);
  }

  // The first number that none of the copies has yet.
  Result<void> choose_copy_suffix() {
    VARVE_TRY_ASSIGN(const auto entries, storage_.list());
    for (int n = 1;; ++n) {
      suffix_ = std::string(salvaged_mark) + std::to_string(n);
      if (std::none_of(entries.begin(), entries.end(),
                       [&](const FileEntry& entry) { return entry.name.ends_with(suffix_); }))
        return {};
    }
  }

  Result<void> copy(const std::string& name) {
    VARVE_TRY_ASSIGN(const auto from, storage_.open(name, OpenMode::read));
    VARVE_TRY_ASSIGN(const std::uint64_t size, from->size());
    VARVE_TRY_ASSIGN(const auto to, storage_.open(name + suffix_, OpenMode::create));
    VARVE_TRY(copy_bytes(*from, *to, size));
    VARVE_TRY(to->sync());
    report_.copies.push_back(name + suffix_);
    return {};
  }

  Result<void> move_aside(const std::string& name) {
    VARVE_TRY(storage_.rename(name, name + suffix_));
    report_.copies.push_back(name + suffix_);
    return {};
  }

  // Where the log goes on behind a segment: what its successor starts with, if that is known.
  std::uint64_t end_offset_of(std::size_t i) const {
    const ExaminedSegment& segment = found_.segments[i];
    // Up to what the manifest lists it was durable, even if more may have followed.
    std::uint64_t end = std::max(
        {segment.meta.base_offset, segment.meta.end_offset, segment.scan.far_end.next_offset});
    for (std::size_t next = i + 1; next < found_.segments.size(); ++next) {
      if (!found_.segments[next].header && !found_.segments[next].extent_known)
        continue;  // not the log's
      return std::max(end, found_.segments[next].meta.base_offset);
    }
    return std::max(end, found_.manifest.start_offset);
  }

  // Keeps a segment as it is if nothing of it is damaged, else rewrites it; what holds no record goes.
  Result<void> keep(std::size_t i) {
    ExaminedSegment& segment = found_.segments[i];
    const SegmentScan& scan = segment.scan;
    report_.lost.insert(report_.lost.end(), segment.damage.begin(), segment.damage.end());
    const std::uint64_t end_offset = end_offset_of(i);
    if (end_offset == segment.meta.base_offset) {
      if (!segment.exists) return {};
      if (!segment.header) return move_aside(segment.name());
      dropped_.push_back({segment.header->id, segment.meta.base_offset});
      return {};
    }
    if (!kept_.empty() && kept_.back().end_offset > segment.meta.base_offset)
      return segment.exists ? move_aside(segment.name())
                            : Result<void>();  // what is before it has its offsets
    if (segment.header && segment.damage.empty() && scan.broken.empty() &&
        scan.far_end.next_offset == end_offset) {
      keep_whole(segment);
      return {};
    }
    if (segment.exists) VARVE_TRY(copy(segment.name()));
    return rewrite(segment, end_offset);
  }

  void keep_whole(const ExaminedSegment& segment) {
    SegmentMeta meta = segment.meta;
    const SegmentState& end = segment.scan.far_end;
    meta.end_offset = end.next_offset;
    meta.end_sequence = end.next_sequence;
    meta.end_position = static_cast<std::uint32_t>(end.position.value);
    meta.newest_ms = end.newest_ms;
    meta.sealed = true;
    report_.records_kept += segment.scan.records + segment.scan.records_behind;
    kept_.push_back(meta);
  }

  Result<void> rewrite(const ExaminedSegment& segment, std::uint64_t end_offset) {
    SegmentHeader header;
    header.log = found_.manifest.log;
    header.id = next_id_++;
    header.salt = random_bits(nullptr);
    header.created_ms = now_ms(nullptr, Precision::exact);
    VARVE_TRY_ASSIGN(header.capacity, capacity_for(segment));
    Rewriter rewriter(header, segment.meta);
    rewriter.begin({segment.meta.base_position, 0, 0}, time_ms_, epoch_);
    if (segment.header) {
      ScanOptions options;
      options.visit = [&](const Frame& frame) {
        const bool good = frame.state == FrameState::sealed || frame.state == FrameState::open;
        if (!good || frame.header.is_control()) return true;
        if (frame.count == 0 && !frame.header.is_compacted()) return true;
        if (rewriter.takes(frame, end_offset)) {
          rewriter.copy(frame);
        } else {
          const Offset base{frame.header.base_offset};
          report_.lost.push_back({segment.name(),
                                  frame.position,
                                  frame.end(),
                                  {base, {frame.end_offset()}},
                                  "a frame that does not continue those before it"});
        }
        return true;
      };
      VARVE_TRY_ASSIGN(
          [[maybe_unused]] const SegmentScan scanned,
          scan_again(storage_, found_.manifest.log, segment, std::move(options), true));
    }
    report_.records_kept += rewriter.records();
    const std::uint64_t end_sequence =
        std::max(segment.meta.end_sequence, rewriter.next_sequence());
    kept_.push_back(rewriter.end(end_offset, end_sequence));
    const std::string name = offset_name({segment.meta.base_offset}, salvage_new_suffix);
    VARVE_TRY_ASSIGN(const auto file, storage_.open(name, OpenMode::create));
    VARVE_TRY(file->write_at({0}, rewriter.bytes()));
    return file->sync();
  }

  // Room for all that the damaged file holds, and for a gap before every frame of it.
  static Result<std::uint32_t> capacity_for(const ExaminedSegment& segment) {
    const std::uint64_t gap_frame = frame_header_bytes + gap_body_bytes;
    const std::uint64_t gaps = segment.scan.broken.size() + 2;
    const std::uint64_t open_table = 4u << 20;  // of a frame that was left open
    const std::uint64_t used =
        std::max<std::uint64_t>(segment.scan.far_end.position.value, segment_header_bytes);
    const std::uint64_t wanted =
        (used + begin_frame_bytes + gaps * gap_frame + open_table) / 4096 * 4096;
    if (wanted > 2 * std::uint64_t{segment_bytes_limit})
      return damage_error(segment.name(), "far larger than a segment can be");
    return static_cast<std::uint32_t>(wanted);
  }

  // Copies and new files first, then their names, then the manifest that makes them count; the names that
  // it speaks of come after it, and are seen to by whoever finds it.
  Result<void> commit() {
    VARVE_TRY(storage_.sync_names());
    Manifest& manifest = found_.manifest;
    manifest.segments = kept_;
    manifest.dropped.insert(manifest.dropped.end(), dropped_.begin(), dropped_.end());
    manifest.clean = true;
    manifest.salvaging = true;
    manifest.cleaned_offset = 0;  // what superseded a record may be lost
    ++manifest.generation;
    manifest.next_segment_id = next_id_;
    if (!kept_.empty()) {
      manifest.end_behind_last();
      if (found_.manifest_rebuilt) manifest.start_offset = kept_.front().base_offset;
    } else {
      manifest.next_offset = std::max(manifest.next_offset, manifest.start_offset);
    }
    manifest.append_time_ms = std::max(manifest.append_time_ms, time_ms_);
    manifest.begin_epoch(std::max(manifest.epoch(), epoch_) + 1, manifest.next_offset);
    VARVE_TRY(store_manifest(storage_, manifest));
    return put_in_place(manifest);
  }

  StorageBackend& storage_;
  ExamineOptions options_{};
  Examination found_{};
  SalvageReport report_{};
  std::vector<SegmentMeta> kept_{};
  std::vector<DroppedSegment> dropped_{};
  std::string suffix_{};
  std::uint64_t next_id_ = 1;
  std::int64_t time_ms_ = 0;  // the greatest of the segments that were kept, like the epoch
  std::uint32_t epoch_ = 0;
};

}  // namespace

Result<SalvageReport> salvage(StorageBackend& storage, const Progress& progress) {
  return Salvager(storage, progress).run();
}

}  // namespace varve::inline v0
