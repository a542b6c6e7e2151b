// LogImage: the files of a small log, as one input of a fuzz target and back; and how to make checks fit again what
// a fuzzer did to them.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "manifest.hpp"
#include "support/buffer_source.hpp"
#include "support/storage_files.hpp"
#include "support/workload.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/index.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/segment_writer.hpp"
#include "varve/detail/store.hpp"
#include "varve/environment.hpp"
#include "varve/log.hpp"
#include "varve/memory_storage.hpp"
#include "varve/storage.hpp"

namespace varve::fuzz {

// A clock that stands still and random numbers that repeat: an input does the same in every run.
class FixedEnvironment final : public Environment {
 public:
  Timestamp now() noexcept override {
    return Timestamp(std::chrono::milliseconds(1'700'000'000'000));
  }
  std::uint64_t random() noexcept override {
    return test::split_mix(numbers_ += test::split_mix_step);
  }

 private:
  std::uint64_t numbers_ = 7;
};

using test::copy_files;
using test::Files;
using test::write_files;

// ---- making checks fit -------------------------------------------------------------------------

// Makes the size, the counts (of few) and the check those of the rest.
inline void reseal_manifest(Buffer& file) {
  constexpr std::size_t fixed = 120;
  constexpr std::size_t check = 8;
  file.resize(std::max(file.size(), fixed + check));
  const auto count = [&](std::size_t at, std::uint32_t end) {
    const std::uint32_t few = detail::load_le<std::uint32_t>(file.data() + at) % end;
    detail::store_le(file.data() + at, few);
    return few;
  };
  const std::size_t epochs = count(60, 4);
  const std::size_t segments = count(64, 6);
  const std::size_t dropped = count(68, 4);
  file.resize(fixed + check + 16 * epochs + 64 * segments + 16 * dropped);
  detail::store_le(file.data(), detail::manifest_magic);
  detail::store_le(file.data() + 8, detail::format_version);
  detail::store_le(file.data() + 12, static_cast<std::uint32_t>(file.size()));
  detail::store_le(file.data() + file.size() - check,
                   detail::checksum(Bytes(file).first(file.size() - check)));
}

// Makes an index of it that says it is that segment's.
inline void reseal_index(Buffer& file, const detail::IndexIdentity& of) {
  file.resize(std::max(file.size(), detail::index_header_bytes));
  const std::size_t count = (file.size() - detail::index_header_bytes) / detail::index_entry_bytes;
  file.resize(detail::index_header_bytes + count * detail::index_entry_bytes);
  std::byte* at = file.data();
  detail::store_le(at, detail::index_magic);
  detail::store_le(at + 8, detail::format_version);
  detail::store_le(at + 12, static_cast<std::uint32_t>(count));
  detail::store_le(at + 16, of.log.low);
  detail::store_le(at + 24, of.log.high);
  detail::store_le(at + 32, of.segment);
  detail::store_le(at + 40, of.end_position);
  detail::store_le(at + 56, detail::index_check(file));
}

// What the checks of a frame ought to be where it stands. `bytes` begins with its header.
inline void reseal_frame(std::span<std::byte> bytes, detail::FrameHeader header, std::uint64_t salt,
                         Position position) {
  const bool whole = header.body_bytes <= bytes.size() - detail::frame_header_bytes;
  const Bytes body =
      whole ? Bytes(bytes).subspan(detail::frame_header_bytes, header.body_bytes) : Bytes{};
  if (header.magic == detail::frame_magic_sealed) {
    header.body_check = detail::checksum(body);
    header.check = detail::low32(detail::header_hash(header, salt, position));
  } else {
    std::uint64_t running = detail::open_header_hash(header, salt, position);
    header.check = detail::low32(running);
    // Records that were being sealed have the check of a sealed body; left alone, it stays one.
    if (whole && detail::walk_open_records(body, running)) header.count = detail::high32(running);
    if (header.body_check != detail::checksum(body))
      header.body_check = detail::durability_word(detail::low32(header.body_check), salt, position);
  }
  detail::store_header_words(bytes.data(), header);
}

// The same for all frames of a segment, and its header block. `renumber`: frames also continue one another.
inline void reseal_segment(Buffer& file, bool renumber) {
  using namespace detail;
  store_le(file.data(), segment_magic);
  store_le(file.data() + 8, format_version);
  store_le(file.data() + segment_check_at, checksum(Bytes(file).first(segment_check_at)));
  const auto salt = load_le<std::uint64_t>(file.data() + 40);
  std::optional<FrameHeader> before;
  std::uint64_t next_offset = 0;
  std::uint64_t next_sequence = 0;
  for (std::size_t at = segment_header_bytes; at + frame_header_bytes <= file.size();) {
    const std::span<std::byte> left = std::span(file).subspan(at);
    FrameHeader header = load_frame_header(left.data());
    if (header.magic != frame_magic_sealed && header.magic != frame_magic_open) {
      at += frame_alignment;
      continue;
    }
    if (renumber && before) {
      header.base_offset = next_offset;
      header.sequence = next_sequence;
      header.append_time_ms = std::max(header.append_time_ms, before->append_time_ms);
    }
    reseal_frame(left, header, salt, {at});
    before = header;
    next_offset = header.base_offset;
    next_sequence = header.sequence;
    if (header.magic == frame_magic_sealed && header.is_compacted() &&
        left.size() >= frame_header_bytes + compacted_prefix_bytes) {
      next_offset += header.sync_lag;
      next_sequence += load_le<std::uint64_t>(left.data() + frame_header_bytes);
    } else if (header.magic == frame_magic_sealed && !header.is_control()) {
      next_offset += header.count;
      ++next_sequence;
    } else if (header.is_control() && header.body_bytes == gap_body_bytes &&
               left.size() >= frame_header_bytes + gap_body_bytes) {
      next_offset = load_le<std::uint64_t>(left.data() + frame_header_bytes + 8);
      next_sequence = load_le<std::uint64_t>(left.data() + frame_header_bytes + 16);
    }
    at += header.frame_bytes() <= left.size() ? static_cast<std::size_t>(header.frame_bytes())
                                              : frame_alignment;
  }
}

// ---- images ------------------------------------------------------------------------------------

// A log of up to two segments. Segments are without what is blank: the zeros of the header block, and those behind
// the last frame.
struct LogImage {
  static constexpr std::size_t head_bytes = 60;  // of the header block,
  // then its check, then the base offset that the file is named by, then frames
  static constexpr std::size_t frames_at = head_bytes + 16;
  static constexpr std::size_t segments_max = 2;

