// What a log forgets by itself, and what it keeps in spite of that.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t day_one = 1'000'000;

// A log whose clock the test sets, and that does its chores when told.
struct Clocked {
  std::shared_ptr<FakeEnvironment> clock = std::make_shared<FakeEnvironment>(1, day_one);
  std::shared_ptr<StorageBackend> storage = make_memory_storage();
  Options options = [this] {
    Options o = small_log();
    o.environment = clock;
    return o;
  }();

  Log open() const { return open_log(storage, options); }
};

TEST_CASE("retention: by bytes, the oldest segments go as soon as the others have enough",
          "[log][retention]") {
  Clocked world;
  world.options.retention.bytes = 4 * small_segment;
  Log log = world.open();
  fill_segments(log, 12);
  CHECK(log.start_offset() == Offset{0});  // nobody did the chores
  const auto before = log.segments();
  REQUIRE(log.tick());
  const auto after = log.segments();
  CHECK(log.start_offset() == after.front().offsets.begin);
  CHECK(after.size() < before.size());
  std::uint64_t kept = 0;
  for (const SegmentInfo& segment : after) kept += segment.bytes;
  CHECK(kept >= world.options.retention.bytes);
  CHECK(kept - after.front().bytes < world.options.retention.bytes);
  CHECK(log.metrics().segments_removed == before.size() - after.size());
  const Offset start = log.start_offset();
  CHECK(read_values(log, start).size() == log.end_offset() - start);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == start);
  REQUIRE(log.close());
  CHECK(world.open().start_offset() == start);
}

TEST_CASE("retention: by age, counted from the last append to a segment", "[log][retention]") {
  Clocked world;
  world.options.retention.age = 1h;
  const std::int64_t hour = 3'600'000;
  Log log = world.open();
  fill_segments(log, 2);
  world.clock->set(day_one + hour / 2);
  fill_segments(log, 3);  // the second took its last record half an hour later
  const auto segments = log.segments();
  REQUIRE(segments.size() >= 3);

  world.clock->set(day_one + hour - 1);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == Offset{0});
  world.clock->set(day_one + hour);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == segments[1].offsets.begin);
  world.clock->set(day_one + hour + hour / 2 - 1);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == segments[1].offsets.begin);
  world.clock->set(day_one + hour + hour / 2);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == log.end_offset());  // the third is as old as the second's last record
}

TEST_CASE("retention: timestamps of records neither save nor doom them", "[log][retention]") {
  Clocked world;
  world.options.retention.age = 1h;
  Log log = world.open();
  const std::string value(1000, 'x');
  const auto append_at = [&](std::int64_t time_ms) {
    Record record;
    record.value = bytes(value);
    record.timestamp = Timestamp(std::chrono::milliseconds(time_ms));
    REQUIRE(log.append(record, os_ack));
  };
  while (log.segments().size() < 2) append_at(std::int64_t{1} << 50);  // the far future
  while (log.segments().size() < 3) append_at(5);                      // long ago
  REQUIRE(log.tick());
  CHECK(log.start_offset() == Offset{0});
  world.clock->set(day_one + 3'600'000);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == log.end_offset());  // the active one was as old, and sealed for it
}

TEST_CASE("retention: an idle log forgets its last records, too", "[log][retention]") {
  Clocked world;
  world.options.retention.age = 1h;
  const bool reopened = GENERATE(false, true);
  Log log = world.open();
  REQUIRE(append_text(log, "one"));
  REQUIRE(append_text(log, "two"));
  if (reopened) {
    REQUIRE(log.close());
    log = world.open();
  }
  world.clock->set(day_one + 3'600'000 - 1);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == Offset{0});
  world.clock->set(day_one + 3'600'000);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == Offset{2});
  CHECK(log.end_offset() == Offset{2});
  CHECK(append_text(log, "three").value() == Offset{2});
  REQUIRE(log.close());
  log = world.open();
  CHECK(read_values(log, {2}) == std::vector<std::string>{"three"});
}

