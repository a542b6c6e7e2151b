// What a host's logger hears, and that the published table of it is true.
#include "varve/logger.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

// What was heard, out of the borrowed event.
struct Heard {
  std::string name{};
  LogLevel level{};
  std::map<std::string, std::int64_t> numbers{};
  std::map<std::string, double> seconds{};
  std::map<std::string, std::string> texts{};
};

// Writes down what it hears, and checks each event against the table.
class Recorder final : public Logger {
 public:
  explicit Recorder(LogLevel least = LogLevel::debug) : least_(least) {}

  LogLevel level() const noexcept override { return least_; }

  void log(const LogEvent& event) override {
    const std::lock_guard lock(mutex_);
    const auto table = event_table();
    const auto info = std::find_if(table.begin(), table.end(),
                                   [&](const EventInfo& one) { return one.name == event.name; });
    known_ = known_ && info != table.end() && info->level == event.level &&
             std::equal(event.fields.begin(), event.fields.end(), info->fields.begin(),
                        info->fields.end(),
                        [](const LogField& a, std::string_view b) { return a.name == b; });
    Heard heard{std::string(event.name), event.level, {}, {}, {}};
    for (const LogField& field : event.fields) {
      const std::string name(field.name);
      if (const auto* number = std::get_if<std::int64_t>(&field.value))
        heard.numbers[name] = *number;
      else if (const auto* fraction = std::get_if<double>(&field.value))
        heard.seconds[name] = *fraction;
      else
        heard.texts[name] = std::get<std::string_view>(field.value);
    }
    heard_.push_back(std::move(heard));
  }

  bool all_in_table() const {
    const std::lock_guard lock(mutex_);
    return known_;
  }

  std::vector<std::string> names() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const Heard& one : heard_) names.push_back(one.name);
    return names;
  }

  // The only event of that name.
  Heard only(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    std::vector<Heard> found;
    for (const Heard& one : heard_)
      if (one.name == name) found.push_back(one);
    CAPTURE(name);
    REQUIRE(found.size() == 1);
    return found.front();
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    heard_.clear();
  }

 private:
  const LogLevel least_;
  mutable std::mutex mutex_;
  std::vector<Heard> heard_;
  bool known_ = true;
};

using Names = std::vector<std::string>;

struct Logged {
  std::shared_ptr<Recorder> logger = std::make_shared<Recorder>();
  std::shared_ptr<FaultyStorage> storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Options options = [this] {
    Options o = small_log();
    o.logger = logger;
    return o;
  }();

  Log open() const { return open_log(storage, options); }
};

TEST_CASE("logger: hears of opening, flushes, rolls, truncation and closing", "[log][logger]") {
  const Logged world;
  Recorder& logger = *world.logger;
  Log log = world.open();
  CHECK(logger.names() == Names{"opened"});
  const Heard opened = logger.only("opened");
  CHECK(opened.level == LogLevel::info);
  CHECK(opened.texts.at("log") == world.storage->describe());
  CHECK(opened.texts.at("access") == "read_write");
  CHECK(opened.numbers.at("end_offset") == 0);
  CHECK(opened.seconds.at("took_seconds") >= 0);
  logger.clear();

  for (int i = 0; i < 100; ++i) REQUIRE(append_text(log, "x"));
  CHECK(logger.names().empty());  // cheap appends are no events
  REQUIRE(log.sync());
  CHECK(logger.only("synced").numbers.at("durable_offset") == 100);
  CHECK(logger.only("synced").level == LogLevel::debug);
  fill_segments(log, 3);
  REQUIRE(log.tick());
  const auto segments = log.segments();
  logger.clear();
  REQUIRE(log.truncate_prefix(segments[1].offsets.begin));
  CHECK(logger.names() == Names{"records_forgotten", "segment_removed"});
  const Heard forgotten = logger.only("records_forgotten");
  CHECK(forgotten.texts.at("why") == "truncate_prefix");
  CHECK(forgotten.numbers.at("old_start_offset") == 0);
  CHECK(Offset{static_cast<std::uint64_t>(forgotten.numbers.at("start_offset"))} ==
        segments[1].offsets.begin);
  CHECK(forgotten.numbers.at("segments") == 1);
  CHECK(logger.only("segment_removed").texts.at("file") == segments[0].file);
  logger.clear();

  fill_segments(log, 3);
  REQUIRE(log.tick());
  const Heard rolled = logger.only("segment_rolled");
  CHECK(rolled.texts.at("file") == log.segments()[1].file);
  CHECK(rolled.numbers.at("bytes") == static_cast<std::int64_t>(log.segments()[1].bytes));
  logger.clear();
  REQUIRE(log.close());
  REQUIRE(log.close());
  CHECK(Offset{static_cast<std::uint64_t>(logger.only("closed").numbers.at("end_offset"))} ==
        log.end_offset());
  CHECK(logger.all_in_table());
}

