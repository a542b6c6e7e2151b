#include <chrono>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

static_assert(std::input_iterator<Reader::Iterator>);
static_assert(std::sentinel_for<std::default_sentinel_t, Reader::Iterator>);

Log log_of(std::uint64_t records, std::shared_ptr<StorageBackend> storage = make_memory_storage()) {
  Log log = open_log(std::move(storage));
  for (std::uint64_t i = 0; i < records; ++i) REQUIRE(append_text(log, std::to_string(i)));
  return log;
}

std::vector<std::string> numbers(std::uint64_t begin, std::uint64_t end) {
  std::vector<std::string> numbers;
  for (; begin < end; ++begin) numbers.push_back(std::to_string(begin));
  return numbers;
}

TEST_CASE("read: a range loop sees every record once, in order", "[log][read]") {
  const Log log = log_of(3000);
  REQUIRE(log.segments().size() > 1);
  std::uint64_t expected = 0;
  Reader reader = log.reader({0});
  for (const RecordView& record : reader) {
    REQUIRE(record.offset == Offset{expected});
    REQUIRE(text(*record.value) == std::to_string(expected));
    ++expected;
  }
  CHECK(reader.status());
  CHECK(expected == 3000);
  CHECK(reader.next_offset() == Offset{3000});
}

TEST_CASE("read: a reader starts at any offset", "[log][read]") {
  const Log log = log_of(1500);
  for (std::uint64_t from = 0; from <= 1500; from += 37) {
    CAPTURE(from);
    REQUIRE(read_values(log, {from}) == numbers(from, 1500));
  }
}

TEST_CASE("read: a reader that has caught up goes on when there is more", "[log][read]") {
  Log log = log_of(2);
  Reader reader = log.reader({0});
  for (int round = 0; round < 3; ++round) {
    while (reader.next().value()) {
    }
    CHECK(reader.status());
    CHECK(!reader.wait(0ms).value());
    REQUIRE(append_text(log, "more"));
    CHECK(reader.wait(0ms).value());
    const auto record = reader.next().value();
    REQUIRE(record);
    CHECK(text(*record->value) == "more");
  }
  std::uint64_t seen = 0;
  REQUIRE(append_text(log, "again"));
  for ([[maybe_unused]] const RecordView& record : reader) ++seen;
  CHECK(seen == 1);
}

TEST_CASE("read: until ends a reader early", "[log][read]") {
  Log log = log_of(100);
  CHECK(read_values(log, {10}, {.until = Offset{13}}) == numbers(10, 13));
  CHECK(read_values(log, {10}, {.until = Offset{10}}).empty());
  CHECK(read_values(log, {10}, {.until = Offset{5}}).empty());
  Reader reader = log.reader({98}, {.until = Offset{102}});
  for (int i = 0; i < 2; ++i) REQUIRE(reader.next().value());
  CHECK(!reader.next().value());
  for (int i = 0; i < 4; ++i) REQUIRE(append_text(log, "x"));
  for (int i = 0; i < 2; ++i) REQUIRE(reader.next().value());
  CHECK(!reader.next().value());
  CHECK(!reader.wait(1h).value());  // there will never be more
}

TEST_CASE("read: durable readers stop where durability does", "[log][read]") {
  Log log = log_of(10);
  REQUIRE(log.sync());
  REQUIRE(append_text(log, "10"));
  CHECK(read_values(log, {0}, {.visible = Visible::durable}) == numbers(0, 10));
  CHECK(read_values(log, {0}) == numbers(0, 11));
  Reader reader = log.reader({10}, {.visible = Visible::durable});
  CHECK(!reader.next().value());
  CHECK(!reader.wait(0ms).value());
  REQUIRE(log.sync());
  CHECK(reader.wait(0ms).value());
  CHECK(reader.next().value()->offset == Offset{10});
}

TEST_CASE("read: an offset out of range is an error that says what the range is", "[log][read]") {
  Options options = small_log();
  options.first_offset = {5};
  Log log = open_log(make_memory_storage(), options);
  for (int i = 0; i < 3; ++i) REQUIRE(append_text(log, "x"));
  for (const std::uint64_t wrong : {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{9},
                                    offset_max.value, ~std::uint64_t{0}}) {
    CAPTURE(wrong);
    Reader reader = log.reader({wrong});
    CHECK(fails_with(reader.next(), Errc::offset_out_of_range, {std::to_string(wrong), "[5, 8)"}));
    CHECK(fails_with(reader.status(), Errc::offset_out_of_range));
    int seen = 0;
    for ([[maybe_unused]] const RecordView& record : reader) ++seen;
    CHECK(seen == 0);
    CHECK(!reader.status());
    reader.seek({6});
    CHECK(reader.status());
    CHECK(reader.next().value()->offset == Offset{6});
  }
  Reader at_end = log.reader({8});
  CHECK(!at_end.next().value());
}

TEST_CASE("read: a reader seeks forth and back", "[log][read]") {
  const Log log = log_of(2000);
  Reader reader = log.reader({0});
  for (const std::uint64_t to : {1999u, 0u, 1000u, 1001u, 999u, 5u, 1500u}) {
    reader.seek({to});
    CHECK(reader.next_offset() == Offset{to});
    for (std::uint64_t offset = to; offset < std::min<std::uint64_t>(to + 3, 2000); ++offset) {
      const auto record = reader.next().value();
      REQUIRE(record);
      CHECK(record->offset == Offset{offset});
      CHECK(text(*record->value) == std::to_string(offset));
    }
  }
}

