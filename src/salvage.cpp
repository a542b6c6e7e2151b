#include "varve/salvage.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "clock.hpp"
#include "examination.hpp"
#include "varve/detail/filename.hpp"
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
  }

  void begin(const BeginBody& begin, const FrameFields& like) {
    std::array<std::byte, begin_body_bytes> body{};
    store_le(body.data(), static_cast<std::uint32_t>(ControlKind::segment_begin));
    store_le(body.data() + 8, begin.base_position);
    store_le(body.data() + 16, begin.predecessor_id);
    store_le(body.data() + 24, begin.predecessor_end);
    control(body, like);
  }

  // Takes over a frame of records, behind a gap if it does not follow.
  void copy(const Frame& frame) {
    fields_ = {frame.header.base_offset, frame.header.sequence, frame.header.append_time_ms,
               frame.header.epoch, 0};
    if (frame.header.base_offset != next_offset_ || frame.header.sequence != next_sequence_)
      gap(frame.header.base_offset, frame.header.sequence);
    if (frame.state == FrameState::sealed) {
      writer_->write(fields_, frame.body, frame.count, sync_lag_unknown);
    } else {
      copy_open(frame);
    }
    next_offset_ = frame.header.base_offset + frame.count;
    next_sequence_ = frame.header.sequence + 1;
    records_ += frame.count;
    RecordView record;
    Bytes records = frame.state == FrameState::sealed ? Body::parse(frame.body, frame.count)->records()
                                                      : frame.body;
    while (decode_record(records, frame.header.append_time_ms, record))
      meta_.newest_ms = std::max(meta_.newest_ms, record.timestamp.time_since_epoch().count());
  }

  void gap(std::uint64_t to_offset, std::uint64_t to_sequence) {
    std::array<std::byte, gap_body_bytes> body{};
    store_le(body.data(), static_cast<std::uint32_t>(ControlKind::gap));
    store_le(body.data() + 8, to_offset);
    store_le(body.data() + 16, to_sequence);
    control(body, fields_);
    next_offset_ = to_offset;
    next_sequence_ = to_sequence;
  }

  // Ends the segment at the given offset, and returns what the manifest is to say of it.
  SegmentMeta end(std::uint64_t end_offset, std::uint64_t end_sequence) {
    if (next_offset_ != end_offset || next_sequence_ != end_sequence) gap(end_offset, end_sequence);
    std::array<std::byte, end_body_bytes> body{};
    store_le(body.data(), static_cast<std::uint32_t>(ControlKind::segment_end));
    control(body, fields_);
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
  void control(Bytes body, FrameFields like) {
    like.base_offset = next_offset_;
    like.sequence = next_sequence_;
    like.flags = flag_control;
    writer_->write(like, body, 0, sync_lag_unknown);
    fields_ = like;
  }

  // A frame that was never sealed: its records, one by one.
  void copy_open(const Frame& frame) {
    writer_->open(fields_, sync_lag_unknown);
    Bytes left = frame.body;
    RecordView ignored;
    while (!left.empty()) {
      const Bytes before = left;
      if (!decode_record(left, frame.header.append_time_ms, ignored)) break;
      writer_->reserve(1);
      writer_->add(put_bytes(writer_->tail(), before.first(before.size() - left.size())), false);
    }
    writer_->seal(sync_lag_unknown);
  }

  SegmentHeader header_;
  SegmentMeta meta_;
  std::vector<std::byte> buffer_;
  std::optional<StoreWriter> writer_{};
  FrameFields fields_{};
  std::uint64_t next_offset_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t records_ = 0;
};

class Salvager {
 public:
  Salvager(StorageBackend& storage, const Progress& progress)
      : storage_(storage), progress_(progress) {}

