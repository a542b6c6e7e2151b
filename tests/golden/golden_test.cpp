// Logs written by released versions of the format open for ever. v1/closed was closed properly, v1/crashed
// is what a killed process left, with a torn tail, v1/compacted was compacted and grew on.
//
// What makes the records below must never change. A new format gets a directory of its own:
// run the hidden test case "[.regenerate]" once, and commit what it writes.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "support/temp_dir.hpp"
#include "varve/file_storage.hpp"
#include "varve/inspect.hpp"
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace test;

constexpr std::uint64_t first = 1000;
constexpr std::uint64_t closed_end = 1560;
constexpr std::uint64_t crashed_durable = 1300;
constexpr std::uint64_t crashed_end = 1307;
constexpr std::size_t rubbish_bytes = 333;

std::filesystem::path golden(const char* name) {
  return std::filesystem::path(VARVE_TEST_DIR) / "golden" / "v1" / name;
}

class GoldenEnvironment final : public Environment {
 public:
  Timestamp now() noexcept override {
    return Timestamp(std::chrono::milliseconds(1'750'000'000'000 + ++looks_));
  }
  std::uint64_t random() noexcept override {
    return state_ = state_ * 6'364'136'223'846'793'005u + 1'442'695'040'888'963'407u;
  }

 private:
  std::int64_t looks_ = 0;
  std::uint64_t state_ = 1;
};

Options golden_options() {
  Options options;
  options.segment_bytes = 16u << 10;
  options.index_interval_bytes = 2048;
  options.first_offset = {first};
  options.background = Background::manual;
  options.environment = std::make_shared<GoldenEnvironment>();
  return options;
}

OwnedRecord golden_record(std::uint64_t offset) {
  const std::string number = std::to_string(offset);
  OwnedRecord record;
  switch (offset % 9) {
    case 0:
      record.value = "value " + number;
      break;
    case 1:
      record.key = "key " + number, record.value = std::string(30 + offset % 100, 'v');
      break;
    case 2:
      record.key = "tombstone " + number;
      break;
    case 3:
      record.key = "", record.value = "";
      break;
    case 4:
      record.key = "", record.value = "empty key " + number;
      break;
    case 5:
      record.headers = {{"type", "golden"}, {"", ""}, {"absent", std::nullopt}, {"type", number}};
      break;
    case 6:
      record.value = "dated " + number, record.time_ms = static_cast<std::int64_t>(offset) - 1200;
      break;
    case 7:
      record.value = std::string(120 + offset % 150, static_cast<char>('a' + offset % 26));
      break;
    default:
      break;
  }
  return record;
}

std::vector<OwnedRecord> golden_records() {
  std::vector<OwnedRecord> records(first);
  for (std::uint64_t offset = first; offset < closed_end; ++offset)
    records.push_back(golden_record(offset));
  return records;
}

void append_golden(Log& log, std::uint64_t end, Ack ack) {
  const auto records = golden_records();
  for (std::uint64_t next = log.end_offset().value; next < end;) {
    const std::uint64_t count = std::min<std::uint64_t>(1 + next % 4, end - next);
    const std::span<const OwnedRecord> all(records);
    const Batch batch(all.subspan(static_cast<std::size_t>(next), static_cast<std::size_t>(count)));
    const auto range = log.append(batch.records(), {next % 5 == 0 ? ack : Ack::os});
    REQUIRE(range);
    next = range->end.value;
  }
}

Files make_closed() {
  const auto storage = make_memory_storage();
  Log log = open_log(storage, golden_options());
  for (std::uint64_t end = first + 80; end <= closed_end; end += 80) {
    append_golden(log, end, Ack::disk);
    REQUIRE(log.tick());
  }
  REQUIRE(log.close());
  return copy_files(*storage);
}

Files make_crashed() {
  const auto storage = make_memory_storage();
  Log log = open_log(storage, golden_options());
  append_golden(log, crashed_durable, Ack::disk);
  REQUIRE(log.sync());
  append_golden(log, crashed_end, Ack::os);
  Files files = copy_files(*storage);
  auto& last = files.at(segment_names(files).back());
  const std::uint64_t end = frames_of(last).back().end.value;
  scribble(last, end + 20, end + 20 + rubbish_bytes, 7);
  last.back() = std::byte{0};
  return files;
}

// Records of few keys, whose sealed segments were compacted once and grew on.
OwnedRecord keyed_record(std::uint64_t offset) {
  OwnedRecord record = golden_record(offset);
  record.key = "key " + std::to_string(offset * 7 % 40);
  return record;
}

