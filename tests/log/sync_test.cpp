#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

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
  CHECK(log.metrics().sync_time.count() == 1);
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

TEST_CASE("sync: what is appended while a flush is under way is not durable by it", "[log][sync]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  REQUIRE(append_text(log, "before"));
  bool appended = false;
  storage->on_call([&](StorageOp op, std::string_view name) {
    if (op != StorageOp::sync || !name.ends_with(".log") || std::exchange(appended, true)) return;
    REQUIRE(append_text(log, "meanwhile"));
  });
  REQUIRE(log.sync());
  storage->on_call({});
  REQUIRE(appended);
  CHECK(log.end_offset() == Offset{2});
  CHECK(log.durable_offset() == Offset{1});
  REQUIRE(log.sync());
  CHECK(log.durable_offset() == Offset{2});
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

// How often varve's background thread went to sleep so far.
std::uint64_t background_sleeps() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (read_file(task.path() / "comm") != "varve-record\n") continue;
    const std::string status = read_file(task.path() / "status");
    constexpr std::string_view field = "\nvoluntary_ctxt_switches:";
    return std::stoull(status.substr(status.find(field) + field.size()));
  }
  return 0;
}

TEST_CASE("sync: the policy wakes nobody while there is nothing to flush", "[log][sync]") {
  Options options = small_log();
  options.background = Background::thread;
  options.sync.every = 1ms;
  Log log = open_log(make_memory_storage(), options);
  REQUIRE(append_text(log, "some bytes"));
  REQUIRE(log.reader({0}, {.visible = Visible::durable}).wait(1min).value());
  std::this_thread::sleep_for(20ms);  // whatever is under way ends
  const std::uint64_t before = background_sleeps();
  std::this_thread::sleep_for(300ms);
  CHECK(background_sleeps() - before < 30);
  REQUIRE(before > 0);
}

}  // namespace
}  // namespace varve::test
