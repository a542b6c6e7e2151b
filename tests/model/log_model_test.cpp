// Random operations on a log and on a vector: they must agree about everything, also after a loss of power.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/log_tools.hpp"
#include "support/model.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

class Run {
 public:
  explicit Run(std::uint64_t seed)
      : workload_(seed), environment_(std::make_shared<FakeEnvironment>(seed)) {
    first_ = random().one_in(4) ? Offset{random().below(1000)} : Offset{};
    model_ = Model(first_);
    open();
  }

  void step() {
    if (random().one_in(3)) now_ms_ += static_cast<std::int64_t>(random().below(1000));
    // Time may run backwards, the log's does not.
    environment_->set(random().one_in(10) ? now_ms_ - 500 : now_ms_);
    switch (random().below(20)) {
      case 0:
        return truncate();
      case 1:
        return sync();
      case 2:
        REQUIRE(log_->tick());
        return;
      case 3:
        return find();
      case 4:
      case 5:
        return read();
      case 6:
        if (random().one_in(3)) reopen();
        return;
      case 7:
        if (random().one_in(3)) cut_power();
        return;
      default:
        return append();
    }
  }

  void finish() {
    REQUIRE(model_.difference_to(*log_) == "");
    reopen();
  }

 private:
  Random& random() { return workload_.random(); }

  void open() {
    Options options = small_log();
    options.segment_bytes = random().one_in(3) ? 2 * small_segment : small_segment;
    options.first_offset = first_;
    options.environment = environment_;
    options.index_interval_bytes = random().one_in(2) ? 1024 : 4096;
    log_.emplace(open_log(storage_, options));
  }

  void append() {
    const Ack ack = random().one_in(4) ? Ack::disk : Ack::os;
    std::vector<OwnedRecord> records = workload_.batch(random().one_in(4) ? 6 : 1);
    const Batch batch(records);
    if (records.size() == 1) {
      const auto offset = log_->append(batch.front(), {ack});
      INFO((offset ? std::string() : offset.error().message()));
      REQUIRE(offset);
      REQUIRE(offset->value == model_.end());
    } else {
      const auto offsets = log_->append(batch.records(), {ack});
      if (!offsets && offsets.error() == Errc::batch_too_large) return;
      INFO((offsets ? std::string() : offsets.error().message()));
      REQUIRE(offsets);
      REQUIRE(*offsets == OffsetRange{{model_.end()}, {model_.end() + records.size()}});
    }
    clock_ms_ = std::max(clock_ms_, environment_->now().time_since_epoch().count());
    model_.append(std::move(records), ack, clock_ms_);
    REQUIRE(log_->end_offset().value == model_.end());
    REQUIRE(log_->durable_offset().value >= model_.durable());
  }

  void read() {
    const std::uint64_t from = random().between(model_.start(), model_.end());
    const std::uint64_t until = random().between(from, model_.end());
    REQUIRE(model_.difference_of_read(*log_, from, until) == "");
  }

  void find() {
    const auto time_ms = static_cast<std::int64_t>(random().below(2'100'000));
    const auto found = log_->find(Timestamp(std::chrono::milliseconds(time_ms)));
    REQUIRE(found);
    REQUIRE(found->value == model_.find(time_ms));
  }

  void sync() {
    REQUIRE(log_->sync());
    model_.sync();
    REQUIRE(log_->durable_offset().value == model_.end());
  }

  void truncate() {
    // Mostly a little, or there would soon be nothing left.
    const std::uint64_t held = model_.end() - model_.start();
    const std::uint64_t start =
        model_.start() + random().below(1 + (random().one_in(5) ? held : held / 4));
    REQUIRE(log_->truncate_prefix({start}));
    model_.truncate_prefix(start);
    REQUIRE(log_->start_offset().value == model_.start());
  }

  void reopen() {
    const Epoch epoch = log_->epoch();
    REQUIRE(log_->close());
    model_.sync();
    open();
    REQUIRE(log_->recovery().clean);
    REQUIRE(log_->epoch() == epoch);
    REQUIRE(model_.difference_to(*log_) == "");
  }

  void cut_power() {
    const Epoch epoch = log_->epoch();
    const PowerCut cut{.seed = random().bits(),
                       .keep = random().one_in(3) ? 0.0 : random().fraction()};
    CAPTURE(cut.seed, cut.keep);
    REQUIRE(storage_->cut_power(cut));
    log_.reset();
    open();
    const std::uint64_t end = log_->end_offset().value;
    CAPTURE(end, model_.durable(), model_.end());
    REQUIRE(model_.lose_power(end) == "");
    REQUIRE(log_->durable_offset().value == end);
    REQUIRE(log_->recovery().lost.empty());
    REQUIRE(model_.difference_to(*log_) == "");
    if (!log_->recovery().clean) REQUIRE(log_->epoch() > epoch);
    now_ms_ = clock_ms_ + 1000;  // the log's clock may be back where the lost records began
    // What was recovered stays: nobody has appended, so another crash cannot take anything.
    if (random().one_in(2)) {
      REQUIRE(storage_->cut_power({.seed = random().bits(), .keep = random().fraction()}));
      log_.reset();
      open();
      REQUIRE(model_.difference_to(*log_) == "");
    }
  }

  Workload workload_;
  std::shared_ptr<FaultyStorage> storage_ = std::make_shared<FaultyStorage>(make_memory_storage());
  std::shared_ptr<FakeEnvironment> environment_;
  std::int64_t now_ms_ = 1'000'000;
  std::int64_t clock_ms_ = 0;
  Offset first_{};
  Model model_{};
  std::optional<Log> log_{};
};

TEST_CASE("model: a log agrees with a vector through every operation and loss of power",
          "[model][log]") {
  for (const std::uint64_t seed : fresh_seeds(60)) {
    CAPTURE(seed);
    Run run(seed);
    for (int step = 0; step < 250; ++step) {
      CAPTURE(step);
      run.step();
    }
    run.finish();
  }
}

}  // namespace
}  // namespace varve::test
