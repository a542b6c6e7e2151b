// Key compaction of a log: what stays, who is disturbed (nobody), and what happens when it is interrupted.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/keyed.hpp"
#include "support/log_files.hpp"
#include "support/log_tools.hpp"
#include "support/run_codec.hpp"
#include "varve/detail/filename.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/inspect.hpp"
#include "varve/salvage.hpp"
#include "varve/snapshot.hpp"

namespace varve::test {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t retention_ms = 1000;

// A log of few keys on a storage that can fail, and a clock.
struct Bench {
  explicit Bench(std::uint64_t seed = 5, std::uint64_t keys = 20) : keyed(seed, keys) { open(); }

  Options options() const {
    Options options = small_log();
    options.environment = environment;
    options.compaction = how;
    options.compression = compression;
    options.codecs = codecs;
    return options;
  }
  void open() { log.emplace(open_log(storage, options())); }

  void reopen() {
    REQUIRE(log->close());
    open();
  }

  // Appends until there are so many segments.
  void fill(std::size_t segments) {
    while (log->segments().size() < segments) REQUIRE(keyed.append(*log, 5, Ack::os));
  }

  CompactionReport compact() {
    const auto report = log->compact();
    INFO((report ? std::string() : report.error().message()));
    REQUIRE(report);
    keyed.passed(report->cleaned.value, now_ms);
    return *report;
  }

  void pass_time(std::int64_t ms) { environment->set(now_ms += ms); }
  std::string difference(bool finished = true) const {
    return keyed.difference_to(*log, retention_ms, finished);
  }

  Keyed keyed;
  Compaction how{.delete_retention = milliseconds(retention_ms)};
  Compression compression{};
  std::vector<std::shared_ptr<const Codec>> codecs{};
  std::int64_t now_ms = 1'000'000;
  std::shared_ptr<FakeEnvironment> environment = std::make_shared<FakeEnvironment>();
  std::shared_ptr<FaultyStorage> storage = std::make_shared<FaultyStorage>(make_memory_storage());
  std::optional<Log> log;
};

std::vector<std::uint64_t> offsets_of(const Log& log, ReadOptions how = {}) {
  std::vector<std::uint64_t> offsets;
  Reader reader = log.reader(log.start_offset(), how);
  for (const RecordView& record : reader) offsets.push_back(record.offset.value);
  REQUIRE(reader.status());
  return offsets;
}

Result<Offset> put(Log& log, const std::string& key, std::optional<std::string> value) {
  OwnedRecord record{.key = key, .value = std::move(value)};
  return log.append(Batch(record).front(), os_ack);
}

// Seals what there is: fills the active segment with a key that nobody asks for.
void seal(Log& log) {
  const std::size_t segments = log.segments().size();
  while (log.segments().size() == segments) REQUIRE(put(log, "filling", std::string(1000, 'f')));
}

std::size_t files_ending(StorageBackend& storage, std::string_view suffix) {
  const auto entries = storage.list().value();
  return static_cast<std::size_t>(
      std::count_if(entries.begin(), entries.end(),
                    [&](const FileEntry& entry) { return entry.name.ends_with(suffix); }));
}

TEST_CASE("compaction: of each key the latest sealed record stays, with its offset",
          "[compaction]") {
  Bench bench;
  bench.fill(8);
  const auto before = bench.log->segments();
  const CompactionReport report = bench.compact();
  CHECK(bench.difference() == "");
  CHECK(report.passes == 1);
  CHECK(report.segments_before == 7);
  CHECK(report.segments_after == 1);
  CHECK(report.cleaned == before.back().offsets.begin);
  CHECK(report.records_before == report.cleaned.value);
  CHECK(report.records_removed + 20 == report.records_before);
  CHECK(report.keys == 20);
  CHECK(report.bytes_after < report.bytes_before / 4);
  const auto after = bench.log->segments();
  REQUIRE(after.size() == 2);
  CHECK(after[0].offsets == OffsetRange{{0}, before.back().offsets.begin});
  CHECK(after[0].bytes == report.bytes_after);
  CHECK(files_ending(*bench.storage, ".log") == 2);
  CHECK(files_ending(*bench.storage, ".compact") == 0);

  const auto verified = verify(*bench.storage);
  REQUIRE(verified);
  CHECK(verified->intact());
  CHECK(verified->stale_indexes.empty());
  CHECK(verified->unknown_files.empty());

  // Nothing more to do, and nothing done.
  const std::uint64_t calls = bench.storage->calls(StorageOp::write);
  CHECK(bench.compact().records_removed == 0);
  CHECK(bench.storage->calls(StorageOp::write) == calls);

  bench.fill(6);
  bench.reopen();
  CHECK(bench.difference() == "");
  bench.compact();
  bench.reopen();
  CHECK(bench.log->recovery().clean);
  CHECK(bench.difference() == "");
}

TEST_CASE("compaction: where the last sealed segment was compacted, the log goes on behind it",
          "[compaction][recovery]") {
  // As it may be: closed, killed, and killed before anything was appended again.
  for (const int how : {0, 1, 2}) {
    CAPTURE(how);
    Bench bench;
    bench.fill(5);
    if (how == 2) {  // what was killed is sealed
      REQUIRE(bench.log->sync());
      REQUIRE(bench.storage->cut_power({.seed = 1, .keep = 0}));
      bench.open();
    }
    bench.compact();
    if (how == 0) {
      bench.reopen();
    } else {
      REQUIRE(bench.log->sync());
      REQUIRE(bench.storage->cut_power({.seed = 1, .keep = 0}));
      bench.open();
    }
    CHECK(bench.difference() == "");
    bench.fill(bench.log->segments().size() + 2);
    REQUIRE(bench.log->sync());
    REQUIRE(bench.storage->cut_power({.seed = 1, .keep = 0}));
    bench.open();
    CHECK(bench.difference() == "");
    CHECK(verify(*bench.storage)->intact());
  }
}

TEST_CASE("compaction: a record without a key is refused; those that there are stay",
          "[compaction]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage);
    fill_segments(log, 3);
    REQUIRE(log.close());
  }
  Options options = small_log();
  options.compaction.emplace();
  Log log = open_log(storage, options);
  const std::vector<std::uint64_t> before = offsets_of(log);
  const Record with_key{.key = bytes("k"), .value = bytes("v")};
  const Record records[] = {with_key, {.value = bytes("v")}};
  CHECK(fails_with(log.append(records), Errc::invalid_argument, {"record 2 of 2", "no key"}));
  CHECK(log.metrics().appends_refused == 1);
  CHECK(log.append(with_key));
  REQUIRE(log.compact());
  std::vector<std::uint64_t> after = offsets_of(log);
  CHECK(after.back() == before.size());
  after.pop_back();
  CHECK(after == before);
}

