// What a log does with a codec, whichever it is.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/log_files.hpp"
#include "support/run_codec.hpp"
#include "support/temp_dir.hpp"
#include "varve/inspect.hpp"
#include "varve/salvage.hpp"
#include "varve/subscription.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

Options compressed_log(Options options = small_options()) {
  options.compression.codec = run_codec();
  return options;
}

Options reading_log(Options options = small_options()) {
  options.codecs = {run_codec()};
  return options;
}

std::vector<OwnedRecord> plain_records(std::size_t count, std::size_t bytes = 300) {
  std::vector<OwnedRecord> records(count);
  for (std::size_t i = 0; i < count; ++i)
    records[i].value = std::string(bytes, static_cast<char>('a' + i % 26));
  return records;
}

OffsetRange append_batch(Log& log, const std::vector<OwnedRecord>& records,
                         AppendOptions how = os_ack) {
  const auto range = log.append(Batch(records).records(), how);
  INFO((range ? std::string() : range.error().message()));
  REQUIRE(range);
  return *range;
}

struct Kinds {
  std::uint64_t compressed = 0;
  std::uint64_t plain = 0;
};
Kinds kinds_of(StorageBackend& storage) {
  Kinds kinds;
  REQUIRE(dump(storage, [&](const FrameInfo& frame) {
    if (frame.kind == "records" && frame.records > 0)
      ++(frame.codec ? kinds.compressed : kinds.plain);
    return true;
  }));
  return kinds;
}

TEST_CASE("compression: what is read is what was appended, from any offset", "[log][compression]") {
  const auto storage = make_memory_storage();
  constexpr std::uint64_t end = 3000;
  {
    Log log = open_log(storage, compressed_log());
    append_known(log, end, Ack::os, 24);
    CHECK(log.segments().size() > 1);
    CHECK(read_back(log).good == end);
    const Metrics metrics = log.metrics();
    CHECK(metrics.bytes_before_compression > metrics.bytes_after_compression);
    CHECK(metrics.bytes_after_compression > 0);
    CHECK(metrics.records_appended == end);
    REQUIRE(log.close());
  }
  CHECK(kinds_of(*storage).compressed > 50);
  for (const Access access : {Access::read_only, Access::read_write}) {
    Options options = reading_log();
    options.access = access;
    const Log log = open_log(storage, options);
    const ReadBack read = read_back(log);
    CHECK(read.exact());
    CHECK(read.good == end);
    for (std::uint64_t from = 0; from < end; from += 37) {
      Reader reader = log.reader({from});
      REQUIRE(reader.advance());
      REQUIRE(reader.record().offset == Offset{from});
      REQUIRE(same(known_record(from), reader.record()));
    }
  }
}

TEST_CASE("compression: it is chosen per log and per append", "[log][compression]") {
  const auto storage = make_memory_storage();
  const Compression runs{run_codec(), 3};
  const Compression none{};
  {
    Log log = open_log(storage, reading_log());
    append_batch(log, plain_records(4), {Ack::os, &runs});
    append_batch(log, plain_records(4));
    append_batch(log, plain_records(1), {Ack::disk, &runs});  // one record is a batch, too
  }
  CHECK(kinds_of(*storage).compressed == 2);
  {
    Log log = open_log(storage, compressed_log());
    append_batch(log, plain_records(4), {Ack::os, &none});
    append_batch(log, plain_records(4), {Ack::disk});
    REQUIRE(log.close());
  }
  const Kinds kinds = kinds_of(*storage);
  CHECK(kinds.compressed == 3);
  CHECK(kinds.plain >= 2);
  const auto report = verify(*storage);
  REQUIRE(report);
  CHECK(report->intact());
  CHECK(report->frames_compressed == 3);
  CHECK(report->records == 17);
  CHECK(report->bytes_before_compression > 9 * 300);
  CHECK(report->bytes_after_compression < report->bytes_before_compression / 5);
}

TEST_CASE("compression: what would not get smaller is stored as it is", "[log][compression]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  const auto storage = make_memory_storage();
  Log log = open_log(storage, compressed_log());
  REQUIRE(
      append_text(log, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));  // small
  const std::string noise = random.text(2000);
  REQUIRE(append_text(log, noise));
  CHECK(log.metrics().bytes_before_compression == 0);
  CHECK(read_values(log, {0}).back() == noise);
  REQUIRE(log.close());
  CHECK(kinds_of(*storage).compressed == 0);
}

