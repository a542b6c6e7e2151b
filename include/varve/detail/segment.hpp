// Segment: a Store and its Index with a base offset; the records of [base offset, end offset). Here: what
// there is to know of one, how its file is opened, and how its frames are walked.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "varve/detail/filename.hpp"
#include "varve/detail/format.hpp"
#include "varve/detail/frame_records.hpp"
#include "varve/detail/store.hpp"
#include "varve/detail/try.hpp"
#include "varve/observer.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// Where a walk through the frames stands: what the next frame must say.
struct SegmentState {
  Position position{segment_header_bytes};
  std::uint64_t next_offset = 0;
  std::uint64_t next_sequence = 0;
  std::int64_t append_time_ms = no_time;  // of the last frame; that of the next is no less
  std::int64_t newest_ms = no_time;       // greatest timestamp of the segment's records so far
};

// What a compacted segment stands for.
struct Replaced {
  std::uint64_t span = 0;  // bytes that those segments took of the log's positions
  std::uint64_t last_id =
      0;  // the last of them, which the segment behind names as the one before it
  std::uint64_t last_end = 0;
};

// Ids of compacted segments are random and have this bit; those of others count up without it. So compaction needs
// none of the numbers that promise what segments the manifest may not know yet.
inline constexpr std::uint64_t compacted_id = std::uint64_t{1} << 63;

// The next id that counts up, when a segment has that one.
inline std::uint64_t id_behind(std::uint64_t next, std::uint64_t id) noexcept {
  return (id & compacted_id) != 0 ? next : std::max(next, id + 1);
}

// All that the log remembers of a segment: as the manifest has it.
struct SegmentMeta {
  std::uint64_t id = 0;
  std::uint64_t base_offset = 0;
  std::uint64_t end_offset = 0;
  std::uint64_t base_sequence = 0;
  std::uint64_t end_sequence = 0;
  std::uint64_t base_position = 0;  // what all segments before it add up to, in bytes
  std::int64_t newest_ms = no_time;
  std::uint32_t end_position = segment_header_bytes;
  bool sealed = false;
  std::optional<Replaced> replaced{};

  std::string name() const { return segment_name({base_offset}); }
  bool is_compacted() const noexcept { return (id & compacted_id) != 0; }

  // Where the segment behind it starts, counted through all segments, and what that one names.
  std::uint64_t next_position() const noexcept {
    return base_position + (replaced ? replaced->span : end_position);
  }
  std::uint64_t named_id() const noexcept { return replaced ? replaced->last_id : id; }
  std::uint64_t named_end() const noexcept { return replaced ? replaced->last_end : end_position; }

  SegmentInfo info() const {
    return {name(),
            {{base_offset}, {end_offset}},
            end_position,
            Timestamp(std::chrono::milliseconds(newest_ms == no_time ? 0 : newest_ms)),
            sealed};
  }
};

// "name: what", the form of all contexts that speak of a file.
inline Error damage_error(const std::string& name, const std::string& what) {
  return {Errc::corrupt, name + ": " + what};
}

// What is wrong with a file that is shorter than what must be in it.
inline std::string too_short(std::uint64_t size, std::uint64_t needed) {
  return "the file has " + std::to_string(size) + " bytes, its records need " +
         std::to_string(needed);
}

// Reads a header block, which says what the rest of the file is.
inline Result<SegmentHeader> parse_segment_header(Bytes block, const std::string& name) {
  const std::byte* at = block.data();
  if (block.size() < segment_header_bytes || load_le<std::uint64_t>(at) != segment_magic)
    return damage_error(name, "not a segment (no header block at its start)");
  if (const auto version = load_le<std::uint32_t>(at + 8); version != format_version) {
    return Error(Errc::unsupported_format, name + ": segment format version " +
                                               std::to_string(version) + ", this varve reads " +
                                               std::to_string(format_version));
  }
  if (checksum(block.first(segment_check_at)) != load_le<std::uint64_t>(at + segment_check_at))
    return damage_error(name, "the segment's header block does not match its check");
  SegmentHeader header;
  header.log = {load_le<std::uint64_t>(at + 16), load_le<std::uint64_t>(at + 24)};
  header.id = load_le<std::uint64_t>(at + 32);
  header.salt = load_le<std::uint64_t>(at + 40);
  header.created_ms = load_le<std::int64_t>(at + 48);
  header.capacity = load_le<std::uint32_t>(at + 56);
  return header;
}

// Whether the file may have the room that a writer leaves behind the frames: for a next frame's place and for
// the segment's last frame.
inline bool can_go_on(const SegmentHeader& header, Position end) noexcept {
  return end.value + frame_header_bytes + end_frame_bytes <= header.capacity;
}
inline constexpr char no_room_to_go_on[] = "its frames leave no room for the segment's last one";

