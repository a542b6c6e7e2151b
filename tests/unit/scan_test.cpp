#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../../src/segment_scan.hpp"
#include "support/catch.hpp"
#include "support/log_files.hpp"

namespace varve {
namespace {

using namespace detail;
using test::BufferSource;
using test::FoundFrame;
using test::frames_of;
using test::Random;

// The active segment of a log whose process was killed.
struct Bench {
  std::vector<std::byte> bytes;
  std::vector<FoundFrame> frames;
  std::shared_ptr<SegmentFile> file = std::make_shared<SegmentFile>();

  explicit Bench(const test::LogPlan& plan = {.durable = 40, .more = 5, .tick = false}) {
    const auto log = test::make_crashed_log(plan);
    bytes = log.files.at(segment_name({0}));
    frames = frames_of(bytes);
    file->name = "a.log";
    file->header = test::header_of(bytes);
  }

  SegmentScan scan(const ScanOptions& options = {}) const {
    BufferSource source(bytes);
    auto scanned = scan_segment(source, *file, bytes.size(), {}, options);
    REQUIRE(scanned);
    return *std::move(scanned);
  }
};

TEST_CASE("scan: an intact segment is one run of frames and a blank tail", "[scan]") {
  const Bench bench;
  const SegmentScan scan = bench.scan();
  CHECK(scan.frames == bench.frames.size());
  CHECK(scan.records == 45);
  CHECK(scan.open_frame);
  CHECK(scan.before_open.next_offset == 40);
  CHECK(scan.end.next_offset == 45);
  CHECK(scan.end.position == bench.frames.back().end);
  REQUIRE(scan.begin);
  CHECK(scan.begin->predecessor_id == 0);
  CHECK(!scan.torn());
  CHECK(scan.broken.empty());
  CHECK(scan.what.empty());
  REQUIRE(scan.proof);
  CHECK(*scan.proof == static_cast<std::int64_t>(bench.frames.back().position.value));
}

TEST_CASE("scan: rubbish behind the end is counted and proves nothing", "[scan]") {
  Bench bench;
  const SegmentScan intact = bench.scan();
  test::scribble(bench.bytes, intact.end.position.value + 100, intact.end.position.value + 900, 5);
  const SegmentScan scan = bench.scan();
  CHECK(scan.end.position == intact.end.position);
  CHECK(scan.records == 45);
  CHECK(scan.torn());
  CHECK(scan.bytes_behind == 900);
  CHECK(scan.frames_behind == 0);
  CHECK(scan.broken.empty());
  CHECK(scan.proof == intact.proof);
}

TEST_CASE("scan: what stands behind a hole is found, with the offsets missing there", "[scan]") {
  Bench bench;
  const FoundFrame& lost = bench.frames[3];
  test::blank(bench.bytes, lost.position.value, lost.end.value);
  const SegmentScan scan = bench.scan();
  CHECK(scan.frames == 3);
  CHECK(scan.end.position == lost.position);
  CHECK(scan.end.next_offset == lost.header.base_offset);
  REQUIRE(scan.broken.size() == 1);
  CHECK(scan.broken[0].file == "a.log");
  CHECK(scan.broken[0].begin == lost.position);
  CHECK(scan.broken[0].end == lost.end);
  CHECK(scan.broken[0].offsets == lost.offsets());
  CHECK(scan.records + lost.count + scan.records_behind == 45);
  CHECK(scan.frames + 1 + scan.frames_behind == bench.frames.size());
  CHECK(scan.far_end.next_offset == 45);
  CHECK(scan.first_base_behind == lost.offsets().end.value);
  CHECK(*scan.proof > static_cast<std::int64_t>(lost.position.value));
}

TEST_CASE("scan: a frame with a damaged body is named by its header", "[scan]") {
  Bench bench;
  const FoundFrame& lost = bench.frames[2];
  test::flip_bit(bench.bytes, (lost.position.value + frame_header_bytes + 3) * 8);
  const SegmentScan scan = bench.scan();
  REQUIRE(scan.broken.size() == 1);
  CHECK(scan.broken[0].begin == lost.position);
  CHECK(scan.broken[0].end == lost.end);
  CHECK(scan.broken[0].offsets == lost.offsets());
  CHECK(scan.broken[0].what.find("body") != std::string::npos);
  CHECK(scan.frames + scan.frames_behind + 1 == bench.frames.size());
}

TEST_CASE("scan: several damaged places are told one by one", "[scan]") {
  Bench bench;
  REQUIRE(bench.frames.size() >= 8);
  test::blank(bench.bytes, bench.frames[2].position.value, bench.frames[2].end.value);
  test::flip_bit(bench.bytes, (bench.frames[4].position.value + 60) * 8);
  test::flip_bit(bench.bytes, bench.frames[6].position.value * 8);
  const SegmentScan scan = bench.scan();
  REQUIRE(scan.broken.size() == 3);
  for (const std::size_t i : {0u, 1u, 2u}) {
    CAPTURE(i);
    CHECK(scan.broken[i].offsets == bench.frames[2 + 2 * i].offsets());
    CHECK(scan.broken[i].begin == bench.frames[2 + 2 * i].position);
  }
  CHECK(scan.frames + scan.frames_behind + 3 == bench.frames.size());
}

TEST_CASE("scan: neighbouring damaged frames with intact headers are each told", "[scan]") {
  Bench bench;
  for (const std::size_t i : {3u, 4u})
    test::flip_bit(bench.bytes, (bench.frames[i].position.value + frame_header_bytes) * 8);
  const SegmentScan scan = bench.scan();
  REQUIRE(scan.broken.size() == 2);
  CHECK(scan.broken[0].offsets == bench.frames[3].offsets());
  CHECK(scan.broken[1].offsets == bench.frames[4].offsets());
  CHECK(scan.frames + scan.frames_behind + 2 == bench.frames.size());
}

TEST_CASE("scan: nothing behind the place to stop at counts", "[scan]") {
  Bench bench;
  const FoundFrame& last = bench.frames[4];
  ScanOptions options;
  options.stop = last.end.value;
  const SegmentScan scan = bench.scan(options);
  CHECK(scan.frames == 5);
  CHECK(scan.end.position == last.end);
  CHECK(!scan.torn());
}

TEST_CASE("scan: a start that cannot be trusted is taken from the frames", "[scan]") {
  const Bench bench;
  ScanOptions options;
  options.trust_start = false;
  const SegmentScan scan = bench.scan(options);
  CHECK(scan.frames == 0);
  CHECK(scan.frames_behind == bench.frames.size());
  CHECK(scan.records_behind == 45);
  CHECK(scan.first_base_behind == 0u);
  CHECK(scan.proof);
  // Where the segment belongs is what its first frame says, whoever trusts it.
  REQUIRE(scan.begin);
  CHECK(scan.begin->base_position == 0);
}

TEST_CASE("scan: a visitor sees every frame and may stop it", "[scan]") {
  Bench bench;
  test::flip_bit(bench.bytes, (bench.frames[2].position.value + frame_header_bytes) * 8);
  std::vector<std::uint64_t> seen;
  std::uint64_t bad = 0;
  ScanOptions options;
  options.visit = [&](const Frame& frame) {
    seen.push_back(frame.position.value);
    if (frame.state == FrameState::bad) ++bad;
    return true;
  };
  bench.scan(options);
  REQUIRE(seen.size() == bench.frames.size());
  for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == bench.frames[i].position.value);
  CHECK(bad == 1);

