// A process is killed while it appends, over and over on one directory: what it had acknowledged is there.
#include <cstdio>
#include <filesystem>
#include <thread>
#include <vector>

#include "support/child.hpp"
#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "support/witness.hpp"

namespace varve::test {
namespace {

Options options_of_round() {
  Options options;
  options.segment_bytes = 32u << 10;
  return options;
}

int be_killed(const std::filesystem::path& directory, std::uint32_t round, const PipeEnd& acks) {
  constexpr std::uint32_t threads = 2;
  auto log = Log::open(directory, options_of_round());
  if (!log) {
    std::fprintf(stderr, "child process: %s\n", log.error().message().c_str());
    return 1;
  }
  std::vector<std::thread> appenders;
  for (std::uint32_t thread = 0; thread < threads; ++thread)
    appenders.emplace_back([&, thread] { append_until_killed(*log, round, thread, acks); });
  for (std::thread& appender : appenders) appender.join();
  return 2;
}

TEST_CASE("kill: a killed process loses nothing that it had acknowledged",
          "[recovery][kill][tsan]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  const TempDir directory;
  Witness witness;
  Epoch epoch{};
  bool was_clean = true;
  for (std::uint32_t round = 0; round < 10; ++round) {
    CAPTURE(round);
    Child child([&](const PipeEnd& to_parent, const PipeEnd&) {
      return be_killed(directory.path() / "log", round, to_parent);
    });
    for (std::uint64_t left = random.one_in(5) ? 0 : random.below(600); left > 0; --left) {
      const auto message = child.output().receive<Acknowledged>();
      REQUIRE(message);
      witness.hear(*message);
    }
    const std::uint64_t heard_before = witness.heard();
    child.kill();
    while (const auto message = child.output().receive<Acknowledged>()) witness.hear(*message);
    const bool wrote = witness.heard() > heard_before;

    if (random.one_in(2) && std::filesystem::exists(directory.path() / "log" / "MANIFEST")) {
      const Log log = open_log(directory.path() / "log", read_only());
      REQUIRE(log.recovery().lost.empty());
      REQUIRE(witness.check(log) == "");
      was_clean = false;  // the next child recovers
    } else {
      Log log = open_log(directory.path() / "log", options_of_round());
      REQUIRE(witness.check(log) == "");
      if (wrote && was_clean) REQUIRE(!log.recovery().clean);
      if (!log.recovery().clean) REQUIRE(log.epoch() > epoch);
      epoch = log.epoch();
      REQUIRE(log.close());
      was_clean = true;
    }
  }
  CHECK(witness.heard() > 100);
}

}  // namespace
}  // namespace varve::test
