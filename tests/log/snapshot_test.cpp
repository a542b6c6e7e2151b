// A snapshot is a log of its own with what was there, whatever becomes of the log that it was taken of.
#include "varve/snapshot.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
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

// Opens for reading, verifies, and returns all values; the log is closed properly.
std::vector<std::string> values_of(const std::shared_ptr<StorageBackend>& storage) {
  const auto report = verify(*storage);
  REQUIRE(report);
  REQUIRE(report->intact());
  CHECK(report->torn.empty());
  CHECK(report->stale_indexes.empty());
  const Log log = open_log(storage, read_only());
  CHECK(log.recovery().clean);
  return read_values(log, log.start_offset());
}

bool is_empty(StorageBackend& storage) {
  const auto entries = storage.list().value();
  return std::all_of(entries.begin(), entries.end(),
                     [](const FileEntry& entry) { return entry.name == "LOCK"; });
}

void append_numbered(Log& log, int count, std::size_t padding = 300) {
  for (int i = 0; i < count; ++i)
    REQUIRE(append_text(log, std::to_string(log.end_offset().value) + std::string(padding, ' ')));
}

// How often `to` was synced by a snapshot at that share of the time, and how long it took.
struct Taken {
  std::uint64_t syncs = 0;
  std::chrono::steady_clock::duration took{};
};