  Result<SalvageReport> run() {
    VARVE_TRY_ASSIGN(const auto lock, storage_.lock());
    VARVE_TRY_ASSIGN(found_, examine(storage_, progress_, {}));
    if (found_.intact()) return std::move(report_);
    report_.needed = true;
    for (const Damage& damage : found_.damage) report_.lost.push_back(damage);
    VARVE_TRY(choose_copy_suffix());
    if (found_.manifest_rebuilt && storage_.stat(manifest_name))
      VARVE_TRY(copy(std::string(manifest_name)));

    std::vector<SegmentMeta> kept;
    std::vector<std::string> finished;
    for (std::size_t i = 0; i < found_.segments.size(); ++i)
      VARVE_TRY(keep(i, kept, finished));
    // Copies and new files first, then their names, then what makes them count.
    VARVE_TRY(storage_.sync_names());
    for (const std::string& name : finished)
      VARVE_TRY(storage_.rename(name + ".new", name));
    VARVE_TRY(storage_.sync_names());
    VARVE_TRY(store(kept));
    return std::move(report_);
  }

 private:
  // The first number that none of the copies has yet.
  Result<void> choose_copy_suffix() {
    VARVE_TRY_ASSIGN(const auto entries, storage_.list());
    for (int n = 1;; ++n) {
      suffix_ = std::string(salvaged_mark) + std::to_string(n);
      if (std::none_of(entries.begin(), entries.end(), [&](const FileEntry& entry) {
            return entry.name.ends_with(suffix_);
          }))
        return {};
    }
  }