  std::uint8_t mode = 0;
  Buffer manifest{};
  Buffer index{};  // of the first segment
  std::array<Buffer, segments_max> segments{};

  static LogImage unpack(Bytes bytes) {
    Input input(bytes);
    LogImage image;
    image.mode = input.number<std::uint8_t>();
    std::array<std::uint16_t, 3> sizes{};
    for (auto& size : sizes) size = input.number<std::uint16_t>();
    const auto take = [&](std::size_t size) {
      const Bytes taken = input.take(size);
      return Buffer(taken.begin(), taken.end());
    };
    image.manifest = take(sizes[0]);
    image.index = take(sizes[1]);
    image.segments[0] = take(sizes[2]);
    const Bytes rest = input.rest();
    image.segments[1].assign(rest.begin(), rest.end());
    return image;
  }

  Buffer pack() const {
    Buffer bytes;
    put_number(bytes, mode);
    for (const Buffer* part : {&manifest, &index, &segments[0]})
      put_number(bytes, static_cast<std::uint16_t>(part->size()));
    for (const Buffer* part : {&manifest, &index, &segments[0], &segments[1]})
      put_bytes(bytes, *part);
    return bytes;
  }

  static Buffer pack_segment(Bytes file, Offset base) {
    Buffer packed(file.begin(), file.begin() + head_bytes);
    put_bytes(packed, file.subspan(detail::segment_check_at, 8));
    put_number(packed, base.value);
    while (!file.empty() && file.back() == std::byte{0}) file = file.first(file.size() - 1);
    if (file.size() > detail::segment_header_bytes)
      put_bytes(packed, file.subspan(detail::segment_header_bytes));
    return packed;
  }

