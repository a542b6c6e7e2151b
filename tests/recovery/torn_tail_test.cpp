// The table of damage in docs/durability.md, row by row.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/file_storage.hpp"
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace test;
using detail::frame_header_bytes;
using detail::segment_header_bytes;

// A crashed log whose last segment is the one to damage.
struct Bench {
  CrashedLog log;
  std::string name;                // of the last segment
  std::vector<FoundFrame> frames;  // of it, those with records
  std::uint64_t used = 0;          // where the last of them ends

  explicit Bench(const LogPlan& plan) : log(make_crashed_log(plan)) {
    name = segment_names(log.files).back();
    frames = record_frames_of(bytes());
    for (const FoundFrame& frame : frames) used = std::max(used, frame.end.value);
  }

  std::vector<std::byte>& bytes() { return log.files.at(name); }
  // The end of what was acknowledged as durable.
  std::uint64_t durable_position() const {
    for (const FoundFrame& frame : frames)
      if (frame.header.base_offset >= log.durable) return frame.position.value;
    return used;
  }
};

// Small frames, the last ones of them not durable.
constexpr LogPlan small_frames{.durable = 40, .per_flush = 3, .tick = false};
constexpr LogPlan with_unsynced{
    .durable = 30, .more = 500, .per_flush = 3, .tick = false, .segment_bytes = 64u << 10};

void check_exact(const Log& log, std::uint64_t end) {
  const ReadBack read = read_back(log);
  CAPTURE(read.errors, read.wrong);
  CHECK(read.exact());
  CHECK(read.good == end);
  CHECK(log.end_offset().value == end);
}

// Opens for append, which must succeed with the records below `end`, appends, and opens again.
RecoveryReport check_recovers(const std::shared_ptr<StorageBackend>& storage, std::uint64_t end) {
  RecoveryReport report;
  {
    Log log = open_log(storage, small_options(50));
    report = log.recovery();
    CHECK(!report.clean);
    CHECK(report.lost.empty());
    CHECK(log.durable_offset() == log.end_offset());
    check_exact(log, end);
    append_known(log, end + 5, Ack::disk);
    REQUIRE(log.close());
  }
  Log again = open_log(storage, small_options(51));
  CHECK(again.recovery().clean);
  check_exact(again, end + 5);
  return report;
}

// Opens for append, which must be refused as corrupt without changing anything.
std::string check_refused(const std::shared_ptr<StorageBackend>& storage,
                          Options options = small_options(60)) {
  const Files before = copy_files(*storage);
  const auto log = Log::open(storage, std::move(options));
  REQUIRE(!log);
  CHECK(log.error() == Errc::corrupt);
  CHECK(copy_files(*storage) == before);
  return log.error().message();
}

std::string offsets_text(const OffsetRange& offsets) {
  return "[" + std::to_string(offsets.begin.value) + ", " + std::to_string(offsets.end.value) + ")";
}

// Reads only: both sides of the damage, exactly the lost offsets, no change to the files.
void check_serves_both_sides(const std::shared_ptr<StorageBackend>& storage,
                             const std::vector<OffsetRange>& lost, std::uint64_t end) {
  const Files before = copy_files(*storage);
  const Log log = open_log(storage, read_only());
  std::vector<OffsetRange> told;
  for (const Damage& damage : log.recovery().lost)
    if (!damage.offsets.empty()) told.push_back(damage.offsets);
  CHECK(told == lost);
  CHECK(!log.recovery().lost.empty());
  const ReadBack read = read_back(log);
  CAPTURE(read.errors, read.wrong, read.end);
  CHECK(read.skipped == lost);
  CHECK(!read.silent);
  CHECK(!read.stuck);
  CHECK(read.wrong.empty());
  CHECK(read.end == end);
  CHECK(log.end_offset().value == end);
  for (const OffsetRange& range : lost) {
    const std::string text = offsets_text(range);
    CHECK(std::any_of(read.errors.begin(), read.errors.end(), [&](const std::string& error) {
      return error.find(text) != std::string::npos;
    }));
  }
  CHECK(copy_files(*storage) == before);
}

// ---- tails that are cut off --------------------------------------------------------------------

