// SegmentWriter: the active segment, where offsets are assigned.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "varve/detail/index.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/store.hpp"

namespace varve::inline v0::detail {

// Where a segment's records begin.
inline constexpr Position behind_begin{segment_header_bytes + begin_frame_bytes};

// One thread at a time appends, under the appender's lock. The atomics and the index may be read, and
// make_ready() called, by any thread.
class SegmentWriter {
 public:
  // Makes the file of a segment to come: header block written and durable, room for the first bytes
  // reserved, mapped, populated. Nothing of it counts until it is given its name.
  static Result<std::shared_ptr<SegmentWriter>> prepare(StorageBackend& storage,
                                                        const SegmentHeader& header,
                                                        std::uint32_t index_interval) {
    auto file = std::make_shared<SegmentFile>();
    file->name = spare_name;
    file->header = header;
    VARVE_TRY_ASSIGN(file->file, storage.open(spare_name, OpenMode::create));
    VARVE_TRY_ASSIGN(const std::uint64_t first,
                     allocate(*file->file, std::min<std::uint64_t>(header.capacity, least_bytes),
                              std::min<std::uint64_t>(header.capacity, step_bytes_min)));
    std::array<std::byte, segment_header_bytes> block{};
    store_segment_header(block.data(), header);
    VARVE_TRY(file->file->write_at({0}, block));
    VARVE_TRY(file->map(header.capacity, MapMode::read_write));
    auto writer = std::shared_ptr<SegmentWriter>(new SegmentWriter(
        file, {segment_header_bytes}, std::make_shared<GrowingIndex>(index_interval)));
    writer->allocated_ = first;
    VARVE_TRY(writer->populate_to(first));
    // With the zeros of the populated pages, so that the first flush of records has only those to write.
    VARVE_TRY(file->file->sync());
    return writer;
  }

  // Goes on with a segment whose file ends properly at `state`.
  static Result<std::shared_ptr<SegmentWriter>> resume(std::shared_ptr<SegmentFile> file,
                                                       const SegmentMeta& meta,
                                                       const SegmentState& state,
                                                       std::shared_ptr<GrowingIndex> index) {
    if (!can_go_on(file->header, state.position)) return damage_error(file->name, no_room_to_go_on);
    VARVE_TRY(file->map(file->header.capacity, MapMode::read_write));
    VARVE_TRY_ASSIGN(const std::uint64_t size, file->file->size());
    auto writer = std::shared_ptr<SegmentWriter>(
        new SegmentWriter(std::move(file), state.position, std::move(index)));
    writer->id_ = meta.id;
    writer->base_offset_ = meta.base_offset;
    writer->base_position_ = meta.base_position;
    writer->base_sequence_ = meta.base_sequence;
    writer->next_offset_ = state.next_offset;
    writer->next_sequence_ = state.next_sequence;
    writer->newest_ms_ = writer->newest_before_frame_ = state.newest_ms;
    writer->allocated_ = size;
    return writer;
  }

  // Its name, once it has one of its own.
  void set_name(std::string name) { file_->name = std::move(name); }
  const std::shared_ptr<SegmentFile>& shared_file() const noexcept { return file_; }
  std::uint64_t id() const noexcept { return id_; }
  std::uint64_t base_offset() const noexcept { return base_offset_; }
  std::uint64_t base_position() const noexcept { return base_position_; }
  std::uint64_t capacity() const noexcept { return file_->header.capacity; }
  std::uint64_t next_offset() const noexcept { return next_offset_; }
  std::uint64_t next_sequence() const noexcept { return next_sequence_; }
  bool has_records() const noexcept { return next_offset_ != base_offset_; }
  Position position() const noexcept { return store_.position(); }
  bool open_frame_empty() const noexcept { return store_.open_count() == 0; }
  std::int64_t newest_ms() const noexcept { return newest_ms_.load(std::memory_order_relaxed); }
  const std::shared_ptr<GrowingIndex>& index() const noexcept { return index_; }