TEST_CASE("compaction: an empty key is a key", "[compaction]") {
  Bench bench;
  REQUIRE(put(*bench.log, "", "one"));
  REQUIRE(put(*bench.log, "", "two"));
  seal(*bench.log);
  REQUIRE(bench.log->compact());
  CHECK(offsets_of(*bench.log).front() == 1);
}

TEST_CASE("compaction: what is not sealed supersedes nothing", "[compaction]") {
  Bench bench;
  REQUIRE(put(*bench.log, "k", "old"));
  seal(*bench.log);
  REQUIRE(put(*bench.log, "k", "new"));
  REQUIRE(bench.log->compact());
  CHECK(offsets_of(*bench.log).front() == 0);
  seal(*bench.log);
  REQUIRE(bench.log->compact());
  CHECK(offsets_of(*bench.log).front() != 0);
}

TEST_CASE("compaction: a tombstone stays for its time, counted from the first pass that saw it",
          "[compaction]") {
  Bench bench;
  REQUIRE(put(*bench.log, "k", "value"));
  REQUIRE(put(*bench.log, "k", std::nullopt));
  seal(*bench.log);
  const auto first = [&] { return offsets_of(*bench.log).front(); };
  bench.pass_time(10 * retention_ms);  // its age does not count
  CHECK(bench.compact().tombstones_kept == 1);
  CHECK(first() == 1);
  bench.pass_time(retention_ms - 1);
  CHECK(bench.compact().tombstones_removed == 0);
  bench.reopen();  // it is remembered
  CHECK(first() == 1);
  bench.pass_time(1);
  const auto report = bench.compact();
  CHECK(report.tombstones_removed == 1);
  CHECK(report.tombstones_kept == 0);
  CHECK(first() != 1);
  CHECK(bench.log->start_offset() == Offset{0});
}

TEST_CASE("compaction: each tombstone has its own time", "[compaction]") {
  Bench bench;
  REQUIRE(put(*bench.log, "a", std::nullopt));
  seal(*bench.log);
  bench.compact();
  bench.pass_time(retention_ms / 2);
  const auto b = put(*bench.log, "b", std::nullopt);
  REQUIRE(b);
  seal(*bench.log);
  bench.compact();
  bench.pass_time(retention_ms / 2);
  CHECK(bench.compact().tombstones_removed == 1);
  const auto offsets = offsets_of(*bench.log);
  CHECK(std::count(offsets.begin(), offsets.end(), 0) == 0);
  CHECK(std::count(offsets.begin(), offsets.end(), b->value) == 1);
}

