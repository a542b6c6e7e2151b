#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "support/workload.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

Timestamp at(std::int64_t ms) { return Timestamp(std::chrono::milliseconds(ms)); }

// The plain truth about a log's times.
std::uint64_t first_at_or_after(const std::vector<std::int64_t>& times, std::int64_t time) {
  const auto found =
      std::find_if(times.begin(), times.end(), [&](std::int64_t one) { return one >= time; });
  return static_cast<std::uint64_t>(found - times.begin());
}

TEST_CASE("find: the first record at or after a time, in order or not", "[log][find]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  const auto storage = make_memory_storage();
  const bool ordered = GENERATE(true, false);
  const std::size_t bytes = GENERATE(10u, 700u);
  Log log = open_log(storage);
  std::vector<std::int64_t> times;
  const std::string value(bytes, 'x');
  for (std::int64_t i = 0; i < 400; ++i) {
    times.push_back(ordered ? 10 * (i / 3) : static_cast<std::int64_t>(random.below(4000)));
    REQUIRE(log.append({.value = varve::bytes(value), .timestamp = at(times.back())}, os_ack));
    if (random.one_in(50)) REQUIRE(log.tick());
    if (random.one_in(100)) {
      REQUIRE(log.close());
      log = open_log(storage);
    }
  }
  for (std::int64_t time = -10; time < 4020; time += 7) {
    CAPTURE(time);
    REQUIRE(log.find(at(time)).value().value == first_at_or_after(times, time));
  }
}

TEST_CASE("find: finds nothing after the newest record, and the start before the oldest",
          "[log][find]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  CHECK(log.find(at(0)).value() == Offset{0});
  fill_segments(log, 3);
  constexpr auto lowest = std::numeric_limits<std::int64_t>::min();
  constexpr auto highest = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < 2; ++i) {
    CHECK(log.find(at(lowest)).value() == log.start_offset());
    CHECK(log.find(at(highest)).value() == log.end_offset());
    REQUIRE(log.truncate_prefix({5}));
    CHECK(log.find(at(0)).value() == Offset{5});
    REQUIRE(log.close());
    log = open_log(storage);
  }
}

TEST_CASE("find: a record below the start is not found again", "[log][find]") {
  Log log = open_log(make_memory_storage());
  for (const std::int64_t time : {100, 500, 200, 300})
    REQUIRE(log.append({.timestamp = at(time)}, os_ack));
  CHECK(log.find(at(400)).value() == Offset{1});
  REQUIRE(log.truncate_prefix({2}));
  CHECK(log.find(at(400)).value() == Offset{4});
  CHECK(log.find(at(250)).value() == Offset{3});
}

TEST_CASE("find: works after a crash, when no index was written", "[log][find]") {
  const TempDir directory;
  std::vector<std::int64_t> times;
  Log log = open_log(directory.path());
  for (std::int64_t i = 0; i < 200; ++i) {
    times.push_back((i * 37) % 1000);
    REQUIRE(
        log.append({.value = bytes(std::string(300, 'x')), .timestamp = at(times.back())}, os_ack));
  }
  const Log beside = open_log(directory.path(), read_only());  // as a crash would leave it
  for (std::int64_t time = 0; time < 1010; time += 13)
    REQUIRE(beside.find(at(time)).value().value == first_at_or_after(times, time));
}

TEST_CASE("find: a range of times touches only the segments that it is in", "[log][find]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage);
    const std::string value(1000, 'x');
    for (std::int64_t i = 0; i < 1500; ++i)
      REQUIRE(log.append({.value = varve::bytes(value), .timestamp = at(i)}, os_ack));
    REQUIRE(log.close());
  }
  const Log log = open_log(storage, read_only());
  const auto segments = log.segments();
  REQUIRE(segments.size() > 80);
  CHECK(log.metrics().segments_opened == 0);
  const OffsetRange middle = segments[40].offsets;
  const auto begin = log.find(at(static_cast<std::int64_t>(middle.begin.value) + 2));
  const auto end = log.find(at(static_cast<std::int64_t>(middle.end.value) + 2));
  CHECK(begin.value() == middle.begin + 2);
  CHECK(end.value() == middle.end + 2);
  Reader reader = log.reader(*begin, {.until = *end});
  std::uint64_t records = 0;
  for (const RecordView& record : reader) records += record.timestamp >= at(0);
  CHECK(records == *end - *begin);
  CHECK(log.metrics().segments_opened == 2);
}

TEST_CASE("find: what is damaged where it has to look is told", "[log][find]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  for (std::int64_t i = 0; i < 20; ++i)
    REQUIRE(log.append({.value = bytes("x"), .timestamp = at(i)}, os_ack));
  REQUIRE(log.close());
  REQUIRE(storage->flip_bit("00000000000000000000.log", 8 * 4300));
  log = open_log(storage, GENERATE(false, true) ? read_only() : small_log());
  CHECK(fails_with(log.find(at(5)), Errc::corrupt, {"00000000000000000000.log"}));
}

}  // namespace
}  // namespace varve::test
