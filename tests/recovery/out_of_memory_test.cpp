// Memory that runs out at any allocation: a host that goes on afterwards still has its log.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/keyed.hpp"
#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"

namespace {

// Of the thread under test: how many allocations are left, and how many then fail.
thread_local std::uint64_t allocations_left = ~std::uint64_t{0};
thread_local std::uint64_t failures_left = 0;

bool out_of_memory() noexcept {
  if (allocations_left > 0) {
    --allocations_left;
    return false;
  }
  if (failures_left == 0) return false;
  --failures_left;
  return true;
}

}  // namespace

// Not inline: gcc 12 would take malloc and free, seen through only one of a pair, for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (out_of_memory()) throw std::bad_alloc();
  if (void* memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return out_of_memory() ? nullptr : std::malloc(size != 0 ? size : 1);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace varve::test {
namespace {

// While it lives, the allocation after `after` more fails, and `failures` in all.
class Shortage {
 public:
  Shortage(std::uint64_t after, std::uint64_t failures) noexcept {
    allocations_left = after;
    failures_left = failures_ = failures;
  }
  ~Shortage() { end(); }
  void end() noexcept {
    allocations_left = ~std::uint64_t{0};
    failures_left = 0;
  }
  bool struck() const noexcept { return failures_left < failures_; }

 private:
  std::uint64_t failures_;
};

// What a host does with a log, and what it was told.
class Host {
 public:
  explicit Host(std::shared_ptr<StorageBackend> storage) : storage_(std::move(storage)) {
    texts_.reserve(1000);
    acknowledged_.reserve(1000);
    for (std::uint64_t i = 0; i < 1000; ++i)
      texts_.push_back(std::to_string(i) + std::string(900, '.'));
  }

  // Opens a log, fills some segments, truncates, closes. What fails is left at that, as a host would that goes
  // on to something else.
  void work() {
    attempt([&] {
      auto log = Log::open(storage_, small_log());
      if (log) log_.emplace(*std::move(log));
    });
    if (!log_) return;
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 12; ++i) append(i % 4 == 3 ? Ack::disk : Ack::os);
      attempt([&] { (void)log_->tick(); });
      attempt([&] { (void)log_->sync(); });
    }
    attempt([&] {
      if (log_->truncate_prefix({10})) start_ = 10;
    });
    append(Ack::os);
    attempt([&] { (void)log_->close(); });
  }

  // What is wrong with the log now that there is memory again; empty if nothing is.
  std::string check() {
    log_.reset();
    auto log = Log::open(storage_, small_log());
    if (!log) return log.error().message();
    if (const auto appended = append_text(*log, "still works", {Ack::disk}); !appended)
      return appended.error().message();
    const std::uint64_t start = log->start_offset().value;
    if (start != start_ && start != 10) return "it starts at " + std::to_string(start);
    std::vector<std::uint64_t> found(start, ~std::uint64_t{0});
    Reader reader = log->reader({start});
    std::uint64_t least = 0;
    for (const RecordView& record : reader) {
      if (text(*record.value) == "still works") break;
      const std::uint64_t number = std::stoull(std::string(text(*record.value)));
      if (number < least || text(*record.value) != texts_[number])
        return "a wrong record at offset " + std::to_string(record.offset.value);
      least = number + 1;
      found.push_back(number);
    }
    if (const auto status = reader.status(); !status) return status.error().message();
    for (const auto& [offset, number] : acknowledged_)
      if (offset >= start && (offset >= found.size() || found[offset] != number))
        return "record " + std::to_string(number) + " is not at offset " + std::to_string(offset);
    return {};
  }

 private:
  template <class Action>
  void attempt(Action action) {
    try {
      action();
    } catch (const std::bad_alloc&) {
    }
  }

  void append(Ack ack) {
    const std::uint64_t number = next_++;
    attempt([&] {
      Record record;
      record.value = bytes(texts_[number]);
      if (const auto offset = log_->append(record, {ack}))
        acknowledged_.push_back({offset->value, number});
    });
  }

  std::shared_ptr<StorageBackend> storage_;
  std::vector<std::string> texts_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> acknowledged_;  // offset, number
  std::optional<Log> log_;
  std::uint64_t next_ = 0;
  std::uint64_t start_ = 0;
};

TEST_CASE("out of memory: whichever allocation fails, nothing acknowledged is lost",
          "[recovery][memory]") {
  const std::uint64_t failures = GENERATE(1u, 3u, 1000u);
  const bool files = GENERATE(false, true);
  const std::uint64_t step = files ? 3 : 1;
  CAPTURE(failures, files);
  std::uint64_t runs = 0;
  for (std::uint64_t after = 0;; after += step, ++runs) {
    CAPTURE(after);
    const TempDir directory;
    auto storage = files ? open_file_storage(directory.path(), false)
                         : Result<std::shared_ptr<StorageBackend>>(make_memory_storage());
    REQUIRE(storage);
    Host host(*storage);
    Shortage shortage(after, failures);
    host.work();
    const bool struck = shortage.struck();
    shortage.end();
    REQUIRE(host.check() == "");
    if (!struck) break;
  }
  CHECK(runs > 30);
}

TEST_CASE("out of memory: compaction that ran out of it changed nothing, or all that it says",
          "[recovery][memory][compaction]") {
  constexpr std::int64_t retention_ms = 24 * 3600 * 1000;
  Options options = small_log();
  options.compaction.emplace();
  std::uint64_t runs = 0;
  for (std::uint64_t after = 0;; ++after, ++runs) {
    CAPTURE(after);
    const auto storage = make_memory_storage();
    Keyed keyed(3, 10);
    std::optional<Log> log = open_log(storage, options);
    const auto fill = [&](std::size_t segments) {
      while (log->segments().size() < segments) REQUIRE(keyed.append(*log, 5, Ack::os));
    };
    fill(4);
    Shortage shortage(after, 1);
    try {
      (void)log->compact();
    } catch (const std::bad_alloc&) {
    }
    const bool struck = shortage.struck();
    shortage.end();
    REQUIRE(keyed.difference_to(*log, retention_ms, false) == "");
    fill(log->segments().size() + 2);
    const auto report = log->compact();
    INFO((report ? std::string() : report.error().message()));
    REQUIRE(report);
    keyed.passed(report->cleaned.value, 0);
    REQUIRE(keyed.difference_to(*log, retention_ms, true) == "");
    log.reset();
    log = open_log(storage, options);
    REQUIRE(keyed.difference_to(*log, retention_ms, true) == "");
    if (!struck) break;
  }
  CHECK(runs > 30);
}

TEST_CASE("out of memory: a log can be opened, read and verified once there is memory again",
          "[recovery][memory]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage);
    fill_segments(log, 4);
  }
  const auto access = GENERATE(Access::read_write, Access::read_only);
  for (std::uint64_t after = 0;; ++after) {
    CAPTURE(after);
    Shortage shortage(after, 1);
    std::uint64_t records = 0;
    try {
      Options options = small_log();
      options.access = access;
      auto log = Log::open(storage, options);
      if (log) {
        Reader reader = log->reader({0});
        for ([[maybe_unused]] const RecordView& record : reader) ++records;
      }
    } catch (const std::bad_alloc&) {
    }
    const bool struck = shortage.struck();
    shortage.end();
    const Log log = open_log(storage, read_only());
    REQUIRE(log.end_offset().value == read_values(log, {0}).size());
    if (!struck) {
      CHECK(records == log.end_offset().value);
      break;
    }
  }
}

}  // namespace
}  // namespace varve::test
