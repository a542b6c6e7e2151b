// A full disk: the log refuses what it cannot store, goes on reading, and resumes by itself.
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "support/child.hpp"
#include "support/journal.hpp"
#include "support/log_tools.hpp"
#include "support/mounts.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

Fault full_disk() {
  Fault fault;
  fault.ops = {StorageOp::allocate};
  fault.times = ~std::uint64_t{0};
  fault.error = std::make_error_code(std::errc::no_space_on_device);
  return fault;
}

struct HearNoSpace final : Observer {
  void on_no_space(const Error& error) override {
    ++count;
    if (error != Errc::no_space) ++wrong;
  }
  std::atomic<int> count{0};
  std::atomic<int> wrong{0};
};

TEST_CASE("no space: appends go on to the end of the segment, then are refused, then resume",
          "[recovery][no_space]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Journal journal(1, {.usual_bytes_max = 1000, .large_bytes_max = 1000});
  Log log = open_log(storage);
  REQUIRE(journal.append(log, 1, Ack::disk));
  storage->inject(full_disk());

  auto appended = journal.append(log, 1, Ack::disk);
  int taken = 0;
  for (; appended; ++taken) appended = journal.append(log, 1, taken % 2 == 0 ? Ack::disk : Ack::os);
  CHECK(taken >= 5);  // the segment's room was reserved before
  CHECK(fails_with(appended, Errc::no_space, {"spare.log"}));
  const Offset end = log.end_offset();
  for (int i = 0; i < 3; ++i)
    CHECK(fails_with(append_text(log, std::string(5000, 'x'), {Ack::disk}), Errc::no_space));
  CHECK(log.end_offset() == end);
  CHECK(log.segments().size() == 1);

  REQUIRE(log.sync());
  CHECK(log.durable_offset() == end);
  REQUIRE(journal.check(log, Survived::process_death) == "");

  storage->clear_faults();
  REQUIRE(journal.append(log, 3, Ack::disk));
  CHECK(log.segments().size() == 2);
  REQUIRE(log.close());
  log = open_log(storage);
  CHECK(log.recovery().clean);
  REQUIRE(journal.check(log, Survived::process_death) == "");
}

TEST_CASE("no space: a small record may still find room where a large one did not",
          "[recovery][no_space]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  REQUIRE(append_text(log, std::string(8000, 'a'), {Ack::disk}));
  storage->inject(full_disk());
  CHECK(fails_with(append_text(log, std::string(8000, 'b')), Errc::no_space));
  CHECK(append_text(log, "c", {Ack::disk}).value() == Offset{1});
}

TEST_CASE("no space: closing and reopening a full log works, and truncating it frees it",
          "[recovery][no_space]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Journal journal(2, {.usual_bytes_max = 1000, .large_bytes_max = 1000});
  Log log = open_log(storage);
  while (log.segments().size() < 4) REQUIRE(journal.append(log, 1, Ack::os));
  storage->inject(full_disk());
  while (journal.append(log, 1, Ack::os)) {
  }
  REQUIRE(log.close());
  log = open_log(storage);
  CHECK(log.recovery().clean);
  REQUIRE(journal.check(log, Survived::process_death) == "");
  CHECK(fails_with(append_text(log, std::string(9000, 'x')), Errc::no_space));
  REQUIRE(journal.truncate_prefix(log, log.segments()[2].offsets.begin));
  CHECK(log.segments().size() == 2);
  storage->clear_faults();  // as if that had freed the room
  REQUIRE(journal.append(log, 2, Ack::disk));
  REQUIRE(journal.check(log, Survived::process_death) == "");
}

TEST_CASE("no space: the observer is told when the next segment cannot be prepared",
          "[recovery][no_space]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  const auto observer = std::make_shared<HearNoSpace>();
  Options options = small_log();
  options.observer = observer;
  Log log = open_log(storage, options);
  while (log.metrics().bytes_appended < 9000) REQUIRE(append_text(log, std::string(500, 'x')));
  storage->inject(full_disk());
  CHECK(fails_with(log.tick(), Errc::no_space));
  CHECK(observer->count == 1);
  CHECK(observer->wrong == 0);
  storage->clear_faults();
  CHECK(log.tick());
  CHECK(observer->count == 1);
}

