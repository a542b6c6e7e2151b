// What opening refuses, salvage makes usable again, and it loses nothing that was intact.
#include "varve/salvage.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/inspect.hpp"
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace test;

constexpr std::uint64_t end = 400;

// A damaged log, and what of it is lost.
struct Patient {
  std::string name;
  Files files;
  std::vector<OffsetRange> lost;
  bool refused = true;  // by opening for append; else only reading tells
  std::uint64_t end = 0;
};

Files closed_log() { return make_closed_log({.durable = end, .per_flush = 10}); }
Files crashed_log(bool tick) {
  return make_crashed_log({.durable = end, .per_flush = 10, .tick = tick}).files;
}
// Closed with so many records, opened again, given a few more, and crashed.
Files reopened_log(std::uint64_t records) {
  const auto storage = memory_with(make_closed_log({.durable = records, .per_flush = 10}));
  Log log = open_log(storage, small_options(43));
  append_known(log, records + 3, Ack::disk);
  return copy_files(*storage);
}
// Many frames of one small record each: a gap takes more room than one of them.
Files tiny_frames(bool closed) {
  const LogPlan plan{.durable = end, .per_flush = 1};
  return closed ? make_closed_log(plan) : make_crashed_log(plan).files;
}

OffsetRange range_of(const Files& files, std::size_t segment, std::uint64_t log_end = end) {
  const auto names = segment_names(files);
  const std::uint64_t begin = detail::parse_segment_name(names[segment])->value;
  if (segment + 1 == names.size()) return {{begin}, {log_end}};
  return {{begin}, {detail::parse_segment_name(names[segment + 1])->value}};
}

// Damages some record frames of a segment.
Patient with_bad_frames(
    std::string name, Files files, std::size_t segment, const std::vector<std::size_t>& which,
    bool refused, const std::function<void(std::vector<std::byte>&, const FoundFrame&)>& damage) {
  auto& bytes = files.at(segment_names(files)[segment]);
  const auto frames = record_frames_of(bytes);
  std::vector<OffsetRange> lost;
  for (const std::size_t i : which) {
    const FoundFrame& frame = frames.at(i);
    damage(bytes, frame);
    if (!lost.empty() && lost.back().end == frame.offsets().begin)
      lost.back().end = frame.offsets().end;
    else
      lost.push_back(frame.offsets());
  }
  return {std::move(name), std::move(files), std::move(lost), refused, end};
}

void blank_frame(std::vector<std::byte>& bytes, const FoundFrame& frame) {
  blank(bytes, frame.position.value, frame.end.value);
}
void flip_in_body(std::vector<std::byte>& bytes, const FoundFrame& frame) {
  flip_bit(bytes, (frame.position.value + detail::frame_header_bytes) * 8);
}
void flip_in_header(std::vector<std::byte>& bytes, const FoundFrame& frame) {
  flip_bit(bytes, (frame.position.value + 20) * 8);
}

