// varve bench: what this machine's disk does with varve.
#include <poll.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "commands.hpp"
#include "json.hpp"
#include "latencies.hpp"
#include "terminal.hpp"
#include "varve/log.hpp"

namespace varve::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration took) { return std::chrono::duration<double>(took).count(); }

// A directory of its own for the log that is measured; gone at the end, however that comes.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory> make(const std::filesystem::path& within) {
    std::string name = within / "varve-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr)
      return Error(std::error_code(errno, std::generic_category()), name);
    return TemporaryDirectory(name);
  }
  TemporaryDirectory(TemporaryDirectory&& other) noexcept
      : path_(std::exchange(other.path_, std::filesystem::path())) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory() { (void)remove(); }

  const std::filesystem::path& path() const { return path_; }

  Result<void> remove() {
    if (path_.empty()) return {};
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    if (error) return Error(error, std::exchange(path_, {}).string());
    path_.clear();
    return {};
  }

 private:
  explicit TemporaryDirectory(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path path_;
};

// The records of the benchmark: a number, which tells the thread and its how-manieth record it is, then bytes that are
// the same in all.
class Values {
 public:
  static constexpr std::size_t number_bytes = sizeof(std::uint64_t);

  explicit Values(std::size_t record_bytes) : filling_(record_bytes - number_bytes, '\0') {
    std::uint64_t state = 0x9E3779B97F4A7C15;
    for (char& byte : filling_) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<char>(state >> 56);
    }
  }

  static std::uint64_t number(std::size_t thread, std::uint64_t sequence) {
    return (std::uint64_t{thread} << thread_shift) | sequence;
  }

  std::string make() const { return std::string(number_bytes, '\0') + filling_; }
  static void set_number(char* value, std::uint64_t number) {
    std::memcpy(value, &number, sizeof number);
  }

  // The number, of a value that is one of these.
  std::optional<std::uint64_t> number_of(std::string_view value) const {
    if (value.size() != number_bytes + filling_.size() || value.substr(number_bytes) != filling_)
      return std::nullopt;
    std::uint64_t number = 0;
    std::memcpy(&number, value.data(), sizeof number);
    return number;
  }
  static std::size_t thread_of(std::uint64_t number) {
    return static_cast<std::size_t>(number >> thread_shift);
  }

 private:
  static constexpr unsigned thread_shift = 48;

  std::string filling_;
};

struct Figures {
  std::uint64_t records = 0;
  double append_seconds = 0;
  Latencies latencies{};  // of appends, each a batch
  double read_seconds = 0;
  std::uint64_t log_bytes = 0;
};

class Bench {
 public:
  Bench(Log& log, const BenchCommand& command, const StopSignals& stop)
      : log_(log), command_(command), stop_(stop), values_(command.record_bytes) {}

  // Appends, reads back and compares. Ends early, without an error, when a signal came.
  Result<Figures> run() {
    auto done = append();
    if (done && !stop_.requested()) done = read_back();
    if (!done) return done.error();
    return std::move(figures_);
  }

 private:
  struct alignas(64) Worker {
    std::atomic<std::uint64_t> appended{0};
    std::uint64_t goal = UINT64_MAX;
    Latencies latencies{};
    Result<void> result{};
    std::atomic<bool> done{false};
  };

  Result<void> append();
  Result<void> append_as(Worker& worker, std::size_t number, Clock::time_point end);
  void watch();
  Result<void> read_back();

  Log& log_;
  const BenchCommand& command_;
  const StopSignals& stop_;
  const Values values_;
  std::vector<Worker> workers_ = std::vector<Worker>(command_.threads);
  std::atomic<bool> over_{false};
  Figures figures_{};
};