Files make_compacted() {
  const auto storage = make_memory_storage();
  Log log = open_log(storage, golden_options());
  for (std::uint64_t offset = first; offset < closed_end; ++offset) {
    const OwnedRecord record = keyed_record(offset);
    REQUIRE(log.append(Batch(record).front(), {offset % 5 == 0 ? Ack::disk : Ack::os}));
    if (offset == first + 400) REQUIRE(log.compact());
  }
  REQUIRE(log.tick());
  REQUIRE(log.close());
  return copy_files(*storage);
}

Files read_golden(const char* name) {
  const auto storage = open_file_storage(golden(name), false);
  INFO((storage ? std::string() : storage.error().message()));
  REQUIRE(storage);
  return copy_files(**storage);
}

void check_records(const Log& log, std::uint64_t end) {
  const auto known = golden_records();
  const ReadBack read = read_back(log, &known);
  CAPTURE(read.errors);
  CHECK(read.exact());
  CHECK(read.begin == first);
  CHECK(read.good == end - first);
  CHECK(log.end_offset().value == end);
}

TEST_CASE("golden: a closed log of format 1 opens with every record", "[golden]") {
  const Log reading = open_log(*open_file_storage(golden("closed"), false), read_only());
  check_records(reading, closed_end);
  CHECK(reading.recovery().clean);
  CHECK(reading.segments().size() >= 3);

  const auto storage = memory_with(read_golden("closed"));
  const auto report = verify(*storage);
  REQUIRE(report);
  CHECK(report->intact());
  CHECK(report->records == closed_end - first);
  CHECK(report->stale_indexes.empty());
  Log writing = open_log(storage, golden_options());
  CHECK(writing.recovery().clean);
  check_records(writing, closed_end);
  REQUIRE(writing.append({.value = bytes("more")}));
}

void check_same(Files made, Files expected) {
  made.erase("LOCK");
  expected.erase("LOCK");
  REQUIRE(made.size() == expected.size());
  for (const auto& [name, content] : expected) {
    CAPTURE(name);
    REQUIRE(made.contains(name));
    CHECK(made.at(name) == content);
  }
}

TEST_CASE("golden: a closed log of format 1 is written byte for byte", "[golden]") {
  check_same(make_closed(), read_golden("closed"));
}

TEST_CASE("golden: a crashed log of format 1 is recovered", "[golden]") {
  const auto storage = memory_with(read_golden("crashed"));
  {
    const Log reading = open_log(storage, read_only());
    check_records(reading, crashed_end);
    CHECK(reading.durable_offset().value == crashed_durable);
  }
  const Log log = open_log(storage, golden_options());
  check_records(log, crashed_end);
  const RecoveryReport& report = log.recovery();
  CHECK(!report.clean);
  CHECK(report.lost.empty());
  REQUIRE(report.torn.size() == 1);
  CHECK(report.torn[0].offsets.begin.value == crashed_end);
  CHECK(report.bytes_dropped == 20 + rubbish_bytes);
  CHECK(report.records_scanned == crashed_end - first);
}

TEST_CASE("golden: a compacted log of format 1 holds the latest of each key", "[golden]") {
  const Files files = read_golden("compacted");
  const auto storage = memory_with(files);
  const auto report = verify(*storage);
  REQUIRE(report);
  CHECK(report->intact());
  CHECK(report->stale_indexes.empty());
  Log log = open_log(storage, golden_options());
  CHECK(log.recovery().clean);
  CHECK(log.start_offset() == Offset{first});
  CHECK(log.end_offset().value == closed_end);
  std::uint64_t compacted = 0;
  REQUIRE(dump(*storage, [&](const FrameInfo& frame) {
    if (frame.flags == 16) ++compacted;
    return true;
  }));
  CHECK(compacted > 0);
  std::uint64_t read = 0;
  Reader reader = log.reader({first});
  for (const RecordView& record : reader) {
    REQUIRE(difference(record, keyed_record(record.offset.value)) == "");
    ++read;
  }
  REQUIRE(reader.status());
  CHECK(read < closed_end - first);
  CHECK(read >= 40);
  REQUIRE(log.compact());
  REQUIRE(log.append({.key = bytes("more"), .value = bytes("more")}));
}

TEST_CASE("golden: a compacted log of format 1 is written byte for byte", "[golden]") {
  check_same(make_compacted(), read_golden("compacted"));
}

TEST_CASE("golden: write the files anew", "[.regenerate]") {
  for (const auto& [name, files] :
       {std::pair("closed", make_closed()), std::pair("crashed", make_crashed()),
        std::pair("compacted", make_compacted())}) {
    std::filesystem::remove_all(golden(name));
    std::filesystem::create_directories(golden(name));
    const auto storage = open_file_storage(golden(name), false);
    REQUIRE(storage);
    write_files(**storage, files);
  }
}

}  // namespace
}  // namespace varve
