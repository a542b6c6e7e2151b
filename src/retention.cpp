#include "retention.hpp"

#include <algorithm>
#include <limits>

namespace varve::inline v0::detail {

Expiry expire(const Retention& retention, const Holdings& holdings) {
  Expiry expiry;
  // Bytes that there are, which compaction made fewer than positions tell.
  std::uint64_t behind =
      holdings.sealed.empty() ? 0 : holdings.end_position - holdings.sealed.back().next_position();
  for (const SegmentMeta& meta : holdings.sealed) behind += meta.end_position;
  for (const SegmentMeta& meta : holdings.sealed) {
    behind -= meta.end_position;
    const bool too_much = retention.bytes != 0 && behind >= retention.bytes;
    if (!too_much) {
      if (retention.age <= retention.age.zero()) break;
      const auto last = holdings.last_append_ms(expiry.segments);
      if (!last) break;
      const std::chrono::milliseconds age = age_at(holdings.now_ms, *last);
      if (age < retention.age) {
        expiry.next_in = retention.age - age;
        break;
      }
    }
    ++expiry.segments;
  }
  return expiry;
}

bool forgets(const Retention& retention) noexcept {
  return retention.bytes != 0 || retention.age > retention.age.zero();
}

std::chrono::milliseconds filling_time(const Options& options) noexcept {
  constexpr auto never = std::chrono::milliseconds::zero();
  std::chrono::milliseconds filling = never;
  const auto lag = options.compaction ? options.compaction->max_lag : never;
  for (const auto age : {options.segment_age, options.retention.age, lag})
    if (age > never && (filling == never || age < filling)) filling = age;
  return filling;
}

std::chrono::milliseconds age_at(std::int64_t now_ms, std::int64_t since_ms) noexcept {
  if (now_ms <= since_ms) return {};
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  const std::uint64_t passed =
      static_cast<std::uint64_t>(now_ms) - static_cast<std::uint64_t>(since_ms);
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(passed, most)));
}

}  // namespace varve::inline v0::detail