TEST_CASE("logger: a level is the least that is heard, and the observer hears all",
          "[log][logger]") {
  struct Count final : Observer {
    void on_synced(Offset, std::chrono::nanoseconds) override { ++synced; }
    int synced = 0;
  };
  const auto observer = std::make_shared<Count>();
  Logged world;
  world.logger = std::make_shared<Recorder>(LogLevel::warn);
  world.options.logger = world.logger;
  world.options.observer = observer;
  Log log = world.open();
  REQUIRE(append_text(log, "x", {Ack::disk}));
  REQUIRE(log.close());
  CHECK(observer->synced > 0);
  CHECK(world.logger->names().empty());
}

TEST_CASE("logger: hears what recovery found", "[log][logger]") {
  Logged world;
  {
    Log log = world.open();
    REQUIRE(append_text(log, "kept", {Ack::disk}));
    REQUIRE(append_text(log, "torn"));
    REQUIRE(world.storage->cut_power({.seed = 1, .keep = 0.0}));
  }
  world.logger->clear();
  Log log = world.open();
  const Heard recovered = world.logger->only("recovered");
  CHECK(recovered.numbers.at("segments_scanned") == 1);
  CHECK(recovered.numbers.at("records_scanned") == 1);
  CHECK(world.logger->names() == Names{"recovered", "opened"});
  REQUIRE(world.storage->open("thesis.txt", OpenMode::create));
  REQUIRE(log.close());
  world.logger->clear();
  log = world.open();
  const Heard unknown = world.logger->only("unknown_file");
  CHECK(unknown.level == LogLevel::warn);
  CHECK(unknown.texts.at("file") == "thesis.txt");
  CHECK(world.logger->all_in_table());
}

TEST_CASE("logger: hears of a torn tail, and of records that are lost", "[log][logger]") {
  Logged world;
  Log log = world.open();
  REQUIRE(append_text(log, std::string(3000, 'a'), {Ack::disk}));
  REQUIRE(append_text(log, std::string(3000, 'b'), {Ack::disk}));
  const std::string segment = log.segments()[0].file;
  const std::uint64_t damaged = log.segments()[0].bytes - 1000;

  SECTION("torn") {
    REQUIRE(append_text(log, std::string(3000, 'c')));
    const auto left = make_memory_storage();
    REQUIRE(world.storage->copy_medium({.seed = 1, .keep = 0.5}, *left));
    world.logger->clear();
    const Log recovered = open_log(left, world.options);
    const Heard torn = world.logger->only("torn_tail");
    CHECK(torn.level == LogLevel::warn);
    CHECK(torn.texts.at("file") == segment);
    CHECK(torn.numbers.at("begin_position") < torn.numbers.at("end_position"));
    CHECK(!torn.texts.at("what").empty());
  }
  SECTION("lost") {
    REQUIRE(log.close());
    fill_segments(log = world.open(), 2);
    REQUIRE(log.close());
    REQUIRE(world.storage->remove("MANIFEST"));
    world.logger->clear();
    CHECK(!Log::open(world.storage, world.options));
    const Heard refused = world.logger->only("open_failed");
    CHECK(refused.level == LogLevel::error);
    CHECK(refused.texts.at("category") == "varve");
    CHECK(refused.numbers.at("code") == static_cast<int>(Errc::corrupt));
    CHECK(refused.texts.at("error").find("MANIFEST") != std::string::npos);
  }
  SECTION("lost, for who only reads") {
    REQUIRE(world.storage->flip_bit(segment, 8 * damaged));
    world.logger->clear();
    const Log reader = open_log(world.storage, read_only(world.options));
    const Heard lost = world.logger->only("records_lost");
    CHECK(lost.level == LogLevel::error);
    CHECK(lost.texts.at("file") == segment);
    CHECK(lost.numbers.at("begin_offset") == 1);
    CHECK(lost.numbers.at("end_offset") == 2);
    CHECK(world.logger->only("opened").texts.at("access") == "read_only");
  }
  CHECK(world.logger->all_in_table());
}

TEST_CASE("logger: hears why a log was not opened, whatever the reason", "[log][logger]") {
  const auto logger = std::make_shared<Recorder>();
  const TempDir directory;
  Options options = small_log();
  options.logger = logger;
  SECTION("no directory") {
    options.create = false;
    CHECK(!Log::open(directory.path() / "missing", options));
    CHECK(logger->only("open_failed").texts.at("log") == directory.path() / "missing");
  }
  SECTION("bad options") {
    options.segment_bytes = 1;
    CHECK(!Log::open(directory.path() / "log", options));
    CHECK(!std::filesystem::exists(directory.path() / "log"));
    CHECK(logger->only("open_failed").numbers.at("code") ==
          static_cast<int>(Errc::invalid_argument));
  }
  SECTION("locked") {
    const Log first = open_log(directory.path() / "log");
    CHECK(!Log::open(directory.path() / "log", options));
    CHECK(logger->only("open_failed").numbers.at("code") == static_cast<int>(Errc::locked));
  }
  CHECK(logger->all_in_table());
}

