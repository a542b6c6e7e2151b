// A log is closed while others use it.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/log_tools.hpp"
#include "support/workload.hpp"

namespace varve::test {
namespace {

TEST_CASE("close: appends under way finish or answer closed, and what they acknowledged is kept",
          "[concurrency][tsan]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  for (int round = 0; round < 15; ++round) {
    CAPTURE(round);
    const auto storage = make_memory_storage();
    Options options = small_log();
    options.background = round % 2 == 0 ? Background::thread : Background::manual;
    std::atomic<int> wrong{0};
    std::atomic<std::uint64_t> acknowledged{0};
    const std::uint64_t enough = random.below(500);
    {
      Log log = open_log(storage, options);
      std::vector<std::thread> appenders;
      for (int i = 0; i < 4; ++i) {
        appenders.emplace_back([&, i] {
          for (;;) {
            const auto offset =
                append_text(log, std::string(300, 'x'), {i % 2 == 0 ? Ack::disk : Ack::os});
            if (!offset) {
              if (offset.error() != Errc::closed) ++wrong;
              return;
            }
            ++acknowledged;
            acknowledged.notify_all();
          }
        });
      }
      for (std::uint64_t seen = 0; seen < enough; seen = acknowledged) acknowledged.wait(seen);
      CHECK(log.close());
      for (std::thread& appender : appenders) appender.join();
      CHECK(log.durable_offset() == log.end_offset());
    }
    CHECK(wrong == 0);
    const Log log = open_log(storage);
    CHECK(log.recovery().clean);
    CHECK(log.end_offset() == Offset{acknowledged});
    CHECK(read_values(log, {0}) == std::vector<std::string>(acknowledged, std::string(300, 'x')));
  }
}

TEST_CASE("close: readers and waiters beside it end properly", "[concurrency][tsan]") {
  for (int round = 0; round < 10; ++round) {
    std::atomic<int> wrong{0};
    std::atomic<int> caught_up{0};
    Options options = small_log();
    options.background = Background::thread;
    Log log = open_log(make_memory_storage(), options);
    fill_segments(log, 3);
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i) {
      readers.emplace_back([&] {
        Reader reader = log.reader({0});
        for ([[maybe_unused]] const RecordView& record : reader) {
        }
        ++caught_up;
        caught_up.notify_all();
        const auto more = reader.wait(std::chrono::hours(1));
        if (more || more.error() != Errc::closed) ++wrong;
      });
    }
    for (int seen = caught_up; seen < 3; seen = caught_up) caught_up.wait(seen);
    CHECK(log.close());
    for (std::thread& reader : readers) reader.join();
    CHECK(wrong == 0);
  }
}

TEST_CASE("close: many logs share the background and come and go", "[concurrency][tsan]") {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        Options options;
        options.segment_bytes = small_segment;
        options.sync.every_bytes = 1000;
        auto log = Log::open(make_memory_storage(), options);
        if (!log) {
          ++wrong;
          continue;
        }
        for (int n = 0; n < 60; ++n)
          if (!append_text(*log, std::string(700, 'x'))) ++wrong;
        if (!log->close()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace varve::test
