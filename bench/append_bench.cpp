// Appending, against the system calls that it would otherwise take.
#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include <benchmark/benchmark.h>

#include "workload.hpp"

namespace {

using bench::Directory;

void count(benchmark::State& state, std::size_t records, std::size_t bytes) {
  const auto iterations = static_cast<std::int64_t>(state.iterations());
  state.SetItemsProcessed(iterations * static_cast<std::int64_t>(records));
  state.SetBytesProcessed(iterations * static_cast<std::int64_t>(records * bytes));
}

void raw_write(benchmark::State& state) {
  const Directory directory;
  const bench::RawFile file(directory / "raw");
  const std::string record = bench::payload(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    if (::write(file.fd(), record.data(), record.size()) < 0) state.SkipWithError("write failed");
  }
  count(state, 1, record.size());
}
BENCHMARK(raw_write)->ArgName("payload")->Arg(100)->Arg(1024);

void append_os(benchmark::State& state) {
  const Directory directory;
  varve::Log log = varve::Log::open(directory / "log").value();
  const std::string record = bench::payload(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    if (!log.append({.value = varve::bytes(record)}, {varve::Ack::os}))
      state.SkipWithError("append failed");
  }
  if (log.end_offset().value != static_cast<std::uint64_t>(state.iterations()))
    state.SkipWithError("records are missing");
  count(state, 1, record.size());
}
BENCHMARK(append_os)->ArgName("payload")->Arg(100)->Arg(1024);

void append_os_batch(benchmark::State& state) {
  const Directory directory;
  varve::Log log = varve::Log::open(directory / "log").value();
  const std::string payload = bench::payload(static_cast<std::size_t>(state.range(0)));
  const std::vector<varve::Record> batch(static_cast<std::size_t>(state.range(1)),
                                         varve::Record{.value = varve::bytes(payload)});
  for (auto _ : state) {
    if (!log.append(batch, {varve::Ack::os})) state.SkipWithError("append failed");
  }
  count(state, batch.size(), payload.size());
}
BENCHMARK(append_os_batch)->ArgNames({"payload", "batch"})->Args({100, 100})->Args({1024, 100});

void raw_pwrite_fdatasync(benchmark::State& state) {
  const Directory directory;
  constexpr std::size_t block = 4096;
  constexpr std::size_t size = 64u << 20;
  const bench::RawFile file(directory / "raw", size);
  const std::string record = bench::payload(block);
  std::size_t at = 0;
  for (auto _ : state) {
    if (::pwrite(file.fd(), record.data(), block, static_cast<off_t>(at)) < 0 ||
        ::fdatasync(file.fd()) != 0)
      state.SkipWithError("write failed");
    at = (at + block) % size;
  }
  count(state, 1, block);
}
BENCHMARK(raw_pwrite_fdatasync)->UseRealTime();

void append_disk(benchmark::State& state) {
  static std::unique_ptr<Directory> directory;
  static std::unique_ptr<varve::Log> log;
  if (state.thread_index() == 0) {
    directory = std::make_unique<Directory>();
    log = std::make_unique<varve::Log>(varve::Log::open(*directory / "log").value());
  }
  const std::string record = bench::payload(100);
  for (auto _ : state) {
    if (!log->append({.value = varve::bytes(record)})) state.SkipWithError("append failed");
  }
  count(state, 1, record.size());
  if (state.thread_index() == 0) {
    if (!log->close()) state.SkipWithError("close failed");
    log.reset();
    directory.reset();
  }
}
BENCHMARK(append_disk)->UseRealTime()->Threads(1)->Threads(4)->Threads(16)->Threads(64);

}  // namespace