  // Up to where bytes may be stored without waiting for anything.
  std::uint64_t ready() const noexcept { return ready_.load(std::memory_order_acquire); }

  // Reserves room for, and populates, the bytes up to `end`.
  Result<void> make_ready(std::uint64_t end) {
    const std::lock_guard lock(ready_mutex_);
    end = std::min(end, capacity());
    VARVE_TRY(allocate_to(end));
    return populate_to(
        std::min(allocated_, (end + populate_bytes - 1) / populate_bytes * populate_bytes));
  }

  // From what size on a body is written to a segment of that capacity rather than stored through its mapping: the pages
  // that a write makes are large ones, and none have to be made ready, which takes longer than the copy.
  static constexpr std::uint64_t written_body_bytes(std::uint64_t capacity) noexcept {
    return std::min<std::uint64_t>(32u << 10, capacity / 4);
  }
  bool writes_body(std::uint64_t body_bytes) const noexcept {
    return body_bytes >= written_body_bytes(capacity());
  }

  // Reserves room for the bytes up to `end`, to which somebody is about to write: they are not populated any more.
  Result<void> claim(std::uint64_t end) {
    const std::lock_guard lock(ready_mutex_);
    VARVE_TRY(allocate_to(end));
    if (end > ready_.load(std::memory_order_relaxed)) ready_.store(end, std::memory_order_release);
    return {};
  }

  // Starts the segment: its first frame says what it continues.
  void begin(const FrameFields& fields, const BeginBody& begin, std::uint32_t sync_lag) noexcept {
    base_offset_ = next_offset_ = fields.base_offset;
    base_sequence_ = next_sequence_ = fields.sequence;
    base_position_ = begin.base_position;
    std::byte body[begin_body_bytes] = {};
    store_le(body, static_cast<std::uint32_t>(ControlKind::segment_begin));
    store_le(body + 8, begin.base_position);
    store_le(body + 16, begin.predecessor_id);
    store_le(body + 24, begin.predecessor_end);
    write_control(fields, body, sync_lag);
  }

  // Ends it: the last frame. The open frame must be empty.
  void end(FrameFields fields, std::uint32_t sync_lag) noexcept {
    std::byte body[end_body_bytes] = {};
    store_le(body, static_cast<std::uint32_t>(ControlKind::segment_end));
    fields.flags = flag_control;
    store_.write(fields, body, 0, sync_lag);
  }

  // Opens the next frame, as every other member here wants it.
  void open_frame(const FrameFields& fields, std::uint32_t sync_lag) noexcept {
    store_.open(fields, sync_lag);
    // Behind this frame there must be room for the header of the next and for the segment's last.
    constexpr std::uint64_t behind = 2 * frame_header_bytes + end_frame_bytes + frame_alignment;
    const std::uint64_t room = std::min(ready(), capacity());
    const std::uint64_t begin = store_.position().value + frame_header_bytes + behind;
    takes_bytes_ = begin < room ? std::min<std::uint64_t>(room - begin, frame_body_target) : 0;
  }

  // Whether the open frame has records and takes `count` more of `bytes` in all as it is: no frame or
  // segment to be begun, no room to be made ready, no memory to be got.
  bool takes(std::uint64_t bytes, std::uint64_t count) const noexcept {
    return store_.open_count() > 0 && store_.open_count() + count <= store_.open_count_max() &&
           store_.open_bytes() + bytes + 2 * (store_.open_count() + count) <= takes_bytes_;
  }

  // Whether `bytes` more of `count` records fit before the segment's last frame.
  bool fits(std::uint64_t bytes, std::uint64_t count) const noexcept {
    const bool fresh = starts_frame(bytes, count);
    const Position end =
        fresh ? store_.end_if_sealed() + frame_header_bytes + align_frame(body_size(bytes, count))
              : store_.end_with(bytes, count);
    return end.value + frame_header_bytes + end_frame_bytes <= capacity();
  }

