// Reading back, against pread and against hashing mapped memory.
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "workload.hpp"

namespace {

using bench::Directory;

constexpr std::uint64_t log_bytes = 256u << 20;

std::uint64_t fill(varve::Log& log, std::size_t bytes) {
  const std::string payload = bench::payload(bytes);
  const std::vector<varve::Record> batch(32, varve::Record{.value = varve::bytes(payload)});
  const std::uint64_t records = log_bytes / bytes;
  for (std::uint64_t n = 0; n < records; n += batch.size())
    log.append(batch, {varve::Ack::os}).value();
  log.sync().value();
  return log.end_offset().value;
}

void scan(benchmark::State& state) {
  const Directory directory;
  varve::Log log = varve::Log::open(directory / "log").value();
  const std::uint64_t records = fill(log, static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    std::uint64_t seen = 0;
    varve::Reader reader = log.reader(log.start_offset());
    for (const varve::RecordView& record : reader) {
      benchmark::DoNotOptimize(record.value->data());
      ++seen;
    }
    if (!reader.status() || seen != records) state.SkipWithError("records are missing");
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * records));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * records) * state.range(0));
}
BENCHMARK(scan)->ArgName("payload")->Arg(100)->Arg(1024)->Unit(benchmark::kMillisecond);

void random_read(benchmark::State& state) {
  const Directory directory;
  varve::Log log = varve::Log::open(directory / "log").value();
  const std::uint64_t records = fill(log, 100);
  std::mt19937_64 random(1);
  varve::Reader reader = log.reader(log.start_offset());
  for (auto _ : state) {
    const varve::Offset wanted{random() % records};
    reader.seek(wanted);
    if (!reader.advance() || reader.record().offset != wanted) state.SkipWithError("wrong record");
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()));
}
BENCHMARK(random_read);

void raw_pread(benchmark::State& state) {
  const Directory directory;
  const bench::RawFile file(directory / "raw", log_bytes);
  std::mt19937_64 random(1);
  char record[100];
  for (auto _ : state) {
    const auto at = static_cast<off_t>(random() % (log_bytes - sizeof record));
    if (::pread(file.fd(), record, sizeof record, at) < 0) state.SkipWithError("read failed");
    benchmark::DoNotOptimize(record);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()));
}
BENCHMARK(raw_pread);

}  // namespace
