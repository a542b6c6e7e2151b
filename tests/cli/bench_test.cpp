// varve bench, and the latencies that it tells.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/latencies.hpp"
#include "command.hpp"
#include "log_dir.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace varve::test;
using namespace std::chrono_literals;
using nlohmann::json;
using varve::cli::Latencies;

TEST_CASE("cli: bench measures, reads back, and leaves nothing", "[cli][bench]") {
  const TempDir dir;
  const std::string path = dir.path();
  const json figures = json_of(
      run_varve({"bench", path, "--records", "1001", "--threads", "3", "--batch", "7", "--json"}));
  CHECK(figures["records"] == 1001);
  CHECK(figures["threads"] == 3);
  CHECK(figures["batch"] == 7);
  CHECK(figures["ack"] == "disk");
  CHECK(figures["record_bytes"] == 100);
  CHECK(figures["log_bytes"] > 1001 * 100);
  const json append = figures["append"];
  CHECK(append["records_per_second"] > 0);
  CHECK(append["p50_seconds"] > 0);
  CHECK(append["p50_seconds"] <= append["p99_seconds"]);
  CHECK(append["p99_seconds"] <= append["p999_seconds"]);
  CHECK(append["p999_seconds"] <= append["longest_seconds"]);
  CHECK(append["longest_seconds"] <= append["seconds"]);
  CHECK(figures["read"]["records_per_second"] > 0);
  CHECK(std::filesystem::is_empty(dir.path()));

  const Outcome table =
      run_varve({"bench", path, "--records", "10", "--record-bytes", "8", "--ack", "os"});
  CHECK(table.exit == ok);
  CHECK(table.err.empty());
  for (const char* word : {"10 records of 8 bytes", "1 thread,", "--ack os", "p99.9", "append",
                           "read back as they were appended"})
    CHECK(table.out.find(word) != std::string::npos);
  CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("cli: bench appends for as long as it was told to", "[cli][bench]") {
  const TempDir dir;
  const json figures = json_of(run_varve({"bench", dir.path(), "--seconds", "1", "--json"}));
  CHECK(figures["append"]["seconds"] >= 1.0);
  CHECK(figures["records"] > 1);
}

TEST_CASE("cli: bench does not touch a log, nor make directories", "[cli][bench]") {
  const LogDir dir;
  dir.fill(3);
  const Outcome refused = run_varve({"bench", dir.path(), "--records", "1"});
  check_complaint(refused, usage);
  CHECK(refused.err.find("is a log") != std::string::npos);
  dir.damage({1});
  const auto damaged = dir.files();
  check_complaint(run_varve({"bench", dir.path(), "--records", "1"}), usage);
  CHECK(dir.files() == damaged);
  const TempDir temp;
  const auto missing = temp.path() / "missing";
  check_complaint(run_varve({"bench", missing, "--records", "1"}), error);
  CHECK(!std::filesystem::exists(missing));
}

TEST_CASE("cli: bench that fails cleans up, and touches nothing else", "[cli][bench]") {
  const TempDir dir;
  std::ofstream(dir.path() / "thesis.txt") << "mine";
  const Outcome outcome = run_varve(
      {"bench", dir.path(), "--records", "10000", "--batch", "10000", "--record-bytes", "1000"});
  check_complaint(outcome, error);
  CHECK(outcome.err.find("batch") != std::string::npos);
  CHECK(outcome.out.empty());
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("cli: bench that is interrupted cleans up, and dies of the signal", "[cli][bench]") {
  const TempDir dir;
  RunningVarve bench({"bench", dir.path(), "--seconds", "600"});
  const auto give_up = std::chrono::steady_clock::now() + 20s;
  while (std::filesystem::is_empty(dir.path()) && std::chrono::steady_clock::now() < give_up) {
  }
  REQUIRE(!std::filesystem::is_empty(dir.path()));
  bench.send(SIGINT);
  CHECK(bench.wait() == 128 + SIGINT);
  CHECK(bench.errors().empty());
  CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("cli: latencies tell percentiles within a thirty-second", "[cli][bench]") {
  Latencies none;
  CHECK(none.count() == 0);
  CHECK(none.percentile(0.99) == 0ns);
  Latencies latencies;
  for (std::int64_t us = 1; us <= 10'000; ++us) latencies.add(std::chrono::microseconds(us));
  CHECK(latencies.count() == 10'000);
  CHECK(latencies.longest() == 10ms);
  for (const double share : {0.0, 0.1, 0.5, 0.99, 0.999, 1.0}) {
    CAPTURE(share);
    const auto told = std::chrono::duration<double>(latencies.percentile(share)).count();
    const double exact = (share * 10'000 + (share < 1.0 ? 1 : 0)) * 1e-6;
    CHECK(told >= exact * 0.9999);
    CHECK(told <= exact * (1 + 1.0 / 32));
  }
  Latencies more;
  for (const auto took : {-1ns, 0ns, 31ns, 32ns, 63ns, 64ns}) more.add(took);
  CHECK(more.percentile(0.99) == 64ns);
  CHECK(more.percentile(0.5) == 32ns);
  CHECK(more.percentile(0.0) == 0ns);
  more.add(latencies);
  CHECK(more.count() == 10'006);
  more.add(std::chrono::hours(24 * 365));  // is counted, at least
  CHECK(more.longest() == std::chrono::hours(24 * 365));
}