  // Up to where an append of that size may store.
  std::uint64_t reach(std::uint64_t bytes, std::uint64_t count) const noexcept {
    return store_.end_if_sealed().value + 2 * frame_header_bytes +
           align_frame(body_size(bytes + store_.open_bytes(), count + store_.open_count())) +
           end_frame_bytes;
  }

  // Whether an append of that size starts a frame of its own rather than joining the open one.
  bool starts_frame(std::uint64_t bytes, std::uint64_t count) const noexcept {
    return store_.open_count() > 0 &&
           body_size(store_.open_bytes() + bytes, store_.open_count() + count) > frame_body_target;
  }

  // The same for a frame of its own with a body of `body_bytes`, while the open frame is empty.
  bool fits_frame(std::uint64_t body_bytes) const noexcept {
    return reach_frame(body_bytes) <= capacity();
  }
  std::uint64_t reach_frame(std::uint64_t body_bytes) const noexcept {
    return store_.position().value + 2 * frame_header_bytes + align_frame(body_bytes) +
           end_frame_bytes;
  }

  void reserve(std::size_t count) { store_.reserve(count); }

  // Adds records to the open frame and shows them. They fit, and there is memory reserved for them.
  // An append as large as a frame is to be sealed at once: returns whether that is so, and the caller sees to it.
  bool append(std::span<const Record> records, std::span<const RecordSize> sizes,
              std::uint64_t bytes, std::int64_t now_ms) noexcept {
    const bool alone =
        store_.open_count() == 0 && body_size(bytes, records.size()) >= frame_body_target;
    std::int64_t newest = newest_ms();
    for (std::size_t i = 0; i < records.size(); ++i) {
      const Record& record = records[i];
      store_.add(encode_record(store_.tail(), record, sizes[i], store_.open_time_ms(), now_ms),
                 !alone);
      newest = std::max(newest,
                        record.timestamp ? record.timestamp->time_since_epoch().count() : now_ms);
    }
    next_offset_ += records.size();
    newest_ms_.store(newest, std::memory_order_relaxed);
    if (!alone) store_.publish();
    return alone;
  }

  // Adds a frame of `count` records whose body was made elsewhere, with its checksum. It fits, there is room ready or
  // claimed, and the open frame is empty; the caller opens the next. On an error there is no such frame.
  Result<void> append_frame(const FrameFields& fields, Bytes body, std::uint64_t body_check,
                            std::uint32_t count, std::int64_t newest_ms_of_it,
                            std::uint32_t sync_lag) {
    const IndexEntry entry{next_offset_, store_.position().value, newest_before_frame_};
    // With its flags first, so that whoever finds it half written does not take the body for records.
    store_.open(fields, sync_lag);
    if (!writes_body(body.size())) {
      store_.write(fields, body, count, sync_lag, body_check);
    } else {
      VARVE_TRY(file_->file->write_at(store_.position() + frame_header_bytes, body));
      store_.finish_placed(fields, {static_cast<std::uint32_t>(body.size()), body_check}, count,
                           sync_lag);
    }
    index_->add(entry);
    next_offset_ += count;
    ++next_sequence_;
    newest_before_frame_ = std::max(newest_ms(), newest_ms_of_it);
    newest_ms_.store(newest_before_frame_, std::memory_order_relaxed);
    return {};
  }

  // Seals the open frame if it holds anything; the caller opens the next.
  void seal_frame(std::uint32_t sync_lag) noexcept {
    if (store_.open_count() == 0) return;
    const IndexEntry entry{next_offset_ - store_.open_count(), store_.position().value,
                           newest_before_frame_};
    store_.seal(sync_lag);
    index_->add(entry);
    ++next_sequence_;
    newest_before_frame_ = newest_ms();
  }

  std::int64_t open_time_ms() const noexcept { return store_.open_time_ms(); }
  Position end_if_sealed() const noexcept { return store_.end_if_sealed(); }
  void certify(std::uint32_t sync_lag) noexcept { store_.certify(sync_lag); }