  for (std::size_t stop = 1; stop <= bench.frames.size(); ++stop) {
    std::size_t visits = 0;
    options.visit = [&](const Frame&) { return ++visits < stop; };
    bench.scan(options);
    CHECK(visits == stop);
  }
}

TEST_CASE("scan: the index it fills leads to frames", "[scan]") {
  const Bench bench({.durable = 120, .tick = false});
  GrowingIndex index(1024);
  ScanOptions options;
  options.index = &index;
  bench.scan(options);
  REQUIRE(index.size() >= 3);
  for (std::size_t i = 0; i < index.size(); ++i) {
    const IndexEntry entry = index(i);
    bool found = false;
    for (const FoundFrame& frame : bench.frames)
      if (frame.position.value == entry.position) found = frame.header.base_offset == entry.offset;
    CHECK(found);
  }
}

TEST_CASE("scan: it ends whatever it is given, and only vouches for what is intact", "[scan]") {
  const std::uint64_t seed = 31'337;
  CAPTURE(seed);
  Random numbers(seed);
  const Bench intact;
  for (int round = 0; round < 1500; ++round) {
    Bench bench = intact;
    for (std::uint64_t edits = 1 + numbers.below(5); edits > 0; --edits) {
      const std::uint64_t at =
          segment_header_bytes + numbers.below(intact.frames.back().end.value - 4000);
      switch (numbers.below(3)) {
        case 0:
          test::scribble(bench.bytes, at, at + 1 + numbers.below(300), numbers.bits());
          break;
        case 1:
          test::blank(bench.bytes, at / 512 * 512, at / 512 * 512 + 512);
          break;
        default: {  // a piece of it somewhere else
          const auto from =
              static_cast<std::ptrdiff_t>(segment_header_bytes + 8 * numbers.below(200));
          std::copy_n(intact.bytes.begin() + from, 400,
                      bench.bytes.begin() + static_cast<std::ptrdiff_t>(at / 8 * 8));
        }
      }
    }
    ScanOptions options;
    options.trust_start = numbers.below(4) != 0;
    std::uint64_t strangers = 0;
    options.visit = [&](const Frame& frame) {
      if (frame.state == FrameState::bad) return true;
      bool known = frame.count == 0;
      for (const FoundFrame& one : intact.frames)
        known = known || (one.position == frame.position && one.count == frame.count &&
                          one.header.base_offset == frame.header.base_offset);
      if (!known) ++strangers;
      return true;
    };
    const SegmentScan scan = bench.scan(options);
    CAPTURE(round);
    REQUIRE(strangers == 0);
    REQUIRE(scan.records + scan.records_behind <= 45);
  }
}

// Bytes that a writer goes on with between two looks at them.
class GrowingSource final : public ByteSource {
 public:
  GrowingSource(Bytes before, Bytes after, int looks_before)
      : before_(before), after_(after), left_(looks_before) {}