TEST_CASE("compaction: reading at an offset that is gone goes on with the next record",
          "[compaction]") {
  Bench bench;
  bench.fill(6);
  bench.compact();
  const std::vector<std::uint64_t> left = offsets_of(*bench.log);
  for (std::uint64_t offset = 0; offset < bench.keyed.end(); ++offset) {
    CAPTURE(offset);
    const auto next = std::lower_bound(left.begin(), left.end(), offset);
    Reader reader = bench.log->reader({offset});
    const auto record = reader.next();
    REQUIRE(record);
    REQUIRE(*record);
    CHECK((**record).offset.value == *next);
    CHECK(reader.next_offset().value == *next + 1);
    CHECK(difference(**record, bench.keyed.at(*next)) == "");
    // One that stops before it sees nothing.
    Reader stopping = bench.log->reader({offset}, {.until = Offset{*next}});
    const auto none = stopping.next();
    REQUIRE(none);
    CHECK(!*none);
    CHECK(bench.log->wait({offset}, milliseconds(0)).value());
  }
}

TEST_CASE("compaction: a reader goes on through segments that are replaced under it",
          "[compaction]") {
  Bench bench;
  bench.fill(8);
  for (std::uint64_t steps = 0; steps < bench.keyed.end(); steps += 37) {
    CAPTURE(steps);
    Bench other(bench.keyed.random().bits());
    other.fill(8);
    Reader reader = other.log->reader({0});
    std::vector<std::uint64_t> seen;
    std::string held;
    for (std::uint64_t i = 0; i < steps && reader.advance(); ++i)
      seen.push_back(reader.record().offset.value);
    const Bytes key = seen.empty() ? Bytes{} : *reader.record().key;
    other.compact();
    if (!seen.empty()) CHECK(text(key) == *other.keyed.at(seen.back()).key);
    while (reader.advance()) {
      REQUIRE(difference(reader.record(), other.keyed.at(reader.record().offset.value)) == "");
      seen.push_back(reader.record().offset.value);
    }
    REQUIRE(reader.status());
    CHECK(std::is_sorted(seen.begin(), seen.end()));
    for (const std::uint64_t offset : offsets_of(*other.log))
      REQUIRE(std::binary_search(seen.begin(), seen.end(), offset));
  }
}

TEST_CASE("compaction: who reads along from outside is not disturbed", "[compaction]") {
  Bench bench;
  bench.fill(8);
  const Log outside = open_log(bench.storage, read_only());
  Reader reader = outside.reader({0});
  for (int i = 0; i < 3; ++i) REQUIRE(reader.advance());
  bench.compact();
  std::vector<std::uint64_t> seen;
  while (reader.advance()) seen.push_back(reader.record().offset.value);
  INFO((reader.status() ? std::string() : reader.status().error().message()));
  REQUIRE(reader.status());
  for (const std::uint64_t offset : offsets_of(*bench.log))
    if (offset >= 3) REQUIRE(std::binary_search(seen.begin(), seen.end(), offset));
  bench.fill(5);
  bench.compact();
  // It looks for a new manifest now and then, and until then reads what it had.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (offsets_of(outside) != offsets_of(*bench.log) && std::chrono::steady_clock::now() < until)
    continue;
  CHECK(bench.keyed.difference_to(outside, retention_ms, true) == "");
  CHECK(outside.find(Timestamp(milliseconds(1))).has_value());
}

TEST_CASE("compaction: a subscriber is handed what is left, and goes on", "[compaction]") {
  Bench bench;
  bench.fill(6);
  bench.compact();
  std::vector<std::uint64_t> seen;
  std::promise<void> all;
  const std::uint64_t last = bench.keyed.end() - 1;
  auto subscription = bench.log->subscribe({0}, [&](const RecordView& record) {
    seen.push_back(record.offset.value);
    if (record.offset.value == last) all.set_value();
    return true;
  });
  REQUIRE(subscription);
  REQUIRE(all.get_future().wait_for(std::chrono::seconds(30)) == std::future_status::ready);
  subscription->stop();
  CHECK(seen == offsets_of(*bench.log));
  CHECK(subscription->skipped() == 0);
}

TEST_CASE("compaction: a pin keeps records from retention, not from compaction", "[compaction]") {
  Bench bench;
  bench.fill(5);
  const auto pin = bench.log->pin({0});
  REQUIRE(pin);
  CHECK(bench.compact().records_removed > 0);
}

TEST_CASE("compaction: a snapshot holds what is left, whenever it is taken", "[compaction]") {
  Bench bench;
  bench.fill(6);
  bench.compact();
  bench.fill(4);
  const auto to = make_memory_storage();
  REQUIRE(bench.log->snapshot(*to));
  Log copy = open_log(to, bench.options());
  CHECK(offsets_of(copy) == offsets_of(*bench.log));
  REQUIRE(copy.compact());
  REQUIRE(put(copy, "more", "of it"));
  REQUIRE(copy.close());
  CHECK(verify(*to)->intact());
  const auto again = make_memory_storage();
  REQUIRE(restore(*to, *again));
  CHECK(offsets_of(open_log(again, bench.options())).size() == offsets_of(open_log(to)).size());
}

