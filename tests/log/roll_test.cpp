#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "support/child.hpp"
#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

// Segments follow one another without a gap.
void check_chain(const Log& log) {
  const std::vector<SegmentInfo> segments = log.segments();
  REQUIRE(!segments.empty());
  CHECK(segments.front().offsets.begin <= log.start_offset());
  CHECK(segments.back().offsets.end == log.end_offset());
  for (std::size_t i = 0; i < segments.size(); ++i) {
    CAPTURE(i);
    CHECK(segments[i].sealed == (i + 1 < segments.size()));
    CHECK(segments[i].bytes > 0);
    if (i > 0) CHECK(segments[i].offsets.begin == segments[i - 1].offsets.end);
  }
}

TEST_CASE("roll: a full segment is succeeded by another", "[log][roll]") {
  Log log = open_log(make_memory_storage());
  fill_segments(log, 6);
  check_chain(log);
  for (const SegmentInfo& segment : log.segments()) CHECK(segment.bytes <= small_segment);
  CHECK(log.segments()[0].file == "00000000000000000000.log");
  CHECK(log.metrics().segments_rolled == 5);
  CHECK(log.metrics().segments == 6);
  CHECK(read_values(log, {0}).size() == log.end_offset().value);
}

TEST_CASE("roll: a segment is filled before it rolls", "[log][roll]") {
  Log log = open_log(make_memory_storage());
  fill_segments(log, 5, 100);
  for (const SegmentInfo& segment : log.segments())
    if (segment.sealed) CHECK(segment.bytes > small_segment - 500);
}

TEST_CASE("roll: sealed segments are listed the same by who reopens the log", "[log][roll]") {
  const TempDir directory;
  Log log = open_log(directory.path());
  fill_segments(log, 4);
  REQUIRE(log.sync());
  const bool closed = GENERATE(true, false);
  const std::vector<SegmentInfo> before = log.segments();
  if (closed) REQUIRE(log.close());
  const Log reader = open_log(directory.path(), read_only());
  const std::vector<SegmentInfo> after = reader.segments();
  REQUIRE(after.size() == before.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    CHECK(after[i].file == before[i].file);
    CHECK(after[i].offsets == before[i].offsets);
    CHECK(after[i].newest == before[i].newest);
    CHECK(after[i].sealed == before[i].sealed);
    if (before[i].sealed) CHECK(after[i].bytes == before[i].bytes);
  }
}

TEST_CASE("roll: the next segment is prepared ahead, so that a roll waits for nothing",
          "[log][roll]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  while (log.metrics().bytes_appended < 9000) REQUIRE(append_text(log, std::string(500, 'x')));
  REQUIRE(log.tick());
  const std::uint64_t opened = storage->calls(StorageOp::open);
  const std::uint64_t synced = storage->calls(StorageOp::sync);
  fill_segments(log, 2, 500);
  CHECK(storage->calls(StorageOp::open) == opened);
  CHECK(storage->calls(StorageOp::sync) == synced);
}

TEST_CASE("roll: closing leaves no spare behind", "[log][roll]") {
  const TempDir directory;
  Log log = open_log(directory.path());
  while (log.metrics().bytes_appended < 9000) REQUIRE(append_text(log, std::string(500, 'x')));
  REQUIRE(log.tick());
  CHECK(std::filesystem::exists(directory.path() / "spare.log"));
  REQUIRE(log.close());
  CHECK(!std::filesystem::exists(directory.path() / "spare.log"));
}

TEST_CASE("roll: ticks write the index of sealed segments", "[log][roll]") {
  const TempDir directory;
  Log log = open_log(directory.path());
  fill_segments(log, 3);
  CHECK(!std::filesystem::exists(directory.path() / "00000000000000000000.idx"));
  REQUIRE(log.tick());
  CHECK(std::filesystem::exists(directory.path() / "00000000000000000000.idx"));
}