std::vector<Patient> patients() {
  std::vector<Patient> all;
  all.push_back(with_bad_frames("a blank frame in a crashed tail", crashed_log(true), 2, {3}, true,
                                blank_frame));
  all.push_back(with_bad_frames("a damaged body in a crashed tail", crashed_log(true), 2, {3}, true,
                                flip_in_body));
  const Files crashed = crashed_log(true);
  const std::size_t last = record_frames_of(crashed.at(segment_names(crashed)[2])).size() - 1;
  all.push_back(with_bad_frames("the last durable frame of a crashed tail", crashed, 2, {last},
                                true, flip_in_header));
  all.push_back(with_bad_frames("frames of an unrecorded segment", crashed_log(false), 0, {0, 4, 5},
                                true, blank_frame));
  all.push_back(with_bad_frames("frames of a recorded segment", crashed_log(true), 0, {2, 6}, false,
                                flip_in_body));
  all.push_back(
      with_bad_frames("frames of a closed log", closed_log(), 1, {0, 1, 5}, false, flip_in_header));
  all.push_back(with_bad_frames("the last segment of a closed log", closed_log(), 2, {1}, false,
                                blank_frame));
  all.push_back(with_bad_frames("tiny frames of a closed log", tiny_frames(true), 0,
                                {5, 9, 20, 40, 41}, false, flip_in_body));
  all.push_back(with_bad_frames("tiny frames of a crashed log", tiny_frames(false), 0,
                                {5, 9, 20, 40, 41}, false, blank_frame));

  const auto change =
      [&](std::string name, Files files, std::vector<OffsetRange> lost, bool refused,
          const std::function<void(Files&, const std::vector<std::string>&)>& damage) {
        const auto names = segment_names(files);
        damage(files, names);
        all.push_back({std::move(name), std::move(files), std::move(lost), refused, end});
      };
  for (const bool closed : {true, false}) {
    const std::string of = closed ? " of a closed log" : " of a crashed log";
    const Files files = closed ? closed_log() : crashed_log(true);
    change("a header block" + of, files, {range_of(files, 1)}, false,
           [](Files& f, const auto& names) { flip_bit(f.at(names[1]), 300); });
    change("the active segment's header block" + of, files,
           closed ? std::vector<OffsetRange>{range_of(files, 2)} : std::vector<OffsetRange>(), true,
           [](Files& f, const auto& names) { flip_bit(f.at(names[2]), 300); });
    // Nobody knows any more how many records there were.
    if (!closed) all.back().end = range_of(files, 2).begin.value;
    change("a missing segment" + of, files, {range_of(files, 1)}, true,
           [](Files& f, const auto& names) { f.erase(names[1]); });
    change("a missing first segment" + of, files, {range_of(files, 0)}, true,
           [](Files& f, const auto& names) { f.erase(names[0]); });
    change("an empty segment" + of, files, {range_of(files, 1)}, true,
           [](Files& f, const auto& names) { f.at(names[1]).clear(); });
    const auto frames = record_frames_of(files.at(segment_names(files)[1]));
    change("a segment cut short" + of, files, {{frames[4].offsets().begin, range_of(files, 1).end}},
           true, [&](Files& f, const auto& names) {
             f.at(names[1]).resize(static_cast<std::size_t>(frames[4].position.value) + 20);
           });
    change("two segments in each other's place" + of, files,
           {{range_of(files, 0).begin, range_of(files, 1).end}}, false,
           [](Files& f, const auto& names) { std::swap(f.at(names[0]), f.at(names[1])); });
    change("a missing manifest" + of, files, {}, true,
           [](Files& f, const auto&) { f.erase("MANIFEST"); });
    change("a damaged manifest" + of, files, {}, true,
           [](Files& f, const auto&) { flip_bit(f.at("MANIFEST"), 999); });
    change("a foreign segment behind the end" + of, files, {}, true, [](Files& f, const auto&) {
      f[detail::segment_name({end})] =
          make_closed_log({.durable = 50, .seed = 77}).at(detail::segment_name({0}));
    });
    change("a foreign segment in the place of one" + of, files, {range_of(files, 0)}, false,
           [](Files& f, const auto& names) {
             f.at(names[0]) =
                 make_crashed_log({.durable = 50, .seed = 77}).files.at(detail::segment_name({0}));
           });
  }
  for (const std::uint64_t records : {std::uint64_t{37}, end}) {
    const Files files = reopened_log(records);
    const std::size_t active = segment_names(files).size() - 1;
    change("the active segment's header block of a log that was opened again", files,
           {range_of(files, active, records)}, true,
           [&](Files& f, const auto& names) { flip_bit(f.at(names.back()), 300); });
    all.back().end = records;  // what came after that nobody knows any more
  }
  const Files unrecorded = crashed_log(false);
  change("a missing segment that was not recorded", unrecorded, {range_of(unrecorded, 1)}, true,
         [](Files& f, const auto& names) { f.erase(names[1]); });
  const auto frames = record_frames_of(unrecorded.at(segment_names(unrecorded)[0]));
  change("the blank end of a segment that was not recorded", unrecorded,
         {{frames[5].offsets().begin, range_of(unrecorded, 0).end}}, true,
         [&](Files& f, const auto& names) {
           blank(f.at(names[0]), frames[5].position.value, f.at(names[0]).size());
         });
  const auto tail = frames_of(unrecorded.at(segment_names(unrecorded)[2]));
  change("the first frame of a crashed tail", unrecorded, {}, true,
         [&](Files& f, const auto& names) {
           flip_bit(f.at(names[2]), (tail[0].position.value + 60) * 8);
         });
  change("the end of a segment that was not recorded", unrecorded, {}, true,
         [](Files& f, const auto& names) {
           const auto all_frames = frames_of(f.at(names[0]));
           blank_frame(f.at(names[0]), all_frames.back());
         });
  {
    const TwoSegments two(true);
    const auto of_it = record_frames_of(two.log.files.at(two.names[0]));
    change("records that only the next segment proves", two.log.files, {of_it.back().offsets()},
           true, [&](Files& f, const auto& names) {
             blank(f.at(names[0]), of_it.back().position.value, f.at(names[0]).size());
           });
    all.back().end = two.log.end;
  }
  change("an older copy of the active segment", closed_log(), {}, true,
         [](Files& f, const auto& names) {
           // As it was before its last frames were written.
           auto& bytes = f.at(names[2]);
           const auto of_it = record_frames_of(bytes);
           blank(bytes, of_it.back().position.value, bytes.size());
         });
  {
    const Files files = closed_log();
    const auto of_it = record_frames_of(files.at(segment_names(files)[2]));
    all.back().lost = {of_it.back().offsets()};
  }
  change("the place of the next frame of a closed log", closed_log(), {}, true,
         [](Files& f, const auto& names) {
           auto& bytes = f.at(names[2]);
           const Position at = frames_of(bytes).back().position;
           blank(bytes, at.value, at.value + detail::frame_header_bytes);
         });
  // The log went on in the segment that was the last one, or in others since.
  for (const std::uint64_t more : {3u, 150u}) {
    for (const bool closed : {true, false}) {
      const auto storage = make_memory_storage();
      Log log = open_log(storage, small_options());
      append_plan(log, {.durable = end - more, .per_flush = 10});
      REQUIRE(log.close());
      const auto manifest = copy_files(*storage).at("MANIFEST");
      log = open_log(storage, small_options(2));
      append_plan(log, {.durable = end, .per_flush = 10});
      if (closed) REQUIRE(log.close());
      change("an older manifest, " + std::to_string(more) + " records ago", copy_files(*storage),
             {}, true, [&](Files& f, const auto&) { f.at("MANIFEST") = manifest; });
    }
  }
  return all;
}

