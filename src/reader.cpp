#include "varve/reader.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "reader_impl.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0 {

using namespace detail;

// ---- where to read -----------------------------------------------------------------------------

// Makes sure that next may be read: reloads what is visible, and the list of segments with it.
Result<bool> Reader::Impl::see() {
  Result<void> refreshed;
  if (core_->refresher) refreshed = core_->refresher->refresh();
  // The list after the mark: it then holds the segment of every offset below the mark.
  const std::uint64_t end = core_->visible_end(options_.visible);
  if (core_->segments.version() != version_) {
    version_ = core_->segments.version();
    list_ = core_->segments.list();
    if (in_active_ && in_segment_) leave_segment();  // it may be sealed now; look again
  }
  visible_ = options_.until ? std::min(end, options_.until->value) : end;
  if (next < visible_) return true;
  if (!refreshed) return refreshed.error();  // only now: what is known is readable all the same
  const std::uint64_t log_end = core_->marks.end.load(std::memory_order_acquire);
  if (next > log_end && (!options_.until || next < options_.until->value)) return out_of_range();
  return false;
}

Error Reader::Impl::out_of_range() const {
  return {Errc::offset_out_of_range,
          "offset " + std::to_string(next) + " is not in [" +
              std::to_string(core_->marks.start.load(std::memory_order_acquire)) + ", " +
              std::to_string(core_->marks.end.load(std::memory_order_acquire)) + ")"};
}

// A segment that is not there may have been truncated away since the list was made.
Error Reader::Impl::explain(const Error& error) const {
  if (!is_missing(error)) return error;
  if (core_->refresher) {
    if (auto refreshed = core_->refresher->refresh_structure(); !refreshed)
      return refreshed.error();
  }
  return next < core_->marks.start.load(std::memory_order_acquire) ? out_of_range() : error;
}

void Reader::Impl::leave_segment() noexcept { in_frame_ = in_segment_ = false; }

// Enters the segment that holds next, near it.
Result<void> Reader::Impl::enter_segment() {
  if (next < core_->marks.start.load(std::memory_order_acquire)) return out_of_range();
  // Whoever seeks about often stays in the segment.
  if (!file_ || next < segment_base_ || next >= end_offset_ || entered_version_ != version_)
    VARVE_TRY(open_segment());
  const auto entry = in_active_ ? active_index_->find(Offset{next}) : sealed_.find(Offset{next});
  if (in_active_) VARVE_TRY(look_how_long());
  if (entry && entry->position >= segment_header_bytes && entry->position < end_position_.value &&
      entry->position % frame_alignment == 0) {
    position_ = {entry->position};
    expected_ = entry->offset;
    from_index_ = true;
  } else {
    start_of_segment();
  }
  in_segment_ = true;
  in_frame_ = false;
  return {};
}

// What the list names may have been replaced since it was made. Whether there is another by now; then it is taken.
Result<bool> Reader::Impl::renew_list(const Error& error) {
  if (error != Errc::corrupt && !is_missing(error)) return false;
  if (core_->refresher) VARVE_TRY(core_->refresher->refresh_structure());
  if (core_->segments.version() == version_) return false;
  version_ = core_->segments.version();
  list_ = core_->segments.list();
  return true;
}

Result<void> Reader::Impl::open_segment() {
  file_.reset();
  if (list_->active && next >= list_->active->base_offset) {
    const ActiveView& active = *list_->active;
    file_ = active.file;
    end_position_ = {file_->mapping->size()};
    end_offset_ = offset_max.value;
    active_index_ = active.index;
    segment_base_ = active.base_offset;
    in_active_ = true;
  } else {
    const SegmentMeta* meta = list_->find(next);
    if (meta == nullptr) return lose_missing();
    auto opened = core_->segments.open(*meta);
    if (!opened) {
      VARVE_TRY_ASSIGN(const bool renewed, renew_list(opened.error()));
      if (renewed) {
        if (next < core_->marks.start.load(std::memory_order_acquire)) return out_of_range();
        return open_segment();
      }
      if (opened.error() != Errc::corrupt) return explain(opened.error());
      return lose(opened.error().context(), next, meta->end_offset);
    }
    sealed_ = *std::move(opened);
    file_ = sealed_.file;
    end_position_ = {meta->end_position};
    end_offset_ = meta->end_offset;
    segment_base_ = meta->base_offset;
    in_active_ = false;
  }
  source_.emplace(*file_->mapping, end_position_, in_active_ ? nullptr : file_->populated.get(),
                  file_->name);
  frames_.emplace(*source_, file_->header.salt);
  entered_version_ = version_;
  return {};
}

