// Many threads append at once and share flushes.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "support/workload.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

struct Answer {
  OffsetRange offsets{};
  std::uint64_t first = 0;  // the thread's number of the first record
  std::uint64_t began = 0;  // when, by a clock that all threads share
  std::uint64_t ended = 0;
};

// What a thread appended: "thread:number", padded so that segments roll.
std::string name_of(std::size_t thread, std::uint64_t number) {
  return std::to_string(thread) + ":" + std::to_string(number) + ":" +
         std::string(number % 97, '.');
}

// Appends until `count` records are in, singly and in batches, with both acks.
std::vector<Answer> append_many(Log& log, std::size_t thread, std::uint64_t count,
                                std::atomic<std::uint64_t>& clock, std::atomic<int>& wrong) {
  Random random(thread);
  std::vector<Answer> answers;
  for (std::uint64_t number = 0; number < count;) {
    const std::uint64_t size =
        std::min(count - number, random.one_in(4) ? random.between(2, 6) : 1);
    std::vector<OwnedRecord> records(size);
    for (std::uint64_t i = 0; i < size; ++i) records[i].value = name_of(thread, number + i);
    const Ack ack = random.one_in(2) ? Ack::disk : Ack::os;
    const Batch batch(records);
    const std::uint64_t began = clock++;
    const auto offsets = log.append(batch.records(), {ack});
    const std::uint64_t ended = clock++;
    if (!offsets || offsets->size() != size) {
      ++wrong;
      return answers;
    }
    if (ack == Ack::disk && log.durable_offset() < offsets->end) ++wrong;
    if (log.end_offset() < offsets->end) ++wrong;
    answers.push_back({*offsets, number, began, ended});
    number += size;
  }
  return answers;
}

// Whether the order of offsets is one that real time allows: what ended before another began comes before it. With
// dense and unique offsets that makes appends linearizable.
bool in_real_time_order(const std::vector<std::vector<Answer>>& answers) {
  std::vector<Answer> all;
  for (const auto& of_thread : answers) all.insert(all.end(), of_thread.begin(), of_thread.end());
  std::sort(all.begin(), all.end(),
            [](const Answer& a, const Answer& b) { return a.offsets.begin < b.offsets.begin; });
  std::uint64_t last_began = 0;  // of those with smaller offsets
  for (const Answer& answer : all) {
    if (answer.ended < last_began) return false;
    last_began = std::max(last_began, answer.began);
  }
  return true;
}

TEST_CASE("group commit: offsets are dense and unique, and every record is where it was said to be",
          "[concurrency][tsan]") {
  const TempDir directory;
  const bool on_disk = GENERATE(false, true);
  const Background background = GENERATE(Background::thread, Background::manual);
  Options options = small_log();
  options.background = background;
  Log log =
      on_disk ? open_log(directory.path(), options) : open_log(make_memory_storage(), options);
  constexpr std::size_t threads = 8;
  constexpr std::uint64_t each = 250;
  std::atomic<int> wrong{0};
  std::atomic<std::uint64_t> clock{0};
  std::vector<std::vector<Answer>> answers(threads);
  std::vector<std::thread> appenders;
  for (std::size_t i = 0; i < threads; ++i)
    appenders.emplace_back([&, i] { answers[i] = append_many(log, i, each, clock, wrong); });
  for (std::thread& appender : appenders) appender.join();
  REQUIRE(wrong == 0);
  REQUIRE(log.end_offset() == Offset{threads * each});
  REQUIRE(in_real_time_order(answers));

  const std::vector<std::string> values = read_values(log, {0});
  REQUIRE(values.size() == threads * each);
  std::vector<bool> seen(values.size());
  for (std::size_t thread = 0; thread < threads; ++thread) {
    Offset before{};
    for (const Answer& answer : answers[thread]) {
      REQUIRE(answer.offsets.begin >= before);
      before = answer.offsets.end;
      for (std::uint64_t i = 0; i < answer.offsets.size(); ++i) {
        const std::size_t offset = answer.offsets.begin.value + i;
        REQUIRE(!seen[offset]);
        seen[offset] = true;
        REQUIRE(values[offset] == name_of(thread, answer.first + i));
      }
    }
  }
  const Metrics metrics = log.metrics();
  CHECK(metrics.records_appended == threads * each);
  CHECK(metrics.segments_rolled > 0);
}