TEST_CASE("recovery: a blank tail is no damage", "[recovery][torn_tail]") {
  Bench bench(small_frames);
  const auto storage = memory_with(bench.log.files);
  const RecoveryReport report = check_recovers(storage, 40);
  CHECK(report.torn.empty());
  CHECK(report.frames_dropped == 0);
  CHECK(report.bytes_dropped == 0);
  CHECK(report.records_scanned == 40);
  CHECK(report.segments == 1);
  CHECK(report.segments_scanned == 1);
  CHECK(report.bytes_scanned == bench.used);
  CHECK(report.unknown_files.empty());
}

TEST_CASE("recovery: rubbish behind the end is cut off and told", "[recovery][torn_tail]") {
  Bench bench(small_frames);
  const std::uint64_t at = bench.used + GENERATE(0u, 56u, 200u);
  scribble(bench.bytes(), at, at + 700, 9);
  const auto storage = memory_with(bench.log.files);
  const RecoveryReport report = check_recovers(storage, 40);
  REQUIRE(report.torn.size() == 1);
  CHECK(report.torn[0].file == bench.name);
  CHECK(report.torn[0].begin.value == bench.used);
  CHECK(report.torn[0].end.value == at + 700);
  CHECK(report.torn[0].offsets.empty());
  CHECK(!report.torn[0].what.empty());
  CHECK(report.bytes_dropped == at + 700 - bench.used);
  CHECK(report.frames_dropped == 0);
  // Recovery never edits a segment.
  CHECK(copy_files(*storage).at(bench.name) == bench.bytes());
}

TEST_CASE("recovery: frames of elsewhere behind the end are rubbish too", "[recovery][torn_tail]") {
  Bench bench(small_frames);
  const auto place = [&](const std::vector<std::byte>& from, std::uint64_t begin, std::uint64_t end,
                         std::uint64_t to) {
    std::copy(from.begin() + static_cast<std::ptrdiff_t>(begin),
              from.begin() + static_cast<std::ptrdiff_t>(end),
              bench.bytes().begin() + static_cast<std::ptrdiff_t>(to));
  };
  SECTION("of this segment, but of another place") {
    place(bench.bytes(), bench.frames[1].position.value, bench.used, bench.used);
  }
  SECTION("of this place, but of another log") {
    const auto other = make_crashed_log({.durable = 60, .per_flush = 3, .tick = false, .seed = 99});
    const auto& bytes = other.files.at(bench.name);
    place(bytes, bench.used, bytes.size(), bench.used);
  }
  const RecoveryReport report = check_recovers(memory_with(bench.log.files), 40);
  CHECK(report.torn.size() == 1);
  CHECK(report.frames_dropped == 0);
}

TEST_CASE("recovery: wherever an unsynced tail is torn off, a prefix of it is kept",
          "[recovery][torn_tail]") {
  Bench bench(with_unsynced);
  REQUIRE(bench.frames.size() > 12);
  REQUIRE(bench.frames.back().state == detail::FrameState::open);
  const std::uint64_t durable = bench.durable_position();
  REQUIRE(bench.used > durable + 8000);
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t at = durable; at < bench.used + 64; at += at < durable + 200 ? 1 : 13)
    cuts.push_back(at);
  const FoundFrame& last = bench.frames.back();
  for (std::uint64_t at = last.position.value; at < last.position.value + 400; ++at)
    cuts.push_back(at);
  for (std::uint64_t at = (durable / 512 + 1) * 512; at < bench.used; at += 512) cuts.push_back(at);

  for (const std::uint64_t cut : cuts) {
    Files files = bench.log.files;
    blank(files.at(bench.name), cut, files.at(bench.name).size());
    const auto storage = memory_with(files);
    std::uint64_t expected = bench.log.durable;
    bool open_frame_cut = false;
    for (const FoundFrame& frame : bench.frames) {
      const std::uint64_t body_end =
          frame.position.value + frame_header_bytes + frame.header.body_bytes;
      if (body_end <= cut)
        expected = frame.offsets().end.value;
      else if (frame.position.value < cut)
        open_frame_cut = true;
    }
    CAPTURE(cut, expected);
    Log log = open_log(storage, small_options(52));
    // The last byte or two of a frame may be zero anyway.
    const std::uint64_t end = log.end_offset().value;
    REQUIRE(end >= expected);
    REQUIRE((end == expected || open_frame_cut));
    REQUIRE(log.recovery().lost.empty());
    const ReadBack read = read_back(log);
    REQUIRE(read.exact());
    REQUIRE(read.good == end);
    if (end == expected && open_frame_cut) REQUIRE(log.recovery().torn.size() == 1);
    if (!open_frame_cut) REQUIRE(log.recovery().torn.empty());
  }
}

