// Three ways to append many records, from the most careful to the quickest.
#include <chrono>
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <varve/varve.hpp>

namespace {

constexpr std::uint64_t count = 2000;

bool fail(const varve::Error& error) {
  std::cerr << "batches: " << error.message() << '\n';
  return false;
}

class Stopwatch {
 public:
  explicit Stopwatch(std::string_view what) : what_(what) {}
  ~Stopwatch() {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin_;
    std::cout << what_ << ": " << count << " records in " << took.count() * 1000 << " ms\n";
  }

 private:
  std::string_view what_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Each append returns when its record is on disk. Many threads doing so share one flush; a single
// one pays for a flush a record.
bool one_by_one(varve::Log& log) {
  const Stopwatch stopwatch("durable one by one ");
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string text = "order " + std::to_string(i);
    if (auto offset = log.append({.value = varve::bytes(text)}); !offset)
      return fail(offset.error());
  }
  return true;
}

// A batch is all or nothing: after a crash there are all of its records, or none of them.
bool as_batches(varve::Log& log) {
  const Stopwatch stopwatch("durable in batches ");
  constexpr std::uint64_t batch = 100;
  for (std::uint64_t done = 0; done < count; done += batch) {
    std::vector<std::string> texts;
    for (std::uint64_t i = 0; i < batch; ++i) texts.push_back("line " + std::to_string(done + i));
    std::vector<varve::Record> records;  // they borrow the texts until append returns
    for (const std::string& text : texts) records.push_back({.value = varve::bytes(text)});
    const auto offsets = log.append(records);
    if (!offsets) return fail(offsets.error());
    if (offsets->size() != batch) return false;
  }
  return true;
}

// With Ack::os an append costs next to nothing and survives the death of the process, but not a
// loss of power. Wait once, for the last one: then all of them are durable.
bool one_wait(varve::Log& log) {
  const Stopwatch stopwatch("cheap, then one wait");
  varve::Offset last;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string text = "event " + std::to_string(i);
    const auto offset = log.append({.value = varve::bytes(text)}, {.ack = varve::Ack::os});
    if (!offset) return fail(offset.error());
    last = *offset;
  }
  const auto durable = log.wait(last, varve::Ack::disk, std::chrono::seconds(30));
  if (!durable) return fail(durable.error());
  return *durable && log.durable_offset() > last;
}

// What is too large is refused as a whole, before anything is written.
bool too_large(varve::Log& log) {
  const varve::Offset end = log.end_offset();
  const std::string large(2 << 20, 'x');
  const std::vector<varve::Record> records{{.value = varve::bytes("fits")},
                                           {.value = varve::bytes(large)}};
  const auto refused = log.append(records);
  if (refused || refused.error() != varve::Errc::batch_too_large) return false;
  std::cout << "refused: " << refused.error().message() << '\n';
  return log.end_offset() == end;
}

}  // namespace

int main(int argc, char** argv) {
  auto log = varve::Log::open(argc > 1 ? argv[1] : "batches.varve");
  if (!log) return fail(log.error()), 1;
  if (!one_by_one(*log) || !as_batches(*log) || !one_wait(*log) || !too_large(*log)) return 1;
  if (auto closed = log->close(); !closed) return fail(closed.error()), 1;
  std::cout << "the log ends at offset " << log->end_offset().value << '\n';
  return 0;
}
