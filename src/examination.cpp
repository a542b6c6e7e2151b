#include "examination.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "survey_text.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

using Visit = std::function<bool(const ExaminedSegment&, const Frame&)>;

// Reads through another source and reports how far it has come.
class ReportingSource final : public ByteSource {
 public:
  ReportingSource(ByteSource& source, const Progress& progress, std::uint64_t done, std::uint64_t total)
      : source_(source), progress_(progress), done_(done), total_(total) {}

  Result<Bytes> at(Position position, std::uint64_t size) override {
    constexpr std::uint64_t step = 8u << 20;
    if (progress_ && position.value >= reported_ + step) {
      reported_ = position.value;
      progress_(std::min(done_ + reported_, total_), total_);
    }
    return source_.at(position, size);
  }

 private:
  ByteSource& source_;
  const Progress& progress_;
  std::uint64_t done_;
  std::uint64_t total_;
  std::uint64_t reported_ = 0;
};

class Examiner {
 public:
  Examiner(StorageBackend& storage, const Progress& progress, const Visit& visit)
      : storage_(storage), progress_(progress), visit_(visit) {}

  Result<Examination> run() {
    VARVE_TRY_ASSIGN(found_.inventory, take_inventory(storage_));
    VARVE_TRY(read_manifest());
    VARVE_TRY(collect());
    for (const ExaminedSegment& segment : found_.segments) total_ += extent(segment);
    for (ExaminedSegment& segment : found_.segments) {
      if (stopped_) break;
      if (segment.file) VARVE_TRY(scan(segment));
      done_ += extent(segment);
      if (progress_) progress_(done_, total_);
    }
    if (!stopped_) judge();
    return std::move(found_);
  }

 private:
  static std::uint64_t extent(const ExaminedSegment& segment) noexcept {
    return segment.extent_known ? segment.meta.end_position : segment.file_size;
  }

  Result<void> read_manifest() {
    auto manifest = load_manifest(storage_);
    if (manifest && *manifest) {
      found_.manifest = **std::move(manifest);
      return {};
    }
    if (!manifest && manifest.error() != Errc::corrupt) return manifest.error();
    if (found_.inventory.segments.empty() && manifest)
      return Error(Errc::not_a_log, storage_.describe() + ": there is no log here");
    found_.manifest_rebuilt = true;
    found_.damage.push_back({std::string(manifest_name), {}, {}, {},
                             manifest ? "missing" : manifest.error().context()});
    return {};
  }

  // Every segment there is or ought to be, in order.
  Result<void> collect() {
    if (found_.manifest_rebuilt) VARVE_TRY(adopt_log_id());
    for (const SegmentMeta& meta : found_.manifest.segments) {
      ExaminedSegment segment;
      segment.meta = meta;
      segment.extent_known = meta.sealed || found_.manifest.clean;
      VARVE_TRY(open(segment, meta.id));
      found_.segments.push_back(std::move(segment));
    }
    for (const Inventory::File& file : found_.inventory.segments) {
      if (!is_tail(file.base_offset)) continue;
      ExaminedSegment segment;
      segment.meta.base_offset = file.base_offset;
      VARVE_TRY(open(segment, std::nullopt));
      if (segment.file) segment.meta.id = segment.file->header.id;
      found_.segments.push_back(std::move(segment));
    }
    return {};
  }

  bool is_tail(std::uint64_t base_offset) {
    const Manifest& manifest = found_.manifest;
    const auto at_base = [&](const auto& one) { return one.base_offset == base_offset; };
    if (std::any_of(manifest.segments.begin(), manifest.segments.end(), at_base) ||
        std::any_of(manifest.dropped.begin(), manifest.dropped.end(), at_base))
      return false;
    const std::uint64_t known =
        manifest.segments.empty() ? manifest.next_offset : manifest.segments.back().end_offset;
    if (found_.manifest_rebuilt || base_offset >= known) return true;
    found_.inventory.unknown.push_back(segment_name({base_offset}));
    return false;
  }