TEST_CASE("compaction: retention by bytes counts what is there", "[compaction][retention]") {
  Bench bench;
  bench.fill(10);
  bench.compact();
  std::uint64_t bytes = 0;
  for (const SegmentInfo& segment : bench.log->segments()) bytes += segment.bytes;
  REQUIRE(bench.log->close());
  Options options = bench.options();
  options.retention.bytes = bytes;
  bench.log.emplace(open_log(bench.storage, options));
  REQUIRE(bench.log->tick());
  CHECK(bench.log->start_offset() == Offset{0});
  bench.fill(bench.log->segments().size() + 3);
  REQUIRE(bench.log->tick());
  CHECK(bench.log->start_offset() > Offset{0});
  CHECK(verify(*bench.storage)->intact());
}

TEST_CASE("compaction: more keys than the map holds take more passes, not another result",
          "[compaction]") {
  Bench bench(7, 300);
  bench.how.key_map_bytes = 100 * 24;
  bench.reopen();
  bench.fill(8);
  const CompactionReport report = bench.compact();
  CHECK(report.passes > 3);
  CHECK(report.key_map_bytes <= 100 * 24);
  CHECK(report.records_before == report.cleaned.value);
  CHECK(report.cleaned == bench.log->segments().back().offsets.begin);
  CHECK(bench.difference() == "");
}

TEST_CASE("compaction: a dry run says what would be done, and does nothing", "[compaction]") {
  Bench bench;
  bench.fill(6);
  REQUIRE(bench.log->tick());
  Bench same;
  same.how.min_dirty_ratio = 1;
  const std::vector<std::uint64_t> before = offsets_of(*bench.log);
  REQUIRE(bench.log->close());
  const Files files = copy_files(*bench.storage);
  const Log log = [&] {
    Log reading = open_log(bench.storage, read_only(bench.options()));
    const auto planned = reading.compact({.dry_run = true});
    REQUIRE(planned);
    CHECK(planned->dry_run);
    CHECK(fails_with(reading.compact(), Errc::read_only));
    return reading;
  }();
  CHECK(copy_files(*bench.storage) == files);
  CHECK(offsets_of(log) == before);
}

TEST_CASE("compaction: what a dry run says is what is then done", "[compaction]") {
  Bench bench;
  bench.fill(6);
  const auto planned = bench.log->compact({.dry_run = true});
  REQUIRE(planned);
  CHECK(planned->dry_run);
  CHECK(bench.log->metrics().compactions == 0);
  const CompactionReport done = bench.compact();
  CHECK(planned->records_removed == done.records_removed);
  CHECK(planned->tombstones_kept == done.tombstones_kept);
  CHECK(planned->segments_after == done.segments_after);
  CHECK(planned->cleaned == done.cleaned);
}

TEST_CASE("compaction: chores run a pass when one is due", "[compaction]") {
  struct Watching final : Observer {
    void on_compacted(const CompactionReport& report) override { reports.push_back(report); }
    std::vector<CompactionReport> reports;
  };
  Bench bench;
  REQUIRE(bench.log->close());
  const auto watching = std::make_shared<Watching>();
  Options options = bench.options();
  options.observer = watching;
  options.compaction->min_lag = milliseconds(500);
  bench.log.emplace(open_log(bench.storage, options));
  bench.fill(5);
  REQUIRE(bench.log->tick());
  CHECK(watching->reports.empty());
  CHECK(bench.log->metrics().compaction_dirty_percent == 100);
  bench.pass_time(500);
  REQUIRE(bench.log->tick());
  REQUIRE(watching->reports.size() == 1);
  bench.keyed.passed(watching->reports[0].cleaned.value, bench.now_ms);
  CHECK(bench.difference() == "");
  const Metrics metrics = bench.log->metrics();
  CHECK(metrics.compactions == 1);
  CHECK(metrics.compactions_failed == 0);
  CHECK(metrics.compaction_records_removed == watching->reports[0].records_removed);
  CHECK(metrics.compaction_bytes_removed > 0);
  CHECK(metrics.compaction_dirty_percent == 0);
  CHECK(metrics.compaction_key_map_bytes == watching->reports[0].key_map_bytes);
  REQUIRE(bench.log->tick());
  CHECK(bench.log->metrics().compactions == 1);
}

TEST_CASE("compaction: the background compacts by itself", "[compaction]") {
  struct Watching final : Observer {
    void on_compacted(const CompactionReport&) override {
      if (!told.exchange(true)) done.set_value();
    }
    std::promise<void> done;
    std::atomic<bool> told{false};
  };
  Bench bench;
  REQUIRE(bench.log->close());
  const auto watching = std::make_shared<Watching>();
  Options options = bench.options();
  options.background = Background::thread;
  options.observer = watching;
  bench.log.emplace(open_log(bench.storage, options));
  bench.fill(5);
  REQUIRE(watching->done.get_future().wait_for(std::chrono::seconds(60)) ==
          std::future_status::ready);
  REQUIRE(bench.log->close());
  bench.open();
  CHECK(bench.difference(false) == "");
}