std::vector<OffsetRange> ranges_of(const std::vector<Damage>& damage) {
  std::vector<OffsetRange> ranges;
  for (const Damage& one : damage)
    if (!one.offsets.empty()) ranges.push_back(one.offsets);
  std::sort(ranges.begin(), ranges.end(),
            [](const OffsetRange& a, const OffsetRange& b) { return a.begin < b.begin; });
  std::vector<OffsetRange> merged;
  for (const OffsetRange& range : ranges) {
    if (!merged.empty() && range.begin <= merged.back().end)
      merged.back().end = std::max(merged.back().end, range.end);
    else
      merged.push_back(range);
  }
  return merged;
}

// The log is open and usable: all that was not lost is there, and what was lost is passed over.
void check_healthy(const std::shared_ptr<StorageBackend>& storage, const Patient& patient) {
  // A lost beginning is no gap: the log may start behind it.
  std::vector<OffsetRange> gaps = patient.lost;
  {
    const auto log = Log::open(storage, small_options(40));
    INFO((log ? std::string() : log.error().message()));
    REQUIRE(log);
    const ReadBack read = read_back(*log);
    CAPTURE(read.errors, read.begin, read.end, read.good);
    CHECK(read.errors.empty());
    CHECK(read.wrong.empty());
    if (!gaps.empty() && gaps.front().begin.value == 0 && read.begin == gaps.front().end.value)
      gaps.erase(gaps.begin());
    CHECK(read.skipped == gaps);
    CHECK(read.end == patient.end);
  }
  const auto report = verify(*storage);
  REQUIRE(report);
  CHECK(report->intact());
}