void Reader::Impl::start_of_segment() noexcept {
  position_ = {segment_header_bytes};
  expected_ = segment_base_;
  from_index_ = false;
}

// ---- frames ------------------------------------------------------------------------------------

// Takes up the frame at position_. False if it only led elsewhere.
Result<bool> Reader::Impl::enter_frame() {
  if (position_ >= end_position_) {
    // The list of segments is no older than visible_: no other segment has what is missing here.
    const std::uint64_t known_end = in_active_ ? visible_ : end_offset_;
    leave_segment();
    if (expected_ < known_end)
      return lose(position_, position_, known_end, "records are missing at its end");
    if (!in_active_) next = std::max(next, end_offset_);  // its last offsets may have no records
    return false;
  }
  VARVE_TRY_ASSIGN(Frame frame, frames_->read(position_));
  if (!frame.good() && in_active_) {  // its file may have grown since it was last looked at
    VARVE_TRY(look_how_long());
    VARVE_TRY_ASSIGN(frame, frames_->read(position_));
  }
  if (frame.good() && frame.header.base_offset == expected_) {
    if (next < expected_) {  // what is before it has no records any more
      next = expected_;
      if (next >= visible_) return false;
    }
    if (!in_active_ || frame.state == FrameState::sealed) return enter_whole_frame(frame);
    if (next < expected_ + frame.count) return enter_growing_frame(frame);
    frame.what = "records are missing from an open frame";
  }
  if (from_index_) {  // the index is only a hint: look for yourself
    start_of_segment();
    return false;
  }
  return pass_damage(frame);
}

// A frame that its writer may still be filling. What it holds now is verified, and stays.
Result<bool> Reader::Impl::enter_growing_frame(const Frame& frame) {
  from_index_ = false;
  take_header(frame.header);
  rest = frame.body;
  frame_count_ = frame.count;
  frame_bytes_ = frame.body.size();
  running_ = frame.running;
  growing_ = true;
  in_frame_ = true;
  return true;
}

// Takes in what a growing frame has got since it was last looked at. There is more to see: if not in this frame,
// then it was sealed, and others follow.
Result<void> Reader::Impl::grow() {
  VARVE_TRY_ASSIGN(const Bytes bytes, source_->at(frame_position_, frame_header_bytes));
  const FrameHeader header = load_frame_header(bytes.data());
  const std::uint64_t end = frame_header_bytes + std::uint64_t{header.body_bytes};
  const std::uint64_t begin = frame_header_bytes + frame_bytes_;
  if (header.magic == frame_magic_open && begin < end && end <= bytes.size()) {
    const Bytes fresh =
        bytes.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    std::uint64_t running = running_;
    if (const auto count = walk_open_records(fresh, running);
        count && high32(running) == header.count) {
      rest = fresh;
      frame_count_ += *count;
      frame_bytes_ = header.body_bytes;
      running_ = running;
      return {};
    }
  }
  in_frame_ = false;  // look at it anew
  position_ = frame_position_;
  expected_ = frame_base_;
  return {};
}

// The file of the active segment grows; a mapping of it is longer than that.
Result<void> Reader::Impl::look_how_long() {
  VARVE_TRY_ASSIGN(const std::uint64_t size, file_->file->size());
  source_->set_limit(std::min(end_position_, Position{size}));
  return {};
}