TEST_CASE("compaction: closing does not wait for a pass to end", "[compaction]") {
  Bench bench;
  REQUIRE(bench.log->close());
  Options options = bench.options();
  options.background = Background::thread;
  options.compaction->bytes_per_second = 1;  // it would take days
  bench.log.emplace(open_log(bench.storage, options));
  bench.fill(6);
  REQUIRE(bench.log->close());
  CHECK(files_ending(*bench.storage, ".compact") == 0);
  bench.open();
  CHECK(bench.log->recovery().clean);
  CHECK(bench.difference(false) == "");
}

// ---- interrupted, and failing ------------------------------------------------------------------

TEST_CASE("compaction: any storage call may fail once, and the log is what it was",
          "[compaction][recovery]") {
  const auto error =
      GENERATE(std::errc::io_error, std::errc::no_space_on_device, std::errc::too_many_files_open);
  for (std::uint64_t n = 0;; ++n) {
    CAPTURE(static_cast<int>(error), n);
    Bench bench;
    bench.fill(6);
    REQUIRE(bench.log->tick());  // what rolls is recorded by it
    REQUIRE(bench.log->sync());
    bench.fill(9);
    REQUIRE(bench.log->sync());
    const std::uint64_t before = bench.storage->calls();
    bench.storage->inject({.after = n,
                           .error = std::make_error_code(error),
                           .half_done = error == std::errc::no_space_on_device});
    const auto report = bench.log->compact();
    const bool reached = bench.storage->calls() - before > n;
    bench.storage->clear_faults();
    if (!report) {
      CHECK(report.error() != Errc::corrupt);
      CHECK(!report.error().context().empty());
    }
    REQUIRE(bench.difference(false) == "");
    const bool poisoned = !bench.log->sync().has_value();
    if (!poisoned) {  // what failed is tried again, and succeeds
      bench.compact();
      REQUIRE(bench.difference() == "");
      REQUIRE(bench.keyed.append(*bench.log, 1, Ack::disk));
      REQUIRE(bench.log->close());
    }
    bench.log.reset();
    bench.open();
    REQUIRE(bench.log->recovery().lost.empty());
    REQUIRE(bench.difference(false) == "");
    bench.compact();
    REQUIRE(bench.difference() == "");
    CHECK(files_ending(*bench.storage, ".compact") == 0);
    if (!reached) break;
  }
}

TEST_CASE("compaction: a file that fails to be written does not end the log", "[compaction]") {
  for (const StorageOp op : {StorageOp::write, StorageOp::sync, StorageOp::open}) {
    Bench bench;
    bench.fill(4);
    bench.storage->inject({.ops = {op}, .name = ".compact"});
    CHECK(fails_with(bench.log->compact(), std::errc::io_error));
    CHECK(bench.log->metrics().compactions_failed == 1);
    CHECK(files_ending(*bench.storage, ".compact") == 0);
    REQUIRE(bench.keyed.append(*bench.log, 1, Ack::disk));
    bench.compact();
    CHECK(bench.difference() == "");
  }
}

TEST_CASE("compaction: chores try again later", "[compaction]") {
  Bench bench;
  bench.fill(4);
  bench.storage->inject({.ops = {StorageOp::sync}, .name = ".compact", .times = 1000});
  CHECK(!bench.log->tick());
  CHECK(bench.log->tick());  // not at once
  CHECK(bench.log->metrics().compactions_failed == 1);
  CHECK(bench.log->metrics().compactions == 0);
}

TEST_CASE("compaction: a segment that has not got its name yet is read all the same",
          "[compaction][recovery]") {
  Bench bench;
  bench.fill(6);
  bench.storage->inject({.ops = {StorageOp::rename}, .name = ".compact", .times = 1000});
  CHECK(fails_with(bench.log->compact(), std::errc::io_error));
  CHECK(files_ending(*bench.storage, ".compact") == 1);
  bench.storage->clear_faults();
  const std::vector<std::uint64_t> left = offsets_of(*bench.log);
  CHECK(left.size() < bench.keyed.end());
  CHECK(bench.difference(false) == "");
  {
    const Log outside = open_log(bench.storage, read_only());
    CHECK(outside.recovery().lost.empty());
    CHECK(offsets_of(outside) == left);
    CHECK(verify(*bench.storage)->intact());
    const auto to = make_memory_storage();
    REQUIRE(snapshot(*bench.storage, *to));
    CHECK(offsets_of(open_log(to)) == left);
    CHECK(files_ending(*to, ".compact") == 0);
  }
  SECTION("the next pass names it") {
    bench.compact();
    CHECK(bench.difference() == "");
  }
  SECTION("opening names it") {
    bench.reopen();
    CHECK(files_ending(*bench.storage, ".compact") == 0);
    CHECK(offsets_of(*bench.log) == left);
  }
  SECTION("damaged, it stays where it is, and opening is refused") {
    REQUIRE(bench.log->close());
    Files files = copy_files(*bench.storage);
    const auto unnamed = std::find_if(files.begin(), files.end(), [](const auto& file) {
      return file.first.ends_with(".compact");
    });
    flip_bit(unnamed->second, 8 * 100);
    const auto storage = memory_with(files);
    CHECK(fails_with(Log::open(storage, bench.options()), Errc::corrupt));
    CHECK(copy_files(*storage) == files);
  }
  SECTION("salvage names it") {
    REQUIRE(bench.log->close());
    const auto salvaged = salvage(*bench.storage);
    REQUIRE(salvaged);
    CHECK(!salvaged->needed);
    CHECK(files_ending(*bench.storage, ".compact") == 0);
    bench.open();
    CHECK(offsets_of(*bench.log) == left);
  }
}

