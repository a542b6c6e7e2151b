// Explorer: lives of a log, crashed at every operation. At each it looks at some of the states that a loss of power
// may leave: each has to be recovered, to agree with what was acknowledged, to be appended to, and to survive
// losing the power again, also while it is being recovered. All of it follows from the seed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "support/journal.hpp"
#include "support/run_codec.hpp"
#include "support/small_log.hpp"
#include "support/storage_files.hpp"
#include "varve/detail/filename.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/memory_storage.hpp"

namespace varve::test {

class Explorer {
 public:
  explicit Explorer(std::uint64_t seed)
      : random_(seed),
        choices_(split_mix(seed)),
        journal_(seed,
                 {.usual_bytes_max = 2000,
                  .large_bytes_max = 9000,
                  .large_one_in = 12,
                  .plain_one_in = 2},
                 compacts(seed) ? 5 : 0),
        compacts_(compacts(seed)) {}

  // Lives one life. Returns what was wrong; empty if nothing was.
  std::string run() {
    storage_->on_call([this](StorageOp op, std::string_view name) { at_call(op, name); });
    // Every third life meets a fault besides.
    if (random_.one_in(3)) inject_fault();
    for (std::uint64_t opening = random_.between(2, 4); opening > 0 && wrong_.empty(); --opening)
      live();
    storage_->on_call({});
    return wrong_;
  }

  // Crashed states that were recovered.
  std::uint64_t states() const noexcept { return states_; }
  // A number that differs if anything went another way.
  std::uint64_t trace() const noexcept { return trace_; }

 private:
  // Every second log is compacted.
  static bool compacts(std::uint64_t seed) noexcept { return split_mix(seed) % 2 == 0; }

  Options options_of(std::uint64_t seed) {
    Options options = small_log();
    options.retention.bytes = retention_bytes_;
    if (compacts_) {
      Compaction& compaction = options.compaction.emplace();
      compaction.delete_retention = std::chrono::milliseconds(0);
      compaction.key_map_bytes = 1;
    }
    options.environment = std::make_shared<FakeEnvironment>(seed);
    options.codecs = {runs_.codec};
    return options;
  }

  void note(std::uint64_t what) noexcept { trace_ = split_mix(trace_ ^ (what + split_mix_step)); }

  void inject_fault() {
    Fault fault{.after = random_.below(300)};
    switch (random_.below(4)) {
      case 0:
        fault.ops = {StorageOp::sync};
        fault.after = random_.below(40);
        break;
      case 1:
        fault.ops = {StorageOp::write, StorageOp::allocate, StorageOp::map};
        fault.after = random_.below(40);
        fault.error = std::make_error_code(std::errc::no_space_on_device);
        fault.times = random_.between(1, 10);
        fault.half_done = random_.one_in(2);
        break;
      case 2:
        fault.error = std::make_error_code(std::errc::too_many_files_open);
        break;
      default:
        break;
    }
    storage_->inject(std::move(fault));
    faults_ = true;
  }

  // From opening to closing, or to a loss of power in between.
  void live() {
    auto log = Log::open(storage_, options_of(random_.bits()));
    if (!log) {
      note(1);
      if (!faults_) wrong_ = "opening failed: " + log.error().message();
      return;
    }
    storage_->clear_faults();  // of those that come later, reading is spared
    // A failed sync may have lost what was only acknowledged as `os`.
    const Survived survived = faults_ ? Survived::power_loss : Survived::process_death;
    if (std::string what = journal_.check(*log, survived); !what.empty()) {
      wrong_ = "after opening again: " + what;
      return;
    }
    if (faults_) inject_fault();
    for (std::uint64_t left = random_.between(5, 30); left > 0 && wrong_.empty(); --left) {
      step(*log);
      at_rest();
    }
    if (random_.one_in(3)) {
      power_cut_ = true;
      if (auto cut = storage_->cut_power({random_.bits(), random_.fraction()}); !cut) {
        wrong_ = "cutting the power failed: " + cut.error().message();
        return;
      }
      journal_.lost_power();
      power_cut_ = false;
      return;
    }
    if (const Offset end = log->end_offset(); log->close()) journal_.durable_below(end);
  }

