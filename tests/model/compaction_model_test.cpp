// Random records of few keys, compacted again and again: replaying what is left builds the map that replaying all would.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "support/keyed.hpp"
#include "support/log_tools.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/inspect.hpp"

namespace varve::test {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t retention_ms = 5000;

class Run {
 public:
  explicit Run(std::uint64_t seed)
      : keyed_(seed, seed % 3 == 0 ? 400 : 30),
        map_bytes_(keyed_.random().one_in(2) ? 1 : 1u << 20),
        environment_(std::make_shared<FakeEnvironment>(seed)) {
    open();
  }

  void step() {
    Random& random = keyed_.random();
    now_ms_ += static_cast<std::int64_t>(random.below(300));
    environment_->set(now_ms_);
    switch (random.below(24)) {
      case 0:
        return compact();
      case 1:
        return tick();
      case 2:
        if (random.one_in(2)) reopen();
        return;
      case 3:
        if (random.one_in(3)) cut_power();
        return;
      case 4:
        now_ms_ += retention_ms;
        return;
      case 5:
        if (random.one_in(4)) truncate();
        return;
      case 6:
        return read_somewhere();
      default:
        if (random.one_in(20)) {
          REQUIRE(keyed_.append(*log_, 1, Ack::os, 5000));
        } else {
          REQUIRE(keyed_.append(*log_, random.one_in(3) ? random.between(2, 12) : 1,
                                random.one_in(4) ? Ack::disk : Ack::os));
        }
    }
  }

  void finish() {
    compact();
    check(true);
    const auto report = verify(*storage_);
    REQUIRE(report);
    CHECK(report->intact());
    reopen();
  }

 private:
  Options options() {
    Options options = small_log();
    options.environment = environment_;
    Compaction& compaction = options.compaction.emplace();
    compaction.delete_retention = milliseconds(retention_ms);
    compaction.key_map_bytes = map_bytes_;
    compaction.min_dirty_ratio = 0.3;
    return options;
  }

  void open() { log_.emplace(open_log(storage_, options())); }

  void check(bool finished) { REQUIRE(keyed_.difference_to(*log_, retention_ms, finished) == ""); }

  void compact() {
    const auto report = log_->compact();
    INFO((report ? std::string() : report.error().message()));
    REQUIRE(report);
    CHECK(report->segments_left_alone == 0);
    keyed_.passed(report->cleaned.value, now_ms_);
    check(true);
  }

  // A pass that is due comes as far as its map reaches: what it left is seen from what it says.
  void tick() {
    REQUIRE(log_->tick());
    keyed_.passed(keyed_.cleaned(), now_ms_);
    check(false);
    compact();
  }

  void reopen() {
    REQUIRE(log_->close());
    open();
    CHECK(log_->recovery().clean);
    check(true);
  }

  void cut_power() {
    const std::uint64_t durable = log_->durable_offset().value;
    REQUIRE(storage_->cut_power({keyed_.random().bits(), keyed_.random().fraction()}));
    log_.reset();
    open();
    REQUIRE(log_->end_offset().value >= durable);
    REQUIRE(log_->end_offset().value <= keyed_.end());
    keyed_.end_at(log_->end_offset().value);
    check(true);
  }

  void truncate() {
    const std::uint64_t held = log_->end_offset() - log_->start_offset();
    REQUIRE(log_->truncate_prefix(log_->start_offset() + keyed_.random().below(held / 4 + 1)));
    check(true);
  }

  // From any offset on, there or gone, the next record comes that a reader from the start sees.
  void read_somewhere() {
    const std::uint64_t held = log_->end_offset() - log_->start_offset();
    const Offset from = log_->start_offset() + keyed_.random().below(held + 1);
    const Offset until = from + keyed_.random().below(held + 1);
    Reader all = log_->reader(log_->start_offset(), {.until = until});
    Reader some = log_->reader(from, {.until = until});
    for (const RecordView& record : all) {
      if (record.offset < from) continue;
      const auto other = some.next();
      REQUIRE(other);
      REQUIRE(*other);
      REQUIRE((**other).offset == record.offset);
      REQUIRE(difference(**other, keyed_.at(record.offset.value)) == "");
    }
    REQUIRE(all.status());
    const auto behind = some.next();
    REQUIRE(behind);
    REQUIRE(!*behind);
    const auto found = log_->find(Timestamp(milliseconds(0)));
    REQUIRE(found);
  }

  Keyed keyed_;
  const std::uint64_t map_bytes_;
  std::shared_ptr<FakeEnvironment> environment_;
  std::int64_t now_ms_ = 1'000'000;
  std::shared_ptr<FaultyStorage> storage_ = std::make_shared<FaultyStorage>(make_memory_storage());
  std::optional<Log> log_;
};

TEST_CASE("model: a compacted log replays to the same map", "[model][compaction]") {
  for (const std::uint64_t seed : fresh_seeds(30)) {
    CAPTURE(seed);
    Run run(seed);
    for (int i = 0; i < 400; ++i) run.step();
    run.finish();
  }
}

}  // namespace
}  // namespace varve::test
