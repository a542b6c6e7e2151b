// Files that are missing, cut short, exchanged, old, foreign or unknown.
#include <algorithm>
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
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace test;

constexpr LogPlan three_segments{.durable = 500, .per_flush = 20};
constexpr LogPlan three_unrecorded{.durable = 500, .per_flush = 20, .tick = false};

struct Outcome {
  bool refused = false;
  std::string error{};
  RecoveryReport report{};
  ReadBack read{};
};

// Opens and reads everything. Whatever comes of it: no wrong byte, no silent loss inside of what is read,
// and a refusal is for damage, names a file and changes none.
Outcome open_and_read(const Files& files, bool writing) {
  const auto storage = memory_with(files);
  Outcome outcome;
  const auto log = Log::open(storage, writing ? small_options(90) : read_only());
  if (!log) {
    outcome.refused = true;
    outcome.error = log.error().message();
    CAPTURE(outcome.error);
    CHECK((log.error() == Errc::corrupt));
    CHECK(copy_files(*storage) == files);
    return outcome;
  }
  outcome.report = log->recovery();
  outcome.read = read_back(*log);
  CHECK(outcome.read.wrong.empty());
  CHECK(!outcome.read.silent);
  CAPTURE(outcome.read.errors);
  CHECK(!outcome.read.stuck);
  CHECK(outcome.read.end == log->end_offset().value);
  if (!writing) CHECK(copy_files(*storage) == files);
  return outcome;
}

void check_refused(const Files& files, const std::string& name) {
  const Outcome outcome = open_and_read(files, true);
  CHECK(outcome.refused);
  CAPTURE(outcome.error);
  CHECK(outcome.error.find(name) != std::string::npos);
}

void check_exact(const Files& files, std::uint64_t end) {
  for (const bool writing : {false, true}) {
    const Outcome outcome = open_and_read(files, writing);
    CAPTURE(writing, outcome.error, outcome.read.errors);
    CHECK(!outcome.refused);
    CHECK(outcome.read.exact());
    CHECK(outcome.read.good == end);
  }
}

Files make_files(bool closed) {
  return closed ? make_closed_log(three_segments) : make_crashed_log(three_segments).files;
}

TEST_CASE("lost files: a missing one is refused by name and never made anew",
          "[recovery][lost_files]") {
  const bool closed = GENERATE(true, false);
  const Files files = make_files(closed);
  REQUIRE(segment_names(files).size() >= 3);
  for (const auto& [name, content] : files) {
    CAPTURE(name, closed);
    Files left = files;
    left.erase(name);
    if (name == "MANIFEST") {
      check_refused(left, name);
      CHECK(open_and_read(left, false).refused);
    } else if (name.ends_with(".log") && name != "spare.log") {
      check_refused(left, name);
    } else {
      check_exact(left, 500);
    }
  }
}

TEST_CASE("lost files: the only segment of a young log is missed once anything in it was durable",
          "[recovery][lost_files]") {
  const CrashedLog crashed = make_crashed_log({.durable = 1, .tick = false});
  const auto names = segment_names(crashed.files);
  REQUIRE(names.size() == 1);
  Files left = crashed.files;
  left.erase(names.front());
  check_refused(left, names.front());

  // Reading goes on with what there is, and tells.
  const Outcome outcome = open_and_read(left, false);
  CHECK(!outcome.refused);
  REQUIRE(outcome.report.lost.size() == 1);
  CHECK(outcome.report.lost.front().file == names.front());
}

TEST_CASE("lost files: a directory of nothing but a lock is no log that lost everything",
          "[recovery][lost_files]") {
  const auto storage = memory_with({{"LOCK", {}}});
  Log log = open_log(storage, small_options());
  CHECK(log.end_offset().value == 0);
}

TEST_CASE("lost files: a closed log misses whatever was cut off a file", "[recovery][lost_files]") {
  const Files files = make_files(true);
  for (const auto& [name, content] : files) {
    if (name == "LOCK") continue;
    const bool segment = detail::parse_segment_name(name).has_value();
    const std::uint64_t used = segment ? frames_of(content).back().end.value : content.size();
    for (std::size_t size = 0; size < content.size(); size += size < 200 ? 9 : 257) {
      Files cut = files;
      cut.at(name).resize(size);
      CAPTURE(name, size, used);
      if (name.ends_with(".idx"))
        check_exact(cut, 500);
      else if (size < used - (segment ? detail::frame_header_bytes : 0))
        check_refused(cut, name);
      else
        open_and_read(cut, true);
      open_and_read(cut, false);
    }
  }
}

