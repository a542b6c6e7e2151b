#include "varve/detail/store.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/memory_storage.hpp"

namespace varve {
namespace {

using namespace detail;
using test::Batch;
using test::BufferSource;
using test::known_record;
using test::OwnedRecord;
using test::Random;
using test::same;

constexpr std::uint64_t salt = 0x5A17;
constexpr std::int64_t time_ms = 1'700'000'000'000;

// A file's bytes in memory with a writer at work on them.
class Bench {
 public:
  explicit Bench(std::size_t size = 32u << 10)
      : bytes_(size), writer_(bytes_.data(), salt, {segment_header_bytes}) {}

  std::vector<std::byte>& bytes() { return bytes_; }
  StoreWriter& writer() { return writer_; }
  std::uint64_t next_offset() const { return next_offset_; }

  void open(std::uint32_t sync_lag = sync_lag_unknown) {
    writer_.open({next_offset_, sequence_, time_ms, 3, 0}, sync_lag);
  }
  void add(const OwnedRecord& owned) {
    const Batch lent(owned);
    const RecordSize size = measure(lent.front());
    writer_.reserve(1);
    writer_.add(encode_record(writer_.tail(), lent.front(), size, time_ms, time_ms), true);
    ++next_offset_;
  }
  void add_published(const OwnedRecord& owned) {
    add(owned);
    writer_.publish();
  }
  void seal(std::uint32_t sync_lag = sync_lag_unknown) {
    writer_.seal(sync_lag);
    ++sequence_;
  }
  // A whole sealed frame of known records.
  Position add_frame(std::uint64_t count, std::uint32_t sync_lag = sync_lag_unknown) {
    const Position at = writer_.position();
    open();
    for (std::uint64_t i = 0; i < count; ++i) add_published(known_record(next_offset_));
    seal(sync_lag);
    return at;
  }