  // The file, in whole pages as varve leaves them.
  static Buffer unpack_segment(Bytes packed) {
    constexpr std::size_t page = 4096;
    Buffer file(detail::segment_header_bytes);
    Input input(packed);
    const Bytes head = input.take(head_bytes);
    std::copy(head.begin(), head.end(), file.begin());
    detail::store_le(file.data() + detail::segment_check_at, input.number<std::uint64_t>());
    (void)input.number<std::uint64_t>();
    put_bytes(file, input.rest());
    file.resize((file.size() + page - 1) / page * page);
    return file;
  }

  // Far from the greatest offset there is, so that there are some left to append.
  static Offset base_offset(Bytes packed) {
    Input input(packed);
    input.take(head_bytes + 8);
    return {input.number<std::uint64_t>() % (offset_max.value / 2)};
  }
};

// ---- examples ----------------------------------------------------------------------------------

// Writes a log whose segments are far from full, with the parts that a Log is made of.
class ImageWriter {
 public:
  static constexpr detail::LogId log_id{0x0123456789ABCDEF, 0xFEDCBA9876543210};
  static constexpr std::int64_t time_ms = 1'700'000'000'000;

  ImageWriter() {
    manifest_.log = log_id;
    manifest_.epochs = {{1, 0}};
  }

  // Begins a segment, ending the one before it.
  void roll() {
    detail::BeginBody begin{0, 0, 0};
    if (segment_) {
      end_segment();
      const auto& last = manifest_.segments.back();
      begin = {last.base_position + last.end_position, last.id, last.end_position};
    }
    detail::SegmentHeader header;
    header.log = log_id;
    header.id = ++ids_;
    header.salt = environment_.random();
    header.created_ms = time_ms;
    header.capacity = detail::segment_bytes_min;
    const detail::FrameFields first = fields();
    segment_ = detail::SegmentWriter::prepare(*storage_, header, 1024).value();
    storage_->rename(detail::spare_name, detail::segment_name({offset_})).value();
    segment_->begin(first, begin, detail::sync_lag_unknown);
    segment_->open_frame(fields(), 0);
  }

  // Appends to the open frame.
  void append(std::size_t count) {
    for (; count > 0; --count, ++offset_) {
      const test::OwnedRecord owned = test::record_at(1, offset_, {60, 100, 25});
      const test::Batch batch(owned);
      const detail::RecordSize size = detail::measure(batch.front());
      segment_->reserve(1);
      segment_->append(batch.records(), {&size, 1}, size.total, time_ms + now_);
    }
  }

  // Seals the open frame and says how far behind the next one the log is durable.
  void seal(std::uint32_t sync_lag = 0) {
    segment_->seal_frame(sync_lag);
    ++now_;
    segment_->open_frame(fields(), sync_lag);
  }

  // As a process that was killed leaves it: where the active segment ends is for its frames to say.
  LogImage crashed(std::uint32_t durable_position = 0) {
    detail::Manifest manifest = finished(false);
    detail::SegmentMeta& active = manifest.segments.back();
    active.end_offset = active.base_offset;  // as it was recorded when it was begun
    active.end_sequence = active.base_sequence;
    active.end_position = durable_position;
    return image(manifest, segment_->meta(false), false);
  }

  // The same, but nobody has recorded that the first segment was rolled.
  LogImage unrecorded() {
    detail::Manifest manifest = manifest_;
    detail::SegmentMeta& first = manifest.segments.front();
    first.sealed = false;
    first.end_offset = first.base_offset;
    first.end_sequence = first.base_sequence;
    first.end_position = 0;
    manifest.segments.resize(1);
    manifest.generation = 2;
    manifest.next_segment_id = first.id + 1;
    manifest.append_time_ms = time_ms;
    return image(manifest, first, false);
  }

  LogImage closed() {
    detail::Manifest manifest = finished(true);
    return image(manifest, manifest.segments.front(), true);
  }

 private:
  detail::FrameFields fields() const {
    const std::uint64_t sequence = segment_ ? segment_->next_sequence() : 0;
    return {offset_, sequence, time_ms + now_, 1, 0};
  }

