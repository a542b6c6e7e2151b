#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "support/log_tools.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

TEST_CASE("wait: turns cheap appends into durable ones", "[log][wait]") {
  Log log = open_log(make_memory_storage());
  for (int i = 0; i < 10; ++i) REQUIRE(append_text(log, "x"));
  CHECK(log.durable_offset() == Offset{0});
  CHECK(log.wait({9}, Ack::disk, 1h).value());
  CHECK(log.durable_offset() == Offset{10});
  CHECK(log.metrics().sync_time.count() == 1);
  CHECK(log.wait({3}, Ack::disk, 0ms).value());
  CHECK(log.metrics().sync_time.count() == 1);
}

TEST_CASE("wait: what is there already is no wait", "[log][wait]") {
  Log log = open_log(make_memory_storage());
  REQUIRE(append_text(log, "x", {Ack::disk}));
  CHECK(log.wait({0}, 0ms).value());
  CHECK(log.wait({0}, Ack::os, 0ms).value());
  CHECK(log.wait({0}, Ack::disk, 0ms).value());
}

TEST_CASE("wait: gives up when the time is over, also when it was over before", "[log][wait]") {
  const Log log = open_log(make_memory_storage());
  for (const milliseconds timeout :
       {0ms, 1ms, -1ms, milliseconds(-1'000'000'000), milliseconds::min()}) {
    CAPTURE(timeout.count());
    CHECK(!log.wait({0}, timeout).value());
    CHECK(!log.wait({0}, Ack::os, timeout).value());
    CHECK(!log.wait({0}, Ack::disk, timeout).value());
    Reader reader = log.reader({0});
    CHECK(!reader.wait(timeout).value());
    Reader durable = log.reader({0}, {.visible = Visible::durable});
    CHECK(!durable.wait(timeout).value());
  }
}

TEST_CASE("wait: an offset that can never be is not there", "[log][wait]") {
  Log log = open_log(make_memory_storage());
  REQUIRE(append_text(log, "x", {Ack::disk}));
  for (const Offset offset : {Offset{1}, offset_max, Offset{~std::uint64_t{0}}}) {
    CAPTURE(offset.value);
    CHECK(!log.wait(offset, 0ms).value());
    CHECK(!log.wait(offset, Ack::disk, 0ms).value());
  }
}

TEST_CASE("wait: is woken by the append it waits for", "[log][wait][tsan]") {
  Log log = open_log(make_memory_storage());
  for (const milliseconds timeout : {milliseconds(1h), milliseconds::max()}) {
    for (const Ack ack : {Ack::os, Ack::disk}) {
      const Offset next = log.end_offset();
      std::atomic<bool> woken{false};
      std::thread waiter([&] { woken = log.wait(next + 1, ack, timeout).value_or(false); });
      REQUIRE(append_text(log, "a"));
      REQUIRE(append_text(log, "b"));
      waiter.join();
      CHECK(woken);
      if (ack == Ack::disk) CHECK(log.durable_offset() >= next + 2);
    }
  }
}

TEST_CASE("wait: a reader at the end is woken by an append", "[log][wait][tsan]") {
  Log log = open_log(make_memory_storage());
  std::atomic<std::uint64_t> seen{0};
  std::thread follower([&] {
    Reader reader = log.reader({0});
    while (seen < 500 && reader.wait(1h).value_or(false))
      while (reader.next().value()) ++seen;
  });
  for (int i = 0; i < 500; ++i) REQUIRE(append_text(log, "x"));
  follower.join();
  CHECK(seen == 500);
}

TEST_CASE("wait: a durable reader is woken by a sync", "[log][wait][tsan]") {
  Log log = open_log(make_memory_storage());
  std::atomic<bool> woken{false};
  std::thread follower([&] {
    Reader reader = log.reader({0}, {.visible = Visible::durable});
    woken = reader.wait(1h).value_or(false);
  });
  REQUIRE(append_text(log, "x"));
  REQUIRE(log.sync());
  follower.join();
  CHECK(woken);
}

TEST_CASE("wait: closing ends it", "[log][wait][tsan]") {
  Log log = open_log(make_memory_storage());
  std::atomic<int> closed{0};
  const auto note = [&](const Result<bool>& answer) {
    if (!answer && answer.error() == Errc::closed) ++closed;
  };
  Reader committed = log.reader({0});
  Reader durable = log.reader({0}, {.visible = Visible::durable});
  std::vector<std::thread> waiters;
  waiters.emplace_back([&] { note(log.wait({5}, 1h)); });
  waiters.emplace_back([&] { note(log.wait({5}, Ack::disk, 1h)); });
  waiters.emplace_back([&] { note(committed.wait(1h)); });
  waiters.emplace_back([&] { note(durable.wait(1h)); });
  REQUIRE(log.close());
  for (std::thread& waiter : waiters) waiter.join();
  CHECK(closed == 4);
}

}  // namespace
}  // namespace varve::test