 private:
  std::vector<std::byte> bytes_;
  StoreWriter writer_;
  std::uint64_t next_offset_ = 0;
  std::uint64_t sequence_ = 0;
};

Frame read_frame(const std::vector<std::byte>& bytes, Position at, std::uint64_t with_salt = salt) {
  BufferSource source(bytes);
  const auto frame = FrameReader(source, with_salt).read(at);
  REQUIRE(frame);
  return *frame;
}

bool is_good(const Frame& frame) {
  return frame.state == FrameState::sealed || frame.state == FrameState::open;
}

// Whether a frame holds exactly the known records [first, first + count).
bool holds(const Frame& frame, std::uint64_t first, std::uint64_t count) {
  if (!is_good(frame) || frame.count != count || frame.header.base_offset != first) return false;
  Bytes records = frame.body;
  if (frame.state == FrameState::sealed) {
    const auto body = Body::parse(frame.body, frame.count);
    if (!body) return false;
    records = body->records();
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    RecordView view;
    if (!decode_record(records, frame.header.append_time_ms, view)) return false;
    if (!same(known_record(first + i), view)) return false;
  }
  return records.empty();
}

TEST_CASE("store: sealed frames are read back where they were put", "[store]") {
  Bench bench;
  std::vector<Position> at;
  for (const std::uint64_t count : {1u, 2u, 8u, 20u, 3u}) at.push_back(bench.add_frame(count, 7));
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    const Frame frame = read_frame(bench.bytes(), at[i]);
    CHECK(frame.state == FrameState::sealed);
    CHECK(frame.header.sequence == i);
    CHECK(frame.header.epoch == 3);
    CHECK(frame.header.sync_lag == 7);
    CHECK(frame.header.append_time_ms == time_ms);
    CHECK(holds(frame, offset, frame.count));
    CHECK(frame.end() == (i + 1 < at.size() ? at[i + 1] : bench.writer().position()));
    CHECK(frame.end().value % frame_alignment == 0);
    offset += frame.count;
  }
  CHECK(read_frame(bench.bytes(), bench.writer().position()).state == FrameState::blank);
}

TEST_CASE("store: an open frame can be read after each record that is published", "[store]") {
  Bench bench;
  const Position at = bench.writer().position();
  bench.open(5);
  CHECK(holds(read_frame(bench.bytes(), at), 0, 0));
  for (std::uint64_t i = 0; i < 30; ++i) {
    bench.add(known_record(i));
    CHECK(holds(read_frame(bench.bytes(), at), 0, i));  // nobody sees it yet
    bench.writer().publish();
    const Frame frame = read_frame(bench.bytes(), at);
    CHECK(frame.state == FrameState::open);
    CHECK(holds(frame, 0, i + 1));
  }
  bench.seal();
  CHECK(read_frame(bench.bytes(), at).state == FrameState::sealed);
  CHECK(holds(read_frame(bench.bytes(), at), 0, 30));
}

TEST_CASE("store: a batch is published as a whole", "[store]") {
  Bench bench;
  const Position at = bench.writer().position();
  bench.open();
  bench.add_published(known_record(0));
  for (std::uint64_t i = 1; i < 5; ++i) {
    bench.add(known_record(i));
    CHECK(holds(read_frame(bench.bytes(), at), 0, 1));
  }
  bench.writer().publish();
  CHECK(holds(read_frame(bench.bytes(), at), 0, 5));
}

TEST_CASE("store: a writer says beforehand where its frame will end", "[store]") {
  Bench bench(256u << 10);
  CHECK(bench.writer().end_if_sealed() == bench.writer().position());
  bench.open();
  CHECK(bench.writer().end_if_sealed() == bench.writer().position());
  for (std::uint64_t i = 0; i < 1200; ++i) bench.add_published(known_record(i));  // a wide table
  const Position end = bench.writer().end_if_sealed();
  CHECK(end == bench.writer().end_with(0, 0));
  const Position at = bench.writer().position();
  bench.seal();
  CHECK(bench.writer().position() == end);
  const Frame frame = read_frame(bench.bytes(), at);
  CHECK(frame.header.body_bytes > 0xFFFF);
  CHECK(holds(frame, 0, 1200));
}

// The bytes in between `before` and `after`, store by store as sealing makes them.
std::vector<std::vector<std::byte>> stages_of_sealing(const std::vector<std::byte>& before,
                                                      const std::vector<std::byte>& after,
                                                      std::uint64_t at) {
  std::vector<std::vector<std::byte>> stages{before};
  std::vector<std::byte> now = before;
  for (std::size_t i = static_cast<std::size_t>(at) + frame_header_bytes; i < after.size(); ++i) {
    if (now[i] == after[i]) continue;
    now[i] = after[i];  // the table, byte by byte
    stages.push_back(now);
  }
  for (int word = 6; word >= 0; --word) {
    const auto from = static_cast<std::size_t>(at) + 8 * static_cast<std::size_t>(word);
    std::copy_n(after.begin() + static_cast<std::ptrdiff_t>(from), 8,
                now.begin() + static_cast<std::ptrdiff_t>(from));
    stages.push_back(now);
  }
  REQUIRE(now == after);
  return stages;
}

TEST_CASE("store: a frame caught between any two stores of sealing keeps its records", "[store]") {
  for (const std::uint64_t count : {1u, 2u, 7u, 40u}) {
    for (const std::uint32_t lag : {0u, 9u, sync_lag_unknown}) {
      CAPTURE(count, lag);
      Bench bench;
      bench.add_frame(2);
      const std::uint64_t first = bench.next_offset();
      const Position at = bench.writer().position();
      bench.open(4);
      for (std::uint64_t i = 0; i < count; ++i) bench.add_published(known_record(first + i));
      const auto before = bench.bytes();
      bench.seal(lag);
      const auto stages = stages_of_sealing(before, bench.bytes(), at.value);
      for (std::size_t stage = 0; stage < stages.size(); ++stage) {
        CAPTURE(stage, stages.size());
        REQUIRE(holds(read_frame(stages[stage], at), first, count));
      }
      // And then the next frame is opened behind it.
      const auto sealed = bench.bytes();
      const Position next = bench.writer().position();
      bench.open(1);
      for (const auto& bytes : stages_of_sealing(sealed, bench.bytes(), next.value)) {
        REQUIRE(holds(read_frame(bytes, at), first, count));
        const Frame behind = read_frame(bytes, next);
        REQUIRE((!is_good(behind) || behind.count == 0));
      }
    }
  }
}

TEST_CASE("store: a flipped bit in a sealed frame is always seen", "[store]") {
  Bench bench;
  bench.add_frame(1);
  const Position at = bench.add_frame(9, 12);
  bench.add_frame(1);
  const Frame intact = read_frame(bench.bytes(), at);
  auto bytes = bench.bytes();
  const std::uint64_t end = at.value + frame_header_bytes + intact.header.body_bytes;
  for (std::uint64_t bit = at.value * 8; bit < end * 8; ++bit) {
    test::flip_bit(bytes, bit);
    const Frame frame = read_frame(bytes, at);
    CAPTURE(bit);
    REQUIRE(frame.state == FrameState::bad);
    REQUIRE(frame.what[0] != '\0');
    // The header alone tells which offsets a damaged body loses.
    REQUIRE(frame.header_valid == (bit / 8 >= at.value + frame_header_bytes));
    test::flip_bit(bytes, bit);
  }
  for (std::uint64_t bit = end * 8; bit < intact.end().value * 8; ++bit) {  // padding
    test::flip_bit(bytes, bit);
    CHECK(holds(read_frame(bytes, at), 1, 9));
    test::flip_bit(bytes, bit);
  }
}

TEST_CASE("store: a flipped bit in an open frame is seen or does not matter", "[store]") {
  Bench bench;
  bench.add_frame(1);
  const Position at = bench.writer().position();
  bench.open(4);
  for (std::uint64_t i = 0; i < 9; ++i) bench.add_published(known_record(1 + i));
  const std::uint64_t end = at.value + frame_header_bytes + bench.writer().open_bytes();
  auto bytes = bench.bytes();
  for (std::uint64_t bit = at.value * 8; bit < end * 8; ++bit) {
    test::flip_bit(bytes, bit);
    const Frame frame = read_frame(bytes, at);
    CAPTURE(bit);
    const std::uint64_t byte = bit / 8 - at.value;
    // The sync lag's place is not used yet, the durability word has a check of its own.
    const bool does_not_matter = (byte >= 40 && byte < 44) || (byte >= 48 && byte < 56);
    if (does_not_matter)
      REQUIRE(holds(frame, 1, 9));
    else
      REQUIRE(!is_good(frame));
    test::flip_bit(bytes, bit);
  }
}

TEST_CASE("store: a frame that the file cuts short is none", "[store]") {
  Bench bench;
  const Position sealed = bench.add_frame(9);
  const Position open = bench.writer().position();
  bench.open();
  for (std::uint64_t i = 0; i < 5; ++i) bench.add_published(known_record(9 + i));
  const std::uint64_t end = open.value + frame_header_bytes + bench.writer().open_bytes();
  for (std::uint64_t size = sealed.value; size < end; ++size) {
    const std::vector<std::byte> cut(bench.bytes().begin(),
                                     bench.bytes().begin() + static_cast<std::ptrdiff_t>(size));
    CAPTURE(size);
    const Frame first = read_frame(cut, sealed);
    const std::uint64_t first_end = sealed.value + frame_header_bytes + first.header.body_bytes;
    CHECK(is_good(first) == (size - sealed.value >= frame_header_bytes && size >= first_end));
    CHECK(!is_good(read_frame(cut, open)));
  }
}

TEST_CASE("store: stale, shifted and foreign bytes never validate", "[store]") {
  Bench bench;
  const Position sealed = bench.add_frame(9);
  const Position open = bench.writer().position();
  bench.open(0);
  for (std::uint64_t i = 0; i < 5; ++i) bench.add_published(known_record(9 + i));
  CHECK(!is_good(read_frame(bench.bytes(), sealed, salt + 1)));
  CHECK(!is_good(read_frame(bench.bytes(), open, salt + 1)));
  for (const std::uint64_t shift : {8u, 16u, 512u, 4096u}) {
    std::vector<std::byte> shifted(static_cast<std::size_t>(shift));
    shifted.insert(shifted.end(), bench.bytes().begin(), bench.bytes().end());
    CAPTURE(shift);
    CHECK(!is_good(read_frame(shifted, sealed + shift)));
    CHECK(!is_good(read_frame(shifted, open + shift)));
    // Not even a salt that is off by as much makes up for it in both.
    BufferSource source(shifted);
    const auto found = FrameReader(source, salt).probe({0}, {shifted.size()});
    REQUIRE(found);
    CHECK(!*found);
  }
}

TEST_CASE("store: probing finds the next frame behind anything", "[store]") {
  Bench bench;
  const Position first = bench.add_frame(4);
  const Position second = bench.add_frame(4);
  const Position third = bench.writer().position();
  bench.open();
  bench.add_published(known_record(8));
  auto bytes = bench.bytes();
  test::scribble(bytes, first.value, second.value, 99);
  BufferSource source(bytes);
  const FrameReader frames(source, salt);
  const Position limit{bytes.size()};
  const auto probe = [&](Position from, Position until) {
    const auto found = frames.probe(from, until);
    REQUIRE(found);
    return found->has_value() ? std::optional((*found)->position) : std::nullopt;
  };
  CHECK(probe({0}, limit) == second);
  CHECK(probe(first + 1, limit) == second);
  CHECK(probe(second, limit) == second);
  CHECK(probe(second + 1, limit) == third);
  CHECK(probe(third, limit) == third);
  CHECK(!probe(third + 1, limit));
  CHECK(!probe({0}, second + 55));  // its header is not whole before the limit
  CHECK(probe({0}, second + 56) == second);
  CHECK(!probe({0}, {0}));
  // A frame whose body is damaged is found by its header.
  test::flip_bit(bytes, (second.value + frame_header_bytes) * 8);
  CHECK(probe({0}, limit) == second);
}

TEST_CASE("store: probing crosses the windows of large files", "[store]") {
  const std::size_t size = (2u << 20) + 4096;
  for (const std::uint64_t at :
       {(256u << 10) - 56u, (256u << 10) - 48u, (256u << 10) - 8u, 256u << 10, (1u << 20) - 8u,
        (1u << 20) + 8u, (2u << 20) + 4000u}) {
    std::vector<std::byte> bytes(size);
    test::scribble(bytes, 0, size, at);
    test::blank(bytes, at, at + 96);
    StoreWriter writer(bytes.data(), salt, {at});
    writer.write({5, 6, time_ms, 1, 0}, varve::bytes("12345678"), 0, 0);
    const auto storage = make_memory_storage();
    test::write_file(*storage, "a", bytes);
    const auto file = storage->open("a", OpenMode::read);
    REQUIRE(file);
    MediumSource medium(**file, size);
    const auto found = FrameReader(medium, salt).probe({8}, {size});
    REQUIRE(found);
    REQUIRE(*found);
    CAPTURE(at);
    CHECK((*found)->position.value == at);
    CHECK((*found)->state == FrameState::sealed);
  }
}

// A mapping that notes which bytes it was asked to populate.
class NotingMapping final : public StorageMapping {
 public:
  explicit NotingMapping(std::size_t size) : bytes_(size) {}
  std::byte* data() noexcept override { return bytes_.data(); }
  std::size_t size() const noexcept override { return bytes_.size(); }
  bool faulted() const noexcept override { return false; }
  Result<void> populate(Position begin, Position end) override {
    if (failing) return Error(std::make_error_code(std::errc::io_error));
    asked.push_back({begin.value, end.value});
    return {};
  }

