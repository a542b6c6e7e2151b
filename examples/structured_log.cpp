// A store of structured log entries, as a log database has them: time, level, message, and metadata
// as JSON. It writes quickly, survives being killed, and answers "which errors were there between
// then and then?". Here it is killed on purpose, comes back, and counts.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <varve/varve.hpp>

namespace {

using nlohmann::json;
using namespace std::chrono_literals;

struct Entry {
  varve::Timestamp time{};
  std::string level{};  // "info", "warning", "error"
  std::string message{};
  json metadata{};
};

// In the log: timestamp = time, key = level, value = {"message": ..., "metadata": ...}. The level
// is the key so that a query by level parses only the JSON that it is looking for.
class LogStore {
 public:
  static varve::Result<LogStore> open(const char* directory) {
    return varve::Log::open(directory).transform(
        [](varve::Log&& log) { return LogStore(std::move(log)); });
  }

  // Survives the death of this process at once; make_durable() makes it survive a loss of power.
  varve::Result<varve::Offset> write(const Entry& entry) {
    const std::string value = json{{"message", entry.message}, {"metadata", entry.metadata}}.dump();
    return log_.append(
        {.key = varve::bytes(entry.level), .value = varve::bytes(value), .timestamp = entry.time},
        {.ack = varve::Ack::os});
  }

  varve::Result<void> make_durable() { return log_.sync(); }

  // The entries of that level in [begin, end), if entries are written in order of their times.
  varve::Result<std::vector<Entry>> find(varve::Timestamp begin, varve::Timestamp end,
                                         std::string_view level) const {
    const auto first = log_.find(begin);
    if (!first) return first.error();
    const auto last = log_.find(end);
    if (!last) return last.error();
    std::vector<Entry> found;
    varve::Reader reader = log_.reader(*first, {.until = *last});
    for (const varve::RecordView& record : reader) {
      if (!record.key || varve::text(*record.key) != level) continue;
      const json value = json::parse(varve::text(record.value.value_or(varve::Bytes{})), nullptr,
                                     /*allow_exceptions=*/false);
      if (!value.is_object()) continue;  // not ours
      found.push_back({record.timestamp, std::string(level), value.value("message", ""),
                       value.value("metadata", json())});
    }
    if (auto status = reader.status(); !status) return status.error();
    return found;
  }

  varve::Log& log() { return log_; }

 private:
  explicit LogStore(varve::Log log) : log_(std::move(log)) {}

  varve::Log log_;
};

constexpr std::uint64_t count = 100'000;

// One entry a millisecond; of a hundred, one is an error and five are warnings.
Entry made_up_entry(std::uint64_t i, varve::Timestamp begin) {
  const char* level = i % 100 == 0 ? "error" : i % 20 == 1 ? "warning" : "info";
  return {begin + std::chrono::milliseconds(i),
          level,
          "request " + std::to_string(i) + " done",
          {{"status", i % 100 == 0 ? 500 : 200}, {"path", "/orders/" + std::to_string(i % 97)}}};
}

int fail(const varve::Error& error) {
  std::cerr << "structured_log: " << error.message() << '\n';
  return 1;
}

int fail(const char* what) {
  std::cerr << "structured_log: " << what << '\n';
  return 1;
}

// What the writer tells its parent through shared memory. It outlives the writer.
struct Told {
  std::atomic<std::uint64_t> begin_offset{0};
  std::atomic<varve::Timestamp> begin_time{};
  std::atomic<std::uint64_t> written{0};  // entries whose write() has returned
};

// Now, or behind the last entry: an earlier run's made-up entries reach into the future.
varve::Result<varve::Timestamp> time_to_begin(const varve::Log& log) {
  auto time = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  if (log.end_offset() == log.start_offset()) return time;
  varve::Reader reader = log.reader({log.end_offset().value - 1});
  const auto last = reader.next();
  if (!last) return last.error();
  if (*last) time = std::max(time, (*last)->timestamp + 1ms);
  return time;
}

// Writes until it is killed.
int write_until_killed(const char* directory, Told& told) {
  auto store = LogStore::open(directory);
  if (!store) return fail(store.error());
  const auto begin = time_to_begin(store->log());
  if (!begin) return fail(begin.error());
  told.begin_time = *begin;
  told.begin_offset = store->log().end_offset().value;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (auto offset = store->write(made_up_entry(i, *begin)); !offset) return fail(offset.error());
    told.written = i + 1;
  }
  return 1;  // nobody killed it
}

// Forks the writer and kills it half way. Must run before varve is used in this process.
bool crash(const char* directory, Told& told) {
  const pid_t writer = fork();
  if (writer < 0) return false;
  if (writer == 0) _exit(write_until_killed(directory, told));
  while (told.written < count / 2) {
    if (waitpid(writer, nullptr, WNOHANG) != 0) return false;  // it ended by itself
    std::this_thread::sleep_for(1ms);
  }
  int status = 0;
  if (kill(writer, SIGKILL) != 0 || waitpid(writer, &status, 0) != writer) return false;
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

// Replays what the killed writer left: every entry that it had written must be there, in order.
varve::Result<std::uint64_t> count_entries(const varve::Log& log, varve::Offset from) {
  std::uint64_t entries = 0;
  varve::Reader reader = log.reader(from);
  while (reader.advance()) ++entries;
  if (auto status = reader.status(); !status) return status.error();
  return entries;
}

int write_rest(LogStore& store, std::uint64_t written, varve::Timestamp begin) {
  const auto started = std::chrono::steady_clock::now();
  for (std::uint64_t i = written; i < count; ++i)
    if (auto offset = store.write(made_up_entry(i, begin)); !offset) return fail(offset.error());
  if (auto durable = store.make_durable(); !durable) return fail(durable.error());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  std::cout << "wrote " << count - written << " more, durable, in " << took.count() * 1000
            << " ms ("
            << static_cast<std::uint64_t>(static_cast<double>(count - written) / took.count())
            << " entries/s)\n";
  return 0;
}

int query(const LogStore& store, varve::Timestamp begin) {
  const auto started = std::chrono::steady_clock::now();
  const auto errors = store.find(begin + 30s, begin + 40s, "error");
  if (!errors) return fail(errors.error());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  std::cout << "ten seconds of the middle hold " << errors->size() << " errors, found in "
            << took.count() * 1000 << " ms";
  if (!errors->empty())
    std::cout << ", the first: " << errors->front().message << ' '
              << errors->front().metadata.dump();
  std::cout << '\n';
  return errors->size() == 100 ? 0 : fail("there should be 100");
}

}  // namespace

int main(int argc, char** argv) {
  const char* directory = argc > 1 ? argv[1] : "structured_log.varve";
  void* shared =
      mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return fail("no shared memory");
  Told& told = *new (shared) Told;

  if (!crash(directory, told)) return fail("the writer was not killed in the middle");
  const varve::Timestamp begin = told.begin_time;

  auto store = LogStore::open(directory);
  if (!store) return fail(store.error());
  const auto entries = count_entries(store->log(), {told.begin_offset});
  if (!entries) return fail(entries.error());
  std::cout << "killed after " << told.written << " entries; " << *entries
            << " are there, recovered in " << store->log().recovery().took.count() << " us\n";
  // The writer may have died between the append and telling of it.
  if (*entries != told.written && *entries != told.written + 1) return fail("entries are missing");

  if (int status = write_rest(*store, *entries, begin); status != 0) return status;
  if (int status = query(*store, begin); status != 0) return status;
  if (auto closed = store->log().close(); !closed) return fail(closed.error());
  return 0;
}