TEST_CASE("compaction: a name is durable before what had it is written over",
          "[compaction][recovery]") {
  Bench bench;
  std::string wrong;
  bool armed = false;
  bench.storage->on_call([&](StorageOp, std::string_view name) {
    if (!armed || !name.ends_with(".compact")) return;
    for (std::uint64_t seed = 0; seed < 20 && wrong.empty(); ++seed) {
      const auto medium = make_memory_storage();
      if (!bench.storage->copy_medium({.seed = seed}, *medium)) wrong = "there is no medium";
      const auto log = Log::open(medium, bench.options());
      if (wrong.empty())
        wrong = log ? bench.keyed.difference_to(*log, retention_ms, false) : log.error().message();
    }
  });
  bench.fill(5);
  REQUIRE(bench.log->sync());
  bench.storage->inject({.ops = {StorageOp::rename}, .name = ".compact"});
  CHECK(!bench.log->compact());  // now it stands under the name that the next pass writes to
  bench.fill(bench.log->segments().size() + 3);
  REQUIRE(bench.log->sync());
  armed = true;
  REQUIRE(bench.log->compact());
  armed = false;
  CHECK(wrong == "");
}

TEST_CASE("compaction: what a pass that never counted left is removed by opening",
          "[compaction][recovery]") {
  Bench bench;
  bench.fill(4);
  REQUIRE(bench.log->close());
  const Files files = copy_files(*bench.storage);
  write_file(*bench.storage, detail::compact_name({0}), bytes("half a segment"));
  write_file(*bench.storage, detail::compact_name({5}), files.at(detail::segment_name({0})));
  {
    const Log outside = open_log(bench.storage, read_only());
    CHECK(outside.recovery().unknown_files.empty());
    CHECK(files_ending(*bench.storage, ".compact") == 2);
  }
  bench.open();
  CHECK(files_ending(*bench.storage, ".compact") == 0);
  CHECK(bench.difference(false) == "");
}

// ---- damage ------------------------------------------------------------------------------------

TEST_CASE("compaction: damage to a compacted frame is told with all offsets that it covers",
          "[compaction][recovery]") {
  Bench bench(11, 400);
  bench.fill(8);
  bench.compact();
  const std::vector<std::uint64_t> left = offsets_of(*bench.log);
  REQUIRE(bench.log->close());
  const Files intact = copy_files(*bench.storage);
  const std::string name = segment_names(intact).front();
  std::vector<FrameInfo> compacted;
  REQUIRE(dump(*bench.storage, [&](const FrameInfo& frame) {
    if (frame.file == name && frame.flags == 16) compacted.push_back(frame);
    return true;
  }));
  REQUIRE(compacted.size() > 1);
  for (std::size_t i = 0; i < compacted.size(); ++i) {
    const FrameInfo& frame = compacted[i];
    CAPTURE(i, frame.base_offset.value, frame.end_offset.value);
    Files files = intact;
    flip_bit(files.at(name), 8 * (frame.position.value + 80));
    const auto storage = memory_with(files);
    {
      const Log log = open_log(storage, read_only());
      Reader reader = log.reader(log.start_offset());
      std::vector<std::uint64_t> seen;
      int errors = 0;
      for (;;) {
        const auto record = reader.next();
        if (!record) {
          CHECK(fails_with(record, Errc::corrupt, {name, std::to_string(frame.end_offset.value)}));
          REQUIRE(++errors == 1);
          continue;
        }
        if (!*record) break;
        seen.push_back((**record).offset.value);
      }
      std::vector<std::uint64_t> expected = left;
      std::erase_if(expected, [&](std::uint64_t offset) {
        return offset >= frame.base_offset.value && offset < frame.end_offset.value;
      });
      CHECK(errors == 1);
      CHECK(seen == expected);
    }
    const auto verified = verify(*storage);
    REQUIRE(verified);
    REQUIRE(verified->damage.size() == 1);
    CHECK(verified->damage[0].offsets == OffsetRange{frame.base_offset, frame.end_offset});
    const auto salvaged = salvage(*storage);
    REQUIRE(salvaged);
    CHECK(salvaged->needed);
    CHECK(verify(*storage)->intact());
    Log log = open_log(storage, bench.options());
    std::vector<std::uint64_t> expected = left;
    std::erase_if(expected, [&](std::uint64_t offset) {
      return offset >= frame.base_offset.value && offset < frame.end_offset.value;
    });
    CHECK(offsets_of(log) == expected);
    // A segment with a gap is left alone.
    const Files before = copy_files(*storage);
    const auto again = log.compact();
    REQUIRE(again);
    CHECK(again->segments_left_alone == 1);
    CHECK(copy_files(*storage).at(name) == before.at(name));
  }
}

