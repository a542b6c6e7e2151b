// Appending what is to survive the death of the process: varve's Ack::os and what peers call their default,
// against write(2). Means and latencies are different samples: reading the clock takes as long as appending.
#include <string>

#include "peers/stores.hpp"
#include "support/process.hpp"

namespace {

using namespace bench;

// How many records are appended before the clock starts: memory is touched, files have a size.
constexpr std::uint64_t warm_up = 20'000;

template <class Store>
void append(Sample& sample, std::uint64_t records) {
  const Directory directory;
  Store store(directory / "log", Safety::process);
  const Payload payload(100);
  std::uint64_t number = 0;
  const auto append_until = [&](std::uint64_t end) {
    for (; number < end; ++number) require(store.append(payload(number)) == number, "wrong offset");
  };
  append_until(warm_up);
  sample.time(records, [&] { append_until(warm_up + records); });
  check_ends(store, payload, number);
}

template <class Store>
void append_latency(Sample& sample, std::uint64_t records) {
  const Directory directory;
  Store store(directory / "log", Safety::process);
  const Payload payload(100);
  for (std::uint64_t number = 0; number < warm_up; ++number) store.append(payload(number));
  Latencies latencies(records);
  std::uint64_t last = ticks();
  for (std::uint64_t number = warm_up; number < warm_up + records; ++number) {
    require(store.append(payload(number)) == number, "wrong offset");
    const std::uint64_t now = ticks();
    latencies.add(now - last);
    last = now;
  }
  check_ends(store, payload, warm_up + records);
  sample.set(latencies);
}

template <class Store>
void append_batches(Sample& sample, std::size_t record_bytes, std::uint64_t records) {
  constexpr std::size_t batch = 100;
  const Directory directory;
  Store store(directory / "log", Safety::process);
  const Payload payload(record_bytes);
  std::uint64_t number = 0;
  const auto append_until = [&](std::uint64_t end) {
    for (; number < end; number += batch) store.append(payload, number, batch);
  };
  append_until(warm_up);
  sample.time(records, [&] { append_until(warm_up + records); });
  check_ends(store, payload, number);
}

// More than the page cache may hold unwritten, with the flush at the end: what the device takes. And whether an append
// to a large log costs more than one to a small one: its first tenth against its last.
void sustained(Sample& sample) {
  constexpr std::uint64_t records = 100'000'000;  // of 100 bytes
  constexpr std::uint64_t tenth = records / 10;
  const Directory directory;
  const double before = anonymous_bytes();
  VarveStore store(directory / "log", Safety::process);
  const Payload payload(100);
  double most = 0;
  double appending = 0;
  double first = 0;
  double last = 0;
  const Stopwatch watch;
  sample.time(records, [&] {
    for (std::uint64_t number = 0; number < records; ++number) {
      if (number == tenth) first = watch.seconds();
      if (number == records - tenth) last = watch.seconds();
      require(store.append(payload(number)) == number, "wrong offset");
      if (number % 1'000'000 == 0) most = std::max(most, anonymous_bytes());
    }
    appending = watch.seconds();
    last = appending - last;
    store.log().sync().value();
  });
  const auto bytes = static_cast<double>(store.log().metrics().bytes);
  sample.set("bytes_per_s", bytes / watch.seconds());
  sample.set("append_bytes_per_s", bytes / appending);
  sample.set("anonymous_bytes", most - before);
  sample.set("first_tenth_ns", first * 1e9 / static_cast<double>(tenth));
  sample.set("last_tenth_ns", last * 1e9 / static_cast<double>(tenth));
  check_ends(store, payload, records);
}

void sequential_write(Sample& sample) {
  const std::uint64_t blocks = quick() ? 256 : 4096;
  const Directory directory;
  const RawFile file(directory / "raw", O_WRONLY | O_CREAT | O_DIRECT);
  const AlignedBuffer block(1u << 20);
  const Stopwatch watch;
  sample.time(blocks, [&] {
    for (std::uint64_t i = 0; i < blocks; ++i)
      file.write_at(i * block.size(), block.data(), block.size());
    file.sync();
  });
  sample.set("bytes_per_s", static_cast<double>(blocks * block.size()) / watch.seconds());
}

// How many records a store appends one by one in some 0.3 s.
template <class Store>
constexpr std::uint64_t work = 100'000;
template <>
constexpr std::uint64_t work<VarveStore> = 6'000'000;
#ifdef VARVE_BENCH_PEERS
template <>
constexpr std::uint64_t work<LevelDb> = 300'000;
template <>
constexpr std::uint64_t work<LmdbWriteMap> = 600'000;
#endif

template <class Store>
void add_batches(const std::string& name, std::uint64_t records) {
  add("batch/" + name + "/100",
      [=](Sample& sample) { append_batches<Store>(sample, 100, scaled(records) / 100 * 100); });
  add("batch/" + name + "/1024",
      [=](Sample& sample) { append_batches<Store>(sample, 1024, scaled(records) / 1000 * 100); });
}

const Registration samples([] {
  for_each_store([]<class Store>(Contender<Store> contender) {
    const std::string name = contender.name;
    add("append/" + name, [](Sample& sample) { append<Store>(sample, scaled(work<Store>)); });
    add("append_latency/" + name,
        [](Sample& sample) { append_latency<Store>(sample, scaled(work<Store> / 2)); });
    add_batches<Store>(name, std::max<std::uint64_t>(work<Store>, 500'000));
  });
  add("append/write", [](Sample& sample) { append<WriteLog>(sample, scaled(700'000)); });
  add("append_latency/write",
      [](Sample& sample) { append_latency<WriteLog>(sample, scaled(500'000)); });
  add("append/buffer", [](Sample& sample) { append<BufferedLog>(sample, scaled(6'000'000)); });
  add_batches<BufferedLog>("buffer", 6'000'000);
  add("sustained/varve", sustained);
  add("sustained/odirect", sequential_write);
});

}  // namespace