TEST_CASE("lost files: a crashed log cut short is refused or a prefix of what it was",
          "[recovery][lost_files]") {
  const CrashedLog crashed = make_crashed_log({.durable = 500, .more = 5, .per_flush = 20});
  const auto names = segment_names(crashed.files);
  for (const std::string& name : names) {
    const auto& content = crashed.files.at(name);
    for (std::size_t size = 0; size < content.size(); size += 331) {
      Files cut = crashed.files;
      cut.at(name).resize(size);
      CAPTURE(name, size);
      if (name != names.back()) {  // recorded as sealed
        if (size < frames_of(content).back().end.value) check_refused(cut, name);
        continue;
      }
      if (size < detail::segment_header_bytes + detail::begin_frame_bytes) check_refused(cut, name);
      for (const bool writing : {false, true}) {
        const Outcome outcome = open_and_read(cut, writing);
        if (outcome.refused || !outcome.report.lost.empty()) continue;
        CHECK(outcome.read.exact());
      }
    }
  }
}

TEST_CASE("lost files: segments in each other's place are never read as what they are not",
          "[recovery][lost_files]") {
  const bool closed = GENERATE(true, false);
  const Files files = make_files(closed);
  const auto names = segment_names(files);
  for (std::size_t a = 0; a < names.size(); ++a) {
    for (std::size_t b = a + 1; b < names.size(); ++b) {
      Files swapped = files;
      std::swap(swapped.at(names[a]), swapped.at(names[b]));
      CAPTURE(a, b);
      for (const bool writing : {false, true}) {
        const Outcome outcome = open_and_read(swapped, writing);
        const bool told = outcome.refused || !outcome.read.errors.empty();
        CHECK(told);
        if (outcome.refused)
          CHECK((outcome.error.find(names[a]) != std::string::npos ||
                 outcome.error.find(names[b]) != std::string::npos));
        else
          CHECK(outcome.read.good + outcome.read.missing() == 500);
      }
    }
  }
}

TEST_CASE("lost files: an older copy of a segment is refused or told", "[recovery][lost_files]") {
  // The same log, seen twice.
  const auto storage = make_memory_storage();
  Log log = open_log(storage, small_options());
  append_plan(log, {.durable = 50, .per_flush = 5});
  const Files early = copy_files(*storage);
  append_plan(log, {.durable = 90, .per_flush = 5});
  const Files crashed_in_first = copy_files(*storage);
  REQUIRE(segment_names(crashed_in_first).size() == 1);
  const std::string name = segment_names(early)[0];
  append_plan(log, three_segments);
  const Files crashed = copy_files(*storage);
  REQUIRE(log.close());
  const Files closed = copy_files(*storage);

  SECTION("sealed, in a closed log") {
    Files files = closed;
    files.at(name) = early.at(name);
    for (const bool writing : {false, true}) {
      const Outcome outcome = open_and_read(files, writing);
      CHECK(!outcome.read.errors.empty());
      CHECK(outcome.read.good + outcome.read.missing() == 500);
    }
  }
  SECTION("sealed, in a crashed log") {
    Files files = crashed;
    files.at(name) = early.at(name);
    const Outcome outcome = open_and_read(files, true);
    CHECK((outcome.refused || !outcome.read.errors.empty()));
  }
  SECTION("not yet recorded as sealed") {
    Files files = make_crashed_log(three_unrecorded).files;
    files.at(name) =
        make_crashed_log({.durable = 40, .per_flush = 20, .tick = false}).files.at(name);
    check_refused(files, name);
  }
  SECTION("the last one, in a closed log") {
    const auto again = make_memory_storage();
    Log small = open_log(again, small_options());
    append_plan(small, {.durable = 50, .per_flush = 5});
    const auto old = copy_files(*again).at(name);
    append_plan(small, {.durable = 90, .per_flush = 5});
    REQUIRE(small.close());
    Files files = copy_files(*again);
    files.at(name) = old;
    check_refused(files, name);
    const Outcome reading = open_and_read(files, false);
    CHECK((reading.refused || !reading.read.errors.empty()));
  }
}