TEST_CASE("compaction: a damaged segment is left alone, and so are tombstones behind it",
          "[compaction][recovery]") {
  Bench bench;
  REQUIRE(put(*bench.log, "k", "comes back if its tombstone goes"));
  seal(*bench.log);
  REQUIRE(put(*bench.log, "k", std::nullopt));
  seal(*bench.log);
  seal(*bench.log);
  REQUIRE(bench.log->close());
  // The first segment's last frame of records is damaged, the first one is not.
  Files files = copy_files(*bench.storage);
  const std::string name = segment_names(files).front();
  const auto frames = record_frames_of(files.at(name));
  flip_bit(files.at(name), 8 * (frames.back().position.value + 70));
  const auto storage = memory_with(files);
  Log log = open_log(storage, bench.options());
  const auto first_offsets = [&] {
    std::vector<std::uint64_t> offsets;
    Reader reader = log.reader({0});
    for (;;) {
      const auto record = reader.next();
      if (record && !*record) return offsets;
      if (record && text(*(**record).key) == "k") offsets.push_back((**record).offset.value);
    }
  };
  for (int i = 0; i < 3; ++i) {
    const auto report = log.compact();
    REQUIRE(report);
    CHECK(report->segments_left_alone == 1);
    CHECK(report->tombstones_removed == 0);
    CHECK(first_offsets().size() == 2);
    bench.pass_time(2 * retention_ms);
  }
  CHECK(files.at(name) == copy_files(*storage).at(name));
  // Once it is forgotten, the tombstone may go.
  REQUIRE(log.truncate_prefix(log.segments().front().offsets.end));
  const auto report = log.compact();
  REQUIRE(report);
  CHECK(report->tombstones_removed == 1);
  REQUIRE(log.close());
}

// Records whose keys come again, in batches that compress well, at times of their own.
void append_compressed(Bench& bench, int batches) {
  for (int i = 0; i < batches; ++i) {
    std::vector<OwnedRecord> batch;
    for (int k = 0; k < 8; ++k)
      batch.push_back({.key = "key " + std::to_string((i * 5 + k) % 30),
                       .value = std::to_string(i) + std::string(200, 'v'),
                       .time_ms = bench.now_ms - i});
    REQUIRE(bench.log->append(Batch(batch).records(), os_ack));
    bench.pass_time(7);
  }
}

std::vector<std::pair<std::string, std::int64_t>> latest_of(const Log& log, std::uint64_t sealed) {
  std::map<std::string, std::pair<std::string, std::int64_t>> latest;
  std::vector<std::pair<std::string, std::int64_t>> all;
  Reader reader = log.reader(log.start_offset());
  for (const RecordView& record : reader) {
    std::pair<std::string, std::int64_t> one{
        std::to_string(record.offset.value) + " " + std::string(text(*record.value)),
        record.timestamp.time_since_epoch().count()};
    if (record.offset.value < sealed)
      latest[std::string(text(*record.key))] = std::move(one);
    else
      all.push_back(std::move(one));
  }
  REQUIRE(reader.status());
  for (auto& [key, one] : latest) all.push_back(std::move(one));
  std::sort(all.begin(), all.end());
  return all;
}

TEST_CASE("compaction: of compressed batches the latest records stay, with their times",
          "[compaction][compression]") {
  Bench bench;
  bench.compression = {.codec = run_codec()};
  bench.reopen();
  append_compressed(bench, 2000);
  REQUIRE(bench.log->metrics().bytes_after_compression > 0);
  const std::uint64_t sealed = bench.log->segments().back().offsets.begin.value;
  REQUIRE(bench.log->segments().size() > 2);
  const auto before = latest_of(*bench.log, sealed);
  const auto report = bench.log->compact();
  REQUIRE(report);
  CHECK(report->segments_left_alone == 0);
  CHECK(report->records_before - report->records_removed == 30);
  CHECK(latest_of(*bench.log, sealed) == before);
  CHECK(offsets_of(*bench.log).size() == before.size());
  bench.reopen();
  CHECK(latest_of(*bench.log, sealed) == before);
}