TEST_CASE("compression: bad levels and codecs are refused", "[log][compression]") {
  const auto storage = make_memory_storage();
  Options options = reading_log();
  options.compression = {run_codec(), 4};
  CHECK(fails_with(Log::open(storage, options), Errc::invalid_argument, {"4", "zstd", "1 to 3"}));
  options.compression = {};
  options.codecs.push_back(nullptr);
  CHECK(fails_with(Log::open(storage, options), Errc::invalid_argument, {"codecs"}));

  Log log = open_log(storage, reading_log());
  const auto owned = plain_records(5);
  const Batch batch(owned);
  const Compression level{run_codec(), 0};
  CHECK(fails_with(log.append(batch.records(), {Ack::os, &level}), Errc::invalid_argument, {"0"}));
  const Compression other{run_codec(CodecId::lz4)};
  CHECK(
      fails_with(log.append(batch.records(), {Ack::os, &other}), Errc::invalid_argument, {"lz4"}));
  CHECK(log.end_offset() == Offset{0});
  CHECK(log.metrics().appends_refused == 2);
}

TEST_CASE("compression: batches are bounded by what they are uncompressed", "[log][compression]") {
  Options options = compressed_log();
  options.batch_bytes_max = 4000;
  Log log = open_log(make_memory_storage(), options);
  const auto owned = plain_records(20);
  CHECK(fails_with(log.append(Batch(owned).records()), Errc::batch_too_large));
  append_batch(log, plain_records(10));
  CHECK(log.end_offset() == Offset{10});
}

TEST_CASE(
    "compression: without its codec a log opens, is verified and appended to, and says what it "
    "lacks",
    "[log][compression]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage, compressed_log());
    append_batch(log, plain_records(3), {Ack::disk});
    append_batch(log, plain_records(4), {Ack::disk});
  }  // closed
  Files killed;
  {
    Log log = open_log(storage, compressed_log());
    append_batch(log, plain_records(5), {Ack::disk});
    killed = copy_files(*storage);
  }
  for (const bool crashed : {false, true}) {
    CAPTURE(crashed);
    const auto files = crashed ? memory_with(killed) : memory_with(copy_files(*storage));
    CHECK(verify(*files).value().intact());
    Log log = open_log(files, small_options());
    CHECK(log.recovery().clean == !crashed);
    CHECK(log.recovery().lost.empty());
    CHECK(log.end_offset() == Offset{12});
    Reader reader = log.reader({4});
    for (int again = 0; again < 2; ++again)  // it does not go on
      CHECK(fails_with(reader.next(), Errc::unsupported_format, {".log at ", "[3, 7)", "zstd"}));
    CHECK(reader.next_offset() == Offset{4});
    append_batch(log, plain_records(2), {Ack::disk});
    CHECK(read_values(log, {12}).size() == 2);
    CHECK(log.close());
    const Log again = open_log(files, reading_log());
    CHECK(read_values(again, {0}).size() == 14);
  }
}

TEST_CASE("compression: a batch is all there or not at all", "[log][compression]") {
  const auto storage = make_memory_storage();
  Options options = compressed_log();
  std::uint64_t before = 0;
  std::string name;
  {
    Log log = open_log(storage, options);
    append_batch(log, plain_records(3), {Ack::disk});
    append_batch(log, plain_records(30), {Ack::os});
    before = 3;
    name = segment_names(copy_files(*storage)).front();
    const Files files = copy_files(*storage);
    const auto frames = record_frames_of(files.at(name));
    REQUIRE(frames.size() == 2);
    REQUIRE(frames[1].header.flags == detail::flag_compressed);
    const std::uint64_t begin = frames[1].position.value;
    const std::uint64_t end = frames[1].end.value;
    for (std::uint64_t cut = begin; cut <= end; cut += 8) {
      CAPTURE(cut - begin, end - begin);
      Files torn = files;
      blank(torn.at(name), cut, torn.at(name).size());
      const Log left = open_log(memory_with(torn), reading_log());
      // What only pads the frame may be gone.
      const std::uint64_t whole = begin + detail::frame_header_bytes + frames[1].header.body_bytes;
      REQUIRE(left.end_offset().value == (cut >= whole ? 33 : before));
      REQUIRE(read_values(left, {0}).size() == left.end_offset().value);
    }
  }
}

TEST_CASE("compression: a flipped bit of a compressed frame is told", "[log][compression]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage, compressed_log());
    append_batch(log, plain_records(6), {Ack::disk});
    append_batch(log, plain_records(6), {Ack::disk});
    REQUIRE(log.close());
  }
  const Files files = copy_files(*storage);
  const std::string name = segment_names(files).front();
  const auto frames = record_frames_of(files.at(name));
  REQUIRE(frames.size() == 2);
  const std::uint64_t begin = frames[0].position.value * 8;
  const std::uint64_t end =
      (frames[0].position.value + detail::frame_header_bytes + frames[0].header.body_bytes) * 8;
  for (std::uint64_t bit = begin; bit < end; ++bit) {
    CAPTURE(bit - begin);
    Files damaged = files;
    flip_bit(damaged.at(name), bit);
    const auto broken = memory_with(damaged);
    const Log log = open_log(broken, read_only(reading_log()));
    Reader reader = log.reader({0});
    REQUIRE(fails_with(reader.next(), Errc::corrupt, {name, "[0, 6)"}));
    const auto next = reader.next();
    REQUIRE(next);
    REQUIRE((*next)->offset == Offset{6});
    REQUIRE(!verify(*broken).value().intact());
  }
}

