#include <chrono>
#include <memory>
#include <string>

#include "support/log_tools.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

TEST_CASE("sync: makes everything appended before durable", "[log][sync]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  fill_segments(log, 3);
  const auto values = read_values(log, {0});
  REQUIRE(log.sync());
  CHECK(log.durable_offset() == log.end_offset());
  REQUIRE(storage->cut_power({.seed = 1, .keep = 0.0}));
  log = open_log(storage);
  CHECK(read_values(log, {0}) == values);
}

TEST_CASE("sync: without anything new it costs no flush", "[log][sync]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  REQUIRE(log.sync());
  REQUIRE(append_text(log, "x"));
  REQUIRE(log.sync());
  const std::uint64_t syncs = storage->calls(StorageOp::sync);
  for (int i = 0; i < 3; ++i) REQUIRE(log.sync());
  CHECK(storage->calls(StorageOp::sync) == syncs);
  CHECK(log.metrics().syncs == 1);
}

TEST_CASE("sync: what is not synced may be lost with the power, what is is not", "[log][sync]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  REQUIRE(append_text(log, "kept"));
  REQUIRE(log.sync());
  REQUIRE(append_text(log, "lost"));
  REQUIRE(storage->cut_power({.seed = 1, .keep = 0.0}));
  log = open_log(storage);
  CHECK(read_values(log, {0}) == std::vector<std::string>{"kept"});
  CHECK(log.epoch() == Epoch{2});
}

TEST_CASE("sync: the policy flushes after so many bytes", "[log][sync]") {
  Options options = small_log();
  options.sync.every_bytes = 5000;
  Log log = open_log(make_memory_storage(), options);
  REQUIRE(append_text(log, "x", {Ack::disk}));
  for (int i = 0; i < 4; ++i) REQUIRE(append_text(log, std::string(1000, 'x')));
  REQUIRE(log.tick());
  CHECK(log.durable_offset() == Offset{1});
  for (int i = 0; i < 2; ++i) REQUIRE(append_text(log, std::string(1000, 'x')));
  REQUIRE(log.tick());
  CHECK(log.durable_offset() == Offset{7});
}

TEST_CASE("sync: the policy flushes in the background", "[log][sync][tsan]") {
  Options options = small_log();
  options.background = Background::thread;
  const bool by_time = GENERATE(false, true);
  if (by_time)
    options.sync.every = 1ms;
  else
    options.sync.every_bytes = 10;
  Log log = open_log(make_memory_storage(), options);
  for (std::uint64_t i = 0; i < 3; ++i) {
    REQUIRE(append_text(log, "some bytes"));
    Reader reader = log.reader({i}, {.visible = Visible::durable});
    CHECK(reader.wait(1min).value());  // nobody else syncs
  }
}

}  // namespace
}  // namespace varve::test