// Appends after a salvage, crashes, recovers.
void check_goes_on(const std::shared_ptr<StorageBackend>& storage, std::uint64_t log_end) {
  std::uint64_t good = 0;
  Files files;
  {
    Log log = open_log(storage, small_options(41));
    good = read_back(log).good;
    append_known(log, log_end + 2, Ack::disk);
    files = copy_files(*storage);
  }
  for (const auto& crashed : {storage, memory_with(files)}) {
    Log log = open_log(crashed, small_options(42));
    const ReadBack read = read_back(log);
    CHECK(read.errors.empty());
    CHECK(read.good == good + 2);
    CHECK(read.end == log_end + 2);
    std::uint32_t epoch = 0;
    Reader reader = log.reader(log.start_offset());
    for (const RecordView& record : reader) {
      CHECK(record.epoch.value >= epoch);
      epoch = record.epoch.value;
    }
    CHECK(log.epoch().value >= epoch);
  }
}

// Whether the storage still holds these bytes, under whatever name.
bool holds(const Files& files, const std::vector<std::byte>& content) {
  return std::any_of(files.begin(), files.end(),
                     [&](const auto& file) { return file.second == content; });
}

TEST_CASE("salvage: what opening refuses is usable again, but for what is lost",
          "[recovery][salvage]") {
  for (const Patient& patient : patients()) {
    CAPTURE(patient.name);
    const auto storage = memory_with(patient.files);
    if (patient.refused) {
      const auto log = Log::open(storage, small_options(39));
      CHECK(!log);
      if (!log) CHECK(log.error() == Errc::corrupt);
      REQUIRE(copy_files(*storage) == patient.files);
    }
    const auto verified = verify(*storage);
    REQUIRE(verified);
    CHECK(!verified->intact());
    CHECK(ranges_of(verified->damage) == patient.lost);
    CHECK(copy_files(*storage) == patient.files);

    const auto report = salvage(*storage);
    INFO((report ? std::string() : report.error().message()));
    REQUIRE(report);
    CHECK(report->needed);
    CHECK(ranges_of(report->lost) == patient.lost);
    std::uint64_t lost = 0;
    for (const OffsetRange& range : patient.lost) lost += range.size();
    CHECK(report->records_kept == patient.end - lost);
    const Files after = copy_files(*storage);
    for (const std::string& copy : report->copies) {
      CAPTURE(copy);
      const std::string original = copy.substr(0, copy.find(".salvaged-"));
      REQUIRE(after.contains(copy));
      REQUIRE(patient.files.contains(original));
      CHECK(after.at(copy) == patient.files.at(original));
    }
    for (const auto& [name, content] : patient.files)  // replaced or removed: then it was copied
      if (name.ends_with(".log") && name != "spare.log" && !content.empty())
        CHECK(holds(after, content));
    check_healthy(storage, patient);

    const Files healthy = copy_files(*storage);
    const auto again = salvage(*storage);
    REQUIRE(again);
    CHECK(!again->needed);
    CHECK(again->lost.empty());
    CHECK(again->copies.empty());
    CHECK(copy_files(*storage) == healthy);
    check_goes_on(storage, patient.end);
  }
}

TEST_CASE("salvage: a log that ends before its start is refused, and goes on behind it",
          "[recovery][salvage]") {
  // Nothing but the start proves that there ever were more records.
  const auto original = make_memory_storage();
  Files files;
  {
    Log log = open_log(original, small_options());
    append_known(log, 30, Ack::disk);
    REQUIRE(log.truncate_prefix({20}));
    files = copy_files(*original);
  }
  auto& segment = files.at(segment_names(files).at(0));
  blank(segment, record_frames_of(segment).at(5).position.value, segment.size());
  const auto storage = memory_with(files);
  CHECK(fails_with(Log::open(storage, small_options(2)), Errc::corrupt, {"MANIFEST"}));
  CHECK(copy_files(*storage) == files);
  const auto verified = verify(*storage);
  REQUIRE(verified);
  CHECK(!verified->intact());
  REQUIRE(salvage(*storage));
  check_goes_on(storage, 20);
}