TEST_CASE("group commit: who came too late for a flush leads the next one, if nobody else comes",
          "[concurrency][tsan]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  std::atomic<bool> flushing{false};
  std::atomic<bool> go_on{true};
  storage->on_call([&](StorageOp op, std::string_view) {
    if (op != StorageOp::sync || go_on) return;
    flushing = true;
    while (!go_on) std::this_thread::yield();
  });
  Log log = open_log(storage);
  REQUIRE(append_text(log, "makes the segment", {Ack::disk}));
  go_on = false;
  std::thread first([&] { (void)append_text(log, "covered", {Ack::disk}); });
  while (!flushing) std::this_thread::yield();
  std::atomic<bool> durable{false};
  std::thread late([&] { durable = append_text(log, "too late", {Ack::disk}).has_value(); });
  while (log.end_offset() != Offset{3}) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // until it sleeps, most likely
  go_on = true;
  first.join();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!durable && std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(durable);
  REQUIRE(log.sync());  // wakes it, should it still be waiting
  late.join();
  CHECK(log.durable_offset() == Offset{3});
}

// Of those whom a flush did not cover one is woken, to lead the next: if its time is over just then, the others must
// not wait for ever.
TEST_CASE("group commit: those who stop waiting leave nobody behind", "[concurrency][tsan]") {
  const TempDir directory;
  Options options = small_log();
  options.segment_bytes = 1u << 20;
  Log log = open_log(directory.path(), options);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      Random random(i);
      for (int number = 0; number < 200; ++number) {
        const auto offset = append_text(log, "x", {Ack::os});
        if (!offset) {
          ++wrong;
          return;
        }
        // One in three waits for as long as it takes, the others for about as long as a flush.
        const auto timeout = i % 3 == 0 ? std::chrono::milliseconds(60'000)
                                        : std::chrono::milliseconds(random.below(2));
        const auto durable = log.wait(*offset, Ack::disk, timeout);
        if (!durable || (!*durable && i % 3 == 0)) ++wrong;
        if (durable && *durable && log.durable_offset() <= *offset) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("group commit: threads that wait at the same time share a flush", "[concurrency][tsan]") {
  // A storage whose sync takes a while: all who come meanwhile go together with the next one.
  const TempDir directory;
  Options options = small_log();
  options.segment_bytes = 1u << 20;
  Log log = open_log(directory.path(), options);
  constexpr std::uint64_t threads = 8;
  constexpr std::uint64_t each = 60;
  std::atomic<int> wrong{0};
  std::vector<std::thread> appenders;
  for (std::uint64_t i = 0; i < threads; ++i) {
    appenders.emplace_back([&] {
      for (std::uint64_t n = 0; n < each; ++n)
        if (!append_text(log, "x", {Ack::disk})) ++wrong;
    });
  }
  for (std::thread& appender : appenders) appender.join();
  CHECK(wrong == 0);
  CHECK(log.durable_offset() == Offset{threads * each});
  CHECK(log.metrics().sync_time.count() < threads * each);
}

TEST_CASE("group commit: syncs and waits of many threads all end", "[concurrency][tsan]") {
  Options options = small_log();
  options.background = Background::thread;
  Log log = open_log(make_memory_storage(), options);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 150; ++n) {
        const auto offset = append_text(log, std::string(200, 'x'));
        if (!offset) {
          ++wrong;
          continue;
        }
        const bool durable =
            i % 2 == 0 ? log.wait(*offset, Ack::disk, std::chrono::hours(1)).value_or(false)
                       : log.sync().has_value();
        if (!durable || log.durable_offset() <= *offset) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace varve::test