TEST_CASE("compression: a salvage keeps compressed frames as they are", "[log][compression]") {
  const auto storage = make_memory_storage();
  Timestamp newest{};
  {
    Log log = open_log(storage, compressed_log());
    for (int i = 0; i < 4; ++i) append_batch(log, plain_records(6), {Ack::disk});
    newest = log.segments().back().newest;
    REQUIRE(log.close());
  }
  Files files = copy_files(*storage);
  const std::string name = segment_names(files).front();
  flip_bit(files.at(name), record_frames_of(files.at(name))[1].position.value * 8 + 500);
  const auto damaged = memory_with(files);
  REQUIRE(salvage(*damaged));
  CHECK(verify(*damaged).value().intact());
  CHECK(verify(*damaged).value().frames_compressed == 3);
  const Log log = open_log(damaged, reading_log());
  CHECK(read_values(log, {0}).size() == 18);
  CHECK(log.segments().front().newest == newest);
}

// Of all records, those that they were given and those of their appends.
void check_times(const Log& log, const std::vector<std::int64_t>& times,
                 const std::vector<std::int64_t>& append_times) {
  std::vector<std::int64_t> found;
  std::vector<std::int64_t> found_append_times;
  Reader reader = log.reader({0});
  for (const RecordView& record : reader) {
    found.push_back(record.timestamp.time_since_epoch().count());
    found_append_times.push_back(record.append_time.time_since_epoch().count());
  }
  CHECK(reader.status());
  CHECK(found == times);
  CHECK(found_append_times == append_times);
}