// An open segment file. Shared by all who read it; what they read stays mapped as long as they hold it.
struct SegmentFile {
  std::string name{};
  std::unique_ptr<StorageFile> file{};
  std::unique_ptr<StorageMapping> mapping{};     // null until map() is called
  std::unique_ptr<PopulatedBlocks> populated{};  // of it, if it is for reading
  SegmentHeader header{};

  // Opens the file and checks that it is a segment of `log`, and the one called `id` if that is given.
  static Result<std::shared_ptr<SegmentFile>> open(StorageBackend& storage, std::string name,
                                                   OpenMode mode, LogId log,
                                                   std::optional<std::uint64_t> id) {
    auto segment = std::make_shared<SegmentFile>();
    VARVE_TRY_ASSIGN(segment->file, storage.open(name, mode));
    std::array<std::byte, segment_header_bytes> block{};
    VARVE_TRY_ASSIGN(const std::size_t size, segment->file->read_at({0}, block));
    VARVE_TRY_ASSIGN(segment->header, parse_segment_header(Bytes{block}.first(size), name));
    if (segment->header.log != log) return damage_error(name, "a segment of another log");
    if (id && segment->header.id != *id) {
      return damage_error(name, "another segment stands in its place (id " +
                                    std::to_string(segment->header.id) + ", expected " +
                                    std::to_string(*id) + ")");
    }
    segment->name = std::move(name);
    return segment;
  }

  Result<void> map(std::uint64_t size, MapMode mode) {
    VARVE_TRY_ASSIGN(mapping, file->map(static_cast<std::size_t>(size), mode));
    if (mapping->size() < size)
      return Error(std::make_error_code(std::errc::io_error), name + ": mapped too short");
    if (mode == MapMode::read) populated = std::make_unique<PopulatedBlocks>(mapping->size());
    return {};
  }
};

// Opens the file of a listed segment. A compacted one may still stand under the name that it was written with.
inline Result<std::shared_ptr<SegmentFile>> open_listed(StorageBackend& storage,
                                                        const SegmentMeta& meta, LogId log) {
  auto file = SegmentFile::open(storage, meta.name(), OpenMode::read, log, meta.id);
  if (file || !meta.is_compacted()) return file;
  auto other =
      SegmentFile::open(storage, compact_name({meta.base_offset}), OpenMode::read, log, meta.id);
  if (other) return other;
  return SegmentFile::open(storage, meta.name(), OpenMode::read, log, meta.id);  // by now
}

struct GapBody {
  std::uint64_t next_offset = 0;
  std::uint64_t next_sequence = 0;
};

struct BeginBody {
  std::uint64_t base_position = 0;
  std::uint64_t predecessor_id = 0;  // 0: none
  std::uint64_t predecessor_end = 0;
};

inline std::optional<ControlKind> control_kind(const Frame& frame) noexcept {
  if (!frame.header.is_control() || frame.body.size() < 8) return std::nullopt;
  return static_cast<ControlKind>(load_le<std::uint32_t>(frame.body.data()));
}

inline std::optional<BeginBody> parse_begin(const Frame& frame) noexcept {
  if (control_kind(frame) != ControlKind::segment_begin || frame.body.size() != begin_body_bytes)
    return std::nullopt;
  const std::byte* at = frame.body.data() + 8;
  return BeginBody{load_le<std::uint64_t>(at), load_le<std::uint64_t>(at + 8),
                   load_le<std::uint64_t>(at + 16)};
}

inline std::optional<GapBody> parse_gap(const Frame& frame) noexcept {
  if (control_kind(frame) != ControlKind::gap || frame.body.size() != gap_body_bytes)
    return std::nullopt;
  const std::byte* at = frame.body.data() + 8;
  return GapBody{load_le<std::uint64_t>(at), load_le<std::uint64_t>(at + 8)};
}

// Walks a segment frame by frame, checking that each continues the one before.
class SegmentWalk {
 public:
  SegmentWalk(FrameReader frames, SegmentState state, bool ended = false)
      : frames_(frames), state_(state), ended_(ended) {}

  const SegmentState& state() const noexcept { return state_; }
  const FrameReader& frames() const noexcept { return frames_; }
  bool ended() const noexcept { return ended_; }  // a segment_end was walked over