Taken take_at(const Log& log, std::uint32_t time_percent) {
  const auto to = std::make_shared<FaultyStorage>(make_memory_storage());
  Taken taken;
  // The work that the time is counted of, so that the machine's own speed does not matter.
  to->on_call([&](StorageOp op, std::string_view) {
    taken.syncs += op == StorageOp::sync ? 1u : 0u;
    if (op == StorageOp::write) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(log.snapshot(*to, {.share = false, .time_percent = time_percent}));
  taken.took = std::chrono::steady_clock::now() - begin;
  to->on_call({});
  return taken;
}

TEST_CASE("snapshot: leaves most of the time, and of the medium, to others", "[log][snapshot]") {
  Log log = open_log(make_memory_storage());
  append_numbered(log, 150);
  const Taken fast = take_at(log, 100);
  const Taken usual = take_at(log, SnapshotOptions{}.time_percent);
  CHECK(usual.took > 2 * fast.took);  // of the four times that it should take
  CHECK(usual.syncs > fast.syncs);
  for (const std::uint32_t none : {0u, 101u}) {
    const auto to = make_memory_storage();
    CHECK(fails_with(log.snapshot(*to, {.time_percent = none}), Errc::invalid_argument,
                     {"time_percent"}));
    CHECK(is_empty(*to));
  }
}

TEST_CASE("snapshot: holds what was appended before it, and goes on by itself", "[log][snapshot]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  append_numbered(log, 150);
  REQUIRE(log.segments().size() > 2);
  const auto before = read_values(log, {0});
  const auto to = make_memory_storage();
  const auto report = log.snapshot(*to);
  REQUIRE(report);
  CHECK(report->offsets == OffsetRange{{0}, {150}});
  CHECK(report->segments == log.segments().size());
  CHECK(report->shared == report->segments - 1);
  CHECK(report->bytes_copied < small_segment);
  CHECK(log.durable_offset() == Offset{150});
  append_numbered(log, 20);
  REQUIRE(log.truncate_prefix({100}));

  CHECK(values_of(to) == before);
  Log copy = open_log(to);
  CHECK(append_text(copy, "of its own").value() == Offset{150});
  REQUIRE(copy.close());
  copy = open_log(to);
  CHECK(read_values(copy, {150}) == std::vector<std::string>{"of its own"});
  CHECK(read_values(log, {100}).size() == 70);
}

TEST_CASE("snapshot: of a directory shares the sealed segments and nothing else",
          "[log][snapshot]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  const auto copied = directory.path() / "copy";
  Log log = open_log(path);
  append_numbered(log, 150);
  const bool share = GENERATE(true, false);
  const auto report = log.snapshot(copied, {.share = share});
  REQUIRE(report);
  const auto segments = log.segments();
  CHECK(report->shared == (share ? segments.size() - 1 : 0));
  for (const SegmentInfo& segment : segments) {
    CAPTURE(segment.file);
    CHECK(std::filesystem::equivalent(path / segment.file, copied / segment.file) ==
          (share && segment.sealed));
  }
  const auto before = read_values(log, {0});
  append_numbered(log, 100);
  REQUIRE(log.truncate_prefix(log.end_offset()));
  REQUIRE(log.close());
  std::filesystem::remove_all(path);
  Log copy = open_log(copied);
  CHECK(copy.recovery().clean);
  CHECK(read_values(copy, {0}) == before);
  append_numbered(copy, 100);
  REQUIRE(copy.close());
  CHECK(values_of(open_file_storage(copied, false).value()).size() == 250);
}

TEST_CASE("snapshot: of a log that somebody else writes has all that can be read",
          "[log][snapshot]") {
  const auto storage = make_memory_storage();
  Log writer = open_log(storage);
  append_numbered(writer, GENERATE(0, 1, 7, 149));
  if (writer.end_offset() > Offset{100}) REQUIRE(writer.truncate_prefix({3}));
  const Log log = open_log(storage, read_only());
  const auto to = make_memory_storage();
  const auto report = log.snapshot(*to);
  REQUIRE(report);
  CHECK(report->offsets == OffsetRange{log.start_offset(), log.end_offset()});
  CHECK(values_of(to) == read_values(log, log.start_offset()));
  if (const auto segments = open_log(to, read_only()).segments(); !segments.empty())
    CHECK(to->stat(segments.back().file).value().size ==
          segments.back().bytes);  // and nothing behind
  append_numbered(writer, 1);      // undisturbed
  CHECK(open_log(to).end_offset() == report->offsets.end);
}

TEST_CASE("snapshot: of a log that was not closed is what recovery would make of it",
          "[log][snapshot]") {
  const auto faulty = std::make_shared<FaultyStorage>(make_memory_storage());
  {
    Log log = open_log(faulty);
    append_numbered(log, 120);
    REQUIRE(log.sync());
    append_numbered(log, 100);
    REQUIRE(faulty->cut_power({.seed = 3, .keep = 0.5}));
  }
  const auto to = make_memory_storage();
  REQUIRE(snapshot(*faulty, *to));
  const auto copied = values_of(to);
  CHECK(copied.size() >= 120);
  CHECK(copied == read_values(open_log(faulty), {0}));
}

TEST_CASE("snapshot: keeps epochs, times, and the log's identity", "[log][snapshot]") {
  const auto storage = make_memory_storage();
  const auto clock = std::make_shared<FakeEnvironment>();
  Options options = small_log();
  options.environment = clock;
  for (int i = 0; i < 4; ++i) {
    const auto faulty = std::make_shared<FaultyStorage>(storage);
    Log log = open_log(faulty, options);
    clock->set(2'000'000 + i);
    REQUIRE(append_text(log, "x", {Ack::disk}));
    REQUIRE(faulty->cut_power({.keep = 1.0}));  // the next one is a new epoch
  }
  const auto to = make_memory_storage();
  REQUIRE(snapshot(*storage, *to));
  const Log log = open_log(storage, read_only());
  const Log copy = open_log(to, read_only());
  REQUIRE(log.epoch().value >= 4);
  CHECK(copy.epoch().value == log.epoch().value + 1);  // what both append from here on differs
  Reader theirs = copy.reader({0});
  for (const RecordView& record : log.reader({0})) {
    REQUIRE(theirs.advance());
    CHECK(theirs.record().epoch == record.epoch);
    CHECK(theirs.record().append_time == record.append_time);
  }
  clock->set(0);
  Log goes_on = open_log(to, options);
  REQUIRE(append_text(goes_on, "later"));
  Reader last = goes_on.reader({4});
  REQUIRE(last.advance());
  CHECK(last.record().append_time.time_since_epoch().count() >= 2'000'003);
}

TEST_CASE("snapshot: of an idle log whose last segment was sealed for its age keeps its time",
          "[log][snapshot]") {
  const auto storage = make_memory_storage();
  const auto clock = std::make_shared<FakeEnvironment>(1, 1'000);
  Options options = small_log();
  options.environment = clock;
  options.segment_age = std::chrono::milliseconds(10);
  Log log = open_log(storage, options);
  clock->set(2'000'000);
  REQUIRE(append_text(log, "x"));
  clock->set(2'000'010);
  REQUIRE(log.tick());
  REQUIRE(log.segments().size() == 2);
  const auto to = make_memory_storage();
  REQUIRE(log.snapshot(*to));
  clock->set(1'000);
  Log copy = open_log(to, options);
  REQUIRE(append_text(copy, "y"));
  Reader reader = copy.reader({1});
  REQUIRE(reader.advance());
  CHECK(reader.record().append_time.time_since_epoch().count() >= 2'000'000);
}

TEST_CASE("snapshot: retention keeps off what is being copied", "[log][snapshot]") {
  Options options = small_log();
  options.retention.bytes = 1;
  Log log = open_log(make_memory_storage(), options);
  append_numbered(log, 150);
  const auto values = read_values(log, {0});
  const auto to = std::make_shared<FaultyStorage>(make_memory_storage());
  to->on_call([&](StorageOp, std::string_view) { REQUIRE(log.tick()); });
  const auto report = log.snapshot(*to);
  REQUIRE(report);
  to->on_call({});
  CHECK(report->offsets.begin == Offset{0});
  CHECK(values_of(to) == values);
  REQUIRE(log.tick());
  CHECK(log.start_offset() > Offset{0});
}

TEST_CASE("snapshot: when the log's disk is full another may still take it", "[log][snapshot]") {
  const auto faulty = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(faulty);
  append_numbered(log, 150);
  const auto values = read_values(log, {0});
  faulty->inject({.ops = {StorageOp::write, StorageOp::allocate},
                  .times = ~std::uint64_t{0},
                  .error = std::make_error_code(std::errc::no_space_on_device)});
  const auto to = make_memory_storage();
  REQUIRE(log.snapshot(*to));
  CHECK(values_of(to) == values);
}

TEST_CASE("snapshot: when the log fails for it that is told", "[log][snapshot]") {
  const auto faulty = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(faulty);
  append_numbered(log, 150);
  faulty->inject({.ops = {StorageOp::write}, .name = "MANIFEST"});
  const auto to = make_memory_storage();
  CHECK(fails_with(log.snapshot(*to), Errc::failed, {"MANIFEST"}));
  CHECK(is_empty(*to));
}

TEST_CASE("snapshot: goes nowhere where something is", "[log][snapshot]") {
  const TempDir directory;
  Log log = open_log(directory.path() / "log");
  append_numbered(log, 3);
  const auto not_empty = std::errc::directory_not_empty;
  CHECK(fails_with(log.snapshot(directory.path() / "log"), not_empty));
  const auto other = directory.path() / "other";
  std::filesystem::create_directory(other);
  write_file(other / "note.txt", "mine");
  const auto before = state_of(other);
  CHECK(fails_with(log.snapshot(other), not_empty, {"other", "note.txt"}));
  CHECK(state_of(other) == before);
  CHECK(fails_with(log.snapshot(other / "note.txt"), std::errc::not_a_directory));
  const auto being_made = open_file_storage(directory.path() / "copy", true).value();
  {
    const auto lock = being_made->lock().value();
    CHECK(fails_with(log.snapshot(directory.path() / "copy"), Errc::locked));
  }
  REQUIRE(log.snapshot(directory.path() / "copy"));
  CHECK(fails_with(log.snapshot(directory.path() / "copy"), not_empty));
  CHECK(read_values(open_log(directory.path() / "copy"), {0}).size() == 3);
  REQUIRE(log.close());
  CHECK(fails_with(log.snapshot(directory.path() / "late"), Errc::closed));
  CHECK(!std::filesystem::exists(directory.path() / "late"));
}

TEST_CASE("snapshot: of a damaged log is refused, and leaves nothing behind", "[log][snapshot]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage);
    append_numbered(log, 150);
    const auto segments = log.segments();
    REQUIRE(log.close());
    const std::string& victim = segments[1].file;
    SECTION("a segment is missing") { REQUIRE(storage->remove(victim)); }
    SECTION("a segment is short") {
      REQUIRE(storage->open(victim, OpenMode::write).value()->resize(5000));
    }
    SECTION("another segment stands there") {
      std::vector<std::byte> bytes(small_segment);
      REQUIRE(storage->open(segments[0].file, OpenMode::read).value()->read_at({0}, bytes));
      REQUIRE(storage->open(victim, OpenMode::create).value()->write_at({0}, bytes));
    }
  }
  const auto to = make_memory_storage();
  CHECK(fails_with(snapshot(*storage, *to), Errc::corrupt));
  CHECK(is_empty(*to));
}

TEST_CASE("snapshot: when a call of the storage fails, it is told and nothing is left",
          "[log][snapshot]") {
  const bool share = GENERATE(false, true);
  std::shared_ptr<StorageBackend> storage = make_memory_storage();
  if (share) storage = std::make_shared<FaultyStorage>(storage);
  Log log = open_log(storage);
  append_numbered(log, 100);
  const auto values = read_values(log, {0});
  for (std::uint64_t fail_at = 0;; ++fail_at) {
    CAPTURE(fail_at);
    const auto to = std::make_shared<FaultyStorage>(make_memory_storage());
    to->inject({.after = fail_at});
    const auto report = log.snapshot(*to);
    if (report) CHECK((report->shared != 0) == share);
    const bool all_done = to->calls() <= fail_at;
    to->clear_faults();
    if (report) {
      CHECK(values_of(to) == values);  // an index that is missing is no failure
    } else {
      CHECK(is_empty(*to));
      REQUIRE(log.snapshot(*to));
      CHECK(values_of(to) == values);
    }
    if (all_done) break;
    REQUIRE(fail_at < 1000);
  }
  REQUIRE(append_text(log, "undisturbed", {Ack::disk}));
}

TEST_CASE("snapshot: a tail whose copy does not verify is copied again", "[log][snapshot]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  append_numbered(log, 5);
  const auto values = read_values(log, {0});
  const std::string tail = log.segments().front().file;
  const auto to = std::make_shared<FaultyStorage>(make_memory_storage());
  const bool for_good = GENERATE(false, true);
  int opened = 0;  // to be made, then to be looked at, time after time
  // As if the writer had been at work there when the copy was made.
  to->on_call([&](StorageOp op, std::string_view name) {
    if (op != StorageOp::open || name != tail) return;
    if (++opened == 2 || (for_good && opened > 2)) REQUIRE(to->flip_bit(tail, 8 * 5000));
  });
  const auto report = log.snapshot(*to);
  if (!for_good) {
    REQUIRE(report);
    CHECK(values_of(to) == values);
  } else {
    CHECK(fails_with(report, Errc::corrupt, {tail}));
    CHECK(is_empty(*to));
  }
}

TEST_CASE("snapshot: a loss of power leaves all of it or no log", "[log][snapshot]") {
  const bool share = GENERATE(false, true);
  std::shared_ptr<StorageBackend> storage = make_memory_storage();
  if (share) storage = std::make_shared<FaultyStorage>(storage);
  Log log = open_log(storage);
  append_numbered(log, 200);
  const auto values = read_values(log, {0});
  bool complete = false;
  for (std::uint64_t calls = 0; !complete; ++calls) {
    for (std::uint64_t cut = 0; cut < 12; ++cut) {
      const double keep = static_cast<double>(cut) / 11;
      CAPTURE(calls, cut);
      const auto to = std::make_shared<FaultyStorage>(make_memory_storage());
      to->inject({.after = calls, .times = ~std::uint64_t{0}});
      complete = log.snapshot(*to).has_value();
      to->clear_faults();
      REQUIRE(to->cut_power({.seed = cut, .keep = keep}));
      const auto found = Log::open(to, read_only());
      if (found) CHECK(read_values(*found, {0}) == values);
      if (complete) REQUIRE(found);
    }
    REQUIRE(calls < 1000);
  }
}

TEST_CASE("snapshot: beside a writer that appends, rolls and truncates is always a prefix of it",
          "[log][snapshot][tsan]") {
  const TempDir directory;
  Options options = small_log();
  options.background = Background::thread;
  options.retention.bytes = 4 * small_segment;
  Log log = open_log(directory.path() / "log", options);
  append_numbered(log, 10);
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::thread thread([&] {
    while (!done) {
      const std::string number = std::to_string(log.end_offset().value);
      if (!append_text(log, number + std::string(300, ' '))) ++wrong;
      if (log.end_offset().value % 400 == 399 &&
          !log.truncate_prefix({log.end_offset().value - 30}))
        ++wrong;
    }
  });
  struct Stop {
    Stop(std::atomic<bool>& flag, std::thread& who) : done(flag), thread(who) {}
    ~Stop() {
      done = true;
      thread.join();
    }
    std::atomic<bool>& done;
    std::thread& thread;
  };
  std::optional<Stop> appender(std::in_place, done, thread);
  const auto source = open_file_storage(directory.path() / "log", false).value();
  for (int round = 0; round < 30; ++round) {
    const bool by_writer = round % 2 == 0;
    const std::uint64_t end = (by_writer ? log.end_offset() : log.durable_offset()).value;
    const auto path = directory.path() / std::to_string(round);
    const auto to = open_file_storage(path, true).value();
    const auto report = by_writer ? log.snapshot(*to) : snapshot(*source, *to);
    INFO((report ? std::string() : report.error().message()));
    REQUIRE(report);
    CHECK(report->offsets.end.value >= end);
    const auto values = values_of(to);
    REQUIRE(values.size() == report->offsets.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      REQUIRE(values[i].starts_with(std::to_string(report->offsets.begin.value + i) + " "));
    std::filesystem::remove_all(path);
  }
  appender.reset();
  CHECK(wrong == 0);
}

TEST_CASE("restore: makes the log again, and shares nothing with the backup", "[log][snapshot]") {
  const TempDir directory;
  Log log = open_log(directory.path() / "log");
  append_numbered(log, 150);
  const auto values = read_values(log, {0});
  REQUIRE(log.snapshot(directory.path() / "backup"));
  const auto backup = open_file_storage(directory.path() / "backup", false).value();
  const auto restored = open_file_storage(directory.path() / "restored", true).value();
  const auto report = restore(*backup, *restored);
  REQUIRE(report);
  CHECK(report->shared == 0);
  CHECK(values_of(restored) == values);

  const std::string victim = log.segments()[1].file;
  const auto file = backup->open(victim, OpenMode::write).value();  // the log's own as well
  const std::byte flipped{0x55};
  REQUIRE(file->write_at({6000}, {&flipped, 1}));
  const auto again = open_file_storage(directory.path() / "again", true).value();
  CHECK(fails_with(restore(*backup, *again), Errc::corrupt, {victim}));
  CHECK(again->list().value().empty());
  CHECK(fails_with(restore(*backup, *restored), std::errc::directory_not_empty));
  CHECK(values_of(restored) == values);
}

TEST_CASE("restore: a copy that does not verify is no log", "[log][snapshot]") {
  const auto storage = make_memory_storage();
  Log log = open_log(storage);
  append_numbered(log, 150);
  const std::string victim = log.segments()[1].file;
  const auto backup = make_memory_storage();
  REQUIRE(log.snapshot(*backup));
  const auto to = std::make_shared<FaultyStorage>(make_memory_storage());
  bool done = false;
  to->on_call([&](StorageOp op, std::string_view name) {
    if (op != StorageOp::map || name != victim || std::exchange(done, true)) return;
    REQUIRE(to->flip_bit(victim, 8 * 6000));
  });
  CHECK(fails_with(restore(*backup, *to), Errc::corrupt, {victim}));
  REQUIRE(done);
  CHECK(is_empty(*to));
}

}  // namespace
}  // namespace varve::test