  // Without a manifest the log is whatever most of the segments belong to.
  Result<void> adopt_log_id() {
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::size_t> votes;
    for (const Inventory::File& file : found_.inventory.segments) {
      auto opened = storage_.open(segment_name({file.base_offset}), OpenMode::read);
      if (!opened) return opened.error();
      std::array<std::byte, segment_header_bytes> block{};
      VARVE_TRY_ASSIGN(const std::size_t size, (*opened)->read_at({0}, block));
      const auto header = parse_segment_header(Bytes{block}.first(size), "");
      if (header) ++votes[{header->log.low, header->log.high}];
    }
    const auto most = std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) {
      return a.second < b.second;
    });
    if (most != votes.end()) found_.manifest.log = {most->first.first, most->first.second};
    return {};
  }

  Result<void> open(ExaminedSegment& segment, std::optional<std::uint64_t> id) {
    const std::string name = segment_name({segment.meta.base_offset});
    auto file = SegmentFile::open(storage_, name, OpenMode::read, found_.manifest.log, id);
    if (!file) {
      const bool missing = file.error().code() == std::errc::no_such_file_or_directory;
      if (!missing && file.error() != Errc::corrupt) return file.error();
      const OffsetRange offsets{{segment.meta.base_offset}, {segment.meta.end_offset}};
      std::string what = "the segment is missing";
      if (!missing) what = file.error().context().substr(name.size() + 2);
      segment.damage.push_back(
          {name, {}, {}, offsets.begin < offsets.end ? offsets : OffsetRange{}, std::move(what)});
      return {};
    }
    segment.file = *std::move(file);
    VARVE_TRY_ASSIGN(segment.file_size, segment.file->file->size());
    return segment.file->map(segment.file_size, MapMode::read);
  }

  // The sequence number that the first frame claims, where the manifest does not know it.
  static Result<std::uint64_t> first_sequence(ByteSource& source, const SegmentFile& file) {
    VARVE_TRY_ASSIGN(const Frame frame,
                     FrameReader(source, file.header.salt).read({segment_header_bytes}));
    return frame.state == FrameState::sealed ? frame.header.sequence : 0;
  }

  Result<void> scan(ExaminedSegment& segment) {
    MappedSource mapped(*segment.file->mapping, {segment.file_size}, true, segment.file->name);
    ReportingSource source(mapped, progress_, done_, total_);
    SegmentState start;
    start.next_offset = segment.meta.base_offset;
    start.next_sequence = segment.meta.base_sequence;
    const bool listed = &segment - found_.segments.data() <
                        static_cast<std::ptrdiff_t>(found_.manifest.segments.size());
    if (!listed) {
      VARVE_TRY_ASSIGN(start.next_sequence, first_sequence(source, *segment.file));
      segment.meta.base_sequence = start.next_sequence;
    }
    ScanOptions options;
    if (segment.extent_known) options.stop = segment.meta.end_position;
    if (visit_) {
      options.visit = [&](const Frame& frame) {
        if (!visit_(segment, frame)) stopped_ = true;
        return !stopped_;
      };
    }
    VARVE_TRY_ASSIGN(segment.scan, scan_segment(source, *segment.file, segment.file_size, start, options));
    if (!listed && segment.scan.begin) segment.meta.base_position = segment.scan.begin->base_position;
    return {};
  }

  // Tells damage from what was never durable.
  void judge() {
    std::uint64_t expected = found_.segments.empty() ? 0 : found_.segments.front().meta.base_offset;
    for (std::size_t i = 0; i < found_.segments.size(); ++i) {
      ExaminedSegment& segment = found_.segments[i];
      if (segment.meta.base_offset > expected) {
        found_.damage.push_back({segment_name({expected}), {}, {},
                                 {{expected}, {segment.meta.base_offset}},
                                 "the segment is missing"});
      }
      const bool lost = segment.extent_known || proven_behind(i);
      if (segment.file) judge_scan(segment, lost);
      expected = segment.extent_known ? segment.meta.end_offset
                                      : std::max(segment.meta.base_offset, segment.scan.far_end.next_offset);
    }
  }

  void judge_scan(ExaminedSegment& segment, bool lost) {
    const SegmentScan& scan = segment.scan;
    std::vector<Damage>& to = lost ? segment.damage : segment.torn;
    to.insert(to.end(), scan.broken.begin(), scan.broken.end());
    if (segment.extent_known) {
      if (scan.far_end.next_offset != segment.meta.end_offset) {
        to.push_back({segment.file->name,
                      scan.far_end.position,
                      {segment.meta.end_position},
                      {{scan.far_end.next_offset}, {segment.meta.end_offset}},
                      scan.what.empty() ? "records are missing at its end" : scan.what});
      }
    } else if (scan.torn() && scan.broken.empty()) {
      segment.torn.push_back({segment.file->name, scan.end.position,
                              scan.end.position + scan.bytes_behind,
                              {{scan.end.next_offset}, {scan.end.next_offset}},
                              scan.what.empty() ? "unfinished bytes" : scan.what});
    }
  }

  // Whether a segment without a known extent is damaged below what it, or one behind it, proves durable.
  bool proven_behind(std::size_t i) const {
    const SegmentScan& scan = found_.segments[i].scan;
    const auto end = static_cast<std::int64_t>(scan.end.position.value);
    if (scan.proof && *scan.proof > end) return true;
    return std::any_of(found_.segments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                       found_.segments.end(), [](const ExaminedSegment& later) {
                         return later.extent_known ||
                                (later.scan.proof && *later.scan.proof >= segment_header_bytes);
                       });
  }

  StorageBackend& storage_;
  const Progress& progress_;
  const Visit& visit_;
  Examination found_{};
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  bool stopped_ = false;
};

}  // namespace

bool Examination::intact() const noexcept {
  return damage.empty() &&
         std::all_of(segments.begin(), segments.end(),
                     [](const ExaminedSegment& segment) { return segment.damage.empty(); });
}

Result<Examination> examine(StorageBackend& storage, const Progress& progress, const Visit& visit) {
  return Examiner(storage, progress, visit).run();
}

}  // namespace varve::inline v0::detail