  // The frame at the walk's position, verified and in its place; a frame that does not continue the
  // walk is bad. Does not move. Also finds the greatest timestamp in the frame.
  Result<Frame> read() {
    VARVE_TRY_ASSIGN(Frame frame, frames_.read(state_.position));
    if (frame.state != FrameState::sealed && frame.state != FrameState::open) return frame;
    const char* wrong = check(frame);
    if (wrong != nullptr) {
      frame.state = FrameState::bad;
      frame.header_valid = false;
      frame.what = wrong;
    }
    return frame;
  }

  // The greatest timestamp up to and including the frame that read() returned last.
  std::int64_t newest_ms() const noexcept { return std::max(state_.newest_ms, newest_ms_); }

  // Moves over the frame that read() returned last, sealed or open.
  void accept(const Frame& frame) noexcept {
    state_.append_time_ms = frame.header.append_time_ms;
    state_.newest_ms = newest_ms_;
    state_.next_offset = frame.end_offset();
    if (!frame.header.is_control()) {
      state_.next_sequence = frame.header.sequence + sequences_;
    } else if (const auto gap = parse_gap(frame)) {
      state_.next_offset = gap->next_offset;
      state_.next_sequence = gap->next_sequence;
    } else if (control_kind(frame) == ControlKind::segment_end) {
      ended_ = true;
    }
    state_.position = frame.end();
  }

  // Goes on behind damage at a frame that probe() found: only what it says of itself is known.
  void resume_at(const Frame& frame) noexcept {
    state_.position = frame.position;
    state_.next_offset = frame.header.base_offset;
    state_.next_sequence = frame.header.sequence;
    state_.append_time_ms = no_time;
  }

 private:
  // What is wrong with a verified frame here, or nullptr.
  const char* check(const Frame& frame) noexcept {
    const FrameHeader& header = frame.header;
    newest_ms_ = state_.newest_ms;
    sequences_ = 0;
    if (ended_) return "a frame behind the segment's end";
    if (header.base_offset != state_.next_offset)
      return "the frame's base offset does not continue the frame before it";
    if (header.sequence != state_.next_sequence)
      return "the frame's sequence number does not continue the frame before it";
    if (header.append_time_ms < state_.append_time_ms && state_.append_time_ms != no_time)
      return "the frame's time is before that of the frame before it";
    if (header.base_offset > offset_max.value ||
        frame.end_offset() - header.base_offset > offset_max.value - header.base_offset)
      return "the frame's offsets exceed what an offset can be";
    if (header.is_control()) return check_control(frame);
    return check_records(frame);
  }

  const char* check_control(const Frame& frame) noexcept {
    if (frame.count != 0) return "a control frame with records";
    switch (control_kind(frame).value_or(ControlKind{})) {
      case ControlKind::segment_begin: {
        const auto begin = parse_begin(frame);
        return begin && begin->base_position <= position_max ? nullptr
                                                             : "a malformed segment_begin";
      }
      case ControlKind::segment_end:
        return nullptr;
      case ControlKind::gap: {
        const auto gap = parse_gap(frame);
        if (!gap || gap->next_offset < state_.next_offset || gap->next_offset > offset_max.value)
          return "a malformed gap";
        return nullptr;
      }
    }
    return "a control frame of an unknown kind";
  }

  // Compressed records are not looked into: the check of the body says that they are what was written.
  const char* check_records(const Frame& frame) noexcept {
    if (frame.header.is_compressed() && frame.state == FrameState::sealed) {
      const auto prefix = parse_compressed_prefix(frame.body, frame.count);
      if (!prefix) return "the frame's compressed body is malformed";
      sequences_ = 1;
      newest_ms_ = std::max(newest_ms_, prefix->newest_ms);
      return nullptr;
    }
    const auto body = FrameRecords::parse(frame);
    if (!body) return "the frame's table of records is malformed";
    if (const char* wrong = body->check_span(frame.end_offset() - frame.header.base_offset))
      return wrong;
    sequences_ = body->sequences();
    Bytes records = body->records();
    const std::size_t size = records.size();
    RecordView record;
    for (std::uint32_t i = 0; i < frame.count; ++i) {
      if (!decode_record(records, frame.header.append_time_ms, record))
        return "a record in the frame is malformed";
      if (body->has_ends() && body->end_of(i) != size - records.size())
        return "the frame's table does not match its records";
      newest_ms_ = std::max(newest_ms_, record.timestamp.time_since_epoch().count());
    }
    return records.empty() ? nullptr : "the frame has bytes behind its last record";
  }

  FrameReader frames_;
  SegmentState state_;
  std::int64_t newest_ms_ = no_time;
  std::uint64_t sequences_ = 0;  // that the frame that read() returned last takes up
  bool ended_ = false;
};

}  // namespace varve::inline v0::detail
