// Appends, rolls, truncations, chores and readers all at once.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "support/workload.hpp"

namespace varve::test {
namespace {

std::string value_at(std::uint64_t offset) {
  return std::to_string(offset) + std::string(100 + offset % 700, '.');
}

TEST_CASE("truncation: readers beside it read right bytes or are told that they are late",
          "[concurrency][tsan]") {
  const TempDir directory;
  const bool on_disk = GENERATE(false, true);
  Options options = small_log();
  options.background = Background::thread;
  Log log =
      on_disk ? open_log(directory.path(), options) : open_log(make_memory_storage(), options);
  constexpr std::uint64_t count = 3000;
  std::atomic<int> wrong{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&, i] {
      Random random(static_cast<std::uint64_t>(i));
      while (!done) {
        const std::uint64_t start = log.start_offset().value;
        Reader reader = log.reader({start + random.below(log.end_offset().value - start + 1)});
        std::uint64_t expected = reader.next_offset().value;
        for (const RecordView& record : reader) {
          if (record.offset.value != expected || text(*record.value) != value_at(expected)) ++wrong;
          ++expected;
        }
        if (const auto status = reader.status(); !status) {
          const bool late =
              status.error() == Errc::offset_out_of_range && expected < log.start_offset().value;
          if (!late) ++wrong;
        }
        if (!log.find(Timestamp())) ++wrong;
      }
    });
  }
  others.emplace_back([&] {
    Random random(9);
    while (!done) {
      const std::uint64_t start = log.start_offset().value;
      if (!log.truncate_prefix({start + random.below(log.end_offset().value - start + 1)})) ++wrong;
    }
  });
  others.emplace_back([&] {
    while (!done)
      if (!log.tick()) ++wrong;
  });
  // On a busy machine whoever truncates may come late.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto truncated = [&] {
    return log.metrics().segments_removed > 3 || std::chrono::steady_clock::now() > give_up;
  };
  for (std::uint64_t offset = 0; offset < count || !truncated(); ++offset)
    if (append_text(log, value_at(offset), {offset % 50 == 0 ? Ack::disk : Ack::os})
            .value_or(Offset{~0ull}) != Offset{offset})
      ++wrong;
  done = true;
  for (std::thread& other : others) other.join();
  CHECK(wrong == 0);
  CHECK(log.metrics().segments_removed > 3);
  REQUIRE(log.close());
}

TEST_CASE("truncation: several at once end at the greatest start", "[concurrency][tsan]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  fill_segments(log, 10);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t start = i; start < log.end_offset().value; start += 4)
        if (!log.truncate_prefix({start})) ++wrong;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(log.start_offset().value == log.end_offset().value - 1);
  REQUIRE(log.close());
  log = open_log(storage);
  CHECK(log.start_offset().value == log.end_offset().value - 1);
  CHECK(log.segments().size() <= 2);
}

}  // namespace
}  // namespace varve::test