  void step(Log& log) {
    if (compacts_ && random_.one_in(10)) return compact(log);
    switch (random_.below(10)) {
      case 0:
        static_cast<void>(journal_.tick(log, retention_bytes_));
        return;
      case 1:
        if (const Offset end = log.end_offset(); log.sync()) journal_.durable_below(end);
        return;
      case 2:
        take_snapshot(log);
        return;
      case 3: {
        const std::uint64_t held = log.end_offset() - log.start_offset();
        static_cast<void>(
            journal_.truncate_prefix(log, log.start_offset() + random_.below(held / 3 + 1)));
        return;
      }
      default: {
        const std::uint64_t size = random_.one_in(3) ? random_.between(2, 5) : 1;
        const Ack ack = random_.one_in(3) ? Ack::disk : Ack::os;
        const Compression* const how = random_.one_in(3) ? &runs_ : nullptr;
        const auto offsets = journal_.append(log, size, ack, how);
        note(offsets ? offsets->end.value : ~std::uint64_t{0});
      }
    }
  }

  void compact(Log& log) {
    const auto report = log.compact();
    note(report ? report->bytes_after : 2);
    if (!report && !faults_) wrong_ = "compacting failed: " + report.error().message();
  }

  void take_snapshot(Log& log) {
    const Offset end = log.end_offset();
    const auto to = make_memory_storage();
    if (const auto taken = log.snapshot(*to); !taken) {
      if (!faults_) wrong_ = "a snapshot failed: " + taken.error().message();
      return;
    }
    journal_.durable_below(end);
    Journal journal = journal_;
    const auto copy = Log::open(to, options_of(choices_.bits()));
    std::string what = copy ? journal.check(*copy, Survived::process_death)
                            : "opening failed: " + copy.error().message();
    if (!what.empty()) wrong_ = "of a snapshot: " + what;
  }

  // ---- crashing ----------------------------------------------------------------------------------

  void at_call(StorageOp op, std::string_view name) {
    if (power_cut_ || !wrong_.empty()) return;
    ++call_;
    note(static_cast<std::uint64_t>(op));
    if (changes_nothing(op)) return;
    explore(std::string("before call ") + std::to_string(call_) + " (" + std::string(name) + ")");
  }

  // Between operations stores into the mapped file have gone on.
  void at_rest() {
    if (wrong_.empty()) explore("after call " + std::to_string(call_));
  }

  static bool changes_nothing(StorageOp op) noexcept {
    return op == StorageOp::read || op == StorageOp::list || op == StorageOp::lock;
  }

  // Nothing unsynced survives, all of it does, or a part.
  PowerCut next_cut() {
    const std::uint64_t kind = choices_.below(6);
    const double keep = kind == 0 ? 0.0 : kind == 1 ? 1.0 : choices_.fraction();
    return {.seed = choices_.bits(), .keep = keep};
  }

  std::shared_ptr<StorageBackend> medium_after(const FaultyStorage& storage, PowerCut cut) {
    auto medium = make_memory_storage();
    if (auto copied = storage.copy_medium(cut, *medium); !copied)
      wrong_ = "copying the medium failed: " + copied.error().message();
    return medium;
  }

  // What the death of the process leaves: the medium as it is, and what was not synced is still to be seen.
  std::shared_ptr<FaultyStorage> after_death(const FaultyStorage& of) {
    const std::uint64_t seed = choices_.bits();
    auto medium = medium_after(of, {.seed = seed, .keep = 0.0});
    const Files durable = copy_files(*medium);
    const Files seen = copy_files(*medium_after(of, {.seed = seed, .keep = 1.0}));
    auto storage = std::make_shared<FaultyStorage>(std::move(medium));
    for (const auto& [name, content] : seen) {
      const auto old = durable.find(name);
      if (old != durable.end() && old->second == content) continue;
      if (old == durable.end() || !same_file(old->second, content)) {
        std::string from = name_before(content, durable, seen);
        if (from.empty()) {  // the log syncs a file's begin before it gives it a name that counts
          from = first_name_of(name);
          const auto file = storage->open(from, OpenMode::create).value();
          file->write_at({0}, Bytes(content).first(std::min(content.size(), begin_bytes))).value();
          file->sync().value();
        }
        if (from != name) storage->rename(from, name).value();
      }
      const auto file = storage->open(name, OpenMode::write).value();
      file->resize(content.size()).value();
      file->write_at({0}, content).value();
    }
    for (const auto& [name, content] : durable)
      if (!seen.contains(name) && storage->stat(name)) storage->remove(name).value();
    return storage;
  }

