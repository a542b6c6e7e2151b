// Reader::Impl: the state of a cursor, and what waiting for a record to become visible takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "log_core.hpp"
#include "varve/detail/frame_records.hpp"
#include "varve/detail/record_cursor.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/store.hpp"
#include "varve/reader.hpp"

namespace varve::inline v0 {

struct Reader::Impl : detail::RecordCursor {
  Impl(std::shared_ptr<detail::LogCore> core, Offset from, ReadOptions options)
      : core_(std::move(core)), options_(options) {
    next = from.value;
  }

  Result<bool> step();  // to the next record; false: there is none yet
  void leave_segment() noexcept;

  std::shared_ptr<detail::LogCore> core_;
  ReadOptions options_;
  std::optional<Error> error_{};

 private:
  Result<bool> see();
  Error out_of_range() const;
  Result<void> enter_segment();
  Result<void> open_segment();
  Result<bool> renew_list(const Error& error);
  Error explain(const Error& error) const;
  void start_of_segment() noexcept;
  Result<bool> enter_frame();
  Result<bool> enter_growing_frame(const detail::Frame& frame);
  Result<void> grow();
  Result<void> look_how_long();
  Result<bool> enter_whole_frame(const detail::Frame& frame);
  Result<detail::NativeBody> unpack(const detail::Frame& frame);
  void take_header(const detail::FrameHeader& header) noexcept;
  Result<bool> take_record();
  Result<bool> pass_damage(const detail::Frame& frame);
  Error lose(std::string text, std::uint64_t first, std::uint64_t resume_offset);
  Error lose_missing();
  Error lose(Position begin, Position end, std::uint64_t resume_offset, const char* what);
  Error damaged_record(Position frame);

  std::uint64_t visible_ = 0;  // offsets below it can be read, by what list_ says
  std::uint64_t version_ = ~std::uint64_t{0};
  std::shared_ptr<const detail::SegmentList> list_{};

  // The segment last opened.
  bool in_segment_ = false;                            // position_ is a place in it
  bool in_active_ = false;                             // it is the one that grows
  std::uint64_t entered_version_ = 0;                  // of the list, when it was opened
  std::shared_ptr<const detail::SegmentFile> file_{};  // pins what record points into
  std::shared_ptr<const detail::GrowingIndex> active_index_{};
  detail::OpenSegment sealed_{};
  std::uint64_t segment_base_ = 0;
  std::uint64_t end_offset_ = 0;
  Position end_position_{};
  std::optional<detail::MappedSource> source_{};
  std::optional<detail::FrameReader> frames_{};

  Position position_{};         // of the next frame
  std::uint64_t expected_ = 0;  // its base offset
  bool from_index_ = false;     // the index led here

  bool in_frame_ = false;
  bool growing_ = false;
  std::optional<detail::FrameRecords>
      sparse_{};  // of a frame that has no record for some of its offsets
  Position frame_position_{};
  std::uint64_t frame_base_ = 0;
  std::uint32_t frame_index_ = 0;  // of the next record in it; behind that while take() goes on
  std::uint32_t frame_count_ = 0;
  std::uint64_t frame_bytes_ = 0;  // growing: of the records verified so far,
  std::uint64_t running_ = 0;      // and the running check behind them

  std::vector<std::byte> unpacked_{};  // what record points into in a compressed frame
};

namespace detail {

inline Deadline deadline_after(std::chrono::milliseconds timeout) {
  using Clock = std::chrono::steady_clock;
  const auto now = Clock::now();
  if (timeout <= timeout.zero()) return now;
  // What the clock cannot count up to never comes.
  if (timeout >= std::chrono::floor<std::chrono::milliseconds>(Clock::time_point::max() - now))
    return std::nullopt;
  return now + timeout;
}

}  // namespace detail
}  // namespace varve::inline v0