TEST_CASE("no space: a new log on a full disk is refused and leaves nothing that stands in the way",
          "[recovery][no_space]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Fault fault;
  fault.error = std::make_error_code(std::errc::no_space_on_device);
  fault.ops = {StorageOp::write};
  storage->inject(fault);
  CHECK(fails_with(Log::open(storage, small_log()), Errc::no_space, {"MANIFEST"}));
  Log log = open_log(storage);
  CHECK(append_text(log, "x", {Ack::disk}));
}

TEST_CASE("no space: truncating gives back a spare when the manifest finds no room",
          "[recovery][no_space]") {
  const TempDir directory;
  const auto storage =
      std::make_shared<FaultyStorage>(open_file_storage(directory.path(), false).value());
  Log log = open_log(storage);
  fill_segments(log, 3);
  REQUIRE(log.tick());
  while (!std::filesystem::exists(directory.path() / "spare.log")) {
    REQUIRE(append_text(log, std::string(1000, 'x')));
    REQUIRE(log.tick());
  }
  Fault fault;
  fault.ops = {StorageOp::write};
  fault.name = "MANIFEST";
  fault.error = std::make_error_code(std::errc::no_space_on_device);
  storage->inject(fault);
  REQUIRE(log.truncate_prefix(log.segments()[1].offsets.begin));
  CHECK(!std::filesystem::exists(directory.path() / "spare.log"));
  CHECK(log.segments().size() == 2);
  CHECK(append_text(log, std::string(9000, 'x'), {Ack::disk}));
}

// Fills the file system that is mounted there, twice. Returns 0 if all went well.
int fill(const std::filesystem::path& directory, const PipeEnd& to_parent) {
  const auto fail = [&](int where) {
    (void)to_parent.send(where);
    return 1;
  };
  write_file(directory / "ballast", std::string(64u << 10, 'b'));
  write_file(directory / "last reserve", std::string(64u << 10, 'b'));
  Journal journal(3, {.usual_bytes_max = 1000, .large_bytes_max = 1000});
  Options options;
  options.segment_bytes = 32u << 10;
  auto log = Log::open(directory / "log", options);
  if (!log) return fail(1);
  const auto append_until_full = [&] {
    for (;;)
      if (const auto appended = journal.append(*log, 1, Ack::disk); !appended)
        return appended.error() == Errc::no_space;
  };
  const auto intact = [&] { return journal.check(*log, Survived::process_death).empty(); };

  if (!append_until_full() || !intact()) return fail(2);
  std::filesystem::remove(directory / "ballast");
  if (!journal.append(*log, 5, Ack::disk) || !intact()) return fail(3);  // resumed by itself

  if (!append_until_full() || !intact()) return fail(4);
  // Truncating needs a page for the manifest, and there may be no spare to give back for it.
  auto truncated = journal.truncate_prefix(*log, log->segments().at(3).offsets.begin);
  if (!truncated) {
    if (truncated.error() != Errc::no_space || !intact()) return fail(5);
    std::filesystem::remove(directory / "last reserve");
    truncated = journal.truncate_prefix(*log, log->segments().at(3).offsets.begin);
  }
  if (!truncated) return fail(10);
  for (int i = 0; i < 60; ++i)
    if (!journal.append(*log, 1, Ack::disk)) return fail(6);
  if (!intact() || !log->close()) return fail(7);

  log = Log::open(directory / "log", options);
  if (!log || !log->recovery().clean || !intact()) return fail(8);
  return log->close() ? 0 : fail(9);
}

TEST_CASE("no space: a file system that is really full loses nothing and is left by truncating",
          "[recovery][no_space]") {
  const bool ext4 = GENERATE(false, true);
  CAPTURE(ext4);
  const TempDir directory;
  Child child([&](const PipeEnd& to_parent, const PipeEnd&) {
    if (!leave_mounts()) return cannot_mount;
    if (!ext4)
      return mount_tmpfs(directory.path(), "size=448k") ? fill(directory.path(), to_parent)
                                                        : cannot_mount;
    const Ext4 disk(directory.path() / "image", directory.path() / "mount");
    if (!disk.make("4M", "-b 1024 -m 0 -J size=1") || !disk.mount()) return cannot_mount;
    const int status = fill(disk.path(), to_parent);
    return disk.unmount() ? status : 11;
  });
  const auto where = child.output().receive<int>();
  CAPTURE(where.value_or(0));
  const int status = child.wait();
  if (status == cannot_mount) {
    WARN("skipped: only root can mount a small file system");
    return;
  }
  CHECK(status == 0);
}

}  // namespace
}  // namespace varve::test
