// Several processes on one log: one writes, the others follow.
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "support/workload.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t stream = 7;  // the records are those of this stream
constexpr WorkloadOptions small_records{.usual_bytes_max = 200, .large_bytes_max = 5000};

OwnedRecord streamed(std::uint64_t offset) {
  OwnedRecord record = record_at(stream, offset, small_records);
  record.time_ms.reset();
  return record;
}

// What a writing process is told to do.
struct Command {
  enum class What : std::uint8_t {
    append,
    append_and_truncate,  // keeps the last hundred records
    sync,
    truncate,
    reopen,
    quit
  } what = What::quit;
  std::uint64_t argument = 0;
};

Options writer_options() {
  Options options;
  options.segment_bytes = small_segment;
  return options;
}

// Does as it is told and answers each command with the log's end; ~0 is a failure.
int write_as_told(const std::filesystem::path& directory, const PipeEnd& answers,
                  const PipeEnd& commands) {
  auto log = Log::open(directory, writer_options());
  bool good = log.has_value();
  if (!answers.send(good ? log->end_offset().value : ~std::uint64_t{0})) return 1;
  while (const auto command = commands.receive<Command>()) {
    if (!good) return 1;
    switch (command->what) {
      case Command::What::append:
      case Command::What::append_and_truncate:
        for (std::uint64_t i = 0; i < command->argument && good; ++i) {
          const OwnedRecord record = streamed(log->end_offset().value);
          good =
              log->append(Batch(record).front(), {i % 50 == 49 ? Ack::disk : Ack::os}).has_value();
          if (command->what == Command::What::append_and_truncate && i % 10 == 0)
            good = good && log->truncate_prefix({log->end_offset().value - 100}).has_value();
        }
        break;
      case Command::What::sync:
        good = log->sync().has_value();
        break;
      case Command::What::truncate:
        good = log->truncate_prefix({command->argument}).has_value();
        break;
      case Command::What::reopen:
        good = log->close().has_value();
        log = Log::open(directory, writer_options());
        good = good && log.has_value();
        break;
      case Command::What::quit:
        return log->close() ? 0 : 1;
    }
    if (!answers.send(good ? log->end_offset().value : ~std::uint64_t{0})) return 1;
  }
  return 0;
}

class Writer {
 public:
  explicit Writer(std::filesystem::path directory)
      : child_([directory = std::move(directory)](const PipeEnd& answers, const PipeEnd& commands) {
          return write_as_told(directory, answers, commands);
        }) {
    end_ = answer();
  }

  void start(Command::What what, std::uint64_t argument = 0) {
    REQUIRE(child_.input().send(Command{what, argument}));
  }
  std::uint64_t finish() { return end_ = answer(); }
  std::uint64_t run(Command::What what, std::uint64_t argument = 0) {
    start(what, argument);
    return finish();
  }
  void kill() { child_.kill(); }
  int quit() {
    start(Command::What::quit);
    return child_.wait();
  }

 private:
  std::uint64_t answer() {
    const auto end = child_.output().receive<std::uint64_t>();
    REQUIRE(end);
    REQUIRE(*end != ~std::uint64_t{0});
    return *end;
  }

  Child child_;
  std::uint64_t end_ = 0;
};

// Reads on to `end`, waiting for what is not there yet.
std::string follow(Reader& reader, std::uint64_t end) {
  while (reader.next_offset().value < end) {
    const auto there = reader.wait(20s);
    if (!there) return "waiting: " + there.error().message();
    if (!*there) return "nothing came at offset " + std::to_string(reader.next_offset().value);
    const std::uint64_t expected = reader.next_offset().value;
    const auto record = reader.next();
    if (!record) return "reading: " + record.error().message();
    if (!*record) return "nothing to read after waiting";
    if ((*record)->offset.value != expected)
      return "offset " + std::to_string((*record)->offset.value);
    if (std::string what = difference(**record, streamed(expected)); !what.empty())
      return what + " at offset " + std::to_string(expected);
  }
  return {};
}

TEST_CASE("processes: a second writer is told at once that the log is locked",
          "[processes][tsan]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Writer writer(path);
  writer.run(Command::What::append, 10);
  CHECK(fails_with(Log::open(path, small_log()), Errc::locked, {"LOCK"}));
  CHECK(open_log(path, read_only()).end_offset() == Offset{10});
  CHECK(writer.run(Command::What::append, 1) == 11);

  SECTION("until the writer closes") {
    REQUIRE(writer.quit() == 0);
    const Log log = open_log(path);
    CHECK(log.recovery().clean);
    CHECK(log.end_offset() == Offset{11});
  }
  SECTION("until the writer is killed") {
    writer.kill();
    const Log log = open_log(path);
    CHECK(!log.recovery().clean);
    CHECK(log.end_offset() == Offset{11});
  }
}

TEST_CASE("processes: a log is locked within its process, too", "[processes]") {
  const TempDir directory;
  Log log = open_log(directory.path());
  CHECK(fails_with(Log::open(directory.path(), small_log()), Errc::locked));
  CHECK(append_text(log, "still works", {Ack::disk}));
  REQUIRE(log.close());
  CHECK(Log::open(directory.path(), small_log()));
}