  // As the manifest is to remember it.
  SegmentMeta meta(bool sealed) const {
    return {id_,
            base_offset_,
            next_offset_,
            base_sequence_,
            next_sequence_,
            base_position_,
            newest_ms(),
            static_cast<std::uint32_t>(store_.position().value),
            sealed};
  }

 private:
  static constexpr std::uint64_t step_bytes_min = 1u << 20;
  static constexpr std::uint64_t step_bytes_max = 16u << 20;
  static constexpr std::uint64_t populate_bytes = 256u << 10;
  static constexpr std::uint64_t least_bytes = 16u << 10;
  static constexpr std::uint64_t bulk_bytes = 1u << 20;
  static constexpr std::uint64_t folio_bytes = 64u << 10;

  SegmentWriter(std::shared_ptr<SegmentFile> file, Position end,
                std::shared_ptr<GrowingIndex> index)
      : file_(std::move(file)),
        store_(file_->mapping->data(), file_->header.salt, end),
        index_(std::move(index)),
        id_(file_->header.id),
        ready_(end.value) {}

  // Reserves `wanted` bytes or, where the disk is nearly full, what is needed now. Returns which.
  static Result<std::uint64_t> allocate(StorageFile& file, std::uint64_t least,
                                        std::uint64_t wanted) {
    auto allocated = file.allocate(wanted);
    if (allocated) return wanted;
    if (allocated.error() != Errc::no_space || least >= wanted) return allocated.error();
    VARVE_TRY(file.allocate(least));
    return least;
  }

  // The caller holds ready_mutex_.
  Result<void> allocate_to(std::uint64_t end) {
    if (end <= allocated_) return {};
    const std::uint64_t step = std::clamp(capacity() / 8, step_bytes_min, step_bytes_max);
    const std::uint64_t wanted = std::min(capacity(), (end + step - 1) / step * step);
    const std::uint64_t least =
        std::min(capacity(), (end + least_bytes - 1) / least_bytes * least_bytes);
    VARVE_TRY_ASSIGN(allocated_, allocate(*file_->file, least, wanted));
    return {};
  }

  void write_control(FrameFields fields, Bytes body, std::uint32_t sync_lag) noexcept {
    fields.flags = flag_control;
    store_.write(fields, body, 0, sync_lag);
  }

  Result<void> populate_to(std::uint64_t end) {
    const std::uint64_t ready = ready_.load(std::memory_order_relaxed);
    if (end <= ready) return {};
    // Nothing was ever stored there. Where much is wanted, zeros that are written come in large folios, for less
    // than half of what faults page by page take. A flush writes whole folios, so small ones stay where little is.
    if (end - ready >= bulk_bytes) {
      static constexpr std::array<std::byte, folio_bytes> zeros{};
      for (std::uint64_t at = ready; at < end; at += folio_bytes - at % folio_bytes) {
        const std::uint64_t size = std::min(end, at + folio_bytes - at % folio_bytes) - at;
        VARVE_TRY(file_->file->write_at({at}, Bytes(zeros).first(size)));
      }
    }
    VARVE_TRY(file_->mapping->populate({ready}, {end}));
    ready_.store(end, std::memory_order_release);
    return {};
  }

  std::shared_ptr<SegmentFile> file_;
  StoreWriter store_;
  std::shared_ptr<GrowingIndex> index_;
  std::uint64_t id_ = 0;
  std::uint64_t base_offset_ = 0;
  std::uint64_t base_position_ = 0;
  std::uint64_t base_sequence_ = 0;
  std::uint64_t next_offset_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t takes_bytes_ = 0;  // the greatest body that the open frame may get without any ado
  std::int64_t newest_before_frame_ = no_time;
  std::atomic<std::int64_t> newest_ms_{no_time};
  std::mutex ready_mutex_;
  std::uint64_t allocated_ = 0;  // under ready_mutex_
  std::atomic<std::uint64_t> ready_{0};
};

}  // namespace varve::inline v0::detail
