// Whether what varve does costs more in a log of many segments, and what many logs in one process take.
#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "peers/varve.hpp"
#include "support/process.hpp"

namespace {

using namespace bench;

constexpr std::size_t value_bytes = 1000;
constexpr std::size_t batch_records = 10;

// A closed log of that many segments, of 16 KiB each: what it takes to have so many.
fs::path many_segments(std::size_t segments) {
  return fixture("segments-" + std::to_string(segments), [&](const fs::path& path) {
    const varve::Options options{.segment_bytes = 16u << 10,
                                 .background = varve::Background::manual};
    varve::Log log = varve::Log::open(path / "data", options).value();
    const Payload payload(value_bytes);
    const std::vector<varve::Record> batch(batch_records, {.value = varve::bytes(payload(0))});
    for (std::size_t rolled = 0; log.metrics().segments < segments; ++rolled) {
      log.append(batch, {varve::Ack::os}).value();
      if (rolled % 500 == 0) log.tick().value();
    }
    log.close().value();
  });
}

void append(Sample& sample, std::size_t segments) {
  const fs::path fixture = many_segments(segments);
  const Directory directory;
  copy_files(fixture / "data", directory / "log", [](const fs::path&) { return false; });
  VarveStore store(directory / "log", Safety::process);
  const Payload payload(100);
  store.append(payload(0));  // begins a segment of the usual size
  const std::uint64_t records = scaled(1'500'000);
  sample.time(records, [&] {
    for (std::uint64_t number = 0; number < records; ++number) store.append(payload(number));
  });
}

void random_read(Sample& sample, std::size_t segments) {
  VarveStore store(many_segments(segments) / "data", Safety::process);
  const std::uint64_t records = store.log().end_offset().value;
  varve::Reader reader = store.log().reader(store.log().start_offset());
  const std::uint64_t reads = scaled(60'000);
  std::uint64_t number = 0;
  const auto read_one = [&] {
    number = (number + 7919) % records;
    reader.seek({number});
    require(reader.advance() && reader.record().offset.value == number, "wrong record");
    require(reader.record().value->size() == value_bytes, "a record has the wrong size");
  };
  for (std::uint64_t i = 0; i < reads; ++i) read_one();
  sample.time(reads, [&] {
    for (std::uint64_t i = 0; i < reads; ++i) read_one();
  });
}

void open(Sample& sample, std::size_t segments) {
  const fs::path path = many_segments(segments) / "data";
  const Stopwatch watch;
  const varve::Log log = varve::Log::open(path).value();
  sample.set("ms", watch.seconds() * 1e3);
  require(log.metrics().segments >= segments, "segments are missing");
}

double open_files() {
  return static_cast<double>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

// Many logs in one process, each used a little, then left alone.
void logs(Sample& sample, std::size_t count) {
  const Directory directory;
  std::vector<VarveStore> stores;
  stores.reserve(count);
  const Payload payload(100);
  const double files = open_files();
  const double threads = process_status("Threads");
  const double before = anonymous_bytes();
  for (std::size_t i = 0; i < count; ++i) {
    stores.emplace_back(directory / std::to_string(i).c_str(), Safety::process);
    for (std::uint64_t number = 0; number < 100; ++number) stores.back().append(payload(number));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // for the background to come to rest
  const auto each = [&](double all) { return all / static_cast<double>(count); };
  sample.set("anonymous_bytes", each(anonymous_bytes() - before));
  sample.set("files", each(open_files() - files));
  sample.set("thread_count", process_status("Threads") - threads);
}

const Registration samples([] {
  for (const std::size_t segments : {10u, 1000u, 10000u}) {
    const std::string of = "/" + std::to_string(segments);
    add("scale/append" + of, [=](Sample& sample) { append(sample, segments); });
    add("scale/read" + of, [=](Sample& sample) { random_read(sample, segments); });
    add("scale/open" + of, [=](Sample& sample) { open(sample, segments); });
  }
  add("scale/logs/1000", [](Sample& sample) { logs(sample, 1000); });
});

}  // namespace