TEST_CASE("processes: a child that was forked does not keep the log locked", "[processes]") {
  const TempDir directory;
  std::optional<Log> log = open_log(directory.path());
  Child child([](const PipeEnd&, const PipeEnd& from_parent) {
    (void)from_parent.receive<int>();  // lives on until it is told
    return 0;
  });
  REQUIRE(log->close());
  CHECK(Log::open(directory.path(), small_log()));
  REQUIRE(child.input().send(1));
  CHECK(child.wait() == 0);
}

TEST_CASE("processes: in a forked child the parent's log is closed, and left alone",
          "[processes]") {
  const TempDir directory;
  Options options = small_log();
  options.background = GENERATE(Background::thread, Background::manual);
  std::optional<Log> log = open_log(directory.path(), options);
  REQUIRE(append_text(*log, "before"));
  Child child([&](const PipeEnd&, const PipeEnd&) {
    if (!fails_with(append_text(*log, "in the child"), Errc::closed)) return 1;
    if (!fails_with(log->sync(), Errc::closed)) return 2;
    if (!fails_with(log->truncate_prefix({1}), Errc::closed)) return 3;
    if (!log->close()) return 4;
    log.reset();
    return 0;
  });
  CHECK(child.wait() == 0);
  CHECK(fails_with(Log::open(directory.path(), options), Errc::locked));
  REQUIRE(append_text(*log, "after", {Ack::disk}));
  fill_segments(*log, 3);
  REQUIRE(log->truncate_prefix({1}));
  REQUIRE(log->close());
  log = open_log(directory.path(), options);
  CHECK(log->recovery().clean);
  CHECK(read_values(*log, {1}).front() == "after");
}

TEST_CASE("processes: a reader follows a live writer across rolls, closes and deaths",
          "[processes][tsan]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  std::uint64_t end = 0;
  {
    Writer writer(path);
    const Log log = open_log(path, read_only());
    Reader reader = log.reader({0});
    REQUIRE(reader.next());
    for (int round = 0; round < 3; ++round) {
      writer.start(Command::What::append, 400);
      REQUIRE(follow(reader, end + 400) == "");
      REQUIRE(writer.finish() == end + 400);
      end += 400;
      CHECK(log.end_offset() == Offset{end});
      CHECK(log.segments().size() > 2);
      REQUIRE(writer.run(Command::What::reopen) == end);  // closed properly in between
    }
    writer.run(Command::What::append, 30);
    end += 30;
    REQUIRE(follow(reader, end) == "");
    writer.kill();
    REQUIRE(follow(reader, end) == "");

    Writer heir(path);
    REQUIRE(heir.run(Command::What::append, 100) == end + 100);
    end += 100;
    REQUIRE(follow(reader, end) == "");
    CHECK(log.epoch().value > 1);
    REQUIRE(heir.run(Command::What::sync) == end);
    CHECK(log.wait({end - 1}, Ack::disk, 20s).value());
    const Offset durable = log.durable_offset();
    CHECK(durable <= log.end_offset());
    REQUIRE(heir.quit() == 0);
  }
  const Log log = open_log(path, read_only());
  Reader reader = log.reader({0});
  CHECK(follow(reader, end) == "");
}

TEST_CASE("processes: whoever opens a log beside a busy writer sees an intact prefix",
          "[processes][tsan]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Writer writer(path);
  std::uint64_t end = writer.run(Command::What::append, 50);
  for (int round = 0; round < 8; ++round) {
    CAPTURE(round);
    writer.start(Command::What::append, 500);
    for (int i = 0; i < 8; ++i) {
      const Log log = open_log(path, read_only());
      INFO((log.recovery().lost.empty() ? "" : log.recovery().lost.front().what));
      REQUIRE(log.recovery().lost.empty());
      const std::uint64_t seen = log.end_offset().value;
      REQUIRE(seen >= end);
      Reader reader = log.reader(log.start_offset());
      REQUIRE(follow(reader, seen) == "");
      const Offset durable = log.durable_offset();  // first: the writer goes on
      REQUIRE(durable <= log.end_offset());
    }
    end = writer.finish();
  }
  CHECK(writer.quit() == 0);
}

constexpr std::uint64_t batch_records = 64;

