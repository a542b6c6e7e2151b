// What work in the background costs those who append: the latency of paced appends while nothing else goes on, and while
// the log forgets, is compacted, copied, or read. scripts/bench.py compares each with the first.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <varve/varve.hpp>

#include "support/files.hpp"
#include "support/payload.hpp"

namespace {

using namespace bench;

constexpr std::size_t record_bytes = 100;
constexpr std::uint64_t held_bytes = 32u << 20;  // in the log before the clock starts
constexpr std::uint64_t keys = 50'000;

// A record whose key comes again.
class Keyed {
 public:
  explicit Keyed(const Payload& payload) : payload_(payload) {}

  varve::Record operator()(std::uint64_t number) {
    key_ = number % keys;
    return {.key = std::as_bytes(std::span(&key_, 1)), .value = varve::bytes(payload_(number))};
  }

 private:
  const Payload& payload_;
  std::uint64_t key_ = 0;
};

// A kind of append, and segments so small that it fills some twenty of them a second.
struct Pace {
  const char* name;
  varve::Ack ack;
  std::uint32_t segment_bytes;
  std::uint64_t every_ns;  // 0: one after the other
};

constexpr Pace paces[] = {
    {"os", varve::Ack::os, 1u << 20, 5'000},
    {"disk", varve::Ack::disk, 64u << 10, 0},
};

// What goes on meanwhile.
struct Case {
  const char* name;

  // What the log is opened with for it.
  std::function<void(varve::Options&)> prepare;

  // Works on a thread of its own until it is over. How much it did, which must not be nothing.
  std::function<std::uint64_t(varve::Log&, const Directory&, const std::atomic<bool>& over)> work;
};

std::uint64_t take_snapshots(varve::Log& log, const Directory& directory,
                             const std::atomic<bool>& over) {
  std::uint64_t taken = 0;
  // Removing them would be the benchmark's own load.
  for (; !over; ++taken) {
    const std::string name = "snapshot" + std::to_string(taken);
    log.snapshot(directory / name.c_str()).value();
  }
  return taken;
}

std::uint64_t scan(varve::Log& log, const Directory&, const std::atomic<bool>& over) {
  std::uint64_t records = 0;
  while (!over) {
    varve::Reader reader = log.reader(log.start_offset());
    for (const varve::RecordView& record : reader) {
      require(record.value->size() == record_bytes, "a record is not what was appended");
      ++records;
      if (over.load(std::memory_order_relaxed)) break;
    }
    reader.status().value();
  }
  return records;
}

// The chores do it; here it is only counted.
std::uint64_t see_removals(varve::Log& log, const Directory&, const std::atomic<bool>& over) {
  const std::uint64_t before = log.metrics().segments_removed;
  while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return log.metrics().segments_removed - before;
}

// One pass behind the other, at the pace that the default allows.
void compact_always(varve::Options& options) {
  options.compaction.emplace().min_dirty_ratio = 0.01;
}

std::uint64_t see_compactions(varve::Log& log, const Directory&, const std::atomic<bool>& over) {
  const std::uint64_t before = log.metrics().compactions;
  while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return log.metrics().compactions - before;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"idle", {}, {}},
      {"retention", [](varve::Options& options) { options.retention.bytes = held_bytes; },
       see_removals},
      {"compaction", compact_always, see_compactions},
      {"snapshot", {}, take_snapshots},
      {"scan", {}, scan},
  };
  return all;
}

void fill(varve::Log& log, const Payload& payload) {
  Keyed keyed(payload);
  for (std::uint64_t number = 0; number * record_bytes < held_bytes; ++number)
    log.append(keyed(number), {varve::Ack::os}).value();
  log.sync().value();
}

void append_for(varve::Log& log, const Pace& pace, double seconds, const Payload& payload,
                Latencies& latencies) {
  Keyed keyed(payload);
  const Stopwatch watch;
  std::uint64_t due = clock_ns();
  for (std::uint64_t number = 0; watch.seconds() < seconds; ++number) {
    while (pace.every_ns != 0 && clock_ns() < due) {
    }
    // What was missed while this thread did not run is not made good by a burst.
    due = std::max(due + pace.every_ns, clock_ns());
    const std::uint64_t begin = ticks();
    log.append(keyed(number), {pace.ack}).value();
    latencies.add(ticks() - begin);
  }
}

void run(Sample& sample, const Pace& pace, const Case& beside) {
  const Directory directory;
  const Payload payload(record_bytes);
  varve::Options options;
  options.segment_bytes = pace.segment_bytes;
  if (beside.prepare) beside.prepare(options);
  varve::Log log = varve::Log::open(directory / "log", options).value();
  fill(log, payload);

  Latencies warm;
  append_for(log, pace, 0.1, payload, warm);
  Latencies latencies(400'000);
  std::atomic<bool> over{false};
  std::uint64_t done = 1;
  std::exception_ptr error;
  const Stopwatch watch;
  const std::uint64_t first = log.end_offset().value;
  {
    std::jthread thread;
    if (beside.work)
      thread = std::jthread([&] {
        try {
          done = beside.work(log, directory, over);
        } catch (...) {
          error = std::current_exception();
        }
      });
    append_for(log, pace, quick() ? 0.4 : 1.0, payload, latencies);
    over = true;
  }
  if (error) std::rethrow_exception(error);
  require(done > 0, "nothing went on beside the appends");
  require(log.end_offset().value - first == latencies.size(), "records are missing");
  sample.took(watch.seconds(), latencies.size());
  sample.set(latencies);
  log.close().value();
}

const Registration samples([] {
  for (const Pace& pace : paces)
    for (const Case& beside : cases())
      add(std::string("background/") + pace.name + "/" + beside.name,
          [&](Sample& sample) { run(sample, pace, beside); });
});

}  // namespace