TEST_CASE("recovery: valid frames behind a hole that nothing proves are dropped and counted",
          "[recovery][torn_tail]") {
  Bench bench(with_unsynced);
  const auto lost = std::find_if(
      bench.frames.begin(), bench.frames.end(),
      [&](const FoundFrame& frame) { return frame.header.base_offset >= bench.log.durable; });
  REQUIRE(bench.frames.end() - lost >= 3);
  SECTION("blank") { blank(bench.bytes(), lost->position.value, lost->end.value); }
  SECTION("rubbish") { scribble(bench.bytes(), lost->position.value, lost->end.value, 3); }
  SECTION("a damaged body") { flip_bit(bench.bytes(), (lost->position.value + 70) * 8); }
  const std::uint64_t end = lost->header.base_offset;
  const auto storage = memory_with(bench.log.files);

  {  // Whoever only reads sees the log as it will be recovered.
    const Log log = open_log(storage, read_only());
    CHECK(log.recovery().lost.empty());
    CHECK(log.recovery().torn.size() == 1);
    check_exact(log, end);
  }
  const RecoveryReport report = check_recovers(storage, end);
  CHECK(report.frames_dropped == static_cast<std::uint64_t>(bench.frames.end() - lost - 1));
  REQUIRE(report.torn.size() == 1);
  CHECK(report.torn[0].file == bench.name);
  CHECK(report.torn[0].begin == lost->position);
  CHECK(report.torn[0].offsets == lost->offsets());
  CHECK(report.bytes_dropped > 0);
  CHECK(copy_files(*storage).at(bench.name) == bench.bytes());
}

TEST_CASE("recovery: dropped bytes never come back", "[recovery][torn_tail]") {
  Bench bench(with_unsynced);
  const FoundFrame& hole = bench.frames[bench.frames.size() - 3];
  blank(bench.bytes(), hole.position.value, hole.end.value);
  auto storage = memory_with(bench.log.files);
  const std::uint64_t end = hole.header.base_offset;
  std::vector<OwnedRecord> known;
  for (std::uint64_t offset = 0; offset < end; ++offset) known.push_back(known_record(offset));
  std::uint32_t epoch = 0;
  for (int crash = 0; crash < 4; ++crash) {
    Files files;
    {
      Log log = open_log(storage, small_options(60 + static_cast<std::uint64_t>(crash)));
      CHECK(log.epoch().value > epoch);
      epoch = log.epoch().value;
      REQUIRE(log.end_offset().value == known.size());
      CHECK(read_back(log, &known).exact());
      // Other records than those that once had these offsets.
      OwnedRecord owned;
      owned.value = "life " + std::to_string(crash);
      REQUIRE(log.append(Batch(owned).front()));
      known.push_back(owned);
      files = copy_files(*storage);
      for (const std::string& name : segment_names(files))
        if (name == bench.name) CHECK(files.at(name) == bench.bytes());
    }
    storage = memory_with(files);
  }
  Log log = open_log(storage, small_options(70));
  const ReadBack read = read_back(log, &known);
  CHECK(read.exact());
  CHECK(read.good == known.size());
}

TEST_CASE("recovery: what a killed process had appended is all there", "[recovery][torn_tail]") {
  for (const std::uint64_t more : {1u, 7u, 30u, 400u}) {
    CAPTURE(more);
    Bench bench({.durable = 10, .more = more, .tick = false});
    const auto storage = memory_with(bench.log.files);
    const RecoveryReport report = check_recovers(storage, 10 + more);
    CHECK(report.torn.empty());
    CHECK(report.bytes_dropped == 0);
    CHECK(report.records_scanned == 10 + more);
  }
}

