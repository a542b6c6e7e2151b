#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/log_tools.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

using namespace std::chrono_literals;

// Writes down what it hears.
struct Hear : Observer {
  void on_rolled(const SegmentInfo& segment) override { note("rolled " + segment.file); }
  void on_removed(const SegmentInfo& segment) override { note("removed " + segment.file); }
  void on_synced(Offset durable, std::chrono::nanoseconds took) override {
    note("synced " + std::to_string(durable.value) + (took < 0ns ? " in negative time" : ""));
  }
  void on_failed(const Error& error) override { note("failed " + error.message()); }

  void note(std::string what) {
    const std::lock_guard lock(mutex);
    heard.push_back(std::move(what));
  }
  std::mutex mutex;
  std::vector<std::string> heard;
};

TEST_CASE("observer: hears of syncs, rolls and removals as they happen", "[log][observer]") {
  const auto observer = std::make_shared<Hear>();
  Options options = small_log();
  options.observer = observer;
  Log log = open_log(make_memory_storage(), options);
  REQUIRE(append_text(log, "x", {Ack::disk}));
  REQUIRE(log.sync());
  CHECK(observer->heard == std::vector<std::string>{"synced 1"});
  observer->heard.clear();

  fill_segments(log, 2);
  CHECK(observer->heard.empty());
  REQUIRE(log.tick());
  // The segment that is still growing is not flushed for it.
  const Offset rolled_end = log.segments()[0].offsets.end;
  CHECK(log.durable_offset() == rolled_end);
  CHECK(observer->heard == std::vector<std::string>{"synced " + std::to_string(rolled_end.value),
                                                    "rolled 00000000000000000000.log"});
  observer->heard.clear();

  REQUIRE(log.truncate_prefix(log.segments()[1].offsets.begin));
  CHECK(observer->heard == std::vector<std::string>{"removed 00000000000000000000.log"});
}

TEST_CASE("observer: what it is told of a sealed segment is complete", "[log][observer]") {
  struct Keep final : Observer {
    void on_rolled(const SegmentInfo& segment) override { segments.push_back(segment); }
    std::vector<SegmentInfo> segments;
  };
  const auto observer = std::make_shared<Keep>();
  Options options = small_log();
  options.observer = observer;
  Log log = open_log(make_memory_storage(), options);
  fill_segments(log, 4);
  REQUIRE(log.tick());
  const auto segments = log.segments();
  REQUIRE(observer->segments.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(observer->segments[i].file == segments[i].file);
    CHECK(observer->segments[i].offsets == segments[i].offsets);
    CHECK(observer->segments[i].bytes == segments[i].bytes);
    CHECK(observer->segments[i].newest == segments[i].newest);
    CHECK(observer->segments[i].sealed);
  }
}

// Waits inside a call until another thread got an answer from the log, but not for ever.
struct Patient final : Observer {
  void meet() {
    std::unique_lock lock(mutex);
    arrived = true;
    changed.notify_all();
    stuck = !changed.wait_for(lock, 20s, [&] { return answered; });
  }
  // Calls `ask` while the observer waits.
  template <class Ask>
  std::thread ask_meanwhile(Ask ask) {
    return std::thread([this, ask = std::move(ask)] {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return arrived; });
      lock.unlock();
      ask();
      lock.lock();
      answered = true;
      changed.notify_all();
    });
  }
  void on_rolled(const SegmentInfo&) override {
    if (at_roll) meet();
  }
  void on_removed(const SegmentInfo&) override {
    if (at_removal) meet();
  }
  void on_failed(const Error&) override {
    if (at_failure) meet();
  }

  std::mutex mutex;
  std::condition_variable changed;
  bool arrived = false;
  bool answered = false;
  bool stuck = false;
  bool at_roll = false;
  bool at_removal = false;
  bool at_failure = false;
};

TEST_CASE("observer: no lock is held while it is told, so others go on", "[log][observer][tsan]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  const auto observer = std::make_shared<Patient>();
  Options options = small_log();
  options.observer = observer;
  Log log = open_log(storage, options);
  std::atomic<bool> right{false};

  SECTION("of a roll") {
    fill_segments(log, 2);
    observer->at_roll = true;
    std::thread other = observer->ask_meanwhile([&] {
      right = append_text(log, "x", {Ack::disk}) && log.tick() && log.truncate_prefix({1});
    });
    CHECK(log.tick());
    other.join();
  }
  SECTION("of a removal") {
    fill_segments(log, 2);
    observer->at_removal = true;
    std::thread other = observer->ask_meanwhile([&] {
      right =
          append_text(log, "x", {Ack::disk}) && log.tick() && log.truncate_prefix(log.end_offset());
    });
    CHECK(log.truncate_prefix(log.segments()[1].offsets.begin));
    other.join();
  }
  SECTION("of a failing sync") {
    REQUIRE(append_text(log, "x"));
    storage->inject({.ops = {StorageOp::sync}});
    observer->at_failure = true;
    std::thread other = observer->ask_meanwhile([&] {
      const auto refused = append_text(log, "x", {Ack::disk});
      right = !refused && refused.error() == Errc::failed;
    });
    CHECK(!log.sync());
    other.join();
  }
  SECTION("of a failing manifest") {
    storage->inject({.ops = {StorageOp::sync_names}});
    observer->at_failure = true;
    std::thread other = observer->ask_meanwhile([&] {
      const auto refused = append_text(log, "x");
      right = !refused && refused.error() == Errc::failed;
    });
    CHECK(!append_text(log, "x"));
    other.join();
  }
  SECTION("of a failing roll") {
    fill_segments(log, 1);
    storage->inject({.ops = {StorageOp::rename}});
    observer->at_failure = true;
    std::thread other = observer->ask_meanwhile([&] {
      const auto refused = append_text(log, "x");
      right = !refused && refused.error() == Errc::failed;
    });
    while (append_text(log, std::string(1000, 'x'))) {
    }
    other.join();
  }
  CHECK(right);
  CHECK(!observer->stuck);
}

}  // namespace
}  // namespace varve::test
