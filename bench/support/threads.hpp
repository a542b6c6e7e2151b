// Threads that do the same for a while.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

#include "support/sample.hpp"

namespace bench {

// Runs operation() again and again in so many threads: a while to warm up, then `seconds` that are
// measured. Returns how often it was run in all.
//
// By time, not by number: where threads starve each other, the last of them would be what is measured.
template <class Operation>
std::uint64_t run_threads(Sample& sample, std::size_t count, double seconds,
                          Operation&& operation) {
  struct Worker {
    Latencies latencies;
    std::uint64_t operations = 0;
    std::exception_ptr error;
  };
  enum Phase { warming, measuring, over };
  std::atomic<Phase> phase{warming};
  std::vector<Worker> workers(count);
  const auto work = [&](Worker& worker) {
    try {
      while (true) {
        const Phase now = phase.load(std::memory_order_relaxed);
        if (now == over) return;
        const std::uint64_t begin = ticks();
        operation();
        ++worker.operations;
        if (now == measuring && phase.load(std::memory_order_relaxed) == measuring)
          worker.latencies.add(ticks() - begin);
      }
    } catch (...) {
      worker.error = std::current_exception();
    }
  };
  double measured = 0;
  {
    std::vector<std::jthread> threads;
    for (Worker& worker : workers) threads.emplace_back([&] { work(worker); });
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds / 8));
    phase = measuring;
    const Stopwatch watch;
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    phase = over;
    measured = watch.seconds();
  }
  Latencies all;
  std::uint64_t operations = 0;
  for (Worker& worker : workers) {
    if (worker.error) std::rethrow_exception(worker.error);
    all.add(worker.latencies);
    operations += worker.operations;
  }
  sample.took(measured, all.size());
  sample.set(all);
  return operations;
}

}  // namespace bench