TEST_CASE("recovery: the report counts every segment that was scanned", "[recovery][torn_tail]") {
  const CrashedLog crashed = make_crashed_log({.durable = 700, .more = 20, .tick = false});
  const std::size_t segments = segment_names(crashed.files).size();
  REQUIRE(segments >= 3);
  const RecoveryReport report = check_recovers(memory_with(crashed.files), 720);
  CHECK(report.segments == segments);
  CHECK(report.segments_scanned == segments);
  CHECK(report.records_scanned == 720);
  CHECK(report.torn.empty());

  // Those that were recorded as sealed need no scan.
  const CrashedLog ticked = make_crashed_log({.durable = 700, .more = 20});
  const RecoveryReport short_report = check_recovers(memory_with(ticked.files), 720);
  CHECK(short_report.segments == segments);
  CHECK(short_report.segments_scanned < segments);
  CHECK(short_report.records_scanned < 720);
}

TEST_CASE("recovery: fail_on_any_damage refuses a torn tail and changes nothing",
          "[recovery][torn_tail]") {
  Bench bench(small_frames);
  scribble(bench.bytes(), bench.used, bench.used + 100, 9);
  const auto storage = memory_with(bench.log.files);
  Options strict = small_options(60);
  strict.recovery = Recovery::fail_on_any_damage;
  const std::string message = check_refused(storage, strict);
  CHECK(message.find(bench.name) != std::string::npos);
  CHECK(message.find(std::to_string(bench.used)) != std::string::npos);
  check_recovers(storage, 40);

  Bench undamaged(small_frames);
  Log log = open_log(memory_with(undamaged.log.files), strict);
  check_exact(log, 40);
}

// ---- tails of several segments -----------------------------------------------------------------

TEST_CASE("recovery: an unsynced segment that continues nothing is dropped and told",
          "[recovery][torn_tail]") {
  TwoSegments two(false);
  auto& first = two.log.files.at(two.names[0]);
  const auto frames = frames_of(first);
  const auto records = record_frames_of(first);
  std::uint64_t end = two.base();
  SECTION("the end of the one before it is missing") {
    blank(first, frames.back().position.value, first.size());
  }
  SECTION("the last records of the one before it are missing") {
    end = records.back().header.base_offset;
    blank(first, records.back().position.value, first.size());
  }
  SECTION("the one before it has a hole") {
    end = records[records.size() - 2].header.base_offset;
    blank(first, records[records.size() - 2].position.value, records.back().position.value);
  }
  const auto storage = memory_with(two.log.files);
  {
    const Log log = open_log(storage, read_only());
    check_exact(log, end);
  }
  const RecoveryReport report = check_recovers(storage, end);
  CHECK(report.frames_dropped >= 2);
  CHECK(report.bytes_dropped > 0);
  CHECK(!report.torn.empty());
  CHECK(copy_files(*storage).at(two.names[0]) == first);
}

TEST_CASE("recovery: a segment that was begun but has nothing in it is no damage",
          "[recovery][torn_tail]") {
  TwoSegments two(true);
  auto& second = two.log.files.at(two.names[1]);
  const auto frames = frames_of(second);
  const bool with_begin = GENERATE(true, false);
  blank(second, with_begin ? frames[0].end.value : segment_header_bytes, second.size());
  const auto storage = memory_with(two.log.files);
  const RecoveryReport report = check_recovers(storage, two.base());
  CHECK(report.lost.empty());
}

TEST_CASE("recovery: a successor proves that the segment before it was durable",
          "[recovery][torn_tail]") {
  TwoSegments two(true);
  auto& first = two.log.files.at(two.names[0]);
  const auto records = record_frames_of(first);
  blank(first, records.back().position.value, first.size());  // the end of it, too
  const auto storage = memory_with(two.log.files);
  check_refused(storage);
  check_serves_both_sides(storage, {records.back().offsets()}, two.log.end);
}

TEST_CASE("recovery: a missing segment between others is refused or dropped, never passed over",
          "[recovery][torn_tail]") {
  CrashedLog crashed = make_crashed_log({.durable = 700, .tick = false});
  const auto names = segment_names(crashed.files);
  REQUIRE(names.size() >= 3);
  const std::uint64_t begin = detail::parse_segment_name(names[1])->value;
  const std::uint64_t end = detail::parse_segment_name(names[2])->value;
  crashed.files.erase(names[1]);
  const auto storage = memory_with(crashed.files);
  const std::string message = check_refused(storage);
  CHECK(message.find(offsets_text({{begin}, {end}})) != std::string::npos);
  check_serves_both_sides(storage, {{{begin}, {end}}}, 700);
}

// ---- damage of durable data --------------------------------------------------------------------

