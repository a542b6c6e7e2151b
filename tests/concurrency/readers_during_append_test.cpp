// Readers read what is appended while it is appended: always a prefix, always the right bytes.
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

using namespace std::chrono_literals;

constexpr std::uint64_t stream = 11;

OwnedRecord streamed(std::uint64_t offset) {
  OwnedRecord record = record_at(stream, offset, {.usual_bytes_max = 200, .large_bytes_max = 5000});
  record.time_ms.reset();
  return record;
}

// Appends records [0, count) of the stream, in batches now and then.
void write_stream(Log& log, std::uint64_t count, std::atomic<int>& wrong) {
  Random random(1);
  for (std::uint64_t offset = 0; offset < count;) {
    const std::uint64_t size =
        std::min(count - offset, random.one_in(5) ? random.between(2, 4) : 1);
    std::vector<OwnedRecord> records;
    for (std::uint64_t i = 0; i < size; ++i) records.push_back(streamed(offset + i));
    const auto offsets =
        log.append(Batch(records).records(), {random.one_in(20) ? Ack::disk : Ack::os});
    if (!offsets || offsets->begin.value != offset) {
      ++wrong;
      return;
    }
    offset += size;
  }
}

// Follows the stream to its end.
void read_stream(const Log& log, std::uint64_t from, std::uint64_t count, Visible visible,
                 std::atomic<int>& wrong) {
  Reader reader = log.reader({from}, {.visible = visible});
  std::uint64_t expected = from;
  while (expected < count) {
    if (!reader.wait(1h).value_or(false)) break;
    for (const RecordView& record : reader) {
      if (record.offset.value != expected || !difference(record, streamed(expected)).empty())
        ++wrong;
      if (visible == Visible::durable && log.durable_offset().value <= expected) ++wrong;
      ++expected;
    }
    if (!reader.status()) break;
  }
  if (expected != count) ++wrong;
}

TEST_CASE("readers: follow an appender through rolls and see the right bytes",
          "[concurrency][tsan]") {
  const TempDir directory;
  const bool on_disk = GENERATE(false, true);
  Options options = small_log();
  options.background = Background::thread;
  Log log =
      on_disk ? open_log(directory.path(), options) : open_log(make_memory_storage(), options);
  constexpr std::uint64_t count = 3000;
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  readers.emplace_back([&] { read_stream(log, 0, count, Visible::committed, wrong); });
  readers.emplace_back([&] { read_stream(log, 0, count, Visible::durable, wrong); });
  write_stream(log, count, wrong);
  CHECK(log.sync());
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(log.segments().size() > 10);
}

TEST_CASE("readers: random reads beside an appender find every record that is visible",
          "[concurrency][tsan]") {
  Options options = small_log();
  options.background = Background::thread;
  Log log = open_log(make_memory_storage(), options);
  constexpr std::uint64_t count = 3000;
  std::atomic<int> wrong{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (std::uint64_t i = 0; i < 2; ++i) {
    readers.emplace_back([&, i] {
      Random random(i);
      Reader reader = log.reader({0});
      while (!done) {
        const std::uint64_t end = log.end_offset().value;
        if (end == 0) continue;
        const std::uint64_t at = random.one_in(2) ? end - 1 : random.below(end);
        reader.seek({at});
        const auto record = reader.next();
        if (!record || !*record || (*record)->offset.value != at ||
            !difference(**record, streamed(at)).empty())
          ++wrong;
      }
    });
  }
  write_stream(log, count, wrong);
  done = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
}

TEST_CASE("readers: a batch appears as a whole", "[concurrency][tsan]") {
  Log log = open_log(make_memory_storage());
  constexpr std::uint64_t batches = 1500;
  std::atomic<int> wrong{0};
  std::thread watcher([&] {
    for (std::uint64_t end = 0; end < 3 * batches; end = log.end_offset().value)
      if (end % 3 != 0) ++wrong;
  });
  const std::vector<Record> batch(3, Record{.value = bytes("part of three")});
  for (std::uint64_t i = 0; i < batches; ++i)
    if (!log.append(batch, os_ack)) ++wrong;
  watcher.join();
  CHECK(wrong == 0);
}

TEST_CASE("readers: what the log says of itself is consistent while it grows",
          "[concurrency][tsan]") {
  Options options = small_log();
  options.background = Background::thread;
  Log log = open_log(make_memory_storage(), options);
  std::atomic<int> wrong{0};
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    Metrics before{};
    while (!done) {
      const Offset durable = log.durable_offset();
      const Offset end = log.end_offset();
      if (durable > end || log.start_offset() > end) ++wrong;
      const auto segments = log.segments();
      for (std::size_t i = 1; i < segments.size(); ++i)
        if (segments[i].offsets.begin != segments[i - 1].offsets.end) ++wrong;
      const Metrics metrics = log.metrics();
      if (metrics.records_appended < before.records_appended ||
          metrics.sync_time.count() < before.sync_time.count())
        ++wrong;
      before = metrics;
      (void)log.recovery();
      (void)log.epoch();
      if (!log.find(Timestamp())) ++wrong;
    }
  });
  write_stream(log, 3000, wrong);
  done = true;
  watcher.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace varve::test