TEST_CASE("compression: times are what they would be without it", "[log][compression]") {
  const auto clock = std::make_shared<FakeEnvironment>(1, 5000);
  Options options = compressed_log(small_log());
  options.environment = clock;
  const auto storage = make_memory_storage();
  Log log = open_log(storage, options);
  auto records = plain_records(3);
  records[1].time_ms = 77'000;  // in the future
  records[2].time_ms = -5;
  append_batch(log, records);
  clock->set(4000);  // the log's clock does not follow
  append_batch(log, plain_records(2));
  clock->set(9000);
  append_batch(log, plain_records(2));
  const auto check = [](const Log& read) {
    check_times(read, {5000, 77'000, -5, 5000, 5000, 9000, 9000},
                {5000, 5000, 5000, 5000, 5000, 9000, 9000});
    CHECK(read.segments().back().newest == Timestamp(77'000ms));
    CHECK(read.find(Timestamp(6000ms)).value() == Offset{1});
    CHECK(read.find(Timestamp(77'001ms)).value() == Offset{7});
  };
  check(log);
  REQUIRE(log.sync());
  check(open_log(memory_with(copy_files(*storage)), reading_log(small_log())));
  REQUIRE(log.close());
  check(open_log(storage, reading_log(small_log())));
}

TEST_CASE("compression: the index of a segment is rebuilt without its codec",
          "[log][compression]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage, compressed_log());
    append_known(log, 3000, Ack::os, 24);
    REQUIRE(log.close());
  }
  Files files = copy_files(*storage);
  std::erase_if(files, [](const auto& file) { return file.first.ends_with(".idx"); });
  const auto bare = memory_with(files);
  const Log log = open_log(bare, reading_log());
  for (const std::uint64_t from : {0u, 700u, 1500u, 2999u}) {
    Reader reader = log.reader({from});
    REQUIRE(reader.advance());
    CHECK(same(known_record(from), reader.record()));
  }
  CHECK(log.find(Timestamp(1'800'000'000'000ms)).value() == Offset{3000});
}

TEST_CASE("compression: a reader beside the writer follows, and so do subscribers",
          "[log][compression]") {
  const TempDir directory;
  Log log = open_log(directory.path(), compressed_log());
  const Log beside = open_log(directory.path(), read_only(reading_log()));
  Reader reader = beside.reader({0});
  std::atomic<std::uint64_t> handed{0};
  auto subscription = log.subscribe({0}, [&](const RecordView& record) {
    if (same(known_record(record.offset.value), record)) handed.fetch_add(1);
    return record.offset.value + 1 < 900;
  });
  REQUIRE(subscription);
  std::uint64_t seen = 0;
  for (std::uint64_t end = 10; end <= 900; end += 10) {
    append_known(log, end, Ack::os, end % 40 == 0 ? 10 : 1);
    while (seen < end) {
      REQUIRE(reader.wait(20s).value());
      const auto record = reader.next();
      INFO((record ? std::string() : record.error().message()));
      REQUIRE(record);
      REQUIRE(*record);
      REQUIRE(same(known_record(seen++), **record));
    }
  }
  while (subscription->active()) std::this_thread::yield();
  CHECK(handed == 900);
  CHECK(log.metrics().bytes_before_compression > 0);
}

// ---- codecs that are broken ---------------------------------------------------------------------

// Compresses as RunCodec does, and has its moods.
class MoodyCodec final : public Codec {
 public:
  CodecId id() const noexcept override { return runs_.id(); }
  Levels levels() const noexcept override { return runs_.levels(); }
  std::size_t compressed_bytes_max(std::size_t bytes) const noexcept override {
    return runs_.compressed_bytes_max(bytes);
  }
  Result<std::size_t> compress(Bytes in, std::span<std::byte> out, int level) const override {
    if (error) return *error;
    if (meanwhile) meanwhile();
    return runs_.compress(in, out, level);
  }
  Result<std::optional<std::size_t>> decompress(Bytes in, std::span<std::byte> out) const override {
    if (error) return *error;
    if (too_little) return std::optional(out.size() - 1);
    return runs_.decompress(in, out);
  }

  std::optional<Error> error{};
  bool too_little = false;
  std::function<void()> meanwhile{};  // while it compresses

 private:
  RunCodec runs_;
};

TEST_CASE("compression: what happens while a batch is compressed comes before it",
          "[log][compression]") {
  const auto clock = std::make_shared<FakeEnvironment>(1, 5000);
  const auto codec = std::make_shared<MoodyCodec>();
  Options options = small_log();
  options.environment = clock;
  options.compression.codec = codec;
  const auto storage = make_memory_storage();
  Log log = open_log(storage, options);
  codec->meanwhile = [&] {
    clock->set(6000);
    REQUIRE(append_text(log, "meanwhile"));
  };
  CHECK(append_batch(log, plain_records(2)).begin == Offset{1});
  const auto check = [](const Log& read) {
    check_times(read, {6000, 5000, 5000}, {6000, 6000, 6000});
  };
  check(log);
  REQUIRE(log.close());
  check(open_log(storage, options));
}

TEST_CASE("compression: a log that was closed while a batch was compressed does not take it",
          "[log][compression]") {
  const auto codec = std::make_shared<MoodyCodec>();
  Options options = small_options();
  options.compression.codec = codec;
  const auto storage = make_memory_storage();
  Log log = open_log(storage, options);
  codec->meanwhile = [&] { REQUIRE(log.close()); };
  const auto owned = plain_records(4);
  CHECK(fails_with(log.append(Batch(owned).records()), Errc::closed));
  CHECK(log.end_offset() == Offset{0});
}

TEST_CASE("compression: what a codec fails at is told, and nothing else changes",
          "[log][compression]") {
  const auto codec = std::make_shared<MoodyCodec>();
  Options options = small_options();
  options.compression.codec = codec;
  Log log = open_log(make_memory_storage(), options);
  append_batch(log, plain_records(3));
  codec->error = Error(std::make_error_code(std::errc::not_enough_memory), "no room to think");
  const auto owned = plain_records(4);
  CHECK(fails_with(log.append(Batch(owned).records()), std::errc::not_enough_memory, {"think"}));
  CHECK(log.end_offset() == Offset{3});

  // What may work the next time is not passed over.
  Reader reader = log.reader({0});
  CHECK(fails_with(reader.next(), std::errc::not_enough_memory));
  codec->error.reset();
  append_batch(log, plain_records(4));
  CHECK(read_values(log, {0}).size() == 7);
  REQUIRE(reader.advance());
  CHECK(reader.record().offset == Offset{0});

  // What is not what the codec makes is lost.
  for (const bool too_little : {true, false}) {
    codec->too_little = too_little;
    if (!too_little) codec->error = Error(Errc::corrupt, "nonsense");
    Reader lost = log.reader({1});
    CHECK(fails_with(lost.next(), Errc::corrupt, {".log at ", "decompressed", "[1, 3)"}));
    CHECK(lost.next_offset() == Offset{3});
    CHECK(fails_with(lost.next(), Errc::corrupt, {"[3, 7)"}));
    CHECK(lost.next_offset() == Offset{7});
  }
}

}  // namespace
}  // namespace varve::test