  // Under which name the log makes what is to have that one.
  static std::string first_name_of(const std::string& name) {
    if (name == detail::manifest_name) return std::string(detail::manifest_new_name);
    if (detail::parse_segment_name(name)) return std::string(detail::spare_name);
    return name;
  }

  // Every file begins with what no other does.
  static bool same_file(Bytes a, Bytes b) noexcept {
    constexpr std::size_t enough = 128;
    return !a.empty() && std::ranges::equal(a.first(std::min(a.size(), enough)),
                                            b.first(std::min(b.size(), enough)));
  }

  // The durable name of a file that was renamed since; empty if it is a new one.
  static std::string name_before(Bytes content, const Files& durable, const Files& seen) {
    for (const auto& [name, old] : durable)
      if (!seen.contains(name) && same_file(old, content)) return name;
    return {};
  }

  void explore(const std::string& where) {
    const bool death = choices_.one_in(4);
    const PowerCut cut = death ? PowerCut{.seed = 0, .keep = 1.0} : next_cut();
    auto storage = death ? after_death(*storage_)
                         : std::make_shared<FaultyStorage>(medium_after(*storage_, cut));
    // Where all of it survives that is what the death of the process leaves, unless a sync has failed.
    const Survived survived =
        cut.keep == 1.0 && !faults_ ? Survived::process_death : Survived::power_loss;
    if (std::string what = check(std::move(storage), survived); !what.empty())
      wrong_ =
          where +
          (death ? ", process killed"
                 : ", cut {" + std::to_string(cut.seed) + ", " + std::to_string(cut.keep) + "}") +
          ": " + what;
  }

  // Recovers a state, holds it to the journal, appends, and loses the power again.
  std::string check(std::shared_ptr<FaultyStorage> storage, Survived survived) {
    Journal journal = journal_;
    // While the first recovery is at work, one of the states that it leaves.
    std::shared_ptr<StorageBackend> interrupted;
    std::uint64_t until = choices_.below(24);
    storage->on_call([&](StorageOp op, std::string_view) {
      if (changes_nothing(op) || until-- != 0) return;
      interrupted = medium_after(*storage, next_cut());
    });
    std::string what = recover(storage, journal, survived, true);
    storage->on_call({});
    if (!what.empty()) return what;

    what = recover(medium_after(*storage, next_cut()), journal, Survived::power_loss, false);
    if (!what.empty()) return "after the power went again: " + what;
    if (!interrupted) return {};
    Journal before = journal_;
    what = recover(std::move(interrupted), before, Survived::power_loss, false);
    return what.empty() ? what : "after the power went while recovering: " + what;
  }

  std::string recover(std::shared_ptr<StorageBackend> storage, Journal& journal, Survived survived,
                      bool append) {
    ++states_;
    auto log = Log::open(std::move(storage), options_of(choices_.bits()));
    if (!log) return "opening failed: " + log.error().message();
    note(log->end_offset().value);
    if (!log->recovery().lost.empty()) return "records are reported as lost";
    if (std::string what = journal.check(*log, survived); !what.empty()) return what;
    if (log->durable_offset() != log->end_offset()) return "what was recovered is not durable";
    if (!append) return {};
    if (auto appended = journal.append(*log, 1, Ack::disk); !appended)
      return "appending failed: " + appended.error().message();
    return {};
  }

  static constexpr std::size_t begin_bytes = 4096;

  Compression runs_{run_codec()};  // of some appends
  Random random_;                  // what the log lives through
  Random choices_;                 // which of the crashed states are looked at
  Journal journal_;
  const bool compacts_;
  const std::uint64_t retention_bytes_ = random_.one_in(2) ? 3 * small_segment : 0;
  std::shared_ptr<FaultyStorage> storage_ = std::make_shared<FaultyStorage>(make_memory_storage());
  bool faults_ = false;
  bool power_cut_ = false;  // there is nothing to look at
  std::uint64_t call_ = 0;
  std::uint64_t states_ = 0;
  std::uint64_t trace_ = 0;
  std::string wrong_;
};

}  // namespace varve::test
