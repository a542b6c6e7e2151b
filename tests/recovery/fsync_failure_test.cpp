// A failed sync is final: what it would have made durable may be gone, and no later success brings it back.
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/journal.hpp"
#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

struct CountFailures final : Observer {
  void on_failed(const Error& error) override {
    ++count;
    last = error.message();
  }
  std::atomic<int> count{0};
  std::string last{};
};

struct Rig {
  std::shared_ptr<FaultyStorage> storage = std::make_shared<FaultyStorage>(make_memory_storage());
  std::shared_ptr<CountFailures> failures = std::make_shared<CountFailures>();

  Options options() const {
    Options options = small_log();
    options.observer = failures;
    return options;
  }
};

Fault failing_syncs() {
  Fault fault;
  fault.ops = {StorageOp::sync};
  fault.times = ~std::uint64_t{0};
  return fault;
}

TEST_CASE(
    "sync failure: the append that meets it and all later ones fail, and no sync is tried again",
    "[recovery][sync]") {
  const Rig rig;
  Log log = open_log(rig.storage, rig.options());
  REQUIRE(append_text(log, "safe", {Ack::disk}));
  REQUIRE(append_text(log, "in danger"));

  rig.storage->inject(failing_syncs());
  REQUIRE(fails_with(append_text(log, "lost?", {Ack::disk}), Errc::failed, {".log", "injected"}));
  const std::uint64_t syncs = rig.storage->calls(StorageOp::sync);
  CHECK(rig.failures->count == 1);

  CHECK(fails_with(append_text(log, "x"), Errc::failed, {"injected"}));
  CHECK(fails_with(append_text(log, "x", {Ack::disk}), Errc::failed, {"injected"}));
  CHECK(fails_with(log.sync(), Errc::failed, {"injected"}));
  CHECK(fails_with(log.wait({1}, Ack::disk, std::chrono::milliseconds(0)), Errc::failed));
  CHECK(fails_with(log.wait({100}, Ack::os, std::chrono::hours(1)), Errc::failed));
  CHECK(fails_with(log.tick(), Errc::failed));
  rig.storage->clear_faults();
  CHECK(fails_with(append_text(log, "x", {Ack::disk}), Errc::failed, {"injected"}));
  CHECK(fails_with(log.sync(), Errc::failed));
  CHECK(fails_with(log.close(), Errc::failed));
  CHECK(rig.storage->calls(StorageOp::sync) == syncs);
  CHECK(rig.failures->count == 1);
}

TEST_CASE("sync failure: what was durable before can still be read, and nothing else",
          "[recovery][sync]") {
  const Rig rig;
  Log log = open_log(rig.storage, rig.options());
  REQUIRE(append_text(log, "safe", {Ack::disk}));
  REQUIRE(append_text(log, "in danger"));

  rig.storage->inject(failing_syncs());
  REQUIRE(fails_with(log.sync(), Errc::failed));
  CHECK(log.durable_offset() == Offset{1});
  CHECK(log.high_watermark() == Offset{1});
  CHECK(read_values(log, {0}) == std::vector<std::string>{"safe"});
  CHECK(log.find({}).value() == Offset{0});
  CHECK(log.wait({0}, Ack::disk, std::chrono::milliseconds(0)).value());
}

TEST_CASE("sync failure: reopening finds what was durable and takes appends", "[recovery][sync]") {
  const Rig rig;
  const bool cut_before = GENERATE(false, true);
  const bool cut_after = GENERATE(false, true);
  Journal journal(1);
  {
    Log log = open_log(rig.storage, rig.options());
    for (int i = 0; i < 100; ++i)
      REQUIRE(journal.append(log, 1, i % 10 == 0 ? Ack::disk : Ack::os));
    rig.storage->inject(failing_syncs());
    REQUIRE(!journal.append(log, 1, Ack::disk));
    rig.storage->clear_faults();
  }
  if (cut_before) REQUIRE(rig.storage->cut_power({.seed = 1, .keep = 0.5}));
  for (int opening = 0; opening < 2; ++opening) {
    Log log = open_log(rig.storage, rig.options());
    CHECK(log.recovery().clean == (opening == 1 && !cut_after));
    // The medium never got what the failed sync was to write, so a process death is no gentler.
    REQUIRE(journal.check(log, Survived::power_loss) == "");
    CHECK(log.durable_offset() == log.end_offset());
    REQUIRE(journal.append(log, 1, Ack::disk));
    if (cut_after && opening == 0) REQUIRE(rig.storage->cut_power({.seed = 2, .keep = 0.0}));
  }
}