  Result<Bytes> at(Position position, std::uint64_t) override {
    return (left_-- > 0 ? before_ : after_).subspan(static_cast<std::size_t>(position.value));
  }
  bool grew() const noexcept { return left_ < 0; }

 private:
  Bytes before_;
  Bytes after_;
  int left_;
};

TEST_CASE("scan: beside a writer nothing looks torn, whenever it goes on", "[scan]") {
  const auto storage = make_memory_storage();
  Log log = test::open_log(storage, test::small_options());
  test::append_known(log, 20, Ack::disk, 3);
  test::append_known(log, 24, Ack::os);
  const auto before = test::copy_files(*storage).at(segment_name({0}));
  const bool rolls = GENERATE(false, true);
  if (rolls)
    while (log.segments().size() < 2) test::append_known(log, log.end_offset().value + 1, Ack::os);
  else
    test::append_known(log, 90, Ack::os);
  const auto after = test::copy_files(*storage).at(segment_name({0}));
  SegmentFile file;
  file.name = "a.log";
  file.header = test::header_of(before);
  ScanOptions options;
  options.live = true;
  for (int looks = 0;; ++looks) {
    CAPTURE(looks, rolls);
    GrowingSource source(before, after, looks);
    const auto scan = scan_segment(source, file, before.size(), {}, options);
    REQUIRE(scan);
    CHECK(scan->broken.empty());
    CHECK(!scan->torn());
    CHECK(scan->ended == scan->far_ended);
    CHECK(scan->end.position == scan->far_end.position);
    if (!source.grew()) {
      CHECK(scan->end.next_offset == 24);
      break;
    }
  }
}

}  // namespace
}  // namespace varve
