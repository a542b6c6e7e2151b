#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "support/child.hpp"
#include "support/log_tools.hpp"
#include "support/mounts.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// Uses a read-only log for all that it is good for.
std::vector<std::string> use(const fs::path& path) {
  Log log = open_log(path, read_only());
  std::vector<std::string> values = read_values(log, log.start_offset());
  (void)log.find(Timestamp());
  (void)log.segments();
  (void)log.metrics();
  (void)log.wait(log.end_offset(), 0ms);
  REQUIRE(log.tick());
  REQUIRE(log.close());
  return values;
}

// A directory with a log, as a close or as a crash leaves it.
std::vector<std::string> make_log(const fs::path& path, bool closed) {
  const TempDir elsewhere;
  std::vector<std::string> values;
  {
    Log log = open_log(closed ? path : elsewhere.path());
    for (int i = 0; i < 50; ++i) {
      values.push_back(std::to_string(i) + std::string(700, '.'));
      REQUIRE(append_text(log, values.back()));
    }
    if (!closed) fs::copy(elsewhere.path(), path, fs::copy_options::recursive);
  }
  return values;
}

TEST_CASE("read-only: writes nothing at all", "[log][read_only]") {
  const TempDir directory;
  const bool closed = GENERATE(true, false);
  const auto values = make_log(directory.path() / "log", closed);
  const auto before = state_of(directory.path() / "log");
  for (int i = 0; i < 2; ++i) CHECK(use(directory.path() / "log") == values);
  CHECK(state_of(directory.path() / "log") == before);
}

TEST_CASE("read-only: makes only calls that read", "[log][read_only]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  {
    Log log = open_log(storage);
    fill_segments(log, 3);
  }
  std::uint64_t writes = 0;
  storage->on_call([&](StorageOp op, std::string_view) {
    if (op != StorageOp::open && op != StorageOp::read && op != StorageOp::map &&
        op != StorageOp::list)
      ++writes;
  });
  {
    const Log log = open_log(storage, read_only());
    CHECK(read_values(log, {0}).size() == log.end_offset().value);
  }
  CHECK(writes == 0);
}

TEST_CASE("read-only: refuses what would write", "[log][read_only]") {
  const TempDir directory;
  make_log(directory.path() / "log", true);
  Log log = open_log(directory.path() / "log", read_only());
  CHECK(fails_with(append_text(log, "x"), Errc::read_only));
  const std::vector<Record> batch(2);
  CHECK(fails_with(log.append(batch), Errc::read_only));
  CHECK(fails_with(log.sync(), Errc::read_only));
  CHECK(fails_with(log.truncate_prefix({1}), Errc::read_only));
  CHECK(log.end_offset() == Offset{50});
}

TEST_CASE("read-only: works in a directory that may not be written", "[log][read_only]") {
  const TempDir directory;
  const fs::path path = directory.path() / "log";
  const bool closed = GENERATE(true, false);
  const std::uint64_t records = make_log(path, closed).size();
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  for (const auto& entry : fs::directory_iterator(path))
    REQUIRE(::chmod(entry.path().c_str(), 0444) == 0);
  REQUIRE(::chmod(path.c_str(), 0555) == 0);
  // Root may write everywhere, so somebody else must read.
  Child child([&](const PipeEnd&, const PipeEnd&) {
    if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 2;
    const auto log = Log::open(path, read_only());
    if (!log) {
      std::fprintf(stderr, "child process: %s\n", log.error().message().c_str());
      return 3;
    }
    std::uint64_t seen = 0;
    Reader reader = log->reader({0});
    for ([[maybe_unused]] const RecordView& record : reader) ++seen;
    return reader.status() && seen == records ? 0 : 4;
  });
  CHECK(child.wait() == 0);
  REQUIRE(::chmod(path.c_str(), 0755) == 0);
}