TEST_CASE("roll: many segments in a row with no tick between are all kept", "[log][roll]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  fill_segments(log, 40, 3000);
  const auto values = read_values(log, {0});
  const bool ticked = GENERATE(false, true);
  if (ticked) REQUIRE(log.tick());
  REQUIRE(log.close());
  log = open_log(storage);
  check_chain(log);
  CHECK(log.segments().size() == 40);
  CHECK(read_values(log, {0}) == values);
}

TEST_CASE("roll: what the medium lost of the new segment takes no time back", "[log][roll]") {
  const auto clock = std::make_shared<FakeEnvironment>(1, 1'000);
  Options options = small_log();
  options.environment = clock;
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage, options);
  clock->set(2'000'000);
  fill_segments(log, 2);
  const Offset end = log.segments().front().offsets.end;
  REQUIRE(log.tick());
  REQUIRE(storage->cut_power({.keep = 0.0}));
  clock->set(1'000);
  log = open_log(storage, options);
  REQUIRE(log.end_offset() == end);
  REQUIRE(append_text(log, "later"));
  Reader reader = log.reader(end);
  REQUIRE(reader.advance());
  CHECK(reader.record().append_time.time_since_epoch().count() >= 2'000'000);
}

TEST_CASE("roll: a file that is not the log's is never replaced", "[log][roll]") {
  const auto memory = make_memory_storage();
  const auto storage = std::make_shared<FaultyStorage>(memory);
  Log log = open_log(storage);
  REQUIRE(append_text(log, std::string(9000, 'x')));
  const std::string name = "00000000000000000001.log";
  REQUIRE(memory->open(name, OpenMode::create).value()->write_at({0}, bytes("precious")));
  const bool unreadable = GENERATE(false, true);
  if (unreadable)
    storage->inject({.ops = {StorageOp::list}, .name = name, .times = ~std::uint64_t{0}});
  CHECK(!append_text(log, std::string(9000, 'x')));
  CHECK(memory->stat(name).value().size == 8);
  storage->clear_faults();

  REQUIRE(memory->remove(name));
  CHECK(append_text(log, std::string(9000, 'x'), {Ack::disk}).value() == Offset{1});
}

// With no descriptor left a roll fails, the segment goes on, and a later roll works.
int run_out_of_descriptors(const std::filesystem::path& path, const PipeEnd& to_parent) {
  const auto fail = [&](int where) {
    (void)to_parent.send(where);
    return 1;
  };
  auto log = Log::open(path, small_log());
  if (!log) return fail(1);
  if (!append_text(*log, "first", {Ack::disk})) return fail(2);

  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(::dup(0));  // the lowest free one, and none above it
  ::close(static_cast<int>(none.rlim_cur));
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::uint64_t taken = 1;
  auto offset = append_text(*log, std::string(1000, 'x'));
  for (; offset; ++taken) offset = append_text(*log, std::string(1000, 'x'));
  if (offset.error().code() != std::errc::too_many_files_open) return fail(3);
  if (taken < 8) return fail(4);
  if (!append_text(*log, "small", {Ack::disk})) return fail(5);  // the active segment is unharmed
  if (append_text(*log, std::string(1000, 'x'))) return fail(6);

  ::setrlimit(RLIMIT_NOFILE, &before);
  for (int i = 0; i < 30; ++i)
    if (!append_text(*log, std::string(1000, 'x'), {Ack::disk})) return fail(7);
  if (log->end_offset().value != taken + 31) return fail(8);
  return log->close() ? 0 : fail(9);
}

TEST_CASE("roll: with no file descriptor left it fails and can be tried again", "[log][roll]") {
  const TempDir directory;
  Child child([&](const PipeEnd& to_parent, const PipeEnd&) {
    return run_out_of_descriptors(directory.path() / "log", to_parent);
  });
  const auto where = child.output().receive<int>();
  CAPTURE(where.value_or(0));
  CHECK(child.wait() == 0);
  const Log log = open_log(directory.path() / "log");
  CHECK(log.recovery().clean);
  CHECK(read_values(log, {0}).size() == log.end_offset().value);
}

}  // namespace
}  // namespace varve::test