TEST_CASE("segment age: a segment with records is sealed when it is old enough",
          "[log][retention]") {
  Clocked world;
  world.options.segment_age = 10min;
  Log log = world.open();
  REQUIRE(log.tick());
  CHECK(log.segments().empty());
  REQUIRE(append_text(log, "one"));
  world.clock->set(day_one + 599'999);
  REQUIRE(log.tick());
  CHECK(log.segments().size() == 1);
  world.clock->set(day_one + 600'000);
  REQUIRE(log.tick());
  const auto segments = log.segments();
  REQUIRE(segments.size() == 2);
  CHECK(segments[0].sealed);
  CHECK(segments[0].offsets == OffsetRange{{0}, {1}});
  world.clock->set(day_one + 6'000'000);  // an empty one is not
  REQUIRE(log.tick());
  CHECK(log.segments().size() == 2);
  CHECK(log.start_offset() == Offset{0});
  REQUIRE(append_text(log, "two"));
  CHECK(read_values(log, {0}) == std::vector<std::string>{"one", "two"});

  REQUIRE(log.tick());  // its age is that of its first record, not of the empty file
  CHECK(log.segments().size() == 2);
  const bool reopened = GENERATE(false, true);
  if (reopened) {
    REQUIRE(log.close());
    log = world.open();
  }
  world.clock->set(day_one + 6'599'999);
  REQUIRE(log.tick());
  CHECK(log.segments().size() == 2);
  world.clock->set(day_one + 6'600'000);
  REQUIRE(log.tick());
  CHECK(log.segments().size() == 3);
}

TEST_CASE("segment age: one that is never reached", "[log][retention]") {
  Clocked world;
  world.options.segment_age = std::chrono::milliseconds::max();
  world.options.retention.age = std::chrono::milliseconds::max();
  world.options.retention.pin_age = std::chrono::milliseconds::max();
  Log log = world.open();
  fill_segments(log, 3);
  const Pin pin = log.pin({0}).value();
  REQUIRE(log.tick());
  CHECK(log.segments().size() == 3);
  CHECK(log.start_offset() == Offset{0});
}

TEST_CASE("retention: what is pinned stays until the pin moves, goes, or grows old",
          "[log][retention]") {
  Clocked world;
  world.options.retention.bytes = 1;
  world.options.retention.pin_age = 1h;
  Log log = world.open();
  fill_segments(log, 6);
  const auto segments = log.segments();
  std::optional<Pin> pin = log.pin(segments[2].offsets.begin + 1).value();
  const Pin higher = log.pin(log.end_offset()).value();
  CHECK(pin->offset() == segments[2].offsets.begin + 1);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == segments[2].offsets.begin);

  pin->move_to(segments[3].offsets.begin);
  pin->move_to({0});  // never back
  CHECK(pin->offset() == segments[3].offsets.begin);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == segments[3].offsets.begin);

  SECTION("it goes") { pin.reset(); }
  SECTION("it grows old") { world.clock->set(day_one + 3'600'000); }
  REQUIRE(log.tick());
  CHECK(log.start_offset() == segments[5].offsets.begin);
}

TEST_CASE("retention: a pin that is moved does not grow old", "[log][retention]") {
  Clocked world;
  world.options.retention.bytes = 1;
  world.options.retention.pin_age = 1h;
  Log log = world.open();
  fill_segments(log, 4);
  Pin pin = log.pin({0}).value();
  for (int i = 1; i <= 5; ++i) {
    world.clock->set(day_one + i * 3'000'000);
    REQUIRE(log.tick());
    CHECK(log.start_offset() == Offset{0});
    pin.move_to({0});
  }
}

TEST_CASE("pin: only what is in the log can be pinned, and only by its writer",
          "[log][retention]") {
  Clocked world;
  Log log = world.open();
  for (int i = 0; i < 4; ++i) REQUIRE(append_text(log, "x"));
  REQUIRE(log.truncate_prefix({2}));
  CHECK(fails_with(log.pin({1}), Errc::offset_out_of_range, {"1", "[2, 4]"}));
  CHECK(fails_with(log.pin({5}), Errc::offset_out_of_range, {"5", "[2, 4]"}));
  CHECK(log.pin({2}));
  std::optional<Pin> pin = log.pin({4}).value();
  REQUIRE(log.truncate_prefix({3}));  // which asks no pin
  REQUIRE(log.close());
  CHECK(fails_with(log.pin({3}), Errc::closed));
  const Log reader = open_log(world.storage, read_only(world.options));
  CHECK(fails_with(reader.pin({3}), Errc::read_only));
  pin->move_to({7});  // harmless behind its log's end
  CHECK(pin->offset() == Offset{7});
}

