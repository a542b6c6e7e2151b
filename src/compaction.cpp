#include "compaction.hpp"

#include <algorithm>

#include "retention.hpp"

namespace varve::inline v0::detail {

double dirty_ratio(std::span<const SegmentMeta> sealed, std::uint64_t cleaned) noexcept {
  std::uint64_t all = 0;
  std::uint64_t dirty = 0;
  for (const SegmentMeta& meta : sealed) {
    all += meta.end_position;
    if (meta.end_offset > cleaned) dirty += meta.end_position;
  }
  return all == 0 ? 0 : static_cast<double>(dirty) / static_cast<double>(all);
}

Due due(const Compaction& compaction, const Dirt& dirt) {
  Due found;
  found.segments = dirt.sealed.size();
  const auto first_dirty = static_cast<std::size_t>(
      std::find_if(dirt.sealed.begin(), dirt.sealed.end(),
                   [&](const SegmentMeta& meta) { return meta.end_offset > dirt.cleaned; }) -
      dirt.sealed.begin());
  const auto look_again_in = [&](std::chrono::milliseconds wait) {
    found.next_in = std::min(found.next_in.value_or(wait), wait);
  };
  if (compaction.min_lag > compaction.min_lag.zero()) {
    for (std::size_t i = first_dirty; i < dirt.sealed.size(); ++i) {
      const auto last = dirt.last_append_ms(i);
      const auto age = last ? age_at(dirt.now_ms, *last) : compaction.min_lag.zero();
      if (age >= compaction.min_lag) continue;
      found.segments = i;
      look_again_in(compaction.min_lag - age);
      break;
    }
  }
  if (first_dirty >= found.segments) return found;
  if (dirty_ratio(dirt.sealed.first(found.segments), dirt.cleaned) >= compaction.min_dirty_ratio)
    found.now = true;
  if (!found.now && compaction.max_lag > compaction.max_lag.zero()) {
    const auto first = dirt.first_append_ms(first_dirty);
    const auto age = first ? age_at(dirt.now_ms, *first) : compaction.max_lag;
    if (age >= compaction.max_lag)
      found.now = true;
    else
      look_again_in(compaction.max_lag - age);
  }
  return found;
}

std::chrono::milliseconds back_off(std::uint64_t failures) noexcept {
  constexpr std::uint64_t doublings_max = 8;
  return std::chrono::seconds(1) * (std::int64_t{1} << std::min(failures, doublings_max));
}

}  // namespace varve::inline v0::detail
