#include "varve/detail/segment.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/detail/segment_writer.hpp"
#include "varve/memory_storage.hpp"

namespace varve {
namespace {

using namespace detail;
using test::Batch;
using test::BufferSource;
using test::known_record;

constexpr LogId log_id{0xAAAA, 0xBBBB};
constexpr std::int64_t time_ms = 1'700'000'000'000;

SegmentHeader make_header() { return {log_id, 12, 0x5A17, time_ms, segment_bytes_min}; }

std::vector<std::byte> make_block() {
  std::vector<std::byte> block(segment_header_bytes);
  store_segment_header(block.data(), make_header());
  return block;
}

// ---- the header block --------------------------------------------------------------------------

TEST_CASE("segment: its header block comes back as it was", "[segment]") {
  const auto header = parse_segment_header(make_block(), "a.log");
  REQUIRE(header);
  CHECK(header->log == log_id);
  CHECK(header->id == 12);
  CHECK(header->salt == 0x5A17);
  CHECK(header->created_ms == time_ms);
  CHECK(header->capacity == segment_bytes_min);
}

TEST_CASE("segment: any flipped bit of the header block is seen", "[segment]") {
  auto block = make_block();
  for (std::uint64_t bit = 0; bit < block.size() * 8; bit += bit < 1024 || bit > 32'600 ? 1 : 61) {
    test::flip_bit(block, bit);
    const auto header = parse_segment_header(block, "a.log");
    test::flip_bit(block, bit);
    CAPTURE(bit);
    REQUIRE(!header);
    CHECK((header.error() == Errc::corrupt || header.error() == Errc::unsupported_format));
    CHECK(header.error().context().find("a.log") != std::string::npos);
  }
}

TEST_CASE("segment: a header block cut short is refused", "[segment]") {
  const auto block = make_block();
  for (std::size_t size = 0; size < block.size(); size += 37) {
    const std::vector<std::byte> cut(block.begin(),
                                     block.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(!parse_segment_header(cut, "a.log"));
  }
}

TEST_CASE("segment: a version to come is refused by its number", "[segment]") {
  auto block = make_block();
  store_le(block.data() + 8, std::uint32_t{2});
  const auto header = parse_segment_header(block, "a.log");
  REQUIRE(!header);
  CHECK(header.error() == Errc::unsupported_format);
  CHECK(header.error().context().find("version 2") != std::string::npos);
}

TEST_CASE("segment: a file is opened only as what it is", "[segment]") {
  const auto storage = make_memory_storage();
  test::write_file(*storage, "a.log", make_block());
  const auto open = [&](LogId log, std::optional<std::uint64_t> id) {
    return SegmentFile::open(*storage, "a.log", OpenMode::read, log, id);
  };
  CHECK(open(log_id, std::nullopt));
  CHECK(open(log_id, 12));
  CHECK(open(log_id, 13).error() == Errc::corrupt);
  CHECK(open({1, 2}, 12).error() == Errc::corrupt);
  CHECK(SegmentFile::open(*storage, "b.log", OpenMode::read, log_id, 12).error().code() ==
        std::errc::no_such_file_or_directory);
  test::write_file(*storage, "a.log", {});
  CHECK(open(log_id, 12).error() == Errc::corrupt);
}

// ---- writing and walking -----------------------------------------------------------------------

// A segment with a writer at work on it.
struct Bench {
  std::shared_ptr<StorageBackend> storage = make_memory_storage();
  std::shared_ptr<SegmentWriter> writer;

  Bench() {
    auto prepared = SegmentWriter::prepare(*storage, make_header(), 1024);
    REQUIRE(prepared);
    writer = *prepared;
    writer->begin(fields(100, 40), {5000, 11, 9000}, 0);
    writer->open_frame(fields(), 0);
  }

  FrameFields fields() const { return fields(writer->next_offset(), writer->next_sequence()); }
  static FrameFields fields(std::uint64_t offset, std::uint64_t sequence) {
    return {offset, sequence, time_ms, 2, 0};
  }

  bool append(const test::OwnedRecord& owned) const {
    const Batch lent(owned);
    const RecordSize size = measure(lent.front());
    if (!writer->fits(size.total, 1)) return false;
    if (writer->starts_frame(size.total, 1)) seal();
    writer->reserve(1);
    if (writer->append(lent.records(), {&size, 1}, size.total, time_ms)) seal();
    return true;
  }
  void seal() const {
    writer->seal_frame(0);
    writer->open_frame(fields(), 0);
  }
  void end() const {
    writer->seal_frame(0);
    writer->end(fields(), 0);
  }
  std::vector<std::byte> bytes() const { return test::copy_files(*storage)["spare.log"]; }
};

struct Walked {
  SegmentState state{};
  bool ended = false;
  std::uint64_t records = 0;
  std::string what{};
};

Walked walk(const std::vector<std::byte>& bytes, SegmentState start) {
  BufferSource source(bytes);
  SegmentWalk walk(FrameReader(source, make_header().salt), start);
  Walked walked;
  while (!walk.ended()) {
    const auto frame = walk.read();
    REQUIRE(frame);
    if (frame->state != FrameState::sealed && frame->state != FrameState::open) {
      walked.what = frame->what;
      break;
    }
    const bool empty = frame->state == FrameState::open && frame->count == 0;
    if (empty) break;
    walk.accept(*frame);
    walked.records += frame->count;
  }
  walked.state = walk.state();
  walked.ended = walk.ended();
  return walked;
}

SegmentState start_state() {
  SegmentState start;
  start.next_offset = 100;
  start.next_sequence = 40;
  return start;
}

TEST_CASE("segment: what was appended is walked over, up to its end", "[segment]") {
  const Bench bench;
  std::uint64_t next = 100;
  while (bench.append(known_record(next))) ++next;
  REQUIRE(next > 150);
  const auto open = bench.bytes();
  CHECK(walk(open, start_state()).records == next - 100);
  bench.end();
  const auto bytes = bench.bytes();
  CHECK(bytes.size() == segment_bytes_min);
  const Walked walked = walk(bytes, start_state());
  CHECK(walked.ended);
  CHECK(walked.records == next - 100);
  CHECK(walked.state.next_offset == next);
  CHECK(walked.state.next_sequence == bench.writer->next_sequence());
  CHECK(walked.state.position == bench.writer->position());
  CHECK(walked.state.newest_ms == time_ms);
  CHECK(walked.state.append_time_ms == time_ms);
  const SegmentMeta meta = bench.writer->meta(true);
  CHECK(meta.end_offset == next);
  CHECK(meta.base_offset == 100);
  CHECK(meta.base_position == 5000);
  CHECK(meta.end_position <= segment_bytes_min);
}

TEST_CASE("segment: nothing fits behind its capacity, in whatever sizes it is filled",
          "[segment]") {
  for (const std::size_t size : {1u, 50u, 333u, 1000u, 4000u, 4100u, 8000u, 11'000u}) {
    const Bench bench;
    test::OwnedRecord record;
    record.value = std::string(size, 'x');
    std::uint64_t count = 0;
    while (bench.append(record)) ++count;
    bench.end();
    CAPTURE(size);
    CHECK(count > 0);
    CHECK(bench.writer->position().value <= segment_bytes_min);
    CHECK(walk(bench.bytes(), start_state()).records == count);
  }
}

TEST_CASE("segment: a writer goes on where another one stopped", "[segment]") {
  const Bench bench;
  for (std::uint64_t offset = 100; offset < 120; ++offset)
    REQUIRE(bench.append(known_record(offset)));
  bench.seal();
  const SegmentMeta meta = bench.writer->meta(false);
  const Walked walked = walk(bench.bytes(), start_state());
  auto file = SegmentFile::open(*bench.storage, "spare.log", OpenMode::write, log_id, 12);
  REQUIRE(file);
  Bench again;
  again.storage = bench.storage;
  auto resumed =
      SegmentWriter::resume(*file, meta, walked.state, std::make_shared<GrowingIndex>(1024));
  REQUIRE(resumed);
  again.writer = *resumed;
  REQUIRE(again.writer->make_ready(segment_bytes_min));
  again.writer->open_frame(again.fields(), 0);
  for (std::uint64_t offset = 120; offset < 140; ++offset)
    REQUIRE(again.append(known_record(offset)));
  again.end();
  CHECK(walk(again.bytes(), start_state()).state.next_offset == 140);
}

// A segment of frames written by hand.
struct ByHand {
  std::vector<std::byte> bytes = std::vector<std::byte>(segment_bytes_min);
  StoreWriter writer{bytes.data(), make_header().salt, {segment_header_bytes}};

  void records(std::uint64_t offset, std::uint64_t sequence, std::uint64_t count,
               std::int64_t time = time_ms) {
    writer.open({offset, sequence, time, 2, 0}, 0);
    for (std::uint64_t i = 0; i < count; ++i) {
      const test::OwnedRecord owned = known_record(offset + i);
      const Batch lent(owned);
      writer.add(encode_record(writer.tail(), lent.front(), measure(lent.front()), time, time),
                 true);
    }
    writer.seal(0);
  }
  void control(std::uint64_t offset, std::uint64_t sequence, std::vector<std::uint64_t> words,
               std::uint32_t count = 0) {
    std::vector<std::byte> body(words.size() * 8);
    for (std::size_t i = 0; i < words.size(); ++i) store_le(body.data() + 8 * i, words[i]);
    writer.write({offset, sequence, time_ms, 2, flag_control}, body, count, 0);
  }
};

TEST_CASE("segment: each frame must continue the one before it", "[segment]") {
  const auto what = [](const std::function<void(ByHand&)>& second) {
    ByHand segment;
    segment.records(100, 40, 5);
    second(segment);
    const Walked walked = walk(segment.bytes, start_state());
    CHECK((walked.what.empty() || walked.records == 5));
    return walked.what;
  };
  CHECK(what([](ByHand& s) { s.records(105, 41, 3); }).empty());
  CHECK(what([](ByHand& s) { s.records(105, 41, 3, time_ms + 5); }).empty());
  CHECK(what([](ByHand& s) { s.records(106, 41, 3); }).find("offset") != std::string::npos);
  CHECK(what([](ByHand& s) { s.records(104, 41, 3); }).find("offset") != std::string::npos);
  CHECK(what([](ByHand& s) { s.records(105, 42, 3); }).find("sequence") != std::string::npos);
  CHECK(what([](ByHand& s) { s.records(105, 40, 3); }).find("sequence") != std::string::npos);
  CHECK(what([](ByHand& s) { s.records(105, 41, 3, time_ms - 1); }).find("time") !=
        std::string::npos);
  CHECK(what([](ByHand& s) {
          s.control(105, 41, {2});
          s.records(105, 41, 1);
        }).empty());
  CHECK(what([](ByHand& s) { s.control(105, 41, {9}); }).find("kind") != std::string::npos);
  CHECK(what([](ByHand& s) { s.control(105, 41, {1, 0}); }).find("begin") != std::string::npos);
  CHECK(what([](ByHand& s) { s.control(105, 41, {2}, 1); }).find("records") != std::string::npos);
  CHECK(!what([](ByHand& s) { s.control(105, 41, {}); }).empty());
}

TEST_CASE("segment: a gap says where the log goes on", "[segment]") {
  ByHand segment;
  segment.records(100, 40, 5);
  segment.control(105, 41, {3, 200, 60});
  segment.records(200, 60, 5);
  const Walked walked = walk(segment.bytes, start_state());
  CHECK(walked.what.empty());
  CHECK(walked.records == 10);
  CHECK(walked.state.next_offset == 205);
  CHECK(walked.state.next_sequence == 61);

  ByHand backwards;
  backwards.records(100, 40, 5);
  backwards.control(105, 41, {3, 104, 60});
  CHECK(walk(backwards.bytes, start_state()).what.find("gap") != std::string::npos);
  ByHand far;
  far.records(100, 40, 5);
  far.control(105, 41, {3, offset_max.value + 1, 60});
  CHECK(walk(far.bytes, start_state()).what.find("gap") != std::string::npos);
}

TEST_CASE("segment: offsets never exceed the greatest one", "[segment]") {
  SegmentState start;
  start.next_offset = offset_max.value - 3;
  ByHand fits;
  fits.records(offset_max.value - 3, 0, 3);
  CHECK(walk(fits.bytes, start).state.next_offset == offset_max.value);
  ByHand exceeds;
  exceeds.records(offset_max.value - 3, 0, 4);
  CHECK(walk(exceeds.bytes, start).what.find("offsets") != std::string::npos);
}

TEST_CASE("segment: records that do not fill their frame are damage, check or no check",
          "[segment]") {
  // A body of one whole record and rubbish that the table takes in.
  std::vector<std::byte> body(32);
  store_le(body.data() + 30, std::uint16_t{30});
  ByHand segment;
  segment.writer.write({100, 40, time_ms, 2, 0}, body, 1, 0);
  CHECK(!walk(segment.bytes, start_state()).what.empty());
}

}  // namespace
}  // namespace varve