  std::vector<std::pair<std::uint64_t, std::uint64_t>> asked{};
  bool failing = false;

 private:
  std::vector<std::byte> bytes_;
};

TEST_CASE("store: mapped bytes are populated once, more at once for whoever walks", "[store]") {
  using Asked = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
  constexpr std::uint64_t block = PopulatedBlocks::block_bytes;
  constexpr std::uint64_t size = (4u << 20) + 100;
  NotingMapping mapping(size);
  PopulatedBlocks populated(size);
  {
    MappedSource seeking(mapping, {size}, &populated, "a");
    REQUIRE(seeking.at({3 * block + 5}, 4096));
    CHECK(mapping.asked == Asked{{3 * block, 4 * block}});
    REQUIRE(seeking.at({10 * block - 8}, 16));  // across a border
    CHECK(mapping.asked.back() == std::pair{9 * block, 11 * block});
  }
  mapping.asked.clear();
  MappedSource walking(mapping, {size}, &populated, "a");
  for (std::uint64_t at = 0; at < size; at += 4096) REQUIRE(walking.at({at}, 4096));
  CHECK(mapping.asked.size() < 12);
  std::uint64_t sum = 0;
  for (const auto& [begin, end] : mapping.asked) sum += end - begin;
  CHECK(sum == size - 3 * block);  // all but what was populated before
  mapping.asked.clear();
  mapping.failing = true;
  MappedSource again(mapping, {size}, &populated, "a");
  for (std::uint64_t at = 0; at + 4096 < size; at += 4096) REQUIRE(again.at({at}, 4096));
  CHECK(!again.at({size - 50}, 50));  // a block that is not whole is never taken for granted
}

TEST_CASE("store: a frame tells up to where the log was durable", "[store]") {
  CHECK(!durable_proof(sync_lag_unknown, {8192}));
  CHECK(durable_proof(0, {8192}) == 8192);
  CHECK(durable_proof(10, {8192}) == 8112);
  CHECK(durable_proof(2000, {8192}) == -7808);  // in a segment before this one
}

TEST_CASE("store: a durability word proves nothing elsewhere or when damaged", "[store]") {
  const Position at{4096};
  const std::uint64_t word = durability_word(10, salt, at);
  CHECK(durable_proof_of_open(word, salt, at) == 4016);
  CHECK(!durable_proof_of_open(word, salt, at + 8));
  CHECK(!durable_proof_of_open(word, salt + 1, at));
  CHECK(!durable_proof_of_open(0, salt, at));
  CHECK(!durable_proof_of_open(durability_word(sync_lag_unknown, salt, at), salt, at));
  for (int bit = 0; bit < 64; ++bit)
    CHECK(!durable_proof_of_open(word ^ std::uint64_t{1} << bit, salt, at));
}

TEST_CASE("store: certifying an open frame changes nothing else of it", "[store]") {
  Bench bench;
  bench.add_frame(3);
  const Position at = bench.writer().position();
  bench.open(sync_lag_unknown);
  for (std::uint64_t i = 0; i < 3; ++i) {
    bench.add_published(known_record(3 + i));
    bench.writer().certify(static_cast<std::uint32_t>(i));
    const Frame frame = read_frame(bench.bytes(), at);
    CHECK(holds(frame, 3, i + 1));
    CHECK(durable_proof_of_open(frame.header.body_check, salt, at) ==
          static_cast<std::int64_t>(at.value - 8 * i));
  }
}

TEST_CASE("store: frames of unknown versions and kinds are refused by name", "[store]") {
  // Made by hand: a valid check over a version or a flag to come.
  const auto make = [](std::uint16_t magic, std::uint8_t version, std::uint8_t flags) {
    std::vector<std::byte> bytes(8192);
    FrameHeader header;
    header.magic = magic;
    header.version = version;
    header.flags = flags;
    header.body_check = checksum({});
    const Position at{segment_header_bytes};
    header.check = low32(magic == frame_magic_open ? open_header_hash(header, salt, at)
                                                   : header_hash(header, salt, at));
    if (magic == frame_magic_open) header.count = high32(open_header_hash(header, salt, at));
    store_header_words(bytes.data() + at.value, header);
    return bytes;
  };
  for (const std::uint16_t magic : {frame_magic_sealed, frame_magic_open}) {
    CAPTURE(magic);
    const auto read = [&](std::uint8_t version, std::uint8_t flags) {
      const auto bytes = make(magic, version, flags);
      BufferSource source(bytes);
      return FrameReader(source, salt).read({segment_header_bytes});
    };
    CHECK(read(1, 0));
    CHECK(read(1, flag_compressed));
    for (const auto& refused :
         {read(2, 0), read(1, flag_kafka), read(1, flag_compressed | flag_control),
          read(1, flag_compressed | flag_transactional), read(1, 128)}) {
      REQUIRE(!refused);
      CHECK(refused.error() == Errc::unsupported_format);
    }
  }
}

TEST_CASE("store: whatever stands in a file, reading it is safe", "[store]") {
  const std::uint64_t seed = 4242;
  CAPTURE(seed);
  Random numbers(seed);
  Bench bench(16u << 10);
  for (const std::uint64_t count : {3u, 1u, 9u, 12u}) bench.add_frame(count, 3);
  bench.open(2);
  for (std::uint64_t i = 0; i < 4; ++i) bench.add_published(known_record(bench.next_offset()));
  for (int round = 0; round < 2000; ++round) {
    const auto size = static_cast<std::ptrdiff_t>(bench.bytes().size() - numbers.below(9000));
    std::vector<std::byte> bytes(bench.bytes().begin(), bench.bytes().begin() + size);
    for (std::uint64_t edits = 1 + numbers.below(6); edits > 0; --edits) {
      const std::uint64_t at = segment_header_bytes + numbers.below(3000);
      test::scribble(bytes, at, at + 1 + numbers.below(40), numbers.bits());
    }
    BufferSource source(bytes);
    const FrameReader frames(source, salt);
    for (Position at{segment_header_bytes}; at.value < bytes.size();) {
      const auto found = frames.probe(at, {bytes.size()});
      REQUIRE(found);
      if (!*found) break;
      REQUIRE((*found)->position >= at);
      at = (*found)->position + frame_alignment;
    }
  }
}

// ---- sources -----------------------------------------------------------------------------------

TEST_CASE("store: the medium is read in windows, whatever the order", "[store]") {
  const std::size_t size = (3u << 20) + 1234;
  std::vector<std::byte> bytes(size);
  test::scribble(bytes, 0, size, 1);
  const auto storage = make_memory_storage();
  test::write_file(*storage, "a", bytes);
  const auto file = storage->open("a", OpenMode::read);
  REQUIRE(file);
  MediumSource medium(**file, size);
  Random numbers(2);
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t at = numbers.below(size + 100);
    const std::uint64_t wanted = 1 + numbers.below(i % 10 == 0 ? 2u << 20 : 5000);
    const auto got = medium.at({at}, wanted);
    REQUIRE(got);
    const std::uint64_t there = at < size ? std::min<std::uint64_t>(wanted, size - at) : 0;
    REQUIRE(got->size() >= there);
    REQUIRE(std::memcmp(got->data(), bytes.data() + (at < size ? at : 0),
                        static_cast<std::size_t>(there)) == 0);
  }
}

TEST_CASE("store: a file that became shorter than it was is an I/O error", "[store]") {
  const auto storage = make_memory_storage();
  test::write_file(*storage, "a", std::vector<std::byte>(5000));
  const auto file = storage->open("a", OpenMode::read);
  REQUIRE(file);
  MediumSource medium(**file, 10'000);
  const auto got = medium.at({4096}, 3000);
  REQUIRE(!got);
  CHECK(got.error().code() == std::errc::io_error);
}

}  // namespace
}  // namespace varve