  Result<void> copy(const std::string& name) {
    constexpr std::size_t chunk = 1u << 20;
    VARVE_TRY_ASSIGN(const auto from, storage_.open(name, OpenMode::read));
    VARVE_TRY_ASSIGN(const std::uint64_t size, from->size());
    VARVE_TRY_ASSIGN(const auto to, storage_.open(name + suffix_, OpenMode::create));
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(size, chunk)));
    for (std::uint64_t at = 0; at < size;) {
      VARVE_TRY_ASSIGN(const std::size_t read, from->read_at({at}, buffer));
      if (read == 0) break;
      VARVE_TRY(to->write_at({at}, Bytes{buffer}.first(read)));
      at += read;
    }
    VARVE_TRY(to->sync());
    report_.copies.push_back(name + suffix_);
    return {};
  }

  // Where the log goes on behind a segment: what its successor starts with, if that is known.
  std::uint64_t end_offset_of(std::size_t i) const {
    const ExaminedSegment& segment = found_.segments[i];
    std::uint64_t end = segment.extent_known ? segment.meta.end_offset : segment.scan.far_end.next_offset;
    if (i + 1 < found_.segments.size())
      end = std::max(end, found_.segments[i + 1].meta.base_offset);
    return std::max(end, segment.meta.base_offset);
  }

  // Keeps a segment as it is if nothing of it is damaged, else rewrites it.
  Result<void> keep(std::size_t i, std::vector<SegmentMeta>& kept, std::vector<std::string>& finished) {
    ExaminedSegment& segment = found_.segments[i];
    SegmentMeta& meta = segment.meta;
    const SegmentScan& scan = segment.scan;
    report_.lost.insert(report_.lost.end(), segment.damage.begin(), segment.damage.end());
    const std::uint64_t end_offset = end_offset_of(i);
    const bool whole = segment.file && scan.broken.empty() && segment.damage.empty() &&
                       scan.far_end.next_offset == end_offset;
    if (meta.id == 0) meta.id = kept.empty() ? 1 : kept.back().id + 1;
    next_id_ = std::max(next_id_, meta.id + 1);
    if (whole) {
      meta.end_offset = scan.far_end.next_offset;
      meta.end_sequence = scan.far_end.next_sequence;
      meta.end_position = static_cast<std::uint32_t>(scan.far_end.position.value);
      meta.newest_ms = scan.far_end.newest_ms;
      meta.sealed = true;
      report_.records_kept += scan.records + scan.records_behind;
      if (meta.end_offset > meta.base_offset) kept.push_back(meta);
      return {};
    }
    if (end_offset == meta.base_offset) return {};  // nothing is known to have been in it
    if (segment.file || storage_.stat(meta.name())) VARVE_TRY(copy(meta.name()));
    VARVE_TRY_ASSIGN(const SegmentMeta rewritten, rewrite(i, end_offset));
    kept.push_back(rewritten);
    finished.push_back(meta.name());
    return {};
  }

  Result<SegmentMeta> rewrite(std::size_t i, std::uint64_t end_offset) {
    const ExaminedSegment& segment = found_.segments[i];
    SegmentHeader header;
    header.log = found_.manifest.log;
    header.id = segment.meta.id;
    header.salt = random_bits(nullptr);
    header.created_ms = now_ms(nullptr, Precision::exact);
    header.capacity = capacity_for(segment);
    Rewriter rewriter(header, segment.meta);

    FrameFields first;
    first.epoch = found_.manifest.epoch();
    rewriter.begin({segment.meta.base_position, 0, 0}, first);
    std::uint64_t end_sequence = segment.meta.end_sequence;
    if (segment.file) {
      ScanOptions options;
      options.visit = [&](const Frame& frame) {
        const bool good = frame.state == FrameState::sealed || frame.state == FrameState::open;
        if (good && !frame.header.is_control() && frame.count > 0) rewriter.copy(frame);
        return true;
      };
      if (segment.extent_known) options.stop = segment.meta.end_position;
      MappedSource source(*segment.file->mapping, {segment.file_size}, true, segment.file->name);
      SegmentState start;
      start.next_offset = segment.meta.base_offset;
      start.next_sequence = segment.meta.base_sequence;
      VARVE_TRY_ASSIGN([[maybe_unused]] const SegmentScan scanned,
                       scan_segment(source, *segment.file, segment.file_size, start, options));
    }
    report_.records_kept += rewriter.records();
    end_sequence = std::max(end_sequence, rewriter.next_sequence());
    const SegmentMeta meta = rewriter.end(end_offset, end_sequence);
    VARVE_TRY_ASSIGN(const auto file, storage_.open(segment.meta.name() + ".new", OpenMode::create));
    VARVE_TRY(file->write_at({0}, rewriter.bytes()));
    VARVE_TRY(file->sync());
    return meta;
  }

  // Room for all that the damaged file holds, and for a gap before every frame of it.
  static std::uint32_t capacity_for(const ExaminedSegment& segment) {
    const std::uint64_t gap_frame = frame_header_bytes + gap_body_bytes;
    const std::uint64_t gaps = segment.scan.broken.size() + 2;
    const std::uint64_t open_tables = 64u << 10;
    const std::uint64_t wanted =
        segment.file_size + segment_header_bytes + gaps * gap_frame + 2 * open_tables;
    return static_cast<std::uint32_t>((wanted + 4095) / 4096 * 4096);
  }

  // The manifest that makes the kept segments the log, closed and clean.
  Result<void> store(const std::vector<SegmentMeta>& kept) {
    Manifest& manifest = found_.manifest;
    manifest.segments = kept;
    manifest.dropped.clear();
    manifest.clean = true;
    ++manifest.generation;
    manifest.next_segment_id = std::max(manifest.next_segment_id, next_id_);
    if (!kept.empty()) {
      const SegmentMeta& last = kept.back();
      manifest.next_offset = last.end_offset;
      manifest.next_sequence = last.end_sequence;
      manifest.next_position = last.base_position + last.end_position;
      if (found_.manifest_rebuilt) manifest.start_offset = kept.front().base_offset;
      for (const ExaminedSegment& segment : found_.segments)
        manifest.append_time_ms =
            std::max(manifest.append_time_ms, segment.scan.far_end.append_time_ms);
    }
    manifest.epochs.push_back({manifest.epoch() + 1, manifest.next_offset});
    return store_manifest(storage_, manifest);
  }

  StorageBackend& storage_;
  const Progress& progress_;
  Examination found_{};
  SalvageReport report_{};
  std::string suffix_{};
  std::uint64_t next_id_ = 1;
};

}  // namespace

Result<SalvageReport> salvage(StorageBackend& storage, const Progress& progress) {
  return Salvager(storage, progress).run();
}

}  // namespace varve::inline v0
