// Crashes logs at every operation, life after life, until its time or its number of states is used up.
#include <getopt.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "explorer.hpp"

namespace varve::test {
namespace {

struct Budget {
  std::uint64_t seed = fresh_seed();
  std::uint64_t seconds = 10;
  std::uint64_t states = 0;  // stop at so many, however long that takes
  std::uint64_t lives = 0;   // the same for lives
  std::uint64_t threads = std::max(1U, std::thread::hardware_concurrency());
};

constexpr const char* usage =
    "usage: varve_crash [--seed S] [--seconds N | --states N | --lives N] [--threads N]\n";

std::optional<Budget> parse(int argc, char** argv) {
  Budget budget;
  const option options[] = {
      {"seed", required_argument, nullptr, 's'},    {"seconds", required_argument, nullptr, 't'},
      {"states", required_argument, nullptr, 'n'},  {"lives", required_argument, nullptr, 'l'},
      {"threads", required_argument, nullptr, 'j'}, {nullptr, 0, nullptr, 0}};
  for (int key = 0; (key = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    std::uint64_t* const value = key == 's'   ? &budget.seed
                                 : key == 't' ? &budget.seconds
                                 : key == 'n' ? &budget.states
                                 : key == 'l' ? &budget.lives
                                 : key == 'j' ? &budget.threads
                                              : nullptr;
    if (value == nullptr) return std::nullopt;
    char* end = nullptr;
    *value = std::strtoull(optarg, &end, 10);
    if (end == optarg || *end != '\0') return std::nullopt;
  }
  if (optind != argc || budget.threads == 0) return std::nullopt;
  return budget;
}

class Exploration {
 public:
  explicit Exploration(const Budget& budget) : budget_(budget) {}

  // Returns how many lives went wrong.
  std::uint64_t run() {
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < budget_.threads; ++i) threads.emplace_back([this] { work(); });
    for (std::thread& thread : threads) thread.join();
    std::printf("%llu states of %llu lives tried, %llu violations; seed %llu, trace %016llx\n",
                ull(states_), ull(lives_), ull(violations_), ull(budget_.seed), ull(trace_));
    return violations_;
  }

 private:
  static unsigned long long ull(std::uint64_t number) { return number; }

  bool used_up() const {
    if (budget_.lives != 0) return started_ >= budget_.lives;
    if (budget_.states != 0) return states_ >= budget_.states;
    return std::chrono::steady_clock::now() >= end_;
  }

  void work() {
    while (!used_up()) {
      const std::uint64_t life = started_++;
      if (budget_.lives != 0 && life >= budget_.lives) return;
      const std::uint64_t seed = budget_.seed + life;
      Explorer explorer(seed);
      const std::string wrong = explorer.run();
      states_ += explorer.states();
      ++lives_;
      trace_ ^= explorer.trace();  // in whatever order lives end
      if (wrong.empty()) continue;
      ++violations_;
      const std::lock_guard lock(mutex_);
      std::printf("seed %llu: %s\n  replay: ./dev crash --seed %llu --lives 1\n", ull(seed),
                  wrong.c_str(), ull(seed));
      std::fflush(stdout);
    }
  }

  const Budget budget_;
  const std::chrono::steady_clock::time_point end_ =
      std::chrono::steady_clock::now() + std::chrono::seconds(budget_.seconds);
  std::atomic<std::uint64_t> started_{0};
  std::atomic<std::uint64_t> lives_{0};
  std::atomic<std::uint64_t> states_{0};
  std::atomic<std::uint64_t> violations_{0};
  std::atomic<std::uint64_t> trace_{0};
  std::mutex mutex_;  // of what is printed
};

}  // namespace
}  // namespace varve::test

int main(int argc, char** argv) {
  const auto budget = varve::test::parse(argc, argv);
  if (!budget) {
    std::fputs(varve::test::usage, stderr);
    return 2;
  }
  return varve::test::Exploration(*budget).run() == 0 ? 0 : 1;
}