TEST_CASE("recovery: damage below the proven durable end refuses appends and names the offsets",
          "[recovery][torn_tail][corrupt]") {
  Bench bench({.durable = 120, .more = 9, .per_flush = 3, .tick = false});
  REQUIRE(bench.frames.size() > 20);
  const std::size_t last = bench.frames.size() - 2;  // the last durable one
  const std::size_t which = GENERATE_COPY(std::size_t{0}, std::size_t{7}, last);
  const FoundFrame lost = bench.frames[which];
  REQUIRE(lost.offsets().end.value <= bench.log.durable);
  SECTION("blank") { blank(bench.bytes(), lost.position.value, lost.end.value); }
  SECTION("rubbish") { scribble(bench.bytes(), lost.position.value, lost.end.value, 1); }
  SECTION("one bit of its header") { flip_bit(bench.bytes(), (lost.position.value + 17) * 8); }
  SECTION("one bit of its body") { flip_bit(bench.bytes(), (lost.position.value + 60) * 8); }
  const auto storage = memory_with(bench.log.files);
  const std::string message = check_refused(storage);
  CAPTURE(message);
  CHECK(message.find(bench.name) != std::string::npos);
  CHECK(message.find(offsets_text(lost.offsets())) != std::string::npos);
  check_serves_both_sides(storage, {lost.offsets()}, bench.log.end);
}

TEST_CASE("recovery: several damaged places are all told", "[recovery][torn_tail][corrupt]") {
  Bench bench({.durable = 120, .per_flush = 3, .tick = false});
  blank(bench.bytes(), bench.frames[3].position.value, bench.frames[4].end.value);
  flip_bit(bench.bytes(), (bench.frames[9].position.value + 60) * 8);
  const auto storage = memory_with(bench.log.files);
  check_refused(storage);
  check_serves_both_sides(
      storage,
      {{bench.frames[3].offsets().begin, bench.frames[4].offsets().end}, bench.frames[9].offsets()},
      bench.log.end);
}

TEST_CASE("recovery: durable records that are blank up to the end are missed",
          "[recovery][corrupt]") {
  // The manifest recorded the segment after this much of it was durable.
  Bench bench({.durable = 700, .per_flush = 3});
  const auto& bytes = bench.bytes();
  blank(bench.bytes(), segment_header_bytes, bytes.size());
  const auto storage = memory_with(bench.log.files);
  const std::string message = check_refused(storage);
  CHECK(message.find(bench.name) != std::string::npos);
}

TEST_CASE("recovery: damage in an earlier segment leaves the later ones readable",
          "[recovery][torn_tail][corrupt]") {
  CrashedLog crashed = make_crashed_log({.durable = 700, .tick = false});
  const auto names = segment_names(crashed.files);
  REQUIRE(names.size() >= 3);
  auto& first = crashed.files.at(names[0]);
  const auto frames = record_frames_of(first);
  OffsetRange lost;
  SECTION("in its middle") {
    lost = frames[5].offsets();
    blank(first, frames[5].position.value, frames[5].end.value);
  }
  SECTION("its last records") {
    lost = frames.back().offsets();
    blank(first, frames.back().position.value, frames.back().end.value);
  }
  SECTION("all behind its middle") {
    lost = {frames[5].offsets().begin, frames.back().offsets().end};
    blank(first, frames[5].position.value, first.size());
  }
  const auto storage = memory_with(crashed.files);
  const std::string message = check_refused(storage);
  CHECK(message.find(names[0]) != std::string::npos);
  check_serves_both_sides(storage, {lost}, 700);
}

TEST_CASE("recovery: damage on real files is passed without touching what is not there",
          "[recovery][torn_tail][corrupt]") {
  // In the last segment of a log that was closed: its file is cut right behind its end.
  const TempDir dir;
  Files files = make_closed_log({.durable = 120, .per_flush = 3});
  const std::string name = segment_names(files).back();
  const auto frames = record_frames_of(files.at(name));
  const FoundFrame lost = frames[GENERATE(std::size_t{4}, std::size_t{39})];
  REQUIRE(frames.size() == 40);
  flip_bit(files.at(name), lost.position.value * 8);
  {
    const auto storage = open_file_storage(dir.path(), true);
    REQUIRE(storage);
    write_files(**storage, files);
  }
  for (const bool writing : {false, true}) {
    CAPTURE(writing);
    auto log = Log::open(dir.path(), writing ? small_options(80) : read_only());
    REQUIRE(log);
    const ReadBack read = read_back(*log);
    CAPTURE(read.errors);
    CHECK(read.skipped == std::vector<OffsetRange>{lost.offsets()});
    CHECK(!read.silent);
    CHECK(!read.stuck);
    CHECK(read.errors.size() == 1);
    CHECK(read.end == 120);
    if (writing) append_known(*log, 125, Ack::disk);  // the log itself is not the worse for it
  }
}

