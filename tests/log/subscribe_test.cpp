// Subscribers: each gets every record, in order, at its own pace.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

// Waits for what must come; tells whether it did.
template <class Condition>
bool comes(Condition condition) {
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(200us);
  }
  return true;
}

void append_numbers(Log& log, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i)
    REQUIRE(append_text(log, std::to_string(log.end_offset().value)));
}

// Lets blocked handlers go on, also when the test has failed: before their subscriptions are ended.
struct LetGo {
  std::atomic<bool>& go_on;
  ~LetGo() { go_on = true; }
};

// Counts what is out of order or has the wrong bytes.
struct Checker {
  explicit Checker(Offset from) : next(from.value) {}

  bool operator()(const RecordView& record) {
    if (record.offset.value != next || text(*record.value) != std::to_string(next)) ++wrong;
    ++next;
    return true;
  }

  std::uint64_t next;
  int wrong = 0;
};

TEST_CASE("subscribe: history first, then what comes, each from its own place",
          "[log][subscribe][tsan]") {
  Log log = open_log(make_memory_storage());
  append_numbers(log, 1000);
  std::array<Checker, 4> checkers{Checker({0}), Checker({1}), Checker({999}), Checker({1000})};
  std::vector<Subscription> subscriptions;
  for (Checker& checker : checkers)
    subscriptions.push_back(log.subscribe({checker.next}, std::ref(checker)).value());
  append_numbers(log, 500);
  std::this_thread::sleep_for(50ms);  // they fall asleep
  append_numbers(log, 500);
  for (Subscription& one : subscriptions) {
    CHECK(comes([&] { return one.next_offset() == Offset{2000}; }));
    CHECK(one.active());
    one.stop();
    CHECK(!one.active());
    CHECK(one.status());
    one.stop();
  }
  append_numbers(log, 1);
  for (const Checker& checker : checkers) {
    CHECK(checker.wrong == 0);
    CHECK(checker.next == 2000);
  }
}

TEST_CASE("subscribe: a slow one holds up nobody", "[log][subscribe][tsan]") {
  Log log = open_log(make_memory_storage());
  std::atomic<bool> go_on{false};
  Subscription slow = log.subscribe({0},
                                    [&](const RecordView&) {
                                      while (!go_on) std::this_thread::sleep_for(1ms);
                                      return true;
                                    })
                          .value();
  const LetGo let_go{go_on};
  Subscription quick = log.subscribe({0}, [](const RecordView&) { return true; }).value();
  append_numbers(log, 3000);
  CHECK(comes([&] { return quick.next_offset() == Offset{3000}; }));
  CHECK(slow.next_offset() == Offset{0});
  go_on = true;
  CHECK(comes([&] { return slow.next_offset() == Offset{3000}; }));
}

TEST_CASE("subscribe: ends when its handler wants no more, or throws", "[log][subscribe][tsan]") {
  Log log = open_log(make_memory_storage());
  append_numbers(log, 10);
  Subscription three =
      log.subscribe({0}, [](const RecordView& record) { return record.offset < Offset{2}; })
          .value();
  Subscription thrower = log.subscribe({0},
                                       [](const RecordView& record) -> bool {
                                         if (record.offset == Offset{4})
                                           throw std::runtime_error("no");
                                         return true;
                                       })
                             .value();
  CHECK(comes([&] { return !three.active() && !thrower.active(); }));
  CHECK(three.next_offset() == Offset{3});
  CHECK(three.status());
  CHECK(thrower.next_offset() == Offset{4});
  CHECK(fails_with(thrower.status(), std::errc::operation_canceled, {"offset 4"}));
}

TEST_CASE("subscribe: what was truncated ends it, or is passed over and counted",
          "[log][subscribe][tsan]") {
  Log log = open_log(make_memory_storage());
  append_numbers(log, 100);
  std::atomic<bool> go_on{false};
  const auto slow = [&](const RecordView&) {
    while (!go_on) std::this_thread::sleep_for(1ms);
    return true;
  };
  Subscription strict = log.subscribe({0}, slow).value();
  Subscription lenient = log.subscribe({0}, slow, {.skip_lost = true}).value();
  const LetGo let_go{go_on};
  std::this_thread::sleep_for(5ms);
  fill_segments(log, 4);
  REQUIRE(log.truncate_prefix(log.end_offset()));
  const Offset start = log.start_offset();
  append_numbers(log, 3);
  go_on = true;
  CHECK(comes([&] { return !strict.active(); }));
  CHECK(fails_with(strict.status(), Errc::offset_out_of_range));
  CHECK(strict.next_offset() < start);
  CHECK(comes([&] { return lenient.next_offset() == log.end_offset(); }));
  CHECK(lenient.skipped() > 0);
  CHECK(lenient.active());
}

