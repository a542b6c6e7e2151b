#include <string>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

TEST_CASE("close: makes everything durable, and the next opening clean", "[log][close]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  fill_segments(log, 3);
  REQUIRE(append_text(log, "last"));
  const auto values = read_values(log, {0});
  REQUIRE(log.close());
  CHECK(log.durable_offset() == log.end_offset());
  REQUIRE(storage->cut_power({.seed = 1, .keep = 0.0}));
  log = open_log(storage);
  CHECK(log.recovery().clean);
  CHECK(log.recovery().records_scanned == 0);
  CHECK(log.epoch() == Epoch{1});
  CHECK(read_values(log, {0}) == values);
}

TEST_CASE("close: a closed log refuses to write and goes on reading", "[log][close]") {
  Log log = open_log(make_memory_storage());
  REQUIRE(append_text(log, "a"));
  REQUIRE(log.close());
  REQUIRE(log.close());
  CHECK(fails_with(append_text(log, "b"), Errc::closed));
  CHECK(fails_with(append_text(log, "b", {Ack::disk}), Errc::closed));
  CHECK(fails_with(log.sync(), Errc::closed));
  CHECK(fails_with(log.truncate_prefix({1}), Errc::closed));
  CHECK(log.tick());
  CHECK(read_values(log, {0}) == std::vector<std::string>{"a"});
  CHECK(log.end_offset() == Offset{1});
  CHECK(log.find(Timestamp()).value() == Offset{0});
  CHECK(log.segments().size() == 1);
  CHECK(log.metrics().records_appended == 1);
}

TEST_CASE("close: frees the lock while the object lives on", "[log][close]") {
  const TempDir directory;
  Log first = open_log(directory.path());
  REQUIRE(append_text(first, "a"));
  REQUIRE(first.close());
  Log second = open_log(directory.path());
  REQUIRE(append_text(second, "b"));
  CHECK(read_values(first, {0}) == std::vector<std::string>{"a"});
}

TEST_CASE("close: destroying a log closes it", "[log][close]") {
  const TempDir directory;
  {
    Log log = open_log(directory.path());
    REQUIRE(append_text(log, "a"));
  }
  const Log log = open_log(directory.path());
  CHECK(log.recovery().clean);
  CHECK(log.end_offset() == Offset{1});
}

TEST_CASE("close: gives back the room that was reserved", "[log][close]") {
  const TempDir directory;
  Options options = small_log();
  options.segment_bytes = 8u << 20;
  Log log = open_log(directory.path(), options);
  REQUIRE(append_text(log, "a"));
  const auto file = directory.path() / log.segments()[0].file;
  CHECK(std::filesystem::file_size(file) >= 1u << 20);
  REQUIRE(log.close());
  CHECK(std::filesystem::file_size(file) <= 8192);
  log = open_log(directory.path(), options);
  REQUIRE(append_text(log, std::string(500'000, 'b')));
  CHECK(read_values(log, {0}).size() == 2);
}

TEST_CASE("close: many openings and closings of one segment", "[log][close]") {
  const TempDir directory;
  std::vector<std::string> values;
  for (int i = 0; i < 20; ++i) {
    Log log = open_log(directory.path());
    values.push_back(std::to_string(i));
    REQUIRE(append_text(log, values.back()));
    REQUIRE(log.close());
  }
  const Log log = open_log(directory.path());
  CHECK(log.segments().size() == 1);
  CHECK(read_values(log, {0}) == values);
}

TEST_CASE("close: an error in it is answered, and the next opening recovers", "[log][close]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  fill_segments(log, 3);
  REQUIRE(append_text(log, "last", {Ack::disk}));
  const auto values = read_values(log, {0});
  const StorageOp op =
      GENERATE(StorageOp::open, StorageOp::write, StorageOp::rename, StorageOp::sync_names);
  storage->inject({.ops = {op}, .times = ~std::uint64_t{0}});
  CHECK(!log.close());
  storage->clear_faults();
  log = open_log(storage);
  CHECK(read_values(log, {0}) == values);
  REQUIRE(append_text(log, "more", {Ack::disk}));
}

}  // namespace
}  // namespace varve::test
