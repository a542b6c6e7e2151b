#include "varve/inspect.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace test;

constexpr std::uint64_t end = 400;

std::vector<FrameInfo> dump_all(StorageBackend& storage) {
  std::vector<FrameInfo> frames;
  const auto done = dump(storage, [&](const FrameInfo& frame) {
    frames.push_back(frame);
    return true;
  });
  INFO((done ? std::string() : done.error().message()));
  REQUIRE(done);
  return frames;
}

// All frames of all segments, as their bytes say.
std::vector<std::pair<std::string, FoundFrame>> all_frames(const Files& files) {
  std::vector<std::pair<std::string, FoundFrame>> frames;
  for (const std::string& name : segment_names(files))
    for (const FoundFrame& frame : frames_of(files.at(name))) frames.emplace_back(name, frame);
  return frames;
}

TEST_CASE("inspect: verifying an intact log finds everything and nothing wrong", "[inspect]") {
  const bool closed = GENERATE(true, false);
  const Files files = closed ? make_closed_log({.durable = end - 3, .more = 3})
                             : make_crashed_log({.durable = end - 3, .more = 3}).files;
  const auto storage = memory_with(files);
  std::uint64_t last = 0;
  std::uint64_t of = 0;
  const auto report = verify(*storage, [&](std::uint64_t done, std::uint64_t total) {
    CHECK(done >= last);
    CHECK(done <= total);
    last = done;
    of = total;
  });
  REQUIRE(report);
  CHECK(report->intact());
  CHECK(report->damage.empty());
  CHECK(report->torn.empty());
  CHECK(report->stale_indexes.empty());
  CHECK(report->unknown_files.empty());
  CHECK(report->segments == segment_names(files).size());
  CHECK(report->records == end);
  CHECK(report->offsets == OffsetRange{{0}, {end}});
  std::uint64_t frames = 0;  // the place of the next frame is none yet
  for (const auto& [name, frame] : all_frames(files))
    if (frame.state == detail::FrameState::sealed || frame.count > 0) ++frames;
  CHECK(report->frames == frames);
  CHECK(report->bytes > 20'000);
  CHECK(last > 0);
  CHECK(last == of);
  CHECK(copy_files(*storage) == files);
}

TEST_CASE("inspect: verifying names exactly what is damaged", "[inspect]") {
  const bool closed = GENERATE(true, false);
  Files files = closed ? make_closed_log({.durable = end, .per_flush = 10})
                       : make_crashed_log({.durable = end, .per_flush = 10}).files;
  std::vector<std::pair<std::string, OffsetRange>> expected;
  for (const std::string& name : segment_names(files)) {
    auto& bytes = files.at(name);
    const auto frames = record_frames_of(bytes);
    for (const std::size_t i : {std::size_t{1}, frames.size() - 1}) {
      flip_bit(bytes, (frames[i].position.value + 61) * 8 + 3);
      expected.emplace_back(name, frames[i].offsets());
    }
  }
  const auto storage = memory_with(files);
  const auto report = verify(*storage);
  REQUIRE(report);
  CHECK(!report->intact());
  REQUIRE(report->damage.size() == expected.size());
  std::uint64_t lost = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(report->damage[i].file == expected[i].first);
    CHECK(report->damage[i].offsets == expected[i].second);
    CHECK(!report->damage[i].what.empty());
    CHECK(report->damage[i].end > report->damage[i].begin);
    lost += expected[i].second.size();
  }
  CHECK(report->records == end - lost);
  CHECK(copy_files(*storage) == files);
}