TEST_CASE("subscribe: what is damaged ends it, or is passed over and counted", "[log][subscribe]") {
  const auto faulty = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(faulty);
  for (int i = 0; i < 20; ++i) REQUIRE(append_text(log, std::string(100, 'x'), {Ack::disk}));
  REQUIRE(faulty->flip_bit(log.segments().front().file, 8 * 5000));
  Subscription strict = log.subscribe({0}, [](const RecordView&) { return true; }).value();
  CHECK(comes([&] { return !strict.active(); }));
  CHECK(fails_with(strict.status(), Errc::corrupt));
  std::uint64_t seen = 0;
  Subscription lenient = log.subscribe({0},
                                       [&](const RecordView&) {
                                         ++seen;
                                         return true;
                                       },
                                       {.skip_lost = true})
                             .value();
  CHECK(comes([&] { return lenient.next_offset() == Offset{20}; }));
  lenient.stop();
  CHECK(lenient.skipped() == 1);
  CHECK(seen == 19);
}

TEST_CASE("subscribe: to what is durable only", "[log][subscribe][tsan]") {
  Log log = open_log(make_memory_storage());
  append_numbers(log, 5);
  Subscription durable =
      log.subscribe({0}, [](const RecordView&) { return true; }, {.visible = Visible::durable})
          .value();
  std::this_thread::sleep_for(30ms);
  CHECK(durable.next_offset() == Offset{0});
  REQUIRE(log.sync());
  CHECK(comes([&] { return durable.next_offset() == Offset{5}; }));
}

TEST_CASE("subscribe: a closed log is handed over to its end", "[log][subscribe][tsan]") {
  std::optional<Log> log = open_log(make_memory_storage());
  append_numbers(*log, 2000);
  Checker checker({0});
  Subscription subscription = log->subscribe({0}, std::ref(checker)).value();
  REQUIRE(log->close());
  log.reset();
  CHECK(comes([&] { return !subscription.active(); }));
  CHECK(fails_with(subscription.status(), Errc::closed));
  CHECK(checker.next == 2000);
  CHECK(checker.wrong == 0);
}

TEST_CASE("subscribe: what a handler appends comes back to it", "[log][subscribe][tsan]") {
  Log log = open_log(make_memory_storage());
  append_numbers(log, 1);
  Subscription echo =
      log.subscribe({0},
                    [&](const RecordView& record) {
                      if (record.offset.value == 99) return false;
                      return append_text(log, std::to_string(record.offset.value + 1)).has_value();
                    })
          .value();
  CHECK(comes([&] { return !echo.active(); }));
  CHECK(echo.next_offset() == Offset{100});
  CHECK(log.end_offset() == Offset{100});
}

TEST_CASE("subscribe: with a pin nothing is forgotten before it was handed over",
          "[log][subscribe][tsan]") {
  Options options = small_log();
  options.retention.bytes = 1;
  Log log = open_log(make_memory_storage(), options);
  std::atomic<bool> go_on{false};
  std::uint64_t seen = 0;
  Subscription pinned = log.subscribe({0},
                                      [&](const RecordView&) {
                                        while (!go_on) std::this_thread::sleep_for(1ms);
                                        ++seen;
                                        return true;
                                      },
                                      {.pin = true})
                            .value();
  const LetGo let_go{go_on};
  fill_segments(log, 6);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == Offset{0});
  go_on = true;
  CHECK(comes([&] { return pinned.next_offset() == log.end_offset(); }));
  CHECK(comes([&] { return log.tick() && log.start_offset() > Offset{0}; }));
  pinned.stop();
  CHECK(seen == log.end_offset().value);
}

TEST_CASE("subscribe: a pin does not grow old while its subscriber is at work, or asleep",
          "[log][subscribe]") {
  Options options = small_log();
  options.retention.bytes = 1;
  options.retention.pin_age = 1s;
  Log log = open_log(make_memory_storage(), options);
  std::atomic<std::uint64_t> seen{0};
  Subscription pinned = log.subscribe({0},
                                      [&](const RecordView&) {
                                        ++seen;
                                        std::this_thread::sleep_for(20ms);
                                        return true;
                                      },
                                      {.pin = true})
                            .value();
  std::this_thread::sleep_for(1300ms);
  fill_segments(log, 6);  // some 80 records
  const std::uint64_t end = log.end_offset().value;
  while (pinned.active() && pinned.next_offset().value < end) {
    REQUIRE(log.tick());
    std::this_thread::sleep_for(1ms);
  }
  CHECK(pinned.status());
  pinned.stop();
  CHECK(seen == end);
}

