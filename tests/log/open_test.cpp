#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "support/child.hpp"
#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/detail/format.hpp"

namespace varve::test {
namespace {

namespace fs = std::filesystem;

unsigned mode_of(const fs::path& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777u;
}

TEST_CASE("open: makes the directory and what is in it private", "[log][open]") {
  const TempDir directory;
  const mode_t before = ::umask(0);
  Log log = open_log(directory.path() / "log");
  fill_segments(log, 3);
  REQUIRE(log.tick());
  ::umask(before);
  CHECK(mode_of(directory.path() / "log") == 0700u);
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(directory.path() / "log")) {
    CAPTURE(entry.path());
    CHECK(mode_of(entry.path()) == 0600u);
    ++files;
  }
  CHECK(files >= 5);
  REQUIRE(log.close());
}

TEST_CASE("open: a directory whose parent is missing is not made", "[log][open]") {
  const TempDir directory;
  CHECK(fails_with(Log::open(directory.path() / "no" / "log"), std::errc::no_such_file_or_directory,
                   {"no/log"}));
}

TEST_CASE("open: nothing is made when that is not asked for", "[log][open]") {
  const TempDir directory;
  Options options = small_log();
  options.create = false;
  CHECK(fails_with(Log::open(directory.path() / "log", options),
                   std::errc::no_such_file_or_directory, {"log"}));
  CHECK(!fs::exists(directory.path() / "log"));
  CHECK(fails_with(Log::open(directory.path(), options), Errc::not_a_log,
                   {directory.path().native()}));
  CHECK(fails_with(Log::open(directory.path(), read_only()), Errc::not_a_log,
                   {directory.path().native()}));
  options.create = true;
  open_log(directory.path(), options);
  options.create = false;
  open_log(directory.path(), options);
}

TEST_CASE("open: no storage is no log", "[log][open]") {
  CHECK(fails_with(Log::open(std::shared_ptr<StorageBackend>()), Errc::invalid_argument));
}

TEST_CASE("open: a file is not a log", "[log][open]") {
  const TempDir directory;
  const fs::path file = directory.path() / "file";
  write_file(file, "important");
  CHECK(fails_with(Log::open(file), std::errc::not_a_directory, {file.native()}));
  CHECK(fails_with(Log::open(file, read_only()), std::errc::not_a_directory, {file.native()}));
  CHECK(read_file(file) == "important");
}

TEST_CASE("open: a directory that holds something else is left alone", "[log][open]") {
  const TempDir directory;
  write_file(directory.path() / "thesis.txt", "important");
  CHECK(fails_with(Log::open(directory.path()), Errc::not_a_log,
                   {directory.path().native(), "thesis.txt"}));
  CHECK(fails_with(Log::open(directory.path(), read_only()), Errc::not_a_log, {"thesis.txt"}));
  CHECK(!fs::exists(directory.path() / "MANIFEST"));
  CHECK(read_file(directory.path() / "thesis.txt") == "important");
}

TEST_CASE("open: strange files beside a log are kept and reported", "[log][open]") {
  const TempDir directory;
  {
    Log log = open_log(directory.path());
    REQUIRE(append_text(log, "x"));
  }
  write_file(directory.path() / "notes.txt", "n");
  write_file(directory.path() / "1.log", "not varve's form of a name");
  fs::create_directory(directory.path() / "subdirectory");
  for (const bool writing : {false, true}) {
    const Log log = open_log(directory.path(), writing ? small_log() : read_only());
    CHECK(log.recovery().unknown_files ==
          std::vector<std::string>{"1.log", "notes.txt", "subdirectory"});
    CHECK(log.end_offset() == Offset{1});
  }
  CHECK(read_file(directory.path() / "notes.txt") == "n");
}

TEST_CASE("open: a symbolic link in a segment's place is refused", "[log][open]") {
  const TempDir directory;
  const TempDir elsewhere;
  {
    Log log = open_log(directory.path());
    fill_segments(log, 3);
  }
  const std::string name =
      GENERATE("00000000000000000000.log", "00000000000000009999.log", "MANIFEST", "spare.log");
  CAPTURE(name);
  const fs::path target = elsewhere.path() / "target";
  if (fs::exists(directory.path() / name)) {
    fs::rename(directory.path() / name, target);
  } else {
    write_file(target, "precious");
  }
  const std::string before = read_file(target);
  fs::create_symlink(target, directory.path() / name);
  CHECK(
      fails_with(Log::open(directory.path(), small_log()), Errc::corrupt, {name, "symbolic link"}));
  CHECK(
      fails_with(Log::open(directory.path(), read_only()), Errc::corrupt, {name, "symbolic link"}));
  CHECK(read_file(target) == before);
}

TEST_CASE("open: a symbolic link where the next segment belongs is not followed", "[log][open]") {
  const TempDir directory;
  const TempDir elsewhere;
  Log log = open_log(directory.path());
  std::uint64_t records = 0;
  while (log.metrics().bytes_appended + 2100 < 12000) {
    REQUIRE(append_text(log, std::string(1000, 'x')));
    ++records;
  }
  write_file(elsewhere.path() / "target", "precious");
  for (std::uint64_t next = records; next < records + 20; ++next) {
    std::string digits = std::to_string(next);
    fs::create_symlink(elsewhere.path() / "target",
                       directory.path() / (std::string(20 - digits.size(), '0') + digits + ".log"));
  }
  auto refused = append_text(log, std::string(1000, 'x'));
  while (refused) refused = append_text(log, std::string(1000, 'x'));
  CHECK(fails_with(refused, Errc::corrupt, {".log"}));
  CHECK(read_file(elsewhere.path() / "target") == "precious");
  REQUIRE(log.sync());
  CHECK(log.durable_offset() == log.end_offset());
}

TEST_CASE("open: an unknown format version is refused by its number", "[log][open]") {
  const TempDir directory;
  {
    Log log = open_log(directory.path());
    fill_segments(log, 3);
  }
  SECTION("of the manifest") {
    std::string file = read_file(directory.path() / "MANIFEST");
    const std::uint32_t version = 77;
    std::memcpy(file.data() + 8, &version, sizeof version);
    const std::uint64_t check = detail::checksum(bytes(file).first(file.size() - 8));
    std::memcpy(file.data() + file.size() - 8, &check, sizeof check);
    write_file(directory.path() / "MANIFEST", file);
    const auto before = state_of(directory.path());
    CHECK(fails_with(Log::open(directory.path(), small_log()), Errc::unsupported_format,
                     {"MANIFEST", "77"}));
    CHECK(fails_with(Log::open(directory.path(), read_only()), Errc::unsupported_format, {"77"}));
    CHECK(state_of(directory.path()) == before);
  }
  SECTION("of a segment") {
    const auto patch = [&](const std::string& name) {
      std::string file = read_file(directory.path() / name);
      const std::uint32_t version = 78;
      std::memcpy(file.data() + 8, &version, sizeof version);
      const std::uint64_t check = detail::checksum(bytes(file).first(detail::segment_check_at));
      std::memcpy(file.data() + detail::segment_check_at, &check, sizeof check);
      write_file(directory.path() / name, file);
    };
    std::vector<std::string> names;
    for (const SegmentInfo& segment : open_log(directory.path(), read_only()).segments())
      names.push_back(segment.file);
    SECTION("at the end") {
      patch(names.back());
      CHECK(fails_with(Log::open(directory.path(), small_log()), Errc::unsupported_format,
                       {names.back(), "78"}));
    }
    SECTION("that is sealed") {
      patch(names.front());
      const Log log = open_log(directory.path(), read_only());
      Reader reader = log.reader({0});
      CHECK(fails_with(reader.next(), Errc::unsupported_format, {names.front(), "78"}));
    }
  }
}

TEST_CASE("open: options that contradict each other are refused and nothing is made",
          "[log][open]") {
  const TempDir directory;
  Options options;
  std::string_view word;
  SECTION("a segment too small") { options.segment_bytes = 8192, word = "segment_bytes"; }
  SECTION("a segment of no size") { options.segment_bytes = 0, word = "segment_bytes"; }
  SECTION("a segment too large") {
    options.segment_bytes = (1u << 30) + 4096, word = "segment_bytes";
  }
  SECTION("a segment of half pages") { options.segment_bytes = 20000, word = "segment_bytes"; }
  SECTION("a batch larger than a segment") {
    options.segment_bytes = small_segment;
    options.batch_bytes_max = small_segment;
    word = "batch_bytes_max";
  }
  SECTION("no batch at all") { options.batch_bytes_max = 0, word = "batch_bytes_max"; }
  SECTION("an index too dense") {
    options.index_interval_bytes = 10, word = "index_interval_bytes";
  }
  SECTION("a first offset beyond all offsets") {
    options.first_offset = offset_max + 1;
    word = "first_offset";
  }
  SECTION("a negative interval") {
    options.sync.every = std::chrono::milliseconds(-1);
    word = "sync.every";
  }
  CHECK(fails_with(Log::open(directory.path() / "log", options), Errc::invalid_argument, {word}));
  CHECK(!fs::exists(directory.path() / "log"));
  CHECK(fails_with(Log::open(make_memory_storage(), options), Errc::invalid_argument, {word}));
}

TEST_CASE("open: the longest sync interval is as good as none", "[log][open]") {
  Options options = small_log();
  options.background = GENERATE(Background::manual, Background::thread);
  options.sync.every = std::chrono::milliseconds::max();
  Log log = open_log(make_memory_storage(), options);
  REQUIRE(append_text(log, "x"));
  CHECK(log.tick());
  CHECK(log.close());
}

TEST_CASE("open: a directory that may not be read or written is refused with its name",
          "[log][open]") {
  const TempDir directory;
  const fs::path path = directory.path() / "log";
  { Log log = open_log(path); }
  const mode_t mode = GENERATE(mode_t{0}, mode_t{0500});
  CAPTURE(mode);
  REQUIRE(::chmod(path.c_str(), mode) == 0);
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  if (::getuid() == 0) REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
  // Root may do everything, so somebody else must try.
  Child child([&](const PipeEnd&, const PipeEnd&) {
    if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 2;
    const auto log = Log::open(path, small_log());
    if (log) return 3;
    if (log.error().code() != std::errc::permission_denied) return 4;
    return log.error().message().find(path.native()) == std::string::npos ? 5 : 0;
  });
  CHECK(child.wait() == 0);
  REQUIRE(::chmod(path.c_str(), 0700) == 0);
}

TEST_CASE("open: finds what an earlier opening wrote", "[log][open]") {
  const TempDir directory;
  const bool on_disk = GENERATE(false, true);
  const auto storage =
      on_disk ? open_file_storage(directory.path(), false).value() : make_memory_storage();
  std::vector<std::string> values;
  for (int opening = 0; opening < 6; ++opening) {
    Log log = open_log(storage);
    CHECK(log.recovery().clean);
    REQUIRE(read_values(log, {0}) == values);
    for (int i = 0; i < opening * 30; ++i) {
      values.push_back(std::to_string(opening) +
                       std::string(static_cast<std::size_t>(i * 10), '.'));
      REQUIRE(append_text(log, values.back()));
    }
    if (opening % 2 == 0) REQUIRE(log.close());
  }
}

TEST_CASE("open: an opening without appends changes nothing", "[log][open]") {
  const TempDir directory;
  {
    Log log = open_log(directory.path());
    fill_segments(log, 3);
  }
  const auto before = state_of(directory.path());
  for (int i = 0; i < 2; ++i) {
    Log log = open_log(directory.path());
    REQUIRE(log.tick());
    REQUIRE(log.sync());
    REQUIRE(log.close());
  }
  CHECK(state_of(directory.path()) == before);
}

TEST_CASE("open: another segment size is for segments to come", "[log][open]") {
  const auto storage = make_memory_storage();
  std::vector<std::string> values;
  for (const std::uint32_t segment_bytes : {16u << 10, 64u << 10, 16u << 10, 1u << 20}) {
    Options options = small_log();
    options.segment_bytes = segment_bytes;
    Log log = open_log(storage, options);
    for (int i = 0; i < 60; ++i) {
      values.push_back(std::string(1000, static_cast<char>('a' + i % 26)));
      REQUIRE(append_text(log, values.back()));
    }
    if (segment_bytes == 1u << 20) {
      values.push_back(std::string(500'000, 'L'));
      REQUIRE(append_text(log, values.back()));
    }
    REQUIRE(log.close());
  }
  CHECK(read_values(open_log(storage), {0}) == values);
}

TEST_CASE("open: a log can be moved, and assigning to one closes it", "[log][open]") {
  const auto storage = make_memory_storage();
  Options options = small_log();
  options.background = Background::thread;
  Log a = open_log(storage, options);
  REQUIRE(append_text(a, "1"));
  Log b = std::move(a);
  REQUIRE(append_text(b, "2"));
  CHECK(fails_with(Log::open(storage, options), Errc::locked));
  b = open_log(make_memory_storage(), options);
  CHECK(b.end_offset() == Offset{0});
  a = open_log(storage, options);
  CHECK(a.recovery().clean);
  CHECK(read_values(a, {0}) == std::vector<std::string>{"1", "2"});
}

TEST_CASE("open: the observer hears of it", "[log][open]") {
  struct Hear final : Observer {
    void on_recovered(const RecoveryReport& report) override {
      ++count;
      clean = report.clean;
    }
    int count = 0;
    bool clean = false;
  };
  const auto observer = std::make_shared<Hear>();
  Options options = small_log();
  options.observer = observer;
  const Log log = open_log(make_memory_storage(), options);
  CHECK(observer->count == 1);
  CHECK(observer->clean);
}

}  // namespace
}  // namespace varve::test