TEST_CASE("retention: the background does it by itself", "[log][retention]") {
  const TempDir directory;
  Options options = small_log();
  options.background = Background::thread;
  options.retention.age = 50ms;
  Log log = open_log(directory.path(), options);
  // The second one goes into a segment that was begun when the first was sealed.
  for (const std::uint64_t offset : {0u, 1u}) {
    REQUIRE(append_text(log, "x", {Ack::disk}));
    const auto give_up = std::chrono::steady_clock::now() + 20s;
    while (log.start_offset() == Offset{offset} && std::chrono::steady_clock::now() < give_up)
      std::this_thread::sleep_for(5ms);
    CHECK(log.start_offset() == Offset{offset + 1});
    CHECK(log.end_offset() == Offset{offset + 1});
    std::this_thread::sleep_for(20ms);  // until the background rests, and has to be woken
  }
  REQUIRE(append_text(log, "y", {Ack::disk}));
  REQUIRE(log.close());
}

TEST_CASE("segment age: the background seals by itself", "[log][retention]") {
  Options options = small_log();
  options.background = Background::thread;
  options.segment_age = 30ms;
  Log log = open_log(make_memory_storage(), options);
  REQUIRE(append_text(log, "x"));
  const auto give_up = std::chrono::steady_clock::now() + 20s;
  while (log.segments().size() < 2 && std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(5ms);
  CHECK(log.segments().size() == 2);
}

TEST_CASE("retention: goes by the age of a torn segment's successor", "[log][retention]") {
  Clocked world;
  const auto faulty = std::make_shared<FaultyStorage>(world.storage);
  world.storage = faulty;
  world.options.retention.age = 1h;
  Log log = world.open();
  REQUIRE(append_text(log, "before the crash", {Ack::disk}));
  REQUIRE(faulty->cut_power({.seed = 1, .keep = 0.0}));
  world.clock->set(day_one + 1'000);
  log = world.open();
  REQUIRE(append_text(log, "after it", {Ack::disk}));
  REQUIRE(log.segments().size() == 2);
  world.clock->set(day_one + 3'600'999);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == Offset{0});
  world.clock->set(day_one + 3'601'000);
  REQUIRE(log.tick());
  CHECK(log.start_offset() == log.end_offset());
}

// A log in which retention has something to do.
struct Overfull {
  explicit Overfull(Clocked world) : faulty(std::make_shared<FaultyStorage>(world.storage)) {
    world.storage = faulty;
    world.options.retention.bytes = 1;
    reopen = [world] { return world.open(); };
    log.emplace(reopen());
    fill_segments(*log, 4);
    REQUIRE(log->sync());
  }

  std::shared_ptr<FaultyStorage> faulty;
  std::function<Log()> reopen;
  std::optional<Log> log;
};

TEST_CASE("retention: a failure of the disk is told and leaves the log whole", "[log][retention]") {
  Overfull well(Clocked{});
  const std::uint64_t before = well.faulty->calls();
  REQUIRE(well.log->tick());
  const std::uint64_t of_tick = well.faulty->calls() - before;
  for (std::uint64_t fail_at = 0; fail_at < of_tick; ++fail_at) {
    CAPTURE(fail_at);
    Overfull ill(Clocked{});
    const auto values = read_values(*ill.log, {0});
    ill.faulty->inject({.after = fail_at});
    (void)ill.log->tick();
    ill.faulty->clear_faults();
    (void)ill.log->close();
    ill.log.emplace(ill.reopen());
    const Offset start = ill.log->start_offset();
    CHECK(read_values(*ill.log, start) ==
          std::vector(values.begin() + static_cast<std::ptrdiff_t>(start.value), values.end()));
    REQUIRE(append_text(*ill.log, "goes on", {Ack::disk}));
  }
  // An index that is not written, or a file that is not removed, is made good later; but not what is decided: which
  // segments are sealed, then which are forgotten.
  for (const std::uint64_t decision : {0u, 1u}) {
    Overfull ill(Clocked{});
    ill.faulty->inject({.ops = {StorageOp::write}, .name = "MANIFEST", .after = decision});
    CHECK(fails_with(ill.log->tick(), std::make_error_code(std::errc::io_error), {"MANIFEST"}));
    CHECK(ill.log->start_offset() == Offset{0});
  }
}

// Counts the segments whose files are removed, and those that are there.
struct Removals {
  std::shared_ptr<FaultyStorage> faulty = std::make_shared<FaultyStorage>(make_memory_storage());
  std::size_t removed = 0;

  Removals() {
    faulty->on_call([this](StorageOp op, std::string_view name) {
      if (op == StorageOp::remove && is_segment(name)) ++removed;
    });
  }
  static bool is_segment(std::string_view name) {
    return name.ends_with(".log") && name.find_first_not_of("0123456789") == name.size() - 4;
  }
  std::size_t there() const {
    const auto files = faulty->list().value();
    return static_cast<std::size_t>(std::count_if(
        files.begin(), files.end(), [](const FileEntry& file) { return is_segment(file.name); }));
  }
};

TEST_CASE("retention: files are removed a few at a time, and all of them in the end",
          "[log][retention]") {
  constexpr std::size_t at_once = 16;
  constexpr std::size_t segments = 60;
  Removals files;
  Clocked world;
  world.storage = files.faulty;
  world.options.retention.bytes = 1;
  Log log = world.open();
  fill_segments(log, segments);
  REQUIRE(log.sync());
  REQUIRE(log.tick());
  const Offset start = log.start_offset();
  CHECK(log.segments().size() == 1);  // forgotten are all of them at once
  CHECK(files.removed == at_once);
  CHECK(files.there() == segments - at_once);

  SECTION("in turns") {}
  SECTION("closed in between, opening does not wait for all of it, either") {
    REQUIRE(log.close());
    CHECK(files.removed == at_once);
    log = world.open();
    CHECK(files.removed == 2 * at_once);
  }
  SECTION("after a loss of power") {
    REQUIRE(files.faulty->cut_power({.seed = 1, .keep = 0.0}));
    log = world.open();
    CHECK(log.start_offset() == start);
    CHECK(files.removed == at_once);  // it looked for those that were gone already
  }
  for (std::size_t turn = 0; files.there() > log.segments().size(); ++turn) {
    REQUIRE(turn < segments);
    const std::size_t before = files.removed;
    REQUIRE(log.tick());
    CHECK(files.removed - before <= at_once);
    CHECK(files.removed > before);
  }
  CHECK(log.start_offset() == start);
  CHECK(read_values(log, start).size() == log.end_offset() - start);
  const std::size_t before = files.removed;
  REQUIRE(log.tick());
  CHECK(files.removed == before);
}

TEST_CASE("truncate: returns when the last file is removed", "[log][truncate]") {
  Removals files;
  Log log = open_log(files.faulty);
  fill_segments(log, 40);
  REQUIRE(log.truncate_prefix(log.segments().back().offsets.begin));
  CHECK(files.removed == 39);
  CHECK(files.there() == 1);
}

TEST_CASE("retention: a file that cannot be removed does not keep the others", "[log][retention]") {
  Removals files;
  Log log = open_log(files.faulty);
  fill_segments(log, 40);
  const std::string stubborn = log.segments()[3].file;
  files.faulty->inject({.ops = {StorageOp::remove}, .name = stubborn});
  REQUIRE(log.truncate_prefix(log.segments()[38].offsets.begin));
  CHECK(files.there() == 3);
  REQUIRE(log.truncate_prefix(log.segments()[1].offsets.begin));  // it is tried again
  CHECK(files.there() == 1);
}

TEST_CASE("retention: the background goes on removing by itself", "[log][retention]") {
  const TempDir directory;
  Options options = small_log();
  {
    Log log = open_log(directory.path(), options);
    fill_segments(log, 60);
    REQUIRE(log.close());
  }
  options.background = Background::thread;
  options.retention.bytes = 1;
  Log log = open_log(directory.path(), options);
  const auto there = [&] {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path()))
      if (Removals::is_segment(entry.path().filename().string())) ++count;
    return count;
  };
  const auto give_up = std::chrono::steady_clock::now() + 20s;
  while (there() > 1 && std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(1ms);
  CHECK(there() == 1);
}

}  // namespace
}  // namespace varve::test