TEST_CASE("sync failure: all appenders that wait for the same flush hear of it",
          "[recovery][sync][tsan]") {
  const Rig rig;
  Log log = open_log(rig.storage, rig.options());
  REQUIRE(append_text(log, "safe", {Ack::disk}));
  rig.storage->inject(failing_syncs());
  constexpr int threads = 8;
  std::atomic<int> failed{0};
  std::vector<std::thread> appenders;
  for (int i = 0; i < threads; ++i) {
    appenders.emplace_back([&] {
      const auto offset = append_text(log, "lost", {Ack::disk});
      if (!offset && offset.error() == Errc::failed) ++failed;
    });
  }
  for (std::thread& thread : appenders) thread.join();
  CHECK(failed == threads);
  CHECK(rig.failures->count == 1);
  CHECK(log.durable_offset() == Offset{1});
  CHECK(log.metrics().appends_refused == threads);
}

TEST_CASE("sync failure: one while a segment is prepared does not harm the log",
          "[recovery][sync]") {
  const Rig rig;
  Journal journal(2);
  Log log = open_log(rig.storage, rig.options());
  REQUIRE(journal.append(log, 1, Ack::disk));
  Fault fault = failing_syncs();
  fault.name = "spare";
  fault.times = 1;
  rig.storage->inject(fault);
  int refused = 0;
  for (int i = 0; i < 200; ++i)
    if (!journal.append(log, 1, Ack::os)) ++refused;
  CHECK(refused <= 1);
  CHECK(log.segments().size() > 1);
  REQUIRE(log.sync());
  journal.durable_below(log.end_offset());
  REQUIRE(rig.storage->cut_power({.seed = 3, .keep = 0.0}));
  { const Log closed = std::move(log); }
  log = open_log(rig.storage, rig.options());
  REQUIRE(journal.check(log, Survived::power_loss) == "");
}

TEST_CASE("sync failure: a segment that is cut short underneath poisons the log, not the host",
          "[recovery][sync]") {
  const TempDir directory;
  Log log = open_log(directory.path());
  REQUIRE(append_text(log, "safe", {Ack::disk}));
  const std::string file = log.segments()[0].file;
  std::filesystem::resize_file(directory.path() / file, 0);
  Result<Offset> offset = append_text(log, "into the void", {Ack::disk});
  CHECK(fails_with(offset, Errc::failed, {file}));
  CHECK(!log.close());
  CHECK(fails_with(Log::open(directory.path(), small_log()), Errc::corrupt, {file}));
}

TEST_CASE("sync failure: of the directory poisons as one of a file does", "[recovery][sync]") {
  const Rig rig;
  Journal journal(3);
  Log log = open_log(rig.storage, rig.options());
  REQUIRE(journal.append(log, 1, Ack::os));  // makes a segment, whose name is not durable yet
  Fault fault = failing_syncs();
  fault.ops = {StorageOp::sync_names};
  rig.storage->inject(fault);
  CHECK(!journal.append(log, 1, Ack::disk));
  CHECK(fails_with(append_text(log, "x"), Errc::failed, {"injected"}));
  CHECK(!log.close());
  rig.storage->clear_faults();
  REQUIRE(rig.storage->cut_power({.seed = 4, .keep = 0.5}));
  log = open_log(rig.storage, rig.options());
  REQUIRE(journal.check(log, Survived::power_loss) == "");
  REQUIRE(journal.append(log, 1, Ack::disk));
}

}  // namespace
}  // namespace varve::test