TEST_CASE("lost files: a segment of another log is refused by name", "[recovery][lost_files]") {
  const bool closed = GENERATE(true, false);
  const Files files = make_files(closed);
  const Files other = make_closed_log({.durable = 100, .seed = 1234});
  const auto& foreign = other.at(segment_names(other)[0]);
  SECTION("behind the end") {
    for (const std::uint64_t base : {500u, 501u, 100'000u}) {
      Files with = files;
      const std::string name = detail::segment_name({base});
      with[name] = foreign;
      check_refused(with, name);
    }
  }
  SECTION("in the place of one of ours") {
    for (const std::string& name : segment_names(files)) {
      Files with = files;
      with.at(name) = foreign;
      with.at(name).resize(detail::segment_bytes_min);
      CAPTURE(name);
      const Outcome outcome = open_and_read(with, true);
      if (outcome.refused)
        CHECK(outcome.error.find(name) != std::string::npos);
      else
        CHECK(outcome.read.good + outcome.read.missing() == 500);
      CHECK((outcome.refused || !outcome.read.errors.empty()));
    }
  }
  SECTION("among those that are recorded") {
    Files with = files;
    const std::string name = detail::segment_name({7});
    with[name] = foreign;
    for (const bool writing : {false, true}) {
      const Outcome outcome = open_and_read(with, writing);
      CHECK(!outcome.refused);
      CHECK(outcome.read.exact());
      CHECK(outcome.read.good == 500);
      CHECK(outcome.report.unknown_files == std::vector<std::string>{name});
    }
  }
}

TEST_CASE("lost files: an older manifest loses no records without a word",
          "[recovery][lost_files]") {
  // Manifests of all ages, some of them of a properly closed log.
  const auto storage = make_memory_storage();
  std::vector<std::vector<std::byte>> manifests;
  std::uint64_t end = 0;
  for (int life = 0; life < 6; ++life) {
    Log log = open_log(storage, small_options(20 + static_cast<std::uint64_t>(life)));
    for (int i = 0; i < 4; ++i) {
      append_known(log, end += 23, Ack::disk, 5);
      REQUIRE(log.tick());
      manifests.push_back(copy_files(*storage).at("MANIFEST"));
    }
    REQUIRE(log.close());
    manifests.push_back(copy_files(*storage).at("MANIFEST"));
  }
  const Files closed = copy_files(*storage);
  REQUIRE(segment_names(closed).size() >= 3);
  std::uint64_t exact = 0;
  for (std::size_t i = 0; i < manifests.size(); ++i) {
    Files files = closed;
    files.at("MANIFEST") = manifests[i];
    for (const bool writing : {false, true}) {
      const Outcome outcome = open_and_read(files, writing);
      CAPTURE(i, writing, outcome.error, outcome.read.end);
      if (outcome.refused) continue;
      CHECK(outcome.read.exact());
      CHECK(outcome.read.good == end);
      ++exact;
    }
  }
  CHECK(exact >= 2);
}

TEST_CASE("lost files: unknown files are told and kept", "[recovery][lost_files]") {
  const bool closed = GENERATE(true, false);
  Files files = make_files(closed);
  const std::vector<std::string> unknown{"0.log", "MANIFEST.old", "notes.txt"};
  for (const std::string& name : unknown) files[name] = {std::byte{1}, std::byte{2}};
  const auto storage = memory_with(files);
  {
    Log log = open_log(storage, small_options(5));
    CHECK(log.recovery().unknown_files == unknown);
    append_known(log, 700, Ack::disk);
    REQUIRE(log.truncate_prefix({650}));
    REQUIRE(log.close());
  }
  const Files after = copy_files(*storage);
  for (const std::string& name : unknown) CHECK(after.at(name) == files.at(name));
}

TEST_CASE("lost files: what is no regular file under a name of varve's is refused by name",
          "[recovery][lost_files]") {
  const Files files = make_files(GENERATE(true, false));
  const auto names = segment_names(files);
  const std::vector<std::string> taken{names.front(), names.back(), "MANIFEST",
                                       detail::segment_name({123'456})};
  const std::string& name = taken[GENERATE(0u, 1u, 2u, 3u)];
  const bool link = GENERATE(true, false);
  CAPTURE(name, link);
  const TempDir dir;
  const TempDir elsewhere;
  {
    const auto storage = open_file_storage(dir.path(), true);
    REQUIRE(storage);
    write_files(**storage, files);
    const auto other = open_file_storage(elsewhere.path(), true);
    REQUIRE(other);
    write_files(**other, files);
  }
  std::filesystem::remove(dir.path() / name);
  if (link)
    std::filesystem::create_symlink(elsewhere.path() / names.front(), dir.path() / name);
  else
    std::filesystem::create_directory(dir.path() / name);
  for (const bool writing : {true, false}) {
    const auto log = Log::open(dir.path(), writing ? small_options() : read_only());
    REQUIRE(!log);
    CHECK(log.error().message().find(name) != std::string::npos);
  }
}

}  // namespace
}  // namespace varve