TEST_CASE("logger: hears of failures and of a full disk", "[log][logger]") {
  const Logged world;
  Log log = world.open();
  REQUIRE(append_text(log, "x", {Ack::disk}));
  SECTION("a failure, once") {
    REQUIRE(append_text(log, "y"));
    world.storage->inject({.ops = {StorageOp::sync}});
    world.logger->clear();
    CHECK(!log.sync());
    CHECK(!append_text(log, "z"));
    const Heard failed = world.logger->only("failed");
    CHECK(failed.level == LogLevel::error);
    CHECK(failed.texts.at("category") == "generic");
    CHECK(failed.numbers.at("code") == EIO);
    CHECK(!log.close());
    CHECK(world.logger->only("close_failed").level == LogLevel::error);
  }
  SECTION("a full disk") {
    world.storage->inject(
        {.ops = {StorageOp::allocate}, .times = 1000, .error = make_error_code(Errc::no_space)});
    world.logger->clear();
    while (log.tick() && append_text(log, std::string(1000, 'x'))) {
    }
    CHECK(world.logger->names().front() == "no_space");
    world.storage->clear_faults();
  }
  CHECK(world.logger->all_in_table());
}

TEST_CASE("logger: hears what retention forgets, and once what it may not", "[log][logger]") {
  Logged world;
  world.options.retention.bytes = 1;
  Log log = world.open();
  fill_segments(log, 5);
  std::optional<Pin> pin = log.pin({0}).value();
  world.logger->clear();
  for (int i = 0; i < 3; ++i) REQUIRE(log.tick());
  const Offset wanted = log.segments()[4].offsets.begin;
  const Heard held = world.logger->only("retention_held");
  CHECK(held.numbers.at("pinned_offset") == 0);
  CHECK(Offset{static_cast<std::uint64_t>(held.numbers.at("wanted_start_offset"))} == wanted);
  pin.reset();
  world.logger->clear();
  REQUIRE(log.tick());
  const Heard forgotten = world.logger->only("records_forgotten");
  CHECK(forgotten.texts.at("why") == "retention");
  CHECK(forgotten.numbers.at("segments") == 4);
  CHECK(world.logger->all_in_table());
}

TEST_CASE("logger: hears of snapshots and of restores", "[log][logger]") {
  const Logged world;
  Recorder& logger = *world.logger;
  Log log = world.open();
  fill_segments(log, 2);
  const auto backup = make_memory_storage();
  const auto restored = make_memory_storage();
  REQUIRE(log.snapshot(*backup));
  const Heard taken = logger.only("snapshot_taken");
  CHECK(taken.texts.at("to") == backup->describe());
  CHECK(taken.numbers.at("segments") == 2);
  CHECK(Offset{static_cast<std::uint64_t>(taken.numbers.at("end_offset"))} == log.end_offset());
  CHECK(!log.snapshot(*backup));
  CHECK(logger.only("snapshot_failed").texts.at("category") == "generic");

  REQUIRE(restore(*backup, *restored, {}, &logger));
  CHECK(logger.only("restored").numbers.at("segments") == 2);
  CHECK(!restore(*backup, *restored, {}, &logger));
  CHECK(logger.only("restore_failed").texts.at("backup") == backup->describe());

  logger.clear();
  world.storage->inject({.ops = {StorageOp::sync}});
  REQUIRE(append_text(log, "x"));
  const auto another = make_memory_storage();
  CHECK(!log.snapshot(*another));
  CHECK(logger.names() == Names{"failed", "snapshot_failed"});
  CHECK(logger.all_in_table());
}

TEST_CASE("logger: what it throws stops nothing", "[log][logger]") {
  struct Throws final : Logger {
    LogLevel level() const noexcept override { return LogLevel::debug; }
    void log(const LogEvent&) override { throw std::runtime_error("full"); }
  };
  Options options = small_log();
  options.logger = std::make_shared<Throws>();
  Log log = open_log(make_memory_storage(), options);
  REQUIRE(append_text(log, "x", {Ack::disk}));
  fill_segments(log, 2);
  REQUIRE(log.tick());
  REQUIRE(log.truncate_prefix(log.end_offset()));
  REQUIRE(log.close());
}

TEST_CASE("logger: the document has every event, as the table does", "[logger]") {
  const std::filesystem::path docs = std::filesystem::path(VARVE_TEST_DIR).parent_path() / "docs";
  const std::string document = read_file(docs / "logging.md");
  std::set<std::string_view> names;
  for (const EventInfo& info : event_table()) {
    CAPTURE(info.name);
    CHECK(names.insert(info.name).second);
    CHECK(!info.help.empty());
    REQUIRE(info.fields.size() > 1);
    CHECK(info.fields.front() == "log");
    std::string row =
        "\n| `" + std::string(info.name) + "` | " + std::string(to_text(info.level)) + " | ";
    for (std::size_t i = 1; i < info.fields.size(); ++i)
      row += (i == 1 ? "`" : ", `") + std::string(info.fields[i]) + "`";
    row += " | " + std::string(info.help) + " |\n";
    CAPTURE(row);
    CHECK(document.find(row) != std::string::npos);
  }
  std::size_t rows = 0;
  for (std::size_t at = 0; (at = document.find("\n| `", at)) != std::string::npos; ++at) ++rows;
  CHECK(rows == event_table().size());
}

}  // namespace
}  // namespace varve::test