TEST_CASE("salvage: frames that go back do not make it start over", "[recovery][salvage]") {
  // A file that was given another name, so that its first frames come before its own beginning.
  Files files = closed_log();
  files.erase("MANIFEST");
  const std::string name = segment_names(files).back();
  const std::uint64_t base = detail::parse_segment_name(name)->value;
  auto node = files.extract(name);
  node.key() = detail::segment_name({base + 2});
  files.insert(std::move(node));
  const auto storage = memory_with(files);
  const auto first = salvage(*storage);
  REQUIRE(first);
  CHECK(first->needed);
  CHECK(!first->lost.empty());
  const auto second = salvage(*storage);
  REQUIRE(second);
  CHECK(!second->needed);
  const Log log = open_log(storage, small_options(3));
  CHECK(read_back(log).wrong.empty());
}

TEST_CASE("salvage: interrupted at any storage call it can be done again",
          "[recovery][salvage][crash]") {
  const bool cut = GENERATE(false, true);
  for (const Patient& patient : patients()) {
    std::uint64_t calls = 0;
    {
      FaultyStorage storage(memory_with(patient.files));
      REQUIRE(salvage(storage));
      calls = storage.calls();
    }
    for (std::uint64_t call = 0; call < calls; ++call) {
      CAPTURE(patient.name, call, calls, cut);
      const auto storage = std::make_shared<FaultyStorage>(memory_with(patient.files));
      storage->inject({.after = call, .times = 1'000'000, .half_done = true});
      const auto interrupted = salvage(*storage);
      storage->clear_faults();
      if (cut) REQUIRE(storage->cut_power({.seed = call, .keep = 0.5}));
      const auto report = salvage(*storage);
      INFO((report ? std::string() : report.error().message()));
      REQUIRE(report);
      const Files after = copy_files(*storage);
      for (const auto& [name, content] : patient.files)
        if (name.ends_with(".log") && name != "spare.log" && !content.empty())
          REQUIRE(holds(after, content));
      check_healthy(storage, patient);
    }
  }
}

TEST_CASE("salvage: an intact log is left alone", "[recovery][salvage]") {
  for (const Files& files : {closed_log(), crashed_log(true), crashed_log(false),
                             make_crashed_log({.durable = 30, .more = 7}).files}) {
    const auto storage = memory_with(files);
    const auto report = salvage(*storage);
    REQUIRE(report);
    CHECK(!report->needed);
    CHECK(copy_files(*storage) == files);
  }
}

TEST_CASE("salvage: a torn tail is recovery's to drop", "[recovery][salvage]") {
  auto crashed = make_crashed_log({.durable = 30, .more = 9, .tick = false});
  auto& bytes = crashed.files.at(detail::segment_name({0}));
  const auto frames = record_frames_of(bytes);
  flip_bit(bytes, (frames.back().position.value + 60) * 8);
  const auto storage = memory_with(crashed.files);
  const auto report = salvage(*storage);
  REQUIRE(report);
  CHECK(!report->needed);
  CHECK(copy_files(*storage) == crashed.files);
}

TEST_CASE("salvage: it takes the lock, and needs a log", "[recovery][salvage]") {
  const auto storage = memory_with(closed_log());
  {
    const Log log = open_log(storage, small_options());
    const auto refused = salvage(*storage);
    REQUIRE(!refused);
    CHECK(refused.error() == Errc::locked);
  }
  REQUIRE(salvage(*storage));
  const auto empty = make_memory_storage();
  const auto nothing = salvage(*empty);
  REQUIRE(!nothing);
  CHECK(nothing.error() == Errc::not_a_log);
}

TEST_CASE("salvage: progress goes up to the total", "[recovery][salvage]") {
  const auto storage = memory_with(closed_log());
  std::uint64_t last = 0;
  std::uint64_t of = 0;
  const auto report = salvage(*storage, [&](std::uint64_t done, std::uint64_t total) {
    CHECK(done >= last);
    CHECK(done <= total);
    last = done;
    of = total;
  });
  REQUIRE(report);
  CHECK(last > 0);
  CHECK(last == of);
}

}  // namespace
}  // namespace varve
