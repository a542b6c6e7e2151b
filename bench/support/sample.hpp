// A sample: one run of a fixed piece of work. What it measured it says in counters, which
// scripts/bench.py knows by name.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include <benchmark/benchmark.h>

#include "support/clock.hpp"

namespace bench {

[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }
// Always inline: a call would be much of what a cheap operation takes.
[[gnu::always_inline]] inline void require(bool fine, const char* what) {
  if (!fine) [[unlikely]]
    fail(what);
}

// VARVE_BENCH_QUICK asks for smaller samples and fixtures.
inline bool quick() { return std::getenv("VARVE_BENCH_QUICK") != nullptr; }
inline std::uint64_t scaled(std::uint64_t work) { return quick() ? work / 3 : work; }

class Sample {
 public:
  explicit Sample(benchmark::State& state) : state_(state) { state.SetIterationTime(0); }

  void set(const char* counter, double value) { state_.counters[counter] = value; }

  void took(double seconds, std::uint64_t records) {
    state_.SetIterationTime(seconds);
    set("mean_ns", seconds * 1e9 / static_cast<double>(records));
    set("records_per_s", static_cast<double>(records) / seconds);
  }

  // Times `work`, which is to handle that many records.
  template <class Work>
  void time(std::uint64_t records, Work&& work) {
    const Stopwatch watch;
    work();
    took(watch.seconds(), records);
  }

  void set(Latencies& latencies) {
    set("p50_ns", latencies.percentile_ns(0.5));
    set("p99_ns", latencies.percentile_ns(0.99));
    set("p999_ns", latencies.percentile_ns(0.999));
  }

 private:
  benchmark::State& state_;
};

// Registers `body(Sample&)` as a benchmark. A wrong result is an exception, and the benchmark's error.
template <class Body>
void add(const std::string& name, Body body) {
  const auto run = [body = std::move(body)](benchmark::State& state) {
    for (auto _ : state) {
      try {
        Sample sample(state);
        body(sample);
      } catch (const std::exception& error) {
        state.SkipWithError(error.what());
        break;
      }
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->Iterations(1)->UseManualTime();
}

// What a program registers its samples with, before main.
struct Registration {
  template <class Register>
  explicit Registration(Register&& work) {
    work();
  }
};

}  // namespace bench