Result<bool> Reader::Impl::enter_whole_frame(const Frame& frame) {
  from_index_ = false;
  position_ = frame.end();
  expected_ = frame.end_offset();
  if (frame.header.is_control()) {
    if (const auto gap = parse_gap(frame)) {
      expected_ = gap->next_offset;
      next = std::max(next, expected_);
    } else if (control_kind(frame) == ControlKind::segment_end) {
      position_ = end_position_;  // nothing comes behind it
    }
    return false;
  }
  take_header(frame.header);
  frame_count_ = frame.count;
  growing_ = false;
  if (next >= expected_) return false;  // all before what is wanted
  NativeBody native{frame.body, frame.header.append_time_ms};
  if (frame.header.is_compressed()) [[unlikely]] {
    VARVE_TRY_ASSIGN(native, unpack(frame));
    base_time_ms = native.base_time_ms;
  }
  rest = native.bytes;
  if (frame.state == FrameState::sealed) {
    const auto body = FrameRecords::parse(frame, native);
    if (!body) return damaged_record(frame.position);
    if (!body->dense()) {
      if (frame.count > 0 && body->offset_of(frame.count - 1) >= expected_)
        return damaged_record(frame.position);
      sparse_ = body;
    }
    rest = body->records();
    if (next > frame_base_) {
      frame_index_ = body->first_from(next);
      if (frame_index_ == frame_count_) return false;  // none is left from there on
      const auto from = body->from(frame_index_);
      if (!from) return damaged_record(frame.position);
      rest = *from;
    }
  }
  frame_position_ = frame.position;
  in_frame_ = true;
  return true;
}

// The records of a compressed frame. What cannot be decompressed is lost like other damage; what only cannot be now, for
// want of the codec or of memory, still comes next.
Result<NativeBody> Reader::Impl::unpack(const Frame& frame) {
  position_ = frame.position;
  expected_ = frame_base_;
  auto native = native_body(frame, file_->name, core_->options.codecs, unpacked_);
  if (!native && native.error() != Errc::corrupt) return native;
  position_ = frame.end();
  expected_ = frame_base_ + frame.count;
  if (native) return native;
  return lose(native.error().context(), std::max(next, frame_base_), expected_);
}

void Reader::Impl::take_header(const FrameHeader& header) noexcept {
  frame_base_ = header.base_offset;
  frame_index_ = 0;
  sparse_.reset();
  frame_position_ = position_;
  record.epoch = {header.epoch};
  record.append_time = Timestamp(std::chrono::milliseconds(header.append_time_ms));
  base_time_ms = header.append_time_ms;
}

// Takes the next record of the frame. False if there is none left in it.
Result<bool> Reader::Impl::take_record() {
  if (frame_index_ == frame_count_) {
    if (growing_) {
      VARVE_TRY(grow());
    } else {
      in_frame_ = false;
    }
    return false;
  }
  const std::uint64_t offset =
      sparse_ ? sparse_->offset_of(frame_index_) : frame_base_ + frame_index_;
  if (offset >= visible_) {  // it comes behind offsets without records: is it to be seen, too?
    next = std::max(next, visible_);
    return false;
  }
  if (!decode_record(rest, base_time_ms, record)) {
    in_frame_ = false;
    return damaged_record(frame_position_);
  }
  record.offset = {offset};
  ++frame_index_;
  return true;
}

// ---- damage ------------------------------------------------------------------------------------

// Tells of lost offsets and moves behind them.
Error Reader::Impl::lose(std::string text, std::uint64_t first, std::uint64_t resume_offset) {
  text +=
      "; offsets [" + std::to_string(first) + ", " + std::to_string(resume_offset) + ") are lost";
  next = std::max(next, resume_offset);
  return {Errc::corrupt, std::move(text)};
}

Error Reader::Impl::lose(Position begin, Position end, std::uint64_t resume_offset,
                         const char* what) {
  std::string text = file_->name + " at " + std::to_string(begin.value) + ": " + what;
  if (end > begin) text += ", " + std::to_string(end - begin) + " bytes unreadable";
  return lose(std::move(text), std::max(next, expected_), resume_offset);
}

// next is in the log, but in none of its segments.
Error Reader::Impl::lose_missing() {
  const auto& sealed = list_->sealed;
  const auto after = std::upper_bound(
      sealed.begin(), sealed.end(), next,
      [](std::uint64_t wanted, const SegmentMeta& meta) { return wanted < meta.base_offset; });
  if (after != sealed.end())
    return lose(after->name() + ": records before it are missing", next, after->base_offset);
  if (list_->active && list_->active->base_offset > next)
    return lose(list_->active->file->name + ": records before it are missing", next,
                list_->active->base_offset);
  if (next >= core_->marks.start.load(std::memory_order_acquire) && next < visible_)
    return lose(core_->storage->describe() + ": the last segment is missing", next, visible_);
  return out_of_range();
}

