#include <string>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

TEST_CASE("limits: a record too large is refused before anything is written", "[log][limits]") {
  const TempDir directory;
  Options options = small_log();
  options.batch_bytes_max = 5000;
  Log log = open_log(directory.path(), options);
  REQUIRE(append_text(log, "small"));
  const auto before = state_of(directory.path());
  CHECK(fails_with(append_text(log, std::string(5000, 'x')), Errc::batch_too_large, {"5000"}));
  CHECK(fails_with(log.append({.key = bytes(std::string(5000, 'x'))}, os_ack),
                   Errc::batch_too_large));
  const std::vector<Header> headers(3000, Header{"h", bytes("")});
  CHECK(fails_with(log.append({.headers = headers}, os_ack), Errc::batch_too_large));
  CHECK(state_of(directory.path()) == before);
  CHECK(log.end_offset() == Offset{1});
  CHECK(append_text(log, std::string(4900, 'x')).value() == Offset{1});
}

TEST_CASE("limits: a batch too large is refused as a whole", "[log][limits]") {
  Options options = small_log();
  options.batch_bytes_max = 5000;
  Log log = open_log(make_memory_storage(), options);
  const std::string kilobyte(1000, 'x');
  const std::vector<Record> five(5, Record{.value = bytes(kilobyte)});
  CHECK(fails_with(log.append(five, os_ack), Errc::batch_too_large, {"record 5 of 5", "5000"}));
  CHECK(log.end_offset() == Offset{0});
  CHECK(log.segments().empty());
  CHECK(log.append(std::span(five).first(4), os_ack).value() == OffsetRange{{0}, {4}});
}

TEST_CASE("limits: a log never touched by a refused append is as if it had not been opened",
          "[log][limits]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  const std::uint64_t calls = storage->calls();
  CHECK(fails_with(append_text(log, std::string(50'000, 'x')), Errc::batch_too_large));
  CHECK(storage->calls() == calls);
}

TEST_CASE("limits: an empty batch is refused", "[log][limits]") {
  Log log = open_log(make_memory_storage());
  CHECK(fails_with(log.append(std::span<const Record>(), os_ack), Errc::invalid_argument));
  CHECK(log.end_offset() == Offset{0});
}

TEST_CASE("limits: the largest record that is allowed fits every segment", "[log][limits]") {
  const std::uint32_t segment_bytes = GENERATE(16u << 10, 20u << 10, 64u << 10, 4u << 20);
  Options options = small_log();
  options.segment_bytes = segment_bytes;
  const auto storage = make_memory_storage();
  Log log = open_log(storage, options);
  const std::uint32_t guess = std::min(segment_bytes, 1u << 20);
  std::uint32_t largest = guess;
  for (; largest > 0; --largest) {
    const auto offset = append_text(log, std::string(largest, 'x'));
    if (offset) break;
    REQUIRE(offset.error() == Errc::batch_too_large);
  }
  CHECK(largest + 4500 > guess);
  const std::vector<std::string> expected(3, std::string(largest, 'x'));
  REQUIRE(append_text(log, expected[1]));
  REQUIRE(append_text(log, expected[2], {Ack::disk}));
  CHECK(read_values(log, {0}) == expected);
  REQUIRE(log.close());
  CHECK(read_values(open_log(storage, options), {0}) == expected);
}

TEST_CASE("limits: the largest batch of the smallest records", "[log][limits]") {
  Log log = open_log(make_memory_storage());
  std::vector<Record> batch(20'000);
  while (!batch.empty()) {
    const auto offsets = log.append(batch, os_ack);
    if (offsets) break;
    REQUIRE(offsets.error() == Errc::batch_too_large);
    batch.resize(batch.size() - 1);
  }
  REQUIRE(batch.size() > 500);
  CHECK(log.append(batch, {Ack::disk}).value().size() == batch.size());
  CHECK(read_values(log, {0}) == std::vector<std::string>(2 * batch.size(), "(none)"));
}

TEST_CASE("limits: a limit larger than a segment shrinks to it unless it was asked for",
          "[log][limits]") {
  Log log = open_log(make_memory_storage());
  CHECK(append_text(log, std::string(11'000, 'x')));
  CHECK(fails_with(append_text(log, std::string(13'000, 'x')), Errc::batch_too_large));
}

TEST_CASE("limits: offsets go up to 2^63 and no further", "[log][limits]") {
  const TempDir directory;
  Options options = small_log();
  options.first_offset = {offset_max.value - 40};
  {
    Log log = open_log(directory.path(), options);
    for (int i = 0; i < 38; ++i) REQUIRE(append_text(log, std::string(1000, 'x')));
    CHECK(log.segments().size() > 2);
    const std::vector<Record> three(3, Record{.value = bytes("y")});
    CHECK(fails_with(log.append(three, os_ack), Errc::offset_out_of_range,
                     {std::to_string(offset_max.value - 2)}));
    REQUIRE(log.append(std::span(three).first(2), {Ack::disk}));
    CHECK(log.end_offset() == offset_max);
    CHECK(fails_with(append_text(log, "z"), Errc::offset_out_of_range,
                     {std::to_string(offset_max.value)}));
    CHECK(log.wait({offset_max.value - 1}, Ack::disk, std::chrono::milliseconds(0)).value());
    CHECK(read_values(log, options.first_offset).size() == 40);
    CHECK(log.find(Timestamp()).value() == options.first_offset);
  }
  Log log = open_log(directory.path(), options);
  CHECK(log.recovery().clean);
  CHECK(log.end_offset() == offset_max);
  CHECK(read_values(log, {offset_max.value - 1}) == std::vector<std::string>{"y"});
  CHECK(!append_text(log, "z"));
  REQUIRE(log.truncate_prefix(offset_max));
  CHECK(log.start_offset() == offset_max);
  REQUIRE(log.close());
  CHECK(open_log(directory.path(), options).start_offset() == offset_max);
}

TEST_CASE("limits: a log may begin where no record fits", "[log][limits]") {
  Options options = small_log();
  options.first_offset = offset_max;
  const auto storage = make_memory_storage();
  for (int i = 0; i < 2; ++i) {
    Log log = open_log(storage, options);
    CHECK(fails_with(append_text(log, "x", {Ack::disk}), Errc::offset_out_of_range));
    CHECK(log.end_offset() == offset_max);
    REQUIRE(log.close());
  }
}

}  // namespace
}  // namespace varve::test
