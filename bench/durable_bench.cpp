// Appending what is to survive a loss of power.
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "peers/stores.hpp"
#include "support/threads.hpp"

namespace {

using namespace bench;

constexpr std::size_t thread_counts[] = {1, 4, 16, 64};

double seconds() { return quick() ? 0.1 : 0.25; }

template <class Store>
void durable(Sample& sample, std::size_t threads) {
  const Directory directory;
  Store store(directory / "log", Safety::power);
  const Payload payload(100);
  const std::uint64_t appended =
      run_threads(sample, threads, seconds(), [&] { store.append(payload(0)); });
  // Every thread appended the same, so the number after the last tells that none is missing.
  require(store.append(payload(0)) == appended, "records are missing");
  if constexpr (requires { typename Store::Reader; })
    typename Store::Reader(store).read(appended,
                                       [&](std::string_view value) { payload.check(0, value); });
}

template <class Store>
void durable_batches(Sample& sample) {
  constexpr std::size_t batch = 100;
  const Directory directory;
  Store store(directory / "log", Safety::power);
  const Payload payload(100);
  const std::uint64_t batches = scaled(3000);
  sample.time(batches * batch, [&] {
    for (std::uint64_t i = 0; i < batches; ++i) store.append(payload, i * batch, batch);
  });
  check_ends(store, payload, batches * batch);
}

// One thread, one block a flush.
void blocks(Sample& sample, int flags, std::size_t block_bytes, std::uint64_t records_each) {
  const Directory directory;
  BlockLog log(directory / "raw", flags, block_bytes);
  const std::uint64_t flushes = scaled(3000);
  Latencies latencies(flushes);
  sample.time(flushes * records_each, [&] {
    for (std::uint64_t i = 0; i < flushes; ++i) {
      const std::uint64_t begin = ticks();
      log.append();
      latencies.add(ticks() - begin);
    }
  });
  sample.set(latencies);
}

// Cheap appends, and one wait for the last of them.
void tickets(Sample& sample) {
  constexpr std::uint64_t outstanding = 64;
  const Directory directory;
  VarveStore store(directory / "log", Safety::process);
  const Payload payload(100);
  const std::uint64_t rounds = scaled(4000);
  std::uint64_t number = 0;
  sample.time(rounds * outstanding, [&] {
    for (std::uint64_t round = 0; round < rounds; ++round) {
      for (std::uint64_t i = 0; i < outstanding; ++i, ++number) store.append(payload(number));
      require(store.log()
                  .wait({number - 1}, varve::Ack::disk, std::chrono::milliseconds(10'000))
                  .value(),
              "a wait took too long");
    }
  });
  check_ends(store, payload, number);
}

// The latency of durable appends right before and after rolls, several of them, so that what a roll costs is
// within the 99.9th percentile.
void across_rolls(Sample& sample) {
  constexpr std::uint64_t rolls = 4;
  constexpr std::size_t batch = 100;
  const Directory directory;
  VarveStore store(directory / "log", Safety::power);
  varve::Log& log = store.log();
  const Payload payload(100);
  const std::vector<varve::Record> filler(batch, {.value = varve::bytes(payload(0))});
  const std::uint64_t segment_bytes = varve::Options{}.segment_bytes;
  Latencies latencies;

  const auto rolled = [&] { return log.metrics().segments_rolled; };
  const auto used = [&] {
    const std::vector<varve::SegmentInfo> segments = log.segments();
    return segments.empty() ? 0 : segments.back().bytes;  // a new log has none
  };
  const auto fill = [&](std::uint64_t roll, std::uint64_t until) {
    while (used() < until) {
      log.append(filler, {varve::Ack::os}).value();
      require(rolled() == roll, "rolled too early");
    }
    log.sync().value();
  };
  const auto append = [&] {
    const std::uint64_t begin = ticks();
    store.append(payload(0));
    latencies.add(ticks() - begin);
  };
  for (std::uint64_t roll = 0; roll < rolls; ++roll) {
    // Nobody fills a segment within milliseconds by durable appends; the background has its time to prepare
    // the next one, as it would have.
    fill(roll, segment_bytes * 6 / 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    fill(roll, segment_bytes - (64u << 10));
    for (int i = 0; rolled() == roll; ++i) {
      require(i < 5000, "no roll");
      append();
    }
    for (int i = 0; i < 300; ++i) append();
  }
  sample.set(latencies);
}

const Registration samples([] {
  const auto add_threads = []<class Store>(Contender<Store> contender) {
    for (const std::size_t threads : thread_counts) {
      add(std::string("durable/") + contender.name + "/" + std::to_string(threads),
          [=](Sample& sample) { durable<Store>(sample, threads); });
    }
  };
  for_each_store([&]<class Store>(Contender<Store> contender) {
    add_threads(contender);
    add(std::string("durable_batch/") + contender.name, durable_batches<Store>);
  });
  add_threads(Contender<GroupCommitLog>{"group_commit"});

  constexpr int direct = O_DIRECT | O_DSYNC;
  add("durable/pwrite_fdatasync", [](Sample& sample) { blocks(sample, 0, 4096, 1); });
  add("durable/odirect_odsync", [](Sample& sample) { blocks(sample, direct, 4096, 1); });
  add("durable_batch/odirect_odsync",
      [](Sample& sample) { blocks(sample, direct, 12 * 1024, 100); });
  add("durable_tickets/varve", tickets);
  add("durable_roll/varve", across_rolls);
});

}  // namespace