// A log of twenty records of which ten are durable, and a subscriber to what is.
struct HalfDurable {
  explicit HalfDurable(const std::shared_ptr<FaultyStorage>& storage) : log(open_log(storage)) {
    append_numbers(log, 10);
    REQUIRE(log.sync());
    subscription.emplace(
        log.subscribe({0}, std::ref(checker), {.visible = Visible::durable}).value());
    append_numbers(log, 10);
  }

  Log log;
  Checker checker{Offset{0}};
  std::optional<Subscription> subscription{};
};

TEST_CASE("subscribe: what closing makes durable is handed over, too", "[log][subscribe][tsan]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  std::atomic<bool> slowly{false};
  storage->on_call([&](StorageOp op, std::string_view) {
    if (op == StorageOp::sync && slowly) std::this_thread::sleep_for(20ms);
  });
  const auto before_closing = GENERATE(1ms, 50ms);  // while it is awake, and asleep
  HalfDurable of(storage);
  std::this_thread::sleep_for(before_closing);
  slowly = true;
  REQUIRE(of.log.close());
  CHECK(comes([&] { return !of.subscription->active(); }));
  CHECK(fails_with(of.subscription->status(), Errc::closed));
  CHECK(of.checker.next == 20);
  CHECK(of.checker.wrong == 0);
}

TEST_CASE("subscribe: a log that has failed is handed over as far as it is durable",
          "[log][subscribe][tsan]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  HalfDurable of(storage);
  storage->inject({.ops = {StorageOp::sync}});
  CHECK(!of.log.sync());
  CHECK(comes([&] { return !of.subscription->active(); }));
  CHECK(fails_with(of.subscription->status(), Errc::failed));
  CHECK(of.checker.next == 10);
}

TEST_CASE("subscribe: in a forked child there is no subscriber", "[log][subscribe][processes]") {
  Log log = open_log(make_memory_storage());
  append_numbers(log, 10);
  std::optional<Subscription> subscription =
      log.subscribe({0}, [](const RecordView&) { return true; }).value();
  Child child([&](const PipeEnd&, const PipeEnd&) {
    if (subscription->active()) return 1;
    subscription->stop();
    subscription.reset();
    return 0;
  });
  CHECK(child.wait() == 0);
  CHECK(subscription->active());
  CHECK(comes([&] { return subscription->next_offset() == Offset{10}; }));
}

TEST_CASE("subscribe: what makes no sense is refused", "[log][subscribe]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  append_numbers(log, 5);
  REQUIRE(log.truncate_prefix({2}));
  const auto handler = [](const RecordView&) { return true; };
  CHECK(fails_with(log.subscribe({1}, handler), Errc::offset_out_of_range, {"1", "[2, 5]"}));
  CHECK(fails_with(log.subscribe({6}, handler), Errc::offset_out_of_range));
  CHECK(fails_with(log.subscribe({2}, nullptr), Errc::invalid_argument));
  const Log reader = open_log(storage, read_only());
  CHECK(fails_with(reader.subscribe({2}, handler, {.pin = true}), Errc::read_only));
  REQUIRE(log.close());
  CHECK(fails_with(log.subscribe({2}, handler), Errc::closed));
}

TEST_CASE("subscribe: to a log that another process writes", "[log][subscribe][processes]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Child writer([&](const PipeEnd& to_parent, const PipeEnd& from_parent) {
    auto log = Log::open(path, small_log());
    if (!log) return 1;
    if (!to_parent.send(1)) return 1;
    for (std::uint64_t i = 0; i < 2000; ++i)
      if (!append_text(*log, std::to_string(i))) return 1;
    (void)from_parent.receive<int>();
    return 0;
  });
  REQUIRE(writer.output().receive<int>());
  const Log log = open_log(path, read_only());
  Checker checker({0});
  Subscription subscription = log.subscribe({0}, std::ref(checker)).value();
  CHECK(comes([&] { return subscription.next_offset() == Offset{2000}; }));
  subscription.stop();
  CHECK(checker.wrong == 0);
  REQUIRE(writer.input().send(1));
  CHECK(writer.wait() == 0);
}

TEST_CASE("subscribe: one that sleeps can be stopped, of a log to write or to read",
          "[log][subscribe][tsan]") {
  const auto storage = make_memory_storage();
  const Log writer = open_log(storage);
  std::optional<Log> reader;
  const bool reads_only = GENERATE(false, true);
  if (reads_only) reader = open_log(storage, read_only());
  Subscription subscription = (reads_only ? *reader : writer)
                                  .subscribe({0}, [](const RecordView&) { return true; })
                                  .value();
  std::this_thread::sleep_for(60ms);
  CHECK(subscription.active());
  subscription.stop();
  CHECK(!subscription.active());
  CHECK(subscription.status());
}

}  // namespace
}  // namespace varve::test
