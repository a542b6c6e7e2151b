// RecordCursor: the records of a verified frame one after the other, where a scan spends its time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "varve/detail/codec.hpp"
#include "varve/record.hpp"

namespace varve::inline v0::detail {

struct RecordCursor {
  RecordView record{};     // the last one taken; its epoch and append time are the frame's
  std::uint64_t next = 0;  // the offset that comes next
  std::uint64_t stop = 0;  // below it take() may go on: those of the frame are verified and visible
  Bytes rest{};            // they, from `next` on
  std::int64_t base_time_ms = 0;  // what their times count from

  // Moves to the next record, if it is in the frame and of the plain kind, as nearly all are. False, and nothing
  // done, for all others. Inline, for a call would take as long as the rest.
  bool take() noexcept {
    if (next >= stop) return false;
    // A frame ahead, as much as a small record is: fetched while records are looked at, not all at once to be hashed.
    __builtin_prefetch(rest.data() + ahead_bytes);
    __builtin_prefetch(rest.data() + ahead_bytes + 64);
    if (!decode_plain_record(rest, base_time_ms, record)) return false;
    record.offset = {next++};
    return true;
  }

  static constexpr std::size_t ahead_bytes = 4096;
};

}  // namespace varve::inline v0::detail
