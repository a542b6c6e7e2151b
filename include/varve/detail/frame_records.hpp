// FrameRecords: the records of a verified frame, whatever its kind. The one place that knows how a body holds them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "varve/detail/codec.hpp"
#include "varve/detail/endian.hpp"
#include "varve/detail/format.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/store.hpp"

namespace varve::inline v0::detail {

// Before all times: there is none.
inline constexpr std::int64_t no_time = std::numeric_limits<std::int64_t>::min();

class FrameRecords {
 public:
  // Takes the body of a good frame of records apart. Nullopt if it cannot be one; whether the records in it are what they
  // should be is not looked at. Borrows from the frame, or from what a compressed one was decompressed to: see native_body().
  static std::optional<FrameRecords> parse(const Frame& frame) noexcept {
    if (frame.header.is_compressed()) return std::nullopt;
    return parse(frame, {frame.body, frame.header.append_time_ms});
  }
  static std::optional<FrameRecords> parse(const Frame& frame, const NativeBody& native) noexcept {
    FrameRecords parsed;
    parsed.count_ = frame.count;
    parsed.base_ = frame.header.base_offset;
    parsed.sequences_ = frame.count > 0 ? 1 : 0;
    parsed.base_time_ms_ = native.base_time_ms;
    if (frame.state == FrameState::open) {
      parsed.open_ = native.bytes;
      return parsed;
    }
    Bytes body = native.bytes;
    if (frame.header.is_compacted()) {
      const std::uint64_t deltas = std::uint64_t{compacted_delta_bytes} * frame.count;
      if (body.size() < compacted_prefix_bytes + deltas) return std::nullopt;
      parsed.sequences_ = load_le<std::uint64_t>(body.data());
      parsed.horizon_ms_ = load_le<std::int64_t>(body.data() + 8);
      parsed.deltas_ = body.subspan(compacted_prefix_bytes, static_cast<std::size_t>(deltas));
      parsed.dense_ = false;
      body = body.subspan(compacted_prefix_bytes + static_cast<std::size_t>(deltas));
    }
    parsed.body_ = Body::parse(body, frame.count);
    if (!parsed.body_) return std::nullopt;
    return parsed;
  }

  std::uint32_t count() const noexcept { return count_; }

  // The bytes of all records, one behind the other.
  Bytes records() const noexcept { return body_ ? body_->records() : open_; }

  // Those from record `i` on; nullopt if the table is nonsense. Of a sealed frame, like end_of().
  std::optional<Bytes> from(std::uint32_t i) const noexcept { return body_->from(i); }
  bool has_ends() const noexcept { return body_.has_value(); }
  std::uint64_t end_of(std::uint32_t i) const noexcept { return body_->end_of(i); }

  // Whether every offset that the frame covers has its record.
  bool dense() const noexcept { return dense_; }
  std::uint64_t offset_of(std::uint32_t i) const noexcept {
    return base_ + (dense_ ? i : delta_of(i));
  }

  // The first record at or behind `offset`, which is not before the frame; count() if there is none.
  std::uint32_t first_from(std::uint64_t offset) const noexcept {
    if (dense_) return static_cast<std::uint32_t>(offset - base_);
    std::uint32_t low = 0;
    std::uint32_t high = count_;
    while (low < high) {
      const std::uint32_t middle = low + (high - low) / 2;
      if (offset_of(middle) < offset)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  // What the records' times count from.
  std::int64_t base_time_ms() const noexcept { return base_time_ms_; }

  // How many sequence numbers the frame takes up.
  std::uint64_t sequences() const noexcept { return sequences_; }

  // From when on its tombstones may go; no_time: no compaction has seen any.
  std::int64_t horizon_ms() const noexcept { return horizon_ms_; }

  // What is wrong with how it covers `span` offsets, or nullptr.
  const char* check_span(std::uint64_t span) const noexcept {
    if (dense_) return nullptr;
    if (span == 0 || span > compacted_span_max || count_ > span || sequences_ > span ||
        (count_ > 0 && sequences_ == 0))
      return "the compacted frame covers what it cannot";
    for (std::uint32_t i = 0; i < count_; ++i) {
      const std::uint64_t above = i + 1 < count_ ? delta_of(i + 1) : span;
      if (delta_of(i) >= above) return "the offsets in the compacted frame are out of order";
    }
    return nullptr;
  }

 private:
  std::uint32_t delta_of(std::uint32_t i) const noexcept {
    return load_le<std::uint32_t>(deltas_.data() + std::size_t{compacted_delta_bytes} * i);
  }

  std::uint32_t count_ = 0;
  bool dense_ = true;
  std::uint64_t base_ = 0;
  std::uint64_t sequences_ = 0;
  std::int64_t base_time_ms_ = 0;
  std::int64_t horizon_ms_ = no_time;
  std::optional<Body> body_{};  // of a sealed frame
  Bytes open_{};                // of an open one
  Bytes deltas_{};
};

}  // namespace varve::inline v0::detail