// ---- errors and crashes of recovery itself -----------------------------------------------------

TEST_CASE("recovery: an I/O error is neither damage nor the end of the log", "[recovery][io]") {
  Bench bench({.durable = 700, .tick = false});
  const bool writing = GENERATE(true, false);
  for (const StorageOp op : {StorageOp::read, StorageOp::map, StorageOp::open, StorageOp::list}) {
    for (std::uint64_t call = 0; call < 200; ++call) {
      const auto storage = std::make_shared<FaultyStorage>(memory_with(bench.log.files));
      storage->inject({.ops = {op}, .after = call, .times = 1'000'000});
      const std::uint64_t before = storage->calls(op);
      auto log = Log::open(storage, writing ? small_options(60) : read_only());
      if (storage->calls(op) - before <= call) break;  // it never came to that
      CAPTURE(static_cast<int>(op), call);
      if (!log) {
        CHECK(log.error().code() == std::errc::io_error);
        if (op == StorageOp::read)
          CHECK(copy_files(*memory_with(bench.log.files)) == bench.log.files);
      } else {
        // Then nothing that matters failed.
        storage->clear_faults();
        const ReadBack read = read_back(*log);
        CHECK(read.exact());
        CHECK(read.good == 700);
      }
    }
  }
}

TEST_CASE("recovery: doing it again changes nothing", "[recovery]") {
  Bench bench(with_unsynced);
  scribble(bench.bytes(), bench.frames[12].position.value, bench.frames[12].end.value, 4);
  const std::uint64_t end = bench.frames[12].header.base_offset;
  const auto storage = memory_with(bench.log.files);
  Files first;
  {
    Log log = open_log(storage, small_options(61));
    CHECK(!log.recovery().clean);
    first = copy_files(*storage);
    REQUIRE(log.close());
  }
  for (std::uint64_t seed = 62; seed < 65; ++seed) {
    Log log = open_log(storage, small_options(seed));
    CHECK(log.recovery().clean);
    check_exact(log, end);
    REQUIRE(log.close());
    CHECK(copy_files(*storage) == first);
  }
}

TEST_CASE("recovery: it may crash at every storage call and be done again", "[recovery][crash]") {
  TwoSegments two(false);
  {  // A hole in the first segment: the second is dropped.
    auto& first = two.log.files.at(two.names[0]);
    const auto records = record_frames_of(first);
    blank(first, records[records.size() - 2].position.value, records.back().position.value);
  }
  const bool cut = GENERATE(true, false);
  const double keep = GENERATE(0.0, 0.5, 1.0);
  std::uint64_t end = 0;
  std::uint64_t calls = 0;
  {
    const auto storage = std::make_shared<FaultyStorage>(memory_with(two.log.files));
    Log log = open_log(storage, small_options(60));
    end = log.end_offset().value;
    calls = storage->calls();
    REQUIRE(!log.recovery().torn.empty());
    REQUIRE(segment_names(copy_files(*storage)).size() == 1);
  }
  REQUIRE(calls > 15);
  for (std::uint64_t call = 0; call < calls; ++call) {
    CAPTURE(call, cut, keep);
    const auto storage = std::make_shared<FaultyStorage>(memory_with(two.log.files));
    storage->inject({.after = call, .times = 1'000'000, .half_done = true});
    { const auto log = Log::open(storage, small_options(60)); }
    storage->clear_faults();
    if (cut) REQUIRE(storage->cut_power({.seed = call, .keep = keep}));
    {
      Log log = open_log(storage, small_options(61));
      check_exact(log, end);
      append_known(log, end + 3, Ack::disk);
    }
    if (cut) REQUIRE(storage->cut_power({.seed = call, .keep = keep}));
    Log log = open_log(storage, small_options(62));
    check_exact(log, end + 3);
  }
}

}  // namespace
}  // namespace varve
