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

class Examiner {
 public:
  Examiner(StorageBackend& storage, const ExamineOptions& options)
      : storage_(storage), options_(options) {}

  Result<Examination> run() {
    VARVE_TRY_ASSIGN(found_.inventory, take_inventory(storage_));
    found_.damage = found_.inventory.misplaced;
    VARVE_TRY(read_manifest());
    VARVE_TRY(collect());
    if (found_.manifest.clean) VARVE_TRY(check_clean());
    for (const ExaminedSegment& segment : found_.segments) total_ += extent(segment);
    for (ExaminedSegment& segment : found_.segments) {
      if (stopped_) break;
      if (segment.header) {
        VARVE_TRY(scan(segment));
      } else if (options_.visit && !options_.visit(segment, nullptr)) {
        stopped_ = true;
      }
      done_ += extent(segment);
      if (options_.progress) options_.progress(done_, total_);
    }
    if (!stopped_) judge();
    if (!stopped_ && found_.intact()) VARVE_TRY(ask_survey());
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
      found_.generation = found_.manifest.generation;
      if (found_.manifest.salvaging)
        found_.damage.push_back(
            {std::string(manifest_name), {}, {}, {}, "a salvage was interrupted"});
      return {};
    }
    if (!manifest && manifest.error() != Errc::corrupt) return manifest.error();
    if (found_.inventory.segments.empty() && manifest)
      return Error(Errc::not_a_log, storage_.describe() + ": there is no log here");
    found_.manifest_rebuilt = true;
    found_.damage.push_back({std::string(manifest_name),
                             {},
                             {},
                             {},
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
      VARVE_TRY(identify(segment, meta.id));
      found_.segments.push_back(std::move(segment));
    }
    for (const Inventory::File& file : found_.inventory.segments) {
      if (!is_tail(file.base_offset)) continue;
      ExaminedSegment segment;
      segment.meta.base_offset = file.base_offset;
      VARVE_TRY(identify(segment, std::nullopt));
      if (segment.header) segment.meta.id = segment.header->id;
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

  // Opening believes a log that was closed properly without looking at its records, but not that nothing comes behind
  // its end. What it refuses for that is damage here, too: else nothing would lead out of it.
  Result<void> check_clean() {
    const std::size_t listed = found_.manifest.segments.size();
    bool goes_on = std::any_of(found_.segments.begin() + static_cast<std::ptrdiff_t>(listed),
                               found_.segments.end(),
                               [](const ExaminedSegment& one) { return one.header.has_value(); });
    if (listed > 0 && !found_.manifest.segments.back().sealed) {
      VARVE_TRY_ASSIGN(const bool more, goes_on_behind(found_.segments[listed - 1]));
      goes_on = goes_on || more;
    }
    if (!goes_on) return {};
    if (!manifest_changed()) {  // else a writer has just gone on
      found_.damage.push_back(
          {std::string(manifest_name), {}, {}, {}, "an older copy: the log goes on behind it"});
    }
    // What it says of the end is only what was durable when it was written.
    found_.manifest.clean = false;
    for (ExaminedSegment& segment : found_.segments) segment.extent_known = segment.meta.sealed;
    return {};
  }

  // Whether there is another manifest by now, or none.
  bool manifest_changed() {
    const auto now = load_manifest(storage_);
    return !now || !*now || (**now).generation != found_.manifest.generation;
  }

  // Whether a segment goes on behind where it was closed. If not even the next frame's place is there, that is damage.
  Result<bool> goes_on_behind(ExaminedSegment& segment) {
    const Position end{segment.meta.end_position};
    if (!segment.header || segment.file_size < end.value) return false;
    if (!can_go_on(*segment.header, end)) {
      segment.damage.push_back({segment.name(), {}, {}, {}, no_room_to_go_on});
    }
    VARVE_TRY_ASSIGN(const auto file, SegmentFile::open(storage_, segment.name(), OpenMode::read,
                                                        found_.manifest.log, segment.meta.id));
    VARVE_TRY(file->map(segment.file_size, MapMode::read));
    MappedSource source(*file->mapping, {segment.file_size}, file->populated.get(), file->name);
    VARVE_TRY_ASSIGN(const CleanEnd found, look_at_clean_end(source, file->header.salt, end));
    if (found == CleanEnd::blank) {
      segment.damage.push_back({segment.name(),
                                end,
                                end + frame_header_bytes,
                                {},
                                "the place of the next frame is blank"});
    }
    return found == CleanEnd::more;
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
    const auto most =
        std::max_element(votes.begin(), votes.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != votes.end()) found_.manifest.log = {most->first.first, most->first.second};
    return {};
  }

  // Looks whether the file is the segment that it should be.
  Result<void> identify(ExaminedSegment& segment, std::optional<std::uint64_t> id) {
    const std::string name = segment.name();
    auto file = id ? open_listed(storage_, segment.meta, found_.manifest.log)
                   : SegmentFile::open(storage_, name, OpenMode::read, found_.manifest.log, id);
    if (file) {
      segment.exists = true;
      segment.header = (*file)->header;
      VARVE_TRY_ASSIGN(segment.file_size, (*file)->file->size());
      return {};
    }
    const bool missing = found_.inventory.find(segment.meta.base_offset) == nullptr;
    if (!missing && file.error() != Errc::corrupt) return file.error();
    segment.exists = !missing;
    const OffsetRange offsets{{segment.meta.base_offset}, {segment.meta.end_offset}};
    std::string what = "the segment is missing";
    if (!missing) what = file.error().context().substr(name.size() + 2);
    segment.damage.push_back(
        {name, {}, {}, offsets.begin < offsets.end ? offsets : OffsetRange{}, std::move(what)});
    return {};
  }

  Result<void> scan(ExaminedSegment& segment) {
    ScanOptions options;
    options.done = [&](std::uint64_t position) {
      if (options_.progress) options_.progress(std::min(done_ + position, total_), total_);
    };
    if (options_.visit) {
      options.visit = [&](const Frame& frame) {
        if (!options_.visit(segment, &frame)) stopped_ = true;
        return !stopped_;
      };
    }
    const bool listed = &segment - found_.segments.data() <
                        static_cast<std::ptrdiff_t>(found_.manifest.segments.size());
    options.adopt_sequence = !listed;
    options.live = !options_.settle;
    VARVE_TRY_ASSIGN(segment.scan, scan_again(storage_, found_.manifest.log, segment,
                                              std::move(options), options_.settle));
    if (!listed) segment.meta.base_sequence = segment.scan.first_sequence;
    if (!listed && segment.scan.begin)
      segment.meta.base_position = segment.scan.begin->base_position;
    return {};
  }

  // Tells damage from what was never durable.
  void judge() {
    std::uint64_t expected = found_.segments.empty() ? 0 : found_.segments.front().meta.base_offset;
    for (std::size_t i = 0; i < found_.segments.size(); ++i) {
      ExaminedSegment& segment = found_.segments[i];
      if (segment.meta.base_offset > expected) {
        const bool durable = durable_from(i) || (i > 0 && proven(i - 1));
        std::vector<Damage>& to = durable ? found_.damage : found_.torn;
        to.push_back({segment_name({expected}),
                      {},
                      {},
                      {{expected}, {segment.meta.base_offset}},
                      "the segment is missing"});
      }
      const bool lost = segment.extent_known || proven(i);
      if (segment.header) judge_scan(segment, lost);
      if (segment.header && !segment.extent_known && i + 1 < found_.segments.size())
        judge_end(segment, found_.segments[i + 1], lost);
      expected = segment.extent_known
                     ? segment.meta.end_offset
                     : std::max(segment.meta.base_offset, segment.scan.far_end.next_offset);
    }
    const Manifest& manifest = found_.manifest;
    if (found_.segments.empty()) expected = manifest.next_offset;
    if (manifest.start_offset > expected) {  // what is below the start was durable
      found_.damage.push_back({std::string(manifest_name),
                               {},
                               {},
                               {{expected}, {manifest.start_offset}},
                               "durable segments behind its last one are missing"});
    }
  }

  void judge_scan(ExaminedSegment& segment, bool lost) {
    const SegmentScan& scan = segment.scan;
    const SegmentMeta& meta = segment.meta;
    std::vector<Damage>& to = lost ? segment.damage : segment.torn;
    to.insert(to.end(), scan.broken.begin(), scan.broken.end());
    const std::string what = scan.what.empty() ? "zeros where a frame should be" : scan.what;
    if (segment.extent_known) {
      const bool short_file = segment.file_size < meta.end_position;
      if (scan.far_end.next_offset != meta.end_offset || short_file ||
          (scan.broken.empty() && scan.far_end.position.value != meta.end_position)) {
        to.push_back(
            {segment.name(),
             scan.far_end.position,
             {meta.end_position},
             {{scan.far_end.next_offset}, {std::max(meta.end_offset, scan.far_end.next_offset)}},
             short_file ? "the file is too short" : what});
      }
    } else if (scan.torn() && scan.broken.empty()) {
      to.push_back({segment.name(),
                    scan.end.position,
                    scan.end.position + scan.bytes_behind,
                    {{scan.end.next_offset}, {scan.end.next_offset}},
                    what});
    }
  }

  // What opening would refuse is no intact log, whatever its segments look like one by one: they may be valid and not
  // go together.
  Result<void> ask_survey() {
    const auto surveyed =
        survey(storage_, found_.manifest, found_.inventory, Options{}, /*writing=*/false);
    if (!surveyed && surveyed.error() != Errc::corrupt) return surveyed.error();
    if (surveyed && surveyed->lost.empty()) return {};
    // Unless a writer has changed meanwhile what the log consists of.
    VARVE_TRY_ASSIGN(const Inventory inventory, take_inventory(storage_));
    if (manifest_changed() || inventory.segments != found_.inventory.segments) return {};
    if (surveyed)
      found_.damage = surveyed->lost;
    else
      found_.damage.push_back({std::string(manifest_name), {}, {}, {}, surveyed.error().context()});
    return {};
  }

  // Whether a segment ends where the one behind it says that it does.
  static void judge_end(ExaminedSegment& segment, const ExaminedSegment& next, bool lost) {
    const SegmentState& end = segment.scan.far_end;
    const auto& begin = next.scan.begin;
    if (!begin || begin->predecessor_id != segment.meta.id || segment.scan.torn() ||
        begin->predecessor_end <= end.position.value || next.meta.base_offset > end.next_offset)
      return;
    (lost ? segment.damage : segment.torn)
        .push_back({segment.name(),
                    end.position,
                    {begin->predecessor_end},
                    {{end.next_offset}, {end.next_offset}},
                    "its last bytes are missing"});
  }

  // Whether something from segment `i` on was durable, and so all before it.
  bool durable_from(std::size_t i) const {
    return std::any_of(found_.segments.begin() + static_cast<std::ptrdiff_t>(i),
                       found_.segments.end(), [](const ExaminedSegment& segment) {
                         return segment.extent_known ||
                                (segment.scan.proof && *segment.scan.proof >= segment_header_bytes);
                       });
  }

  // Whether a segment without a known extent is damaged below what it, or one behind it, proves durable.
  bool proven(std::size_t i) const {
    const ExaminedSegment& segment = found_.segments[i];
    const auto end = static_cast<std::int64_t>(segment.scan.end.position.value);
    if (segment.scan.proof && *segment.scan.proof > end) return true;
    if (!found_.manifest_rebuilt && segment.meta.end_position > segment.scan.end.position.value)
      return true;  // listed, and that far it was durable
    return durable_from(i + 1) ||
           std::any_of(found_.segments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                       found_.segments.end(), [&](const ExaminedSegment& later) {
                         const SegmentScan& scan = later.scan;
                         return scan.proof && scan.begin &&
                                static_cast<std::int64_t>(scan.begin->base_position) + *scan.proof >
                                    static_cast<std::int64_t>(segment.meta.base_position) + end;
                       });
  }

  StorageBackend& storage_;
  const ExamineOptions& options_;
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

Result<Examination> examine(StorageBackend& storage, const ExamineOptions& options) {
  // What a writer replaces meanwhile looks like damage. Whoever was shown frames cannot be shown them again.
  constexpr int attempts = 20;
  for (int attempt = 1;; ++attempt) {
    auto found = Examiner(storage, options).run();
    if (!found || found->intact() || found->manifest_rebuilt || options.visit || options.settle ||
        attempt == attempts)
      return found;
    const auto now = load_manifest(storage);
    if (!now || !*now || (**now).generation == found->generation) return found;
  }
}

Result<SegmentScan> scan_again(StorageBackend& storage, LogId log, const ExaminedSegment& segment,
                               ScanOptions options, bool medium) {
  const bool flush = medium && !segment.extent_known;
  VARVE_TRY_ASSIGN(
      const auto file,
      segment.meta.is_compacted()
          ? open_listed(storage, segment.meta, log)
          : SegmentFile::open(storage, segment.name(), flush ? OpenMode::write : OpenMode::read,
                              log, segment.header->id));
  if (flush) VARVE_TRY(file->file->sync());
  if (segment.extent_known) options.stop = segment.meta.end_position;
  SegmentState start;
  start.next_offset = segment.meta.base_offset;
  start.next_sequence = segment.meta.base_sequence;
  if (medium) {
    MediumSource source(*file->file, segment.file_size);
    return scan_segment(source, *file, segment.file_size, start, options);
  }
  VARVE_TRY(file->map(segment.file_size, MapMode::read));
  MappedSource source(*file->mapping, {segment.file_size}, file->populated.get(), file->name);
  return scan_segment(source, *file, segment.file_size, start, options);
}

}  // namespace varve::inline v0::detail