TEST_CASE("inspect: verifying finds any flipped bit that matters", "[inspect]") {
  const Files files = make_closed_log({.durable = 250, .per_flush = 20});
  const auto storage = memory_with(files);
  Random numbers(12);
  for (const auto& [name, content] : files) {
    const bool segment = detail::parse_segment_name(name).has_value();
    if (!segment && name != "MANIFEST") continue;
    // Not those of the padding between frames, nor of the place of the next one.
    std::vector<std::pair<std::uint64_t, std::uint64_t>> matters{{0, content.size()}};
    if (segment) {
      matters = {{0, detail::segment_header_bytes}};
      for (const FoundFrame& frame : frames_of(content))
        if (frame.state == detail::FrameState::sealed)
          matters.emplace_back(
              frame.position.value,
              frame.position.value + detail::frame_header_bytes + frame.header.body_bytes);
    }
    for (int i = 0; i < 400; ++i) {
      const auto [begin, stop] = matters[static_cast<std::size_t>(numbers.below(matters.size()))];
      const std::uint64_t bit = begin * 8 + numbers.below((stop - begin) * 8);
      std::vector<std::byte> changed = content;
      flip_bit(changed, bit);
      write_file(*storage, name, changed);
      const auto report = verify(*storage);
      CAPTURE(name, bit);
      if (report)
        CHECK(!report->intact());
      else
        CHECK(report.error() == Errc::unsupported_format);
    }
    write_file(*storage, name, content);
  }
  CHECK(verify(*storage)->intact());
}

TEST_CASE("inspect: verifying tells a torn tail from damage", "[inspect]") {
  auto crashed = make_crashed_log({.durable = 30, .more = 9, .tick = false});
  auto& bytes = crashed.files.at(detail::segment_name({0}));
  const auto frames = record_frames_of(bytes);
  SECTION("an open frame") { flip_bit(bytes, (frames.back().position.value + 60) * 8); }
  SECTION("rubbish behind the end") {
    const std::uint64_t at = frames.back().end.value + 64;
    scribble(bytes, at, at + 50, 3);
  }
  const auto report = verify(*memory_with(crashed.files));
  REQUIRE(report);
  CHECK(report->intact());
  REQUIRE(report->torn.size() == 1);
  CHECK(report->torn[0].file == detail::segment_name({0}));
}

TEST_CASE("inspect: verifying agrees with opening on what may be appended to", "[inspect]") {
  const std::uint64_t seed = 8'080;
  CAPTURE(seed);
  Random numbers(seed);
  for (int round = 0; round < 300; ++round) {
    CrashedLog crashed = make_crashed_log(
        {.durable = 260, .more = numbers.below(60), .per_flush = 12, .tick = round % 2 == 0});
    const auto names = segment_names(crashed.files);
    auto& bytes = crashed.files.at(names[static_cast<std::size_t>(numbers.below(names.size()))]);
    const std::uint64_t at = 4096 + numbers.below(bytes.size() - 4096);
    const bool flip = numbers.below(2) == 0;
    if (flip)
      flip_bit(bytes, at * 8);
    else
      blank(bytes, at / 512 * 512, at / 512 * 512 + 512 * (1 + numbers.below(6)));
    const auto storage = memory_with(crashed.files);
    const auto report = verify(*storage);
    REQUIRE(report);
    const auto reading = Log::open(storage, read_only());
    const auto log = Log::open(storage, small_options(3));
    CAPTURE(round, at, (log ? std::string() : log.error().message()));
    if (!log) CHECK(!report->intact());
    if (report->intact()) {
      REQUIRE(log);
      const ReadBack read = read_back(*log);
      CHECK(read.exact());
      if (flip) CHECK(read.end >= 260);  // more may hide the proof of what was durable, too
    }
  }
}

TEST_CASE("inspect: verifying sees stale indexes, unknown files and lost ones", "[inspect]") {
  Files files = make_closed_log({.durable = end});
  const auto names = segment_names(files);
  scribble(files.at(detail::index_name({0})), 70, 80, 1);
  files["notes.txt"] = {};
  files.erase(names[1]);
  const auto report = verify(*memory_with(files));
  REQUIRE(report);
  CHECK(report->stale_indexes == std::vector<std::string>{detail::index_name({0})});
  CHECK(report->unknown_files == std::vector<std::string>{"notes.txt"});
  REQUIRE(report->damage.size() == 1);
  CHECK(report->damage[0].file == names[1]);
  CHECK(report->damage[0].offsets.begin == *detail::parse_segment_name(names[1]));
  CHECK(report->damage[0].offsets.end == *detail::parse_segment_name(names[2]));
}

