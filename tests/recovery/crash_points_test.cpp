// Every storage call of a busy log's life fails once, and the power goes at every one of them.
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "support/journal.hpp"
#include "support/log_tools.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

// What happened while a log was used under faults.
struct Story {
  Journal journal;
  std::vector<std::string> wrong{};  // answers that no fault excuses
  bool power_lost = false;           // since the log was opened last

  template <class Answer>
  bool heard(const Answer& answer) {
    if (answer) return true;
    const Error& error = answer.error();
    for (const Errc code : {Errc::corrupt, Errc::not_a_log, Errc::unsupported_format, Errc::locked,
                            Errc::invalid_argument, Errc::offset_out_of_range})
      if (error == code) wrong.push_back(error.message());
    if (error.context().empty() && error != Errc::closed)
      wrong.push_back("no context: " + error.message());
    return false;
  }
};

Options options_of(std::uint64_t seed) {
  Options options = small_log();
  options.environment = std::make_shared<FakeEnvironment>(seed);
  return options;
}

// A life with everything in it: three openings, rolls, both acks, batches, syncs, chores, truncations,
// proper closes. Goes on whatever fails, as a host might.
void live(const std::shared_ptr<StorageBackend>& storage, Story& story, std::uint64_t seed) {
  Random random(seed);
  for (int opening = 0; opening < 3; ++opening) {
    auto log = Log::open(storage, options_of(seed + static_cast<std::uint64_t>(opening)));
    if (!story.heard(log)) continue;
    if (std::exchange(story.power_lost, false)) story.journal.lost_power();
    for (int i = 0; i < 22; ++i) {
      switch (random.below(10)) {
        case 0:
          story.heard(log->tick());
          break;
        case 1:
          if (const Offset end = log->end_offset(); story.heard(log->sync()))
            story.journal.durable_below(end);
          break;
        case 2: {
          const std::uint64_t held = log->end_offset() - log->start_offset();
          story.heard(story.journal.truncate_prefix(
              *log, log->start_offset() + random.below(held / 3 + 1)));
          break;
        }
        default:
          story.heard(story.journal.append(*log, random.one_in(3) ? 3 : 1,
                                           random.one_in(3) ? Ack::disk : Ack::os));
      }
    }
    if (const Offset end = log->end_offset(); story.heard(log->close()))
      story.journal.durable_below(end);
  }
}

constexpr WorkloadOptions rolling{
    .usual_bytes_max = 2500, .large_bytes_max = 9000, .large_one_in = 10};

// After all faults are gone the log opens, holds what it must, and takes appends.
void check_afterwards(const std::shared_ptr<StorageBackend>& storage, Story& story,
                      Survived survived) {
  REQUIRE(story.wrong == std::vector<std::string>());
  for (int opening = 0; opening < 2; ++opening) {
    CAPTURE(opening);
    Log log = open_log(storage, options_of(1000 + static_cast<std::uint64_t>(opening)));
    REQUIRE(log.recovery().lost.empty());
    REQUIRE(story.journal.check(log, survived) == "");
    const auto appended = story.journal.append(log, 1, Ack::disk);
    INFO((appended ? std::string() : appended.error().message()));
    REQUIRE(appended);
    REQUIRE(log.close());
  }
}

std::uint64_t calls_of_a_life(std::uint64_t seed) {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Story story{Journal(seed, rolling)};
  live(storage, story, seed);
  REQUIRE(story.wrong.empty());
  REQUIRE(story.journal.acknowledged_count() > 30);
  return storage->calls();
}

TEST_CASE("crash points: any storage call may fail once without losing what was acknowledged",
          "[recovery][crash]") {
  const std::uint64_t seed = fresh_seed();
  const auto error =
      GENERATE(std::errc::io_error, std::errc::no_space_on_device, std::errc::too_many_files_open);
  const bool half_done = error == std::errc::no_space_on_device;
  const std::uint64_t calls = calls_of_a_life(seed);
  for (std::uint64_t n = 0; n < calls; ++n) {
    CAPTURE(seed, static_cast<int>(error), half_done, n);
    const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
    Story story{Journal(seed, rolling)};
    std::uint64_t call = 0;
    bool sync_failed = false;
    storage->on_call([&](StorageOp op, std::string_view) {
      if (call++ == n) sync_failed = op == StorageOp::sync;
    });
    storage->inject({.after = n, .error = std::make_error_code(error), .half_done = half_done});
    live(storage, story, seed);
    storage->clear_faults();
    // What a failed sync should have written is on no medium, as if the power had been lost.
    check_afterwards(storage, story, sync_failed ? Survived::power_loss : Survived::process_death);
  }
}

TEST_CASE("crash points: a failing storage call may be followed by a loss of power",
          "[recovery][crash]") {
  const std::uint64_t seed = fresh_seed();
  const std::uint64_t calls = calls_of_a_life(seed);
  Random random(seed);
  for (std::uint64_t n = 0; n < calls; ++n) {
    const PowerCut cut{.seed = random.bits(), .keep = random.fraction()};
    CAPTURE(seed, n, cut.seed, cut.keep);
    const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
    Story story{Journal(seed, rolling)};
    storage->inject({.after = n});
    live(storage, story, seed);
    storage->clear_faults();
    REQUIRE(storage->cut_power(cut));
    check_afterwards(storage, story, Survived::power_loss);
  }
}

TEST_CASE("crash points: the power may go at any storage call", "[recovery][crash]") {
  const std::uint64_t seed = fresh_seed();
  const std::uint64_t calls = calls_of_a_life(seed);
  Random random(seed);
  const int kept = GENERATE(0, 1, 2);
  for (std::uint64_t n = 0; n < calls; ++n) {
    const PowerCut cut{.seed = random.bits(),
                       .keep = kept == 0   ? 0.0
                               : kept == 1 ? 1.0
                                           : random.fraction()};
    CAPTURE(seed, n, cut.seed, cut.keep);
    const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
    Story story{Journal(seed, rolling)};
    std::uint64_t call = 0;
    storage->on_call([&](StorageOp, std::string_view) {
      if (call++ != n) return;
      static_cast<void>(storage->cut_power(cut));
      story.power_lost = true;
    });
    live(storage, story, seed);  // openings after the cut recover, and go on
    check_afterwards(storage, story, Survived::power_loss);
  }
}

TEST_CASE("crash points: the power may go again and again, also while recovering",
          "[recovery][crash]") {
  for (const std::uint64_t seed : fresh_seeds(100)) {
    CAPTURE(seed);
    Random random(seed);
    const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
    Story story{Journal(seed, rolling)};
    std::uint64_t left = random.below(60);
    storage->on_call([&](StorageOp, std::string_view) {
      if (left-- != 0) return;
      left = random.below(60);
      static_cast<void>(storage->cut_power({.seed = random.bits(), .keep = random.fraction()}));
      story.power_lost = true;
    });
    for (std::uint64_t life = 0; life < 5; ++life) live(storage, story, seed + life);
    storage->on_call({});
    check_afterwards(storage, story, Survived::power_loss);
  }
}

}  // namespace
}  // namespace varve::test