Error Reader::Impl::damaged_record(Position frame) {
  const std::uint64_t first = sparse_ && frame_index_ < frame_count_
                                  ? sparse_->offset_of(frame_index_)
                                  : frame_base_ + frame_index_;
  next = std::max(next, expected_);
  return {Errc::corrupt, file_->name + " at " + std::to_string(frame.value) +
                             ": a record in the frame is malformed; offsets [" +
                             std::to_string(first) + ", " + std::to_string(expected_) +
                             ") are lost"};
}

// Finds what comes after a frame that is not what it should be.
Result<bool> Reader::Impl::pass_damage(const Frame& frame) {
  const std::uint64_t known_end = in_active_ ? visible_ : end_offset_;
  Position resume = end_position_;
  std::uint64_t resume_offset = known_end;
  if (frame.header_valid && frame.header.base_offset == expected_) {  // the body alone is damaged
    resume = frame.end();
    resume_offset = frame.end_offset();
  } else {
    VARVE_TRY_ASSIGN(const auto found, frames_->probe(position_ + frame_alignment, end_position_));
    if (found && found->header.base_offset >= expected_ && found->header.base_offset <= known_end) {
      resume = found->position;
      resume_offset = found->header.base_offset;
    }
  }
  const Position begin = position_;
  const bool wanted = resume_offset > next;
  std::optional<Error> loss;
  const char* what =
      frame.state == FrameState::blank ? "zeros where a frame should be" : frame.what;
  if (wanted) loss = lose(begin, resume, resume_offset, what);
  position_ = resume;
  expected_ = resume_offset;
  if (resume == end_position_) leave_segment();
  if (loss) return *std::move(loss);
  return false;
}

// ---- the cursor --------------------------------------------------------------------------------

Result<bool> Reader::Impl::step() {
  if (stop != 0) {  // take() has gone on since
    frame_index_ = static_cast<std::uint32_t>(next - frame_base_);
    stop = 0;
  }
  for (;;) {
    if (next >= visible_) {
      VARVE_TRY_ASSIGN(const bool more, see());
      if (!more) return false;
    }
    if (in_frame_) {
      VARVE_TRY_ASSIGN(const bool taken, take_record());
      if (!taken) continue;
      if (record.offset.value < next) continue;  // before what was asked for
      next = record.offset.value + 1;
      // take() counts offsets, so that it serves frames with a record for each only.
      stop = sparse_ ? 0 : std::min(frame_base_ + frame_count_, visible_);
      return true;
    }
    if (!in_segment_) VARVE_TRY(enter_segment());
    VARVE_TRY(enter_frame());
  }
}

Reader::Reader(std::unique_ptr<Impl> impl) noexcept
    : impl_(std::move(impl)), cursor_(impl_.get()) {}
Reader::Reader(Reader&& other) noexcept
    : impl_(std::move(other.impl_)), cursor_(std::exchange(other.cursor_, nullptr)) {}
Reader& Reader::operator=(Reader&& other) noexcept {
  impl_ = std::move(other.impl_);
  cursor_ = std::exchange(other.cursor_, nullptr);
  return *this;
}
Reader::~Reader() = default;

bool Reader::go_on() {
  auto moved = impl_->step();
  if (moved) {
    impl_->error_.reset();
    return *moved;
  }
  impl_->error_ = moved.error();
  return false;
}

Result<std::optional<RecordView>> Reader::next() {
  if (advance()) return std::optional<RecordView>(impl_->record);
  if (impl_->error_) return *impl_->error_;
  return std::optional<RecordView>();
}

Result<void> Reader::status() const {
  if (impl_->error_) return *impl_->error_;
  return {};
}

void Reader::seek(Offset offset) noexcept {
  impl_->next = offset.value;
  impl_->stop = 0;
  if (impl_->error_) impl_->error_.reset();
  impl_->leave_segment();
}

Offset Reader::next_offset() const noexcept { return {impl_->next}; }

Result<bool> Reader::wait(std::chrono::milliseconds timeout) {
  Impl& reader = *impl_;
  if (reader.options_.until && reader.next >= reader.options_.until->value) return false;
  return wait_visible(*reader.core_, reader.next, reader.options_.visible, deadline_after(timeout));
}

}  // namespace varve::inline v0