// Until its goal, the end, or a stop.
Result<void> Bench::append_as(Worker& worker, std::size_t number, Clock::time_point end) {
  std::vector<std::string> values(command_.batch, values_.make());
  std::vector<Record> records(command_.batch);
  for (std::size_t i = 0; i < values.size(); ++i) records[i].value = bytes(values[i]);
  std::uint64_t appended = 0;
  Clock::time_point now = Clock::now();
  while (appended < worker.goal && now < end && !over_.load(std::memory_order_relaxed)) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(values.size(), worker.goal - appended));
    for (std::size_t i = 0; i < count; ++i)
      Values::set_number(values[i].data(), Values::number(number, appended + i));
    const auto range = log_.append(std::span(records).first(count), {.ack = command_.ack});
    if (!range) return range.error();
    appended += count;
    worker.appended.store(appended, std::memory_order_relaxed);
    const Clock::time_point then = std::exchange(now, Clock::now());
    worker.latencies.add(now - then);
  }
  return {};
}

Result<void> Bench::append() {
  const std::size_t threads = workers_.size();
  if (command_.records)
    for (std::size_t i = 0; i < threads; ++i)
      workers_[i].goal = *command_.records / threads + (i < *command_.records % threads ? 1 : 0);
  const Clock::time_point begin = Clock::now();
  const Clock::time_point end =
      command_.records ? Clock::time_point::max() : begin + std::chrono::seconds(command_.seconds);
  {
    std::vector<std::jthread> running;
    running.reserve(threads);
    struct End {
      std::atomic<bool>& over;
      ~End() { over = true; }
    } const whatever_happens{over_};
    for (std::size_t i = 0; i < threads; ++i)
      running.emplace_back([this, i, end] {
        Worker& worker = workers_[i];
        worker.result = append_as(worker, i, end);
        if (!worker.result) over_ = true;
        worker.done = true;
      });
    watch();
  }
  figures_.append_seconds = seconds(Clock::now() - begin);
  for (Worker& worker : workers_) {
    if (!worker.result) return worker.result;
    figures_.records += worker.appended;
    figures_.latencies.add(worker.latencies);
  }
  return {};
}

// Waits for the threads, and for a signal.
void Bench::watch() {
  ProgressLine progress("appended");
  while (!std::all_of(workers_.begin(), workers_.end(),
                      [](const Worker& worker) { return worker.done.load(); })) {
    pollfd ready{stop_.descriptor(), POLLIN, 0};
    ::poll(&ready, 1, 5);
    if (stop_.requested()) over_ = true;
    std::uint64_t appended = 0;
    for (const Worker& worker : workers_) appended += worker.appended;
    progress.update(appended);
  }
}