  void end_segment() {
    segment_->seal_frame(0);
    segment_->end(fields(), 0);
    manifest_.segments.push_back(segment_->meta(true));
    if (!first_index_) first_index_ = segment_->index();
  }

  detail::Manifest finished(bool clean) const {
    detail::Manifest manifest = manifest_;
    const detail::SegmentMeta active = segment_->meta(false);
    manifest.segments.push_back(active);
    manifest.clean = clean;
    manifest.generation = 3;
    manifest.next_segment_id = ids_ + 1;
    manifest.next_offset = clean ? active.end_offset : active.base_offset;
    manifest.next_sequence = clean ? active.end_sequence : active.base_sequence;
    manifest.next_position = active.base_position + (clean ? active.end_position : 0);
    manifest.append_time_ms = clean ? time_ms + now_ : time_ms;
    return manifest;
  }

  LogImage image(const detail::Manifest& manifest, const detail::SegmentMeta& first, bool indexed) {
    LogImage image;
    image.manifest = encode_manifest(manifest);
    const auto index = first_index_ ? first_index_ : segment_->index();
    if (indexed) image.index = encode_index(*index, {log_id, first.id, first.end_position});
    std::size_t i = 0;
    for (const auto& [name, content] : copy_files(*storage_)) {
      const auto base = detail::parse_segment_name(name);
      if (base && i < LogImage::segments_max)
        image.segments[i++] = LogImage::pack_segment(content, *base);
    }
    return image;
  }

  std::shared_ptr<StorageBackend> storage_ = make_memory_storage();
  FixedEnvironment environment_{};
  detail::Manifest manifest_{};
  std::shared_ptr<detail::SegmentWriter> segment_{};
  std::shared_ptr<detail::GrowingIndex> first_index_{};
  std::uint64_t ids_ = 0;
  std::uint64_t offset_ = 0;
  std::int64_t now_ = 0;
};

// A log whose first segment is what compaction left of several.
inline LogImage compacted_image() {
  const auto storage = make_memory_storage();
  Options options;
  options.segment_bytes = detail::segment_bytes_min;
  options.index_interval_bytes = 1024;
  options.background = Background::manual;
  options.environment = std::make_shared<FixedEnvironment>();
  Log log = Log::open(storage, options).value();
  for (std::uint64_t number = 0; log.segments().size() < 3; ++number) {
    const std::string key = std::to_string(number % 7);
    const std::string value(300, 'v');
    Record record{.key = bytes(key), .value = bytes(value)};
    if (number % 5 == 0) record.value.reset();  // a tombstone
    log.append(record, {Ack::os}).value();
  }
  log.compact().value();
  log.close().value();

  LogImage image;
  std::size_t i = 0;
  for (const auto& [name, content] : copy_files(*storage)) {
    if (name == detail::manifest_name) image.manifest = content;
    const auto base = detail::parse_segment_name(name);
    if (!base || i == LogImage::segments_max) continue;
    if (i == 0) image.index = copy_files(*storage).at(detail::index_name(*base));
    image.segments[i++] = LogImage::pack_segment(content, *base);
  }
  return image;
}

// Logs as their writers leave them.
inline std::map<std::string, LogImage> example_images() {
  std::map<std::string, LogImage> images;
  {
    ImageWriter one;
    one.roll();
    images["empty"] = one.crashed();
    one.append(3);
    images["open"] = one.crashed();  // all in a frame that nobody sealed
    one.seal(4);
    one.append(1);
    one.seal();
    one.append(2);
    images["crashed"] = one.crashed();
    one.seal();
    images["durable"] = one.crashed(detail::segment_header_bytes + detail::begin_frame_bytes);
    images["closed"] = one.closed();
  }
  {
    ImageWriter two;
    two.roll();
    two.append(2);
    two.seal(2);
    two.append(2);
    two.roll();
    two.append(3);
    images["two-open"] = two.crashed();
    images["two-unrecorded"] = two.unrecorded();
    two.seal();
    two.append(1);
    two.seal();
    images["two-closed"] = two.closed();
  }
  images["compacted"] = compacted_image();
  return images;
}

}  // namespace varve::fuzz
