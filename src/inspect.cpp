#include "varve/inspect.hpp"

#include <algorithm>
#include <utility>

#include "examination.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/index.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0 {

using namespace detail;

Result<VerifyReport> verify(StorageBackend& storage, const Progress& progress) {
  ExamineOptions options;
  options.progress = progress;
  VARVE_TRY_ASSIGN(Examination found, examine(storage, options));
  VerifyReport report;
  report.damage = std::move(found.damage);
  report.torn = std::move(found.torn);
  report.unknown_files = std::move(found.inventory.unknown);
  report.offsets.begin = {found.manifest.start_offset};
  report.offsets.end = {std::max(found.manifest.start_offset, found.manifest.next_offset)};
  for (const ExaminedSegment& segment : found.segments) {
    ++report.segments;
    report.frames += segment.scan.frames + segment.scan.frames_behind;
    report.records += segment.scan.records + segment.scan.records_behind;
    report.bytes += segment.scan.far_end.position.value;
    report.frames_compressed += segment.scan.compressed.frames;
    report.bytes_before_compression += segment.scan.compressed.native_bytes;
    report.bytes_after_compression += segment.scan.compressed.bytes;
    report.damage.insert(report.damage.end(), segment.damage.begin(), segment.damage.end());
    report.torn.insert(report.torn.end(), segment.torn.begin(), segment.torn.end());
    const SegmentState& end = segment.damage.empty() ? segment.scan.end : segment.scan.far_end;
    const std::uint64_t end_offset =
        segment.extent_known ? segment.meta.end_offset : end.next_offset;
    report.offsets.end = std::max(report.offsets.end, Offset{end_offset});
    const std::string index = index_name({segment.meta.base_offset});
    if (segment.extent_known && storage.stat(index) &&
        !SealedIndex::load(storage, index,
                           {found.manifest.log, segment.meta.id, segment.meta.end_position}))
      report.stale_indexes.push_back(index);
  }
  return report;
}

namespace {

std::string kind_of(const Frame& frame) {
  if (!frame.header.is_control()) return "records";
  switch (control_kind(frame).value_or(ControlKind{})) {
    case ControlKind::segment_begin:
      return "segment begin";
    case ControlKind::segment_end:
      return "segment end";
    case ControlKind::gap:
      return "gap";
  }
  return "control";
}

FrameInfo describe_frame(const std::string& file, const Frame& frame) {
  FrameInfo info;
  info.file = file;
  info.position = frame.position;
  info.what = frame.state == FrameState::bad ? frame.what : "";
  info.state = frame.state == FrameState::sealed ? FrameInfo::State::sealed
               : frame.state == FrameState::open ? FrameInfo::State::open
                                                 : FrameInfo::State::damaged;
  const FrameHeader& header = frame.header;
  info.version = header.version;
  info.flags = header.flags;
  info.kind = kind_of(frame);
  info.body_bytes = header.body_bytes;
  info.records = frame.count;
  if (frame.good() && header.is_compressed()) {
    if (const auto prefix = parse_compressed_prefix(frame.body, frame.count)) {
      info.codec = prefix->codec;
      info.bytes_before_compression = prefix->native_bytes;
    }
  }
  info.base_offset = {header.base_offset};
  info.end_offset = {frame.end_offset()};
  info.sequence = header.sequence;
  info.append_time = Timestamp(std::chrono::milliseconds(header.append_time_ms));
  info.epoch = {header.epoch};
  info.sync_lag = frame.state == FrameState::open ? low32(header.body_check) : header.proven_lag();
  info.header_check = header.check;
  info.body_check = frame.state == FrameState::open ? 0 : header.body_check;
  return info;
}

}  // namespace

Result<void> dump(StorageBackend& storage, const std::function<bool(const FrameInfo&)>& visit) {
  ExamineOptions options;
  options.visit = [&](const ExaminedSegment& segment, const Frame* frame) {
    if (frame != nullptr) return visit(describe_frame(segment.name(), *frame));
    FrameInfo info;
    info.file = segment.name();
    info.state = FrameInfo::State::damaged;
    info.what = segment.damage.front().what;
    info.kind = "segment";
    info.base_offset = {segment.meta.base_offset};
    return visit(info);
  };
  const auto found = examine(storage, options);
  if (!found) return found.error();
  return {};
}

}  // namespace varve::inline v0
