#include "event_count.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace varve::detail {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST_CASE("event count: a wait without a notification ends at its deadline", "[event_count]") {
  EventCount event;
  const auto deadline = Clock::now() + 2ms;
  CHECK(!event.wait(event.prepare(), deadline));
  CHECK(Clock::now() >= deadline);
}

TEST_CASE("event count: a deadline that has passed is no wait", "[event_count]") {
  EventCount event;
  for (const Deadline deadline :
       {Deadline(Clock::now()), Deadline(Clock::time_point()), Deadline(Clock::time_point(-1h)),
        Deadline(Clock::time_point::min())})
    CHECK(!event.wait(event.prepare(), deadline));
}

TEST_CASE("event count: a notification between prepare and wait is not missed", "[event_count]") {
  EventCount event;
  const std::uint32_t key = event.prepare();
  event.notify_all();
  CHECK(event.wait(key, std::nullopt));
}

TEST_CASE("event count: a notification before prepare does not count", "[event_count]") {
  EventCount event;
  event.notify_all();
  CHECK(!event.wait(event.prepare(), Clock::now()));
}

TEST_CASE("event count: what is cancelled costs later waiters nothing", "[event_count]") {
  EventCount event;
  (void)event.prepare();
  event.cancel();
  event.notify_all();
  CHECK(!event.wait(event.prepare(), Clock::now()));
}

TEST_CASE("event count: one notification wakes all who wait", "[event_count][tsan]") {
  EventCount event;
  std::atomic<bool> happened{false};
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 6; ++i) {
    waiters.emplace_back([&] {
      for (;;) {
        const std::uint32_t key = event.prepare();
        if (happened) {
          event.cancel();
          break;
        }
        event.wait(key, std::nullopt);
      }
      ++woken;
    });
  }
  happened = true;
  event.notify_all();
  for (std::thread& waiter : waiters) waiter.join();
  CHECK(woken == 6);
}

TEST_CASE("event count: a notification of one wakes one after the other", "[event_count][tsan]") {
  constexpr int waiting = 4;
  EventCount event;
  std::atomic<int> asleep{0};
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < waiting; ++i) {
    waiters.emplace_back([&] {
      const std::uint32_t key = event.prepare();
      ++asleep;
      event.wait(key, std::nullopt);
      ++woken;
    });
  }
  while (asleep < waiting) std::this_thread::yield();
  // Whoever is not quite asleep yet takes it as its own, too: so at least one wakes, and none is forgotten.
  for (int before = 0; before < waiting; before = woken) {
    event.notify_one();
    while (woken == before) std::this_thread::yield();
  }
  for (std::thread& waiter : waiters) waiter.join();
  CHECK(woken == waiting);
}

// Each side changes its word and tells; the other waits for that. A lost wake-up would hang here.
TEST_CASE("event count: no wake-up is lost between two that take turns", "[event_count][tsan]") {
  constexpr std::uint64_t rounds = 20'000;
  struct Side {
    std::atomic<std::uint64_t> word{0};
    EventCount event;
  };
  std::array<Side, 2> sides;
  const auto wait_for = [](Side& side, std::uint64_t value) {
    while (side.word.load(std::memory_order_acquire) < value) {
      const std::uint32_t key = side.event.prepare();
      if (side.word.load(std::memory_order_acquire) >= value)
        side.event.cancel();
      else
        side.event.wait(key, std::nullopt);
    }
  };
  const auto tell = [](Side& side, std::uint64_t value) {
    side.word.store(value, std::memory_order_release);
    side.event.notify_all();
  };
  std::thread other([&] {
    for (std::uint64_t round = 1; round <= rounds; ++round) {
      wait_for(sides[0], round);
      tell(sides[1], round);
    }
  });
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    tell(sides[0], round);
    wait_for(sides[1], round);
  }
  other.join();
  CHECK(sides[1].word == rounds);
}

}  // namespace
}  // namespace varve::detail
