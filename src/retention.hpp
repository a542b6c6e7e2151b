// Retention: how many of a log's oldest segments are given up, and what is old.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "varve/detail/segment.hpp"
#include "varve/options.hpp"

namespace varve::inline v0::detail {

// What there is to decide by.
struct Holdings {
  std::span<const SegmentMeta> sealed{};  // in order
  std::uint64_t end_position = 0;         // of the log, counted through all segments
  std::int64_t now_ms = 0;

  // When the last record of sealed[i] was appended; nullopt if it cannot be said. Asked for as few as possible.
  std::function<std::optional<std::int64_t>(std::size_t i)> last_append_ms{};
};

struct Expiry {
  std::size_t segments = 0;                            // so many, from the front, may go
  std::optional<std::chrono::milliseconds> next_in{};  // when the next one will be too old
};

Expiry expire(const Retention& retention, const Holdings& holdings);

// Whether it ever gives up anything.
bool forgets(const Retention& retention) noexcept;

// How long a segment takes records before it is sealed for its age, so that the log can forget them; zero: for ever.
std::chrono::milliseconds filling_time(const Options& options) noexcept;

// What has passed since. A clock that was set back makes nothing older.
std::chrono::milliseconds age_at(std::int64_t now_ms, std::int64_t since_ms) noexcept;

}  // namespace varve::inline v0::detail