Result<void> Bench::read_back() {
  if (auto synced = log_.sync(); !synced) return synced;
  std::vector<std::uint64_t> next(workers_.size(), 0);
  std::uint64_t count = 0;
  ProgressLine progress("read back");
  const Clock::time_point begin = Clock::now();
  Reader reader = log_.reader(log_.start_offset());
  for (const RecordView& record : reader) {
    const auto number = values_.number_of(record.value ? text(*record.value) : "");
    const std::size_t thread = number ? Values::thread_of(*number) : next.size();
    if (thread >= next.size() || *number != Values::number(thread, next[thread]++))
      return Error(Errc::corrupt, fmt::format("the record at offset {} is not what was appended",
                                              record.offset.value));
    if (++count % 65'536 != 0) continue;
    if (stop_.requested()) return {};
    progress.update(count);
  }
  if (auto status = reader.status(); !status) return status;
  figures_.read_seconds = seconds(Clock::now() - begin);
  figures_.log_bytes = log_.metrics().bytes;
  if (count == figures_.records) return {};
  return Error(Errc::corrupt,
               fmt::format("{} records were appended, and {} read", figures_.records, count));
}

std::string to_text(std::chrono::nanoseconds took) {
  const auto ns = static_cast<double>(took.count());
  if (ns < 1e3) return fmt::format("{:.0f} ns", ns);
  if (ns < 1e6) return fmt::format("{:.3g} us", ns / 1e3);
  if (ns < 1e9) return fmt::format("{:.3g} ms", ns / 1e6);
  return fmt::format("{:.3g} s", ns / 1e9);
}

double per_second(double amount, double in_seconds) {
  return in_seconds > 0 ? amount / in_seconds : 0;
}

std::string row(const char* what, const Figures& figures, double took, std::size_t record_bytes) {
  const auto records = static_cast<double>(figures.records);
  return fmt::format("{:<8}{:>13.0f}{:>10.1f}", what, per_second(records, took),
                     per_second(records * static_cast<double>(record_bytes) / (1 << 20), took));
}

void print_text(const Figures& figures, const BenchCommand& command, Output& output) {
  output.line(fmt::format(
      "{} records of {} bytes, {} a call, {} thread{}, --ack {}, in {:.2f} s; {} bytes on disk",
      figures.records, command.record_bytes, command.batch, command.threads,
      command.threads == 1 ? "" : "s", command.ack == Ack::os ? "os" : "disk",
      figures.append_seconds, figures.log_bytes));
  output.line(fmt::format("{:<8}{:>13}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "records/s", "MiB/s",
                          "p50", "p99", "p99.9", "longest"));
  const Latencies& latencies = figures.latencies;
  output.line(row("append", figures, figures.append_seconds, command.record_bytes) +
              fmt::format("{:>10}{:>10}{:>10}{:>10}", to_text(latencies.percentile(0.5)),
                          to_text(latencies.percentile(0.99)), to_text(latencies.percentile(0.999)),
                          to_text(latencies.longest())));
  output.line(row("read", figures, figures.read_seconds, command.record_bytes));
  output.line("all records were read back as they were appended");
}

void print_json(const Figures& figures, const BenchCommand& command, Output& output) {
  const Latencies& latencies = figures.latencies;
  const auto records = static_cast<double>(figures.records);
  const Json json = {{"record_bytes", command.record_bytes},
                     {"batch", command.batch},
                     {"threads", command.threads},
                     {"ack", command.ack == Ack::os ? "os" : "disk"},
                     {"records", figures.records},
                     {"log_bytes", figures.log_bytes},
                     {"append",
                      {{"seconds", figures.append_seconds},
                       {"records_per_second", per_second(records, figures.append_seconds)},
                       {"p50_seconds", seconds(latencies.percentile(0.5))},
                       {"p99_seconds", seconds(latencies.percentile(0.99))},
                       {"p999_seconds", seconds(latencies.percentile(0.999))},
                       {"longest_seconds", seconds(latencies.longest())}}},
                     {"read",
                      {{"seconds", figures.read_seconds},
                       {"records_per_second", per_second(records, figures.read_seconds)}}}};
  output.line(json.dump());
}

// A log is not to get a directory that is not its own.
Result<void> check_no_log(const std::filesystem::path& directory) {
  const Result<Log> log = Log::open(directory, {.access = Access::read_only, .create = false});
  if (!log && log.error() == Errc::not_a_log) return {};
  if (!log && log.error() != Errc::corrupt) return log.error();
  return Error(Errc::invalid_argument,
               fmt::format("{} is a log; give the directory that it is in", directory.string()));
}

Result<Figures> measure(const std::filesystem::path& directory, const BenchCommand& command,
                        const StopSignals& stop) {
  Result<Log> log = Log::open(directory);
  if (!log) return log.error();
  auto figures = Bench(*log, command, stop).run();
  const auto closed = log->close();
  if (figures && !closed) return closed.error();
  return figures;
}

}  // namespace

Exit run(const BenchCommand& command) {
  if (const auto none = check_no_log(command.directory); !none) return fail(none.error());
  const StopSignals stop;
  auto directory = TemporaryDirectory::make(command.directory);
  if (!directory) return fail(directory.error());
  const Result<Figures> figures = measure(directory->path() / "log", command, stop);
  const auto removed = directory->remove();
  Exit exit = figures ? Exit::ok : fail(figures.error());
  if (!removed) exit = worse(exit, fail(removed.error()));
  if (stop.requested()) {
    if (exit != Exit::ok) return exit;
    stop.die_of_it();
  }
  if (!figures) return exit;
  Output output;
  if (command.json)
    print_json(*figures, command, output);
  else
    print_text(*figures, command, output);
  return output.finish(exit);
}

}  // namespace varve::cli