// Appends batches, a moment apart so that a reader can keep up, until nobody listens. Keeps the last hundred.
int append_batches(const std::filesystem::path& directory, const PipeEnd& started) {
  auto log = Log::open(directory, writer_options());
  if (!log) return 1;
  const std::string value(40, 'v');
  const std::vector<Record> batch(batch_records, Record{.value = bytes(value)});
  for (std::uint64_t i = 0;; ++i) {
    if (!log->append(batch, os_ack)) return 1;
    const auto pause = std::chrono::steady_clock::now() + 10us;
    while (std::chrono::steady_clock::now() < pause) continue;
    if (i % 5'000 != 0) continue;
    const std::uint64_t end = log->end_offset().value;
    if (end > 100 * batch_records && !log->truncate_prefix({end - 100 * batch_records})) return 1;
    if (!started.send(end)) return 0;
  }
}

TEST_CASE("processes: whoever looks at a log beside a busy writer sees whole batches",
          "[processes]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Child writer(
      [&](const PipeEnd& to_parent, const PipeEnd&) { return append_batches(path, to_parent); });
  REQUIRE(writer.output().receive<std::uint64_t>());
  for (int i = 0; i < 20; ++i) {
    const auto log = Log::open(path, read_only());
    INFO((log ? std::string() : log.error().message()));
    REQUIRE(log);
    REQUIRE(log->end_offset().value % batch_records == 0);
  }
  // Opening is seldom quick enough to meet a batch that is being written; whoever follows is.
  const Log log = open_log(path, read_only());
  Reader reader = log.reader(log.end_offset());
  bool more = false;
  for (int caught_up = 0; caught_up < 500;) {
    if (reader.advance()) {
      more = true;
      continue;
    }
    if (!reader.status()) {  // too slow: what comes next was truncated
      reader.seek(log.end_offset());
      continue;
    }
    if (reader.next_offset().value % batch_records != 0)
      FAIL("offset " << reader.next_offset().value << " is in the midst of a batch");
    caught_up += std::exchange(more, false) ? 1 : 0;
  }
  writer.kill();
}

TEST_CASE("processes: a writer that truncates is not taken for damage", "[processes][tsan]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Writer writer(path);
  std::uint64_t end = writer.run(Command::What::append, 200);
  const Log following = open_log(path, read_only());
  for (int round = 0; round < 30; ++round) {
    CAPTURE(round);
    writer.start(Command::What::append_and_truncate, 60);
    for (int i = 0; i < 5; ++i) {
      const Log log = open_log(path, read_only());
      INFO((log.recovery().lost.empty() ? "" : log.recovery().lost.front().what));
      REQUIRE(log.recovery().lost.empty());
      REQUIRE(log.end_offset().value >= end);
    }
    end = writer.finish();
    REQUIRE(following.end_offset().value == end);
    // It hears of a truncation a little later than of records.
    while (following.start_offset().value < end - 110) std::this_thread::sleep_for(1ms);
    Reader reader = following.reader(following.start_offset());
    REQUIRE(follow(reader, end) == "");
  }
  CHECK(writer.quit() == 0);
}

TEST_CASE("processes: a reader is told when its log is gone or another's", "[processes]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Writer writer(path);
  writer.run(Command::What::append, 10);
  REQUIRE(writer.quit() == 0);
  const Log log = open_log(path, read_only());
  Reader reader = log.reader({10});
  REQUIRE(!reader.wait(1ms).value());

  std::filesystem::remove(path / "MANIFEST");
  CHECK(fails_with(reader.wait(20s), Errc::corrupt, {"MANIFEST"}));
  const auto other = directory.path() / "other";
  open_log(other, writer_options());
  std::filesystem::copy(other / "MANIFEST", path / "MANIFEST");
  CHECK(fails_with(reader.wait(20s), Errc::corrupt, {"MANIFEST", "another"}));
}

TEST_CASE("processes: a reader learns that the writer truncated the log", "[processes]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Writer writer(path);
  const std::uint64_t end = writer.run(Command::What::append, 1000);
  const Log log = open_log(path, read_only());
  Reader pinned = log.reader({0});
  const auto first = pinned.next();
  REQUIRE(first);
  REQUIRE(*first);

  writer.run(Command::What::truncate, 900);
  CHECK(difference(**first, streamed(0)) == "");  // the reader holds the segment
  Reader late = log.reader({100});
  const auto gone = late.next();
  CHECK(fails_with(gone, Errc::offset_out_of_range, {"[900, 1000)"}));
  CHECK(log.start_offset() == Offset{900});
  late.seek(log.start_offset());
  CHECK(follow(late, end) == "");
  Reader overtaken = std::move(pinned);
  Result<std::optional<RecordView>> next = overtaken.next();
  while (next && *next) next = overtaken.next();
  CHECK(fails_with(next, Errc::offset_out_of_range));
  CHECK(writer.quit() == 0);
}

TEST_CASE("processes: many readers follow at once", "[processes][tsan]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  Writer writer(path);
  constexpr std::uint64_t records = 600;
  std::vector<std::unique_ptr<Child>> readers;
  for (int i = 0; i < 3; ++i) {
    readers.push_back(std::make_unique<Child>([&](const PipeEnd& to_parent, const PipeEnd&) {
      auto log = Log::open(path, read_only());
      if (!log || !to_parent.send(1)) return 1;
      Reader reader = log->reader({0});
      const std::string what = follow(reader, records);
      if (!what.empty()) std::fprintf(stderr, "child process: %s\n", what.c_str());
      return what.empty() ? 0 : 1;
    }));
    REQUIRE(readers.back()->output().receive<int>());
  }
  CHECK(writer.run(Command::What::append, records) == records);
  for (const auto& reader : readers) CHECK(reader->wait() == 0);
  CHECK(writer.quit() == 0);
}

}  // namespace
}  // namespace varve::test