TEST_CASE("compaction: is refused for want of a codec", "[compaction][compression]") {
  Bench bench;
  bench.compression = {.codec = run_codec()};
  bench.reopen();
  append_compressed(bench, 2000);
  const std::uint64_t sealed = bench.log->segments().back().offsets.begin.value;
  const auto before = latest_of(*bench.log, sealed);
  const std::size_t records = offsets_of(*bench.log).size();
  bench.compression = {};
  bench.reopen();
  CHECK(fails_with(bench.log->compact(), Errc::unsupported_format, {"zstd", ".log"}));
  CHECK(bench.log->metrics().compactions_failed == 1);
  CHECK(append_text(*bench.log, "x").error() == Errc::invalid_argument);  // it goes on, with keys
  bench.codecs = {run_codec()};
  bench.reopen();
  CHECK(offsets_of(*bench.log).size() == records);
  CHECK(latest_of(*bench.log, sealed) == before);
}

TEST_CASE("compaction: a key that was deleted while a codec was missing stays deleted",
          "[compaction][compression]") {
  Bench bench;
  bench.compression = {.codec = run_codec()};
  bench.reopen();
  const auto compress = [&](const std::string& key) {
    OwnedRecord record{.key = key, .value = std::string(3000, 'v')};
    REQUIRE(bench.log->append(Batch(record).records(), os_ack));
  };
  const auto delete_plain = [&] {
    bench.compression = {};
    bench.reopen();
    REQUIRE(put(*bench.log, "key", std::nullopt));
    seal(*bench.log);
  };
  compress("key");
  SECTION("in a segment before") {
    seal(*bench.log);
    delete_plain();
  }
  SECTION("and it is in one that cannot be read, either") {
    bench.compression = {};
    bench.reopen();
    seal(*bench.log);
    REQUIRE(put(*bench.log, "key", std::nullopt));
    bench.compression = {.codec = run_codec()};
    bench.reopen();
    compress("another");
    bench.compression = {};
    bench.reopen();
    seal(*bench.log);
  }
  CHECK(fails_with(bench.log->compact(), Errc::unsupported_format));
  bench.codecs = {run_codec()};
  bench.reopen();
  for (int pass = 0; pass < 3; ++pass) {
    bench.pass_time(retention_ms + 1);
    append_compressed(bench, 1);
    seal(*bench.log);
    REQUIRE(bench.log->compact());
  }
  bool deleted = true;
  Reader reader = bench.log->reader(bench.log->start_offset());
  for (const RecordView& record : reader)
    if (text(*record.key) == "key") deleted = !record.value;
  REQUIRE(reader.status());
  CHECK(deleted);
}

TEST_CASE("compaction: compressed batches that lose nothing stay compressed",
          "[compaction][compression]") {
  Bench bench;
  bench.compression = {.codec = run_codec()};
  bench.reopen();
  for (int i = 0; i < 600; ++i) {
    OwnedRecord record{.key = "key " + std::to_string(i), .value = std::string(1500, 'v')};
    REQUIRE(bench.log->append(Batch(record).records(), os_ack));
    if (i % 20 == 0) REQUIRE(put(*bench.log, "the same", "value"));
  }
  seal(*bench.log);
  const auto report = bench.log->compact();
  REQUIRE(report);
  CHECK(report->records_removed > 0);
  CHECK(report->bytes_after < report->bytes_before);
}

TEST_CASE("compaction: what would be larger than it is for want of compression is left alone",
          "[compaction][compression]") {
  Bench bench;
  bench.compression = {.codec = run_codec()};
  bench.reopen();
  for (int i = 0; bench.log->segments().size() < 3; ++i) {
    const std::vector<OwnedRecord> batch = {
        {.key = "key " + std::to_string(i), .value = std::string(3000, 'v')},
        {.key = "the same", .value = "v"}};
    REQUIRE(bench.log->append(Batch(batch).records(), os_ack));
  }
  const auto report = bench.log->compact();
  REQUIRE(report);
  CHECK(report->segments_left_alone == 2);
  CHECK(report->bytes_after <= report->bytes_before);
}

TEST_CASE("compaction: a segment with frames of an unknown kind is left alone", "[compaction]") {
  Bench bench;
  bench.fill(5);
  REQUIRE(bench.log->close());
  Files files = copy_files(*bench.storage);
  const std::string name = segment_names(files)[1];
  auto& segment = files.at(name);
  const FoundFrame frame = record_frames_of(segment).at(1);
  std::byte* const at = segment.data() + frame.position.value;
  at[7] = std::byte{detail::flag_kafka};
  detail::FrameHeader header = detail::load_frame_header(at);
  header.check =
      detail::low32(detail::header_hash(header, header_of(segment).salt, frame.position));
  detail::store_header_words(at, header);
  const auto storage = memory_with(files);
  Log log = open_log(storage, bench.options());
  const auto report = log.compact();
  REQUIRE(report);
  CHECK(report->segments_left_alone == 1);
  CHECK(report->records_removed > 0);
  CHECK(copy_files(*storage).at(name) == segment);
}

}  // namespace
}  // namespace varve::test
