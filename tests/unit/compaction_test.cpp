#include "compaction.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "support/catch.hpp"

namespace varve::detail {
namespace {

using std::chrono::milliseconds;

// Segments of 10 records and 1,000 bytes, the first record of each appended at its time, the last one 9 ms later.
struct Log {
  explicit Log(std::vector<std::int64_t> first_append_ms) : times(std::move(first_append_ms)) {
    for (std::uint64_t i = 0; i < times.size(); ++i) {
      SegmentMeta& meta = metas.emplace_back();
      meta.base_offset = 10 * i;
      meta.end_offset = 10 * i + 10;
      meta.end_position = 1000;
      meta.sealed = true;
    }
  }

  Due due_at(std::int64_t now_ms, std::uint64_t cleaned, const Compaction& how) const {
    return due(how, {metas, cleaned, now_ms, [&](std::size_t i) { return times.at(i); },
                     [&](std::size_t i) { return times.at(i) + 9; }});
  }

  std::vector<std::int64_t> times;
  std::vector<SegmentMeta> metas;
};

TEST_CASE("compaction: a pass is due when enough bytes are dirty", "[compaction]") {
  const Log log({0, 10, 20, 30});
  CHECK(log.due_at(100, 0, {}).now);
  CHECK(log.due_at(100, 20, {}).now);
  CHECK(!log.due_at(100, 30, {}).now);
  CHECK(log.due_at(100, 25, {}).now);  // of a segment that is clean in part, all is dirty
  CHECK(log.due_at(100, 30, {.min_dirty_ratio = 0.25}).now);
  CHECK(!log.due_at(100, 40, {.min_dirty_ratio = 0}).now);
  CHECK(!Log({}).due_at(100, 0, {.min_dirty_ratio = 0}).now);
  CHECK(dirty_ratio(log.metas, 30) == 0.25);
  CHECK(dirty_ratio({}, 0) == 0);
}

TEST_CASE("compaction: what is younger than the minimum lag is left alone", "[compaction]") {
  const Log log({0, 10, 20, 30});
  const Compaction how{.min_dirty_ratio = 0.1, .min_lag = milliseconds(50)};
  CHECK(!log.due_at(58, 0, how).now);
  CHECK(log.due_at(58, 0, how).next_in == milliseconds(1));
  CHECK(log.due_at(59, 0, how).now);
  CHECK(log.due_at(59, 0, how).segments == 1);
  CHECK(log.due_at(79, 0, how).segments == 3);
  CHECK(log.due_at(89, 0, how).segments == 4);
  CHECK(!log.due_at(89, 0, how).next_in);
  CHECK(!log.due_at(70, 20, how).now);
  CHECK(log.due_at(79, 20, how).now);
}

TEST_CASE("compaction: a pass is due when a dirty record is too old", "[compaction]") {
  const Log log({0, 10, 20, 30});
  const Compaction how{.min_dirty_ratio = 1, .max_lag = milliseconds(100)};
  CHECK(!log.due_at(109, 10, how).now);
  CHECK(log.due_at(109, 10, how).next_in == milliseconds(1));
  CHECK(log.due_at(110, 10, how).now);
  CHECK(!log.due_at(110, 40, how).now);
}

TEST_CASE("compaction: failures are waited for longer and longer, not for ever", "[compaction]") {
  CHECK(back_off(0) == std::chrono::seconds(1));
  CHECK(back_off(3) == std::chrono::seconds(8));
  CHECK(back_off(1000) == std::chrono::seconds(256));
}

}  // namespace
}  // namespace varve::detail