TEST_CASE("read-only: works on a read-only file system", "[log][read_only]") {
  const TempDir directory;
  const fs::path path = directory.path() / "log";
  const std::uint64_t records = make_log(path, false).size();
  Child child([&](const PipeEnd&, const PipeEnd&) {
    if (!leave_mounts() || ::mount(path.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0 ||
        ::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0)
      return cannot_mount;
    if (const auto writer = Log::open(path, small_log());
        writer || writer.error().code() != std::errc::read_only_file_system)
      return 2;
    const auto log = Log::open(path, read_only());
    if (!log) return 3;
    std::uint64_t seen = 0;
    Reader reader = log->reader({0});
    for ([[maybe_unused]] const RecordView& record : reader) ++seen;
    return reader.status() && seen == records ? 0 : 4;
  });
  const int status = child.wait();
  if (status == cannot_mount) {
    WARN("skipped: only root can mount a file system");
    return;
  }
  CHECK(status == 0);
}

TEST_CASE("read-only: any number beside a writer in the same process", "[log][read_only]") {
  const TempDir directory;
  Log writer = open_log(directory.path());
  REQUIRE(append_text(writer, "1"));
  std::vector<Log> readers;
  for (int i = 0; i < 3; ++i) readers.push_back(open_log(directory.path(), read_only()));
  REQUIRE(append_text(writer, "2", {Ack::disk}));
  for (const Log& reader : readers) {
    CHECK(reader.end_offset() == Offset{2});
    CHECK(reader.durable_offset() == Offset{2});
    CHECK(reader.epoch() == writer.epoch());
    CHECK(read_values(reader, {0}) == std::vector<std::string>{"1", "2"});
  }
  fill_segments(writer, 4);
  for (const Log& reader : readers) {
    CHECK(reader.end_offset() == writer.end_offset());
    CHECK(reader.segments().size() == 4);
    CHECK(read_values(reader, {0}) == read_values(writer, {0}));
  }
}

TEST_CASE("read-only: an empty log can be read, and followed to its first record",
          "[log][read_only]") {
  const TempDir directory;
  Log writer = open_log(directory.path());
  const Log log = open_log(directory.path(), read_only());
  CHECK(log.end_offset() == Offset{0});
  Reader reader = log.reader({0});
  CHECK(!reader.next().value());
  REQUIRE(append_text(writer, "first"));
  CHECK(reader.wait(1min).value());
  CHECK(text(*reader.next().value()->value) == "first");
}

TEST_CASE("read-only: durable readers follow what the writer syncs", "[log][read_only]") {
  const TempDir directory;
  Log writer = open_log(directory.path());
  const Log log = open_log(directory.path(), read_only());
  Reader reader = log.reader({0}, {.visible = Visible::durable});
  for (std::uint64_t i = 0; i < 30; ++i) {
    REQUIRE(append_text(writer, std::string(1000, 'x')));
    CHECK(log.end_offset() == Offset{i + 1});
    REQUIRE(log.durable_offset() <= Offset{i});
    REQUIRE(writer.sync());
    REQUIRE(log.durable_offset() == Offset{i + 1});
    REQUIRE(reader.next().value()->offset == Offset{i});
  }
}

TEST_CASE("read-only: after closing nothing new is seen", "[log][read_only]") {
  const TempDir directory;
  Log writer = open_log(directory.path());
  REQUIRE(append_text(writer, "1"));
  Log log = open_log(directory.path(), read_only());
  REQUIRE(log.close());
  REQUIRE(append_text(writer, "2"));
  CHECK(log.end_offset() == Offset{1});
  CHECK(fails_with(log.wait({1}, 1h), Errc::closed));
  REQUIRE(log.close());
}

TEST_CASE("read-only: what a writer changes meanwhile, again and again, is no damage",
          "[log][read_only]") {
  const auto medium = make_memory_storage();
  Log writer = open_log(medium);
  fill_segments(writer, 4);
  const auto watched = std::make_shared<FaultyStorage>(medium);
  int changes = 0;
  watched->on_call([&](StorageOp op, std::string_view name) {
    if (op != StorageOp::open || !name.ends_with(".log") || changes == 5) return;
    ++changes;
    fill_segments(writer, writer.segments().size() + 2);
    REQUIRE(writer.truncate_prefix(writer.end_offset()));
  });
  const Log log = open_log(watched, read_only());
  CHECK(changes == 5);
  CHECK(log.recovery().lost.empty());
  CHECK(read_values(log, log.start_offset()).size() == log.end_offset() - log.start_offset());
}

TEST_CASE("read-only: damage that is gone at the second look was none", "[log][read_only]") {
  const auto medium = make_memory_storage();
  Log writer = open_log(medium);
  for (int i = 0; i < 2; ++i) REQUIRE(append_text(writer, std::string(3000, 'x'), {Ack::disk}));
  const SegmentInfo segment = writer.segments()[0];
  const auto watched = std::make_shared<FaultyStorage>(medium);
  int looks = 0;
  // As if the writer were just about to store there. Nothing of the log's structure changes.
  watched->on_call([&](StorageOp op, std::string_view name) {
    if (op == StorageOp::open && name == segment.file && ++looks <= 2)
      REQUIRE(watched->flip_bit(segment.file, 8 * (segment.bytes - 1000)));
  });
  const Log log = open_log(watched, read_only());
  CHECK(looks == 2);
  CHECK(log.recovery().lost.empty());
  CHECK(read_values(log, {0}).size() == 2);
}

}  // namespace
}  // namespace varve::test