TEST_CASE("read: a reader outlives its log", "[log][read]") {
  const auto storage = make_memory_storage();
  std::optional<Log> log = log_of(2000, storage);
  Reader reader = log->reader({0});
  REQUIRE(reader.next().value());
  log.reset();
  std::uint64_t seen = 1;
  for (const RecordView& record : reader) REQUIRE(record.offset == Offset{seen++});
  CHECK(reader.status());
  CHECK(seen == 2000);
  CHECK(fails_with(reader.wait(1h), Errc::closed));

  // Another log on the same storage does not disturb it.
  log = open_log(storage);
  REQUIRE(append_text(*log, "2000"));
  reader.seek({1990});
  CHECK(reader.next().value()->offset == Offset{1990});
}

TEST_CASE("read: what a reader shows stays readable when the log drops its segment",
          "[log][read]") {
  const TempDir directory;
  const bool on_disk = GENERATE(false, true);
  Log log = on_disk ? open_log(directory.path()) : open_log(make_memory_storage());
  fill_segments(log, 5);
  Reader reader = log.reader({0});
  const auto record = reader.next().value();
  REQUIRE(record);
  REQUIRE(log.truncate_prefix(log.end_offset()));
  CHECK(log.segments().size() == 1);
  CHECK(text(*record->value) == std::string(1000, 'x'));
  // Its segment can even be read on, then the next one is missed.
  Result<std::optional<RecordView>> next = reader.next();
  std::uint64_t seen = 0;
  for (; next && *next; next = reader.next(), ++seen)
    CHECK(text(*(*next)->value) == std::string(1000, 'x'));
  CHECK(fails_with(next, Errc::offset_out_of_range,
                   {"[" + std::to_string(log.start_offset().value)}));
}

TEST_CASE("read: a reader can be moved", "[log][read]") {
  const Log log = log_of(10);
  Reader a = log.reader({0});
  REQUIRE(a.next().value());
  Reader b = std::move(a);
  CHECK(b.next().value()->offset == Offset{1});
  a = log.reader({5});
  CHECK(a.next().value()->offset == Offset{5});
  b = std::move(a);
  CHECK(b.next().value()->offset == Offset{6});
}

TEST_CASE("read: readers are independent of each other", "[log][read]") {
  const Log log = log_of(100);
  std::vector<Reader> readers;
  for (std::uint64_t i = 0; i < 20; ++i) readers.push_back(log.reader({i}));
  for (std::uint64_t step = 0; step < 50; ++step)
    for (std::uint64_t i = 0; i < 20; ++i)
      REQUIRE(readers[i].next().value()->offset == Offset{i + step});
}

TEST_CASE("read: an empty log has nothing to read", "[log][read]") {
  const Log log = open_log(make_memory_storage());
  Reader reader = log.reader({0});
  CHECK(!reader.next().value());
  CHECK(reader.begin() == reader.end());
  CHECK(reader.status());
  CHECK(log.segments().empty());
}

TEST_CASE("read: an I/O error is told as such, and reading can be tried again", "[log][read]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  fill_segments(log, 4);
  REQUIRE(log.tick());
  const StorageOp op = GENERATE(StorageOp::open, StorageOp::read, StorageOp::map);
  const auto error = GENERATE(std::errc::io_error, std::errc::too_many_files_open);
  Reader reader = log.reader({0});
  std::uint64_t seen = 0;
  int failures = 0;
  while (seen < log.end_offset().value) {
    if (failures < 5)
      storage->inject({.ops = {op}, .name = ".log", .error = std::make_error_code(error)});
    const auto record = reader.next();
    storage->clear_faults();
    if (!record) {
      REQUIRE(fails_with(record, error, {".log"}));
      ++failures;
      continue;
    }
    REQUIRE(*record);
    REQUIRE((*record)->offset == Offset{seen++});
  }
  CHECK(failures > 0);
}

TEST_CASE("read: a file that is cut short underneath is an error, not the host's death",
          "[log][read]") {
  const TempDir directory;
  Log log = open_log(directory.path());
  fill_segments(log, 3);
  REQUIRE(log.tick());
  const bool reading = GENERATE(true, false);
  Reader reader = log.reader({0});
  if (reading) REQUIRE(reader.next().value());
  std::filesystem::resize_file(directory.path() / "00000000000000000000.log", 4096);
  Result<std::optional<RecordView>> next = reader.next();
  while (next && *next && (*next)->offset < log.segments()[1].offsets.begin) next = reader.next();
  REQUIRE(!next);
  CHECK(next.error().message().find("00000000000000000000.log") != std::string::npos);
  reader.seek(log.segments()[1].offsets.begin);
  CHECK(reader.next().value());
}

TEST_CASE("read: records carry the epoch that they were written in", "[log][read]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  CHECK(log.epoch() == Epoch{1});
  REQUIRE(append_text(log, "x"));
  Reader reader = log.reader({0});
  CHECK(reader.next().value()->epoch == Epoch{1});
}

}  // namespace
}  // namespace varve::test
