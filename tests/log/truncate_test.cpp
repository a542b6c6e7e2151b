#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

std::vector<std::string> segment_files(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().extension() == ".log" && entry.path().filename() != "spare.log")
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST_CASE("truncate: forgets what is before, keeps what is behind", "[log][truncate]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  for (int i = 0; i < 100; ++i)
    REQUIRE(append_text(log, std::to_string(i) + std::string(500, '.')));
  const auto all = read_values(log, {0});
  for (const std::uint64_t start : {1u, 2u, 30u, 31u, 77u, 99u, 100u}) {
    CAPTURE(start);
    REQUIRE(log.truncate_prefix({start}));
    CHECK(log.start_offset() == Offset{start});
    CHECK(log.end_offset() == Offset{100});
    CHECK(read_values(log, {start}) ==
          std::vector(all.begin() + static_cast<std::ptrdiff_t>(start), all.end()));
    Reader reader = log.reader({start - 1});
    CHECK(fails_with(reader.next(), Errc::offset_out_of_range,
                     {"[" + std::to_string(start) + ", 100)"}));
  }
  CHECK(append_text(log, "x").value() == Offset{100});
  REQUIRE(log.close());
  log = open_log(storage);
  CHECK(log.start_offset() == Offset{100});
  CHECK(read_values(log, {100}) == std::vector<std::string>{"x"});
}

TEST_CASE("truncate: removes the files of segments that are wholly before, and no others",
          "[log][truncate]") {
  const TempDir directory;
  Log log = open_log(directory.path());
  fill_segments(log, 6);
  const std::vector<SegmentInfo> segments = log.segments();
  REQUIRE(log.truncate_prefix(segments[2].offsets.begin + 1));
  CHECK(segment_files(directory.path()) ==
        std::vector<std::string>{segments[2].file, segments[3].file, segments[4].file,
                                 segments[5].file});
  CHECK(!std::filesystem::exists(directory.path() / "00000000000000000000.idx"));
  REQUIRE(log.truncate_prefix(segments[3].offsets.begin));
  CHECK(segment_files(directory.path()).front() == segments[3].file);
  REQUIRE(log.truncate_prefix(log.end_offset()));
  CHECK(segment_files(directory.path()) == std::vector<std::string>{segments[5].file});
  CHECK(log.metrics().segments_removed == 5);
}

TEST_CASE("truncate: below the start it does nothing, above the end it is refused",
          "[log][truncate]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  for (int i = 0; i < 10; ++i) REQUIRE(append_text(log, "x", {Ack::disk}));
  REQUIRE(log.truncate_prefix({5}));
  const std::uint64_t calls = storage->calls();
  REQUIRE(log.truncate_prefix({5}));
  REQUIRE(log.truncate_prefix({0}));
  CHECK(storage->calls() == calls);
  for (const std::uint64_t beyond : {std::uint64_t{11}, offset_max.value, ~std::uint64_t{0}}) {
    CHECK(fails_with(log.truncate_prefix({beyond}), Errc::offset_out_of_range,
                     {std::to_string(beyond), "10"}));
  }
  CHECK(log.start_offset() == Offset{5});
}

TEST_CASE("truncate: is durable when it returns, and what it kept as well", "[log][truncate]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  for (int i = 0; i < 60; ++i) REQUIRE(append_text(log, std::to_string(i) + std::string(500, '.')));
  REQUIRE(log.truncate_prefix({55}));
  CHECK(log.durable_offset() >= Offset{55});
  REQUIRE(storage->cut_power({.seed = 1, .keep = 0.0}));
  log = open_log(storage);
  CHECK(log.start_offset() == Offset{55});
  CHECK(log.end_offset() >= Offset{55});
  REQUIRE(append_text(log, "goes on", {Ack::disk}));
}

TEST_CASE("truncate: of everything leaves a log that starts where it ended", "[log][truncate]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  fill_segments(log, 3);
  const Offset end = log.end_offset();
  REQUIRE(log.truncate_prefix(end));
  const bool closed = GENERATE(true, false);
  if (closed) {
    REQUIRE(log.close());
    log = open_log(storage);
  }
  CHECK(log.start_offset() == end);
  CHECK(log.end_offset() == end);
  CHECK(read_values(log, end).empty());
  CHECK(log.find(Timestamp()).value() == end);
  CHECK(append_text(log, "next").value() == end);
  CHECK(read_values(log, end) == std::vector<std::string>{"next"});
}

TEST_CASE("truncate: files that cannot be removed now go when the log is opened next",
          "[log][truncate]") {
  const TempDir directory;
  const auto storage =
      std::make_shared<FaultyStorage>(open_file_storage(directory.path(), false).value());
  {
    Log log = open_log(storage);
    fill_segments(log, 4);
    storage->inject({.ops = {StorageOp::remove}, .times = ~std::uint64_t{0}});
    REQUIRE(log.truncate_prefix(log.end_offset()));
    CHECK(log.segments().size() == 1);
    CHECK(segment_files(directory.path()).size() == 4);
    storage->clear_faults();
  }
  const Log log = open_log(storage);
  CHECK(segment_files(directory.path()).size() == 1);
  CHECK(log.segments().size() == 1);
}

TEST_CASE("truncate: what took a dropped segment's name meanwhile is not removed",
          "[log][truncate]") {
  const TempDir directory;
  const auto storage =
      std::make_shared<FaultyStorage>(open_file_storage(directory.path(), false).value());
  std::string other;
  std::string dropped;
  {
    Log log = open_log(storage);
    fill_segments(log, 4);
    const auto segments = log.segments();
    dropped = segments[0].file;
    other = read_file(directory.path() / segments[1].file);
    storage->inject({.ops = {StorageOp::remove}, .times = ~std::uint64_t{0}});
    REQUIRE(log.truncate_prefix(log.end_offset()));
    storage->clear_faults();
    write_file(directory.path() / dropped, other);
  }
  const Log log = open_log(storage);
  CHECK(read_file(directory.path() / dropped) == other);
}

TEST_CASE("truncate: the observer hears which segments went", "[log][truncate]") {
  struct Hear final : Observer {
    void on_removed(const SegmentInfo& segment) override { files.push_back(segment.file); }
    std::vector<std::string> files;
  };
  const auto observer = std::make_shared<Hear>();
  Options options = small_log();
  options.observer = observer;
  Log log = open_log(make_memory_storage(), options);
  fill_segments(log, 4);
  const auto segments = log.segments();
  REQUIRE(log.truncate_prefix(segments[2].offsets.begin));
  CHECK(observer->files == std::vector<std::string>{segments[0].file, segments[1].file});
}

}  // namespace
}  // namespace varve::test
