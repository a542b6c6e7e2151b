// Opening a log: closed properly, of many segments, and after its writer was killed.
#include <string>

#include "peers/stores.hpp"
#include "support/process.hpp"

namespace {

using namespace bench;

std::uint64_t fixture_records() { return quick() ? 2'000'000 : 10'000'000; }

void took(Sample& sample, double seconds) {
  sample.took(seconds, 1);
  sample.set("ms", seconds * 1e3);
}

// Opens a log, times that, and closes it.
template <class Check>
void open(Sample& sample, const fs::path& directory, varve::Options options, Check&& check) {
  const Stopwatch watch;
  varve::Log log = varve::Log::open(directory, options).value();
  took(sample, watch.seconds());
  check(log);
  log.close().value();
}

fs::path large_log() {
  return filled(Contender<VarveStore>{"varve"}, 100, fixture_records()) / "data";
}

void open_clean(Sample& sample) {
  open(sample, large_log(), {}, [](const varve::Log& log) {
    require(log.recovery().clean && log.end_offset().value == fixture_records(),
            "not the log that was closed");
  });
}

void open_segments(Sample& sample) {
  const varve::Options small{.segment_bytes = 64u << 10};
  const std::size_t segments = quick() ? 200 : 1000;
  const fs::path directory = fixture("varve-segments", [&](const fs::path& path) {
    varve::Log log = varve::Log::open(path / "data", small).value();
    const Payload payload(1000);
    const std::vector<varve::Record> batch(10, {.value = varve::bytes(payload(0))});
    while (log.segments().size() < segments) log.append(batch, {varve::Ack::os}).value();
    log.close().value();
  });
  open(sample, directory / "data", small, [&](const varve::Log& log) {
    require(log.segments().size() >= segments, "segments are missing");
  });
}

// ---- after SIGKILL -------------------------------------------------------------------------------

struct Killed {
  std::uint64_t durable = 0;
  std::uint64_t end = 0;
  std::uint64_t tail_bytes = 0;  // in the segment that was being written
};

// Continues the large log in `directory` until the segment in use is nearly full, syncs it, appends
// some more, and is killed.
Killed kill_log(const fs::path& directory) {
  // Sealed segments never change, so they need no copy.
  const std::vector<fs::path> segments = segment_files(large_log());
  copy_files(large_log(), directory, [&](const fs::path& file) {
    return std::find(segments.begin(), segments.end() - 1, file) != segments.end() - 1;
  });
  const Shared<Killed> killed;
  run_killed([&] {
    varve::Log log = varve::Log::open(directory).value();
    const Payload payload(100);
    const std::vector<varve::Record> batch(100, {.value = varve::bytes(payload(0))});
    const std::uint64_t full = varve::Options{}.segment_bytes - (4u << 20);
    while (log.segments().back().bytes < full) log.append(batch, {varve::Ack::os}).value();
    log.sync().value();
    killed->durable = log.end_offset().value;
    for (int i = 0; i < 10; ++i) log.append(batch, {varve::Ack::os}).value();
    killed->end = log.end_offset().value;
    killed->tail_bytes = log.segments().back().bytes;
    die_now();
  });
  return *killed;
}

void open_killed(Sample& sample) {
  const Directory directory;
  const Killed killed = kill_log(directory / "log");
  open(sample, directory / "log", {}, [&](const varve::Log& log) {
    require(!log.recovery().clean && log.end_offset().value == killed.end,
            "not the log that was killed");
  });
}

// What cannot be done without: reading and hashing the same bytes. With O_DIRECT from the disk, as
// recovery must, because after a failed write the page cache shows what the disk never got.
void read_tail(Sample& sample, int flags) {
  const Directory directory;
  const Killed killed = kill_log(directory / "log");
  const RawFile file(segment_files(directory / "log").back(), O_RDONLY | flags);
  const AlignedBuffer buffer(1u << 20);
  const Stopwatch watch;
  file.sync();
  std::uint64_t sum = 0;
  for (std::uint64_t at = 0; at < killed.tail_bytes; at += buffer.size()) {
    file.read_at(at, buffer.data(), buffer.size());
    for (std::size_t frame = 0; frame < buffer.size(); frame += 4096)
      sum += plain_hash(buffer.data() + frame, 4096);
  }
  benchmark::DoNotOptimize(sum);
  took(sample, watch.seconds());
}

#ifdef VARVE_BENCH_PEERS
template <class Store>
void open_killed_peer(Sample& sample, Contender<Store> contender) {
  const fs::path killed =
      fixture(contender.name + std::string("-killed"), [](const fs::path& path) {
        run_killed([&] {
          Store store(path / "data", Safety::process);
          const Payload payload(100);
          for (std::uint64_t number = 0; number < fixture_records(); number += 100)
            store.append(payload, number, 100);
          die_now();
        });
      });
  const Directory directory;
  // They open old files for reading only, except for the one that says which others count.
  copy_files(killed / "data", directory / "data", [](const fs::path& file) {
    return file.extension() == ".ldb" || file.extension() == ".sst" || file.extension() == ".log";
  });
  ::sync();
  const Stopwatch watch;
  Store store(directory / "data", Safety::process);
  took(sample, watch.seconds());
  check_ends(store, Payload(100), fixture_records());
}
#endif

const Registration samples([] {
  add("open/varve_closed", open_clean);
  add("open/varve_segments", open_segments);
  add("open/varve_killed", open_killed);
  add("open/read_tail", [](Sample& sample) { read_tail(sample, O_DIRECT); });
  add("open/read_tail_cached", [](Sample& sample) { read_tail(sample, 0); });
#ifdef VARVE_BENCH_PEERS
  add("open/leveldb_killed",
      [](Sample& sample) { open_killed_peer(sample, Contender<LevelDb>{"leveldb"}); });
  add("open/rocksdb_killed",
      [](Sample& sample) { open_killed_peer(sample, Contender<RocksDb>{"rocksdb"}); });
#endif
});

}  // namespace
