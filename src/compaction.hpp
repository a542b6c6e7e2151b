// Compaction, the policy: when a pass over a log is due, and how far it may go.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "varve/detail/segment.hpp"
#include "varve/options.hpp"

namespace varve::inline v0::detail {

// What there is to decide by.
struct Dirt {
  std::span<const SegmentMeta> sealed{};  // in order
  std::uint64_t cleaned = 0;              // all below it was looked at
  std::int64_t now_ms = 0;

  // When the first and the last record of sealed[i] were appended; nullopt if it cannot be said.
  std::function<std::optional<std::int64_t>(std::size_t i)> first_append_ms{};
  std::function<std::optional<std::int64_t>(std::size_t i)> last_append_ms{};
};

struct Due {
  bool now = false;
  std::size_t segments = 0;                            // so many, from the front, may be compacted
  std::optional<std::chrono::milliseconds> next_in{};  // when there may be more to do
};

Due due(const Compaction& compaction, const Dirt& dirt);

// The share of the bytes of these segments that was not looked at; of one that was looked at in part, all of it.
double dirty_ratio(std::span<const SegmentMeta> sealed, std::uint64_t cleaned) noexcept;

// How long to wait after so many failures in a row.
std::chrono::milliseconds back_off(std::uint64_t failures) noexcept;

}  // namespace varve::inline v0::detail
