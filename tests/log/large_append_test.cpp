// Appends so large that their bodies are written to the file rather than stored through its mapping.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/inspect.hpp"

namespace varve::test {
namespace {

constexpr std::size_t large_bytes = 200'000;

// A log whose segments hold some of them.
Options roomy_log() {
  Options options = small_log();
  options.segment_bytes = 1u << 20;
  return options;
}

// Appends batches of every size and notes the values.
void append_mixed(Log& log, Random& random, int batches, std::vector<std::string>& values) {
  for (int i = 0; i < batches; ++i) {
    const std::uint64_t count = random.one_in(3) ? 1 : random.between(2, 40);
    const std::uint64_t bytes_each = random.one_in(2) ? random.below(200) : random.below(10'000);
    std::vector<Record> records;
    const std::size_t first = values.size();
    for (std::uint64_t k = 0; k < count; ++k) values.push_back(random.text(bytes_each));
    for (std::size_t k = first; k < values.size(); ++k)
      records.push_back({.value = bytes(values[k])});
    const auto offsets = log.append(records, {random.one_in(10) ? Ack::disk : Ack::os});
    REQUIRE(offsets);
    REQUIRE(offsets->begin.value == first);
  }
}

void check_intact(StorageBackend& storage) {
  const auto report = verify(storage);
  REQUIRE(report);
  CHECK(report->intact());
  CHECK(report->torn.empty());
}

TEST_CASE("large appends: among small ones, everything is as it was appended", "[log][append]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  const TempDir dir;
  // With and without somebody who makes pages ready ahead of the end.
  const auto background = GENERATE(Background::thread, Background::manual);
  Options options = roomy_log();
  options.background = background;
  std::vector<std::string> values;
  Log log = open_log(dir.path(), options);
  append_mixed(log, random, 300, values);
  CHECK(log.segments().size() > 5);
  CHECK(read_values(log, {0}) == values);
  CHECK(read_values(open_log(dir.path(), read_only(options)), {0}) == values);
  REQUIRE(log.close());
  check_intact(**open_file_storage(dir.path(), false));
  CHECK(read_values(open_log(dir.path(), options), {0}) == values);
}

TEST_CASE("large appends: pages are made ready behind them", "[log][append]") {
  Options options = roomy_log();
  options.segment_bytes = 16u << 20;
  Log log = open_log(make_memory_storage(), options);
  std::vector<std::string> values;
  for (const char c : {'a', 'b'}) {
    // Longer together than what is made ready by writing zeros.
    for (int i = 0; i < 10; ++i) values.emplace_back(large_bytes, c);
    values.emplace_back("small");
  }
  for (const std::string& value : values) REQUIRE(append_text(log, value));
  CHECK(read_values(log, {0}) == values);
}

TEST_CASE("large appends: threads get theirs in order, and readers see them whole",
          "[log][append]") {
  Options options = roomy_log();
  options.background = Background::thread;
  const TempDir dir;
  Log log = open_log(dir.path(), options);
  constexpr int threads = 3;
  constexpr int each = 60;
  {
    std::vector<std::jthread> appending;
    for (int t = 0; t < threads; ++t) {
      appending.emplace_back([&log, t] {
        for (int i = 0; i < each; ++i) {
          const std::string value(i % 3 == 0 ? 50 : large_bytes / 2, static_cast<char>('a' + t));
          log.append(Record{.value = bytes(value)}, os_ack).value();
        }
      });
    }
    Reader reader = log.reader({0});
    for (int seen = 0; seen < threads * each;) {
      REQUIRE(log.wait(reader.next_offset(), std::chrono::seconds(60)).value());
      const auto record = reader.next();
      REQUIRE(record);
      if (!*record) continue;
      const std::string_view value = text(*(**record).value);
      REQUIRE(value.find_first_not_of(value.front()) == value.npos);
      ++seen;
    }
  }
  REQUIRE(log.close());
  check_intact(**open_file_storage(dir.path(), false));
}

TEST_CASE("large appends: times are those of small ones", "[log][append]") {
  const auto clock = std::make_shared<FakeEnvironment>(1, 5000);
  Options options = roomy_log();
  options.environment = clock;
  Log log = open_log(make_memory_storage(), options);
  const std::string large(large_bytes, 'x');
  const auto append = [&](std::optional<std::int64_t> time_ms) {
    Record record{.value = bytes(large)};
    if (time_ms) record.timestamp = Timestamp(std::chrono::milliseconds(*time_ms));
    REQUIRE(log.append(record, os_ack));
  };
  append({});
  clock->set(9000);
  append(-7);
  append({});
  std::vector<std::int64_t> times;
  std::vector<std::int64_t> append_times;
  Reader reader = log.reader({0});
  for (const RecordView& record : reader) {
    times.push_back(record.timestamp.time_since_epoch().count());
    append_times.push_back(record.append_time.time_since_epoch().count());
  }
  CHECK(times == std::vector<std::int64_t>{5000, -7, 9000});
  CHECK(append_times == std::vector<std::int64_t>{5000, 9000, 9000});
  CHECK(log.find(Timestamp(std::chrono::milliseconds(6000))).value() == Offset{2});
}

// Every look at it finds it later.
class RunningClock final : public Environment {
 public:
  Timestamp now() noexcept override { return Timestamp(std::chrono::milliseconds(now_ms_ += 10)); }
  std::uint64_t random() noexcept override { return split_mix(random_ += split_mix_step); }

 private:
  std::int64_t now_ms_ = 5000;
  std::uint64_t random_ = 1;
};

TEST_CASE("large appends: time that passes while one is made changes nothing in it",
          "[log][append]") {
  Options options = roomy_log();
  options.environment = std::make_shared<RunningClock>();
  Log log = open_log(make_memory_storage(), options);
  const std::string large(large_bytes, 'x');
  const Timestamp time{std::chrono::milliseconds(1234)};
  REQUIRE(log.append({.value = bytes(large), .timestamp = time}, os_ack));
  Reader reader = log.reader({0});
  const auto record = reader.next();
  REQUIRE((record && *record));
  CHECK((**record).timestamp == time);
}

TEST_CASE("large appends: one that cannot be written is not there, and the log goes on",
          "[log][append]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage, roomy_log());
  REQUIRE(append_text(log, "before"));
  const std::string large(large_bytes, 'x');
  storage->inject({.ops = {StorageOp::write},
                   .name = ".log",
                   .error = std::make_error_code(std::errc::no_space_on_device),
                   .half_done = true});
  CHECK(fails_with(append_text(log, large), Errc::no_space));
  CHECK(log.end_offset() == Offset{1});
  REQUIRE(append_text(log, "between"));
  REQUIRE(append_text(log, large));
  REQUIRE(append_text(log, "behind", {.ack = Ack::disk}));
  const std::vector<std::string> values{"before", "between", large, "behind"};
  CHECK(read_values(log, {0}) == values);
  REQUIRE(storage->cut_power({.seed = 1, .keep = 0.0}));
  CHECK(read_values(open_log(storage, roomy_log()), {0}) == values);
}

TEST_CASE("large appends: an error of the medium ends the log", "[log][append]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage, roomy_log());
  REQUIRE(append_text(log, "before", {.ack = Ack::disk}));
  storage->inject({.ops = {StorageOp::write}, .name = ".log", .half_done = true});
  CHECK(fails_with(append_text(log, std::string(large_bytes, 'x')), std::errc::io_error));
  CHECK(fails_with(append_text(log, "behind"), Errc::failed));
  storage->clear_faults();
  REQUIRE(storage->cut_power({.seed = 1, .keep = 1.0}));
  CHECK(read_values(open_log(storage, roomy_log()), {0}) == std::vector<std::string>{"before"});
}

}  // namespace
}  // namespace varve::test
