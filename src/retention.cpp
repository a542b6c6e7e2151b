#include "retention.hpp"

namespace varve::inline v0::detail {

Expiry expire(const Retention& retention, const Holdings& holdings) {
  Expiry expiry;
  for (const SegmentMeta& meta : holdings.sealed) {
    const std::uint64_t behind = holdings.end_position - (meta.base_position + meta.end_position);
    const bool too_much = retention.bytes != 0 && behind >= retention.bytes;
    if (!too_much) {
      if (retention.age <= retention.age.zero()) break;
      const auto last = holdings.last_append_ms(expiry.segments);
      if (!last) break;
      // A clock that was set back makes nothing older.
      const std::chrono::milliseconds age(*last < holdings.now_ms ? holdings.now_ms - *last : 0);
      if (age < retention.age) {
        expiry.next_in = retention.age - age;
        break;
      }
    }
    ++expiry.segments;
  }
  return expiry;
}

}  // namespace varve::inline v0::detail
