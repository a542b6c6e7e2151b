#include "retention.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "support/catch.hpp"

namespace varve::detail {
namespace {

using std::chrono::milliseconds;

// Segments of 1,000 bytes each, behind one another, and an active one of 300.
class Sealed {
 public:
  explicit Sealed(std::vector<std::optional<std::int64_t>> last_append_ms)
      : times_(std::move(last_append_ms)) {
    for (std::size_t i = 0; i < times_.size(); ++i) {
      SegmentMeta meta;
      meta.base_position = 1000 * i;
      meta.end_position = 1000;
      metas_.push_back(meta);
    }
  }

  Expiry expire_at(std::int64_t now_ms, const Retention& retention) {
    asked = 0;
    return expire(retention, {metas_, 1000 * metas_.size() + 300, now_ms, [&](std::size_t i) {
                                ++asked;
                                return times_.at(i);
                              }});
  }

  int asked = 0;

 private:
  std::vector<std::optional<std::int64_t>> times_;
  std::vector<SegmentMeta> metas_;
};

TEST_CASE("retention: without a limit everything stays", "[retention]") {
  Sealed sealed({1, 2, 3});
  CHECK(sealed.expire_at(1'000'000, {}).segments == 0);
  CHECK(sealed.asked == 0);
}

TEST_CASE("retention: by bytes, what is left is never less than the limit", "[retention]") {
  Sealed sealed({1, 2, 3, 4});
  CHECK(sealed.expire_at(5, {.bytes = 5000}).segments == 0);
  CHECK(sealed.expire_at(5, {.bytes = 3301}).segments == 0);
  CHECK(sealed.expire_at(5, {.bytes = 3300}).segments == 1);
  CHECK(sealed.expire_at(5, {.bytes = 2301}).segments == 1);
  CHECK(sealed.expire_at(5, {.bytes = 301}).segments == 3);
  CHECK(sealed.expire_at(5, {.bytes = 300}).segments == 4);
  CHECK(sealed.expire_at(5, {.bytes = 1}).segments == 4);
  CHECK(sealed.asked == 0);
}

TEST_CASE("retention: by age, a segment goes when its last record is old enough", "[retention]") {
  Sealed sealed({100, 120, 130});
  const Retention retention{.age = milliseconds(50)};
  const Expiry young = sealed.expire_at(149, retention);
  CHECK(young.segments == 0);
  CHECK(young.next_in == milliseconds(1));
  const Expiry one = sealed.expire_at(150, retention);
  CHECK(one.segments == 1);
  CHECK(one.next_in == milliseconds(20));
  CHECK(sealed.asked == 2);
  const Expiry all = sealed.expire_at(10'000, retention);
  CHECK(all.segments == 3);
  CHECK(!all.next_in);
}

TEST_CASE("retention: a clock that was set back makes nothing old", "[retention]") {
  Sealed sealed({1'000'000});
  const Expiry expiry = sealed.expire_at(5, {.age = milliseconds(50)});
  CHECK(expiry.segments == 0);
  CHECK(expiry.next_in == milliseconds(50));
}

TEST_CASE("retention: a segment whose age nobody knows stays, and all behind it", "[retention]") {
  Sealed sealed({1, std::nullopt, 3});
  CHECK(sealed.expire_at(1'000, {.age = milliseconds(5)}).segments == 1);
  CHECK(sealed.expire_at(1'000, {.bytes = 300, .age = milliseconds(5)}).segments == 3);
}

TEST_CASE("retention: either limit is enough", "[retention]") {
  Sealed sealed({1, 2, 900, 900});
  CHECK(sealed.expire_at(1'000, {.bytes = 3300, .age = milliseconds(500)}).segments == 2);
  CHECK(sealed.expire_at(1'000, {.bytes = 1300, .age = milliseconds(500)}).segments == 3);
}

}  // namespace
}  // namespace varve::detail