TEST_CASE("inspect: what holds no log is an error, and so is an I/O error", "[inspect]") {
  const auto empty = make_memory_storage();
  const auto none = verify(*empty);
  REQUIRE(!none);
  CHECK(none.error() == Errc::not_a_log);
  CHECK(!dump(*empty, [](const FrameInfo&) { return true; }));
  CHECK(copy_files(*empty).empty());

  const Files files = make_closed_log({.durable = end});
  std::uint64_t calls = 0;
  {
    FaultyStorage storage(memory_with(files));
    REQUIRE(verify(storage));
    calls = storage.calls();
  }
  for (std::uint64_t call = 0; call < calls; ++call) {
    FaultyStorage storage(memory_with(files));
    storage.inject({.after = call});
    const auto report = verify(storage);
    CAPTURE(call);
    if (report)
      CHECK(report->intact());  // an index, or the like: not taken for damage
    else
      CHECK(report.error().code() == std::errc::io_error);
  }
}

TEST_CASE("inspect: dumping visits every frame in order", "[inspect]") {
  const bool closed = GENERATE(true, false);
  const Files files = closed ? make_closed_log({.durable = end, .per_flush = 10})
                             : make_crashed_log({.durable = end, .more = 5, .per_flush = 10}).files;
  const auto storage = memory_with(files);
  auto expected = all_frames(files);
  if (closed)  // nothing behind the end of a closed log counts
    std::erase_if(expected,
                  [](const auto& one) { return one.second.state == detail::FrameState::open; });
  const auto frames = dump_all(*storage);
  REQUIRE(frames.size() == expected.size());
  std::set<std::string> kinds;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto& [name, frame] = expected[i];
    CAPTURE(i, name, frame.position.value);
    CHECK(frames[i].file == name);
    CHECK(frames[i].position == frame.position);
    CHECK(frames[i].records == frame.count);
    CHECK(frames[i].base_offset.value == frame.header.base_offset);
    CHECK(frames[i].sequence == frame.header.sequence);
    CHECK(frames[i].epoch.value == frame.header.epoch);
    CHECK(frames[i].header_check == frame.header.check);
    CHECK(frames[i].version == 1);
    const bool sealed = frame.state == detail::FrameState::sealed;
    CHECK(frames[i].state == (sealed ? FrameInfo::State::sealed : FrameInfo::State::open));
    kinds.insert(frames[i].kind);
  }
  CHECK(kinds == std::set<std::string>{"records", "segment begin", "segment end"});
  CHECK(copy_files(*storage) == files);
}

TEST_CASE("inspect: dumping shows damaged frames as such, and stops when told", "[inspect]") {
  Files files = make_crashed_log({.durable = end, .per_flush = 10}).files;
  auto& bytes = files.at(detail::segment_name({0}));
  const auto found = frames_of(bytes);
  flip_bit(bytes, (found[3].position.value + 60) * 8);
  const auto storage = memory_with(files);
  const auto frames = dump_all(*storage);
  REQUIRE(frames.size() > 4);
  CHECK(frames[3].state == FrameInfo::State::damaged);
  CHECK(!frames[3].what.empty());
  CHECK(frames[3].base_offset.value == found[3].header.base_offset);
  CHECK(frames[4].state == FrameInfo::State::sealed);
  for (const std::size_t stop :
       {std::size_t{1}, std::size_t{4}, frames.size() / 2, frames.size()}) {
    std::size_t visits = 0;
    REQUIRE(dump(*storage, [&](const FrameInfo&) { return ++visits < stop; }));
    CHECK(visits == stop);
  }
}

}  // namespace
}  // namespace varve
