// A process is killed while it appends, over and over on one directory: what it had acknowledged is there.
#include <atomic>
#include <filesystem>
#include <map>
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

// A record of the test: the `number`th that a thread of a round appended.
struct Mark {
  std::uint32_t round = 0;
  std::uint32_t thread = 0;
  std::uint64_t number = 0;
  friend bool operator==(const Mark&, const Mark&) = default;

  std::string key() const {
    return std::to_string(round) + "/" + std::to_string(thread) + "/" + std::to_string(number);
  }
  std::string value() const {
    Random random(round * 1000 + thread * 100 + number);
    return random.text(random.one_in(20) ? random.below(5000) : random.below(200));
  }
  static Mark parse(std::string_view key) {
    Mark mark;
    const std::string text(key);
    unsigned long long number = 0;
    if (std::sscanf(text.c_str(), "%u/%u/%llu", &mark.round, &mark.thread, &number) != 3) return {};
    mark.number = number;
    return mark;
  }
};

// Sent when an append has returned.
struct Acknowledged {
  std::uint64_t offset = 0;
  Mark first{};
  std::uint32_t count = 0;
};

void append_until_killed(Log& log, std::uint32_t round, std::uint32_t thread, const PipeEnd& acks) {
  Random random(round * 10 + thread);
  Mark mark{round, thread, 0};
  for (;;) {
    const auto count = static_cast<std::uint32_t>(random.one_in(4) ? random.between(2, 5) : 1);
    std::vector<OwnedRecord> records(count);
    const Acknowledged message{0, mark, count};
    for (OwnedRecord& record : records) {
      record.key = mark.key();
      record.value = mark.value();
      ++mark.number;
    }
    const auto offsets =
        log.append(Batch(records).records(), {random.one_in(10) ? Ack::disk : Ack::os});
    if (!offsets) return;
    Acknowledged done = message;
    done.offset = offsets->begin.value;
    if (!acks.send(done)) return;
  }
}

Options options_of_round() {
  Options options;
  options.segment_bytes = 32u << 10;
  return options;
}

int be_killed(const std::filesystem::path& directory, std::uint32_t round, const PipeEnd& acks) {
  constexpr std::uint32_t threads = 2;
  auto log = Log::open(directory, options_of_round());
  if (!log) {
    std::fprintf(stderr, "child process: %s\n", log.error().message().c_str());
    return 1;
  }
  std::vector<std::thread> appenders;
  for (std::uint32_t thread = 0; thread < threads; ++thread)
    appenders.emplace_back([&, thread] { append_until_killed(*log, round, thread, acks); });
  for (std::thread& appender : appenders) appender.join();
  return 2;
}

// What all rounds together have been told.
class Witness {
 public:
  void hear(const Acknowledged& message) {
    Mark mark = message.first;
    for (std::uint32_t i = 0; i < message.count; ++i, ++mark.number)
      acknowledged_[message.offset + i] = mark;
  }

  std::uint64_t heard() const noexcept { return acknowledged_.size(); }

  // Everything acknowledged is where it was said to be; nothing came twice or out of its thread's order.
  std::string check(const Log& log) const {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> next;
    std::uint64_t offset = 0;
    auto due = acknowledged_.begin();
    Epoch epoch{};
    Reader reader = log.reader({0});
    for (const RecordView& record : reader) {
      const std::string here = " at offset " + std::to_string(offset);
      if (record.offset.value != offset) return "a hole" + here;
      if (!record.key || !record.value) return "a foreign record" + here;
      const Mark mark = Mark::parse(text(*record.key));
      if (text(*record.value) != mark.value()) return "wrong bytes" + here;
      std::uint64_t& expected = next[{mark.round, mark.thread}];
      if (mark.number != expected) return "a thread's records are doubled, lost or swapped" + here;
      ++expected;
      if (record.epoch < epoch) return "the epoch fell" + here;
      epoch = record.epoch;
      if (due != acknowledged_.end() && due->first == offset) {
        if (due->second != mark) return "not what was acknowledged" + here;
        ++due;
      }
      ++offset;
    }
    if (const auto status = reader.status(); !status) return status.error().message();
    if (due != acknowledged_.end())
      return "acknowledged offset " + std::to_string(due->first) + " is gone";
    return {};
  }

 private:
  std::map<std::uint64_t, Mark> acknowledged_;
};

TEST_CASE("kill: a killed process loses nothing that it had acknowledged",
          "[recovery][kill][tsan]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  const TempDir directory;
  Witness witness;
  Epoch epoch{};
  bool was_clean = true;
  for (std::uint32_t round = 0; round < 10; ++round) {
    CAPTURE(round);
    Child child([&](const PipeEnd& to_parent, const PipeEnd&) {
      return be_killed(directory.path() / "log", round, to_parent);
    });
    for (std::uint64_t left = random.one_in(5) ? 0 : random.below(600); left > 0; --left) {
      const auto message = child.output().receive<Acknowledged>();
      REQUIRE(message);
      witness.hear(*message);
    }
    const std::uint64_t heard_before = witness.heard();
    child.kill();
    while (const auto message = child.output().receive<Acknowledged>()) witness.hear(*message);
    const bool wrote = witness.heard() > heard_before;

    if (random.one_in(2) && std::filesystem::exists(directory.path() / "log" / "MANIFEST")) {
      const Log log = open_log(directory.path() / "log", read_only());
      REQUIRE(log.recovery().lost.empty());
      REQUIRE(witness.check(log) == "");
      was_clean = false;  // the next child recovers
    } else {
      Log log = open_log(directory.path() / "log", options_of_round());
      REQUIRE(witness.check(log) == "");
      if (wrote && was_clean) REQUIRE(!log.recovery().clean);
      if (!log.recovery().clean) REQUIRE(log.epoch() > epoch);
      epoch = log.epoch();
      REQUIRE(log.close());
      was_clean = true;
    }
  }
  CHECK(witness.heard() > 100);
}

}  // namespace
}  // namespace varve::test
