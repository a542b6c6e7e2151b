// Takes a file into a log, a line a record, durably and by many threads; is killed in the middle of
// it; comes back, goes on, and proves that nothing was lost, invented, doubled or changed.
//
//   ingest_demo [DIRECTORY [SOURCE [THREADS]]]
//
// makes DIRECTORY/ingest.varve anew, and DIRECTORY/restored from it. Without SOURCE it makes up
// lines.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <varve/varve.hpp>

namespace {

using Clock = std::chrono::steady_clock;

int fail(const std::string& what) {
  std::cerr << "ingest_demo: " << what << '\n';
  return 1;
}

int fail(const varve::Error& error) { return fail(error.message()); }

struct Source {
  std::string text;
  std::vector<std::string_view> lines;  // without their line ends
};

std::string made_up_text() {
  std::string text;
  for (int i = 0; i < 120'000; ++i)
    text += "this is made-up line number " + std::to_string(i) + '\n';
  return text;
}

std::optional<Source> load(const char* file) {
  Source source;
  if (file == nullptr) {
    source.text = made_up_text();
  } else {
    std::ifstream in(file, std::ios::binary);
    source.text.assign(std::istreambuf_iterator<char>(in), {});
    if (!in) return std::nullopt;
  }
  std::string_view rest = source.text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    source.lines.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return source;
}

// What the writer tells of each line once its append has returned. It lies in memory shared with
// the parent, so it outlives the writer.
class Acknowledgements {
 public:
  explicit Acknowledgements(std::size_t lines) : size_(lines) {
    const std::size_t bytes = sizeof(Count) + lines * sizeof(Flag);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    count_ = new (memory) Count(0);
    flags_ = new (static_cast<std::byte*>(memory) + sizeof(Count)) Flag[lines];
  }

  bool good() const { return count_ != nullptr; }
  std::size_t size() const { return size_; }

  void add(std::size_t line) {
    flags_[line] = true;
    count_->fetch_add(1, std::memory_order_relaxed);
  }
  bool has(std::size_t line) const { return flags_[line]; }
  std::uint64_t count() const { return *count_; }

 private:
  using Count = std::atomic<std::uint64_t>;
  using Flag = std::atomic<bool>;

  std::size_t size_ = 0;
  Count* count_ = nullptr;
  Flag* flags_ = nullptr;
};

// Appends those lines, each durable when its append returns. Threads take them from a shared
// counter, so the log has them in order of arrival; the key of a record is its line's number.
bool append_lines(varve::Log& log, const Source& source, const std::vector<std::size_t>& numbers,
                  unsigned threads, Acknowledgements& acknowledged) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> good{true};
  const auto work = [&] {
    for (std::size_t i = next++; i < numbers.size() && good; i = next++) {
      const std::string key = std::to_string(numbers[i]);
      const auto offset =
          log.append({.key = varve::bytes(key), .value = varve::bytes(source.lines[numbers[i]])},
                     {.ack = varve::Ack::disk});
      if (!offset) {
        good = false;
        fail(offset.error());
        return;
      }
      acknowledged.add(numbers[i]);
    }
  };
  std::vector<std::jthread> workers;
  for (unsigned i = 0; i < threads; ++i) workers.emplace_back(work);
  workers.clear();  // joins
  return good;
}

// What the log has of the source, by line number.
struct Contents {
  std::vector<std::optional<std::string>> lines;
  std::uint64_t records = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t foreign = 0;  // no such line
};

varve::Result<Contents> read_back(const varve::Log& log, std::size_t lines) {
  Contents contents{.lines = std::vector<std::optional<std::string>>(lines)};
  varve::Reader reader = log.reader(log.start_offset());
  for (const varve::RecordView& record : reader) {
    ++contents.records;
    const std::string_view key = varve::text(record.key.value_or(varve::Bytes{}));
    std::size_t number = lines;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
    if (error != std::errc() || end != key.data() + key.size() || number >= lines || !record.value)
      ++contents.foreign;
    else if (contents.lines[number])
      ++contents.duplicates;
    else
      contents.lines[number] = varve::text(*record.value);
  }
  if (auto status = reader.status(); !status) return status.error();
  return contents;
}

void print_rate(const char* what, std::uint64_t records, Clock::duration took, unsigned threads) {
  const double seconds = std::chrono::duration<double>(took).count();
  std::cout << what << ": " << records << " durable records in " << seconds << " s by " << threads
            << " threads, " << static_cast<std::uint64_t>(static_cast<double>(records) / seconds)
            << " records/s\n";
}

// Ingests in a process of its own and kills that half way. Must run before varve is used in this
// process: the child would lack varve's background thread.
bool ingest_and_kill(const std::filesystem::path& directory, const Source& source, unsigned threads,
                     Acknowledgements& acknowledged) {
  const auto begin = Clock::now();
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    auto log = varve::Log::open(directory);
    if (!log) _exit(fail(log.error()));
    std::vector<std::size_t> all(source.lines.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    _exit(append_lines(*log, source, all, threads, acknowledged) ? 0 : 1);
  }
  while (acknowledged.count() < source.lines.size() / 2) {
    if (waitpid(child, nullptr, WNOHANG) != 0) return false;  // it ended by itself
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  int status = 0;
  if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child) return false;
  const auto end = Clock::now();
  print_rate("ingest until killed", acknowledged.count(), end - begin, threads);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

void print(const varve::RecoveryReport& report) {
  std::cout << "recovery: " << (report.clean ? "closed properly" : "not closed properly") << ", "
            << report.segments << " segments, scanned " << report.records_scanned << " records in "
            << report.bytes_scanned << " bytes, dropped " << report.frames_dropped << " frames and "
            << report.bytes_dropped << " bytes, took " << report.took.count() << " us\n";
  for (const varve::Damage& torn : report.torn)
    std::cout << "recovery: torn tail in " << torn.file << " from byte " << torn.begin.value
              << " to " << torn.end.value << ": " << torn.what << '\n';
}

// Whether each line that was acknowledged before the kill is in the log after it.
bool all_acknowledged_are_there(const Contents& contents, const Source& source,
                                const Acknowledgements& acknowledged) {
  std::uint64_t lost = 0;
  for (std::size_t i = 0; i < source.lines.size(); ++i)
    if (acknowledged.has(i) && contents.lines[i] != source.lines[i]) ++lost;
  std::cout << "after the kill: " << acknowledged.count() << " lines acknowledged, "
            << contents.records << " in the log, " << lost << " lost\n";
  return lost == 0;
}

std::string restore(const Contents& contents, const Source& source) {
  std::string text;
  text.reserve(source.text.size());
  for (const auto& line : contents.lines) text.append(line.value_or("")).append(1, '\n');
  if (!source.text.ends_with('\n') && !text.empty()) text.pop_back();
  return text;
}

int resume(const std::filesystem::path& directory, const Source& source, unsigned threads,
           Acknowledgements& acknowledged) {
  auto log = varve::Log::open(directory);
  if (!log) return fail(log.error());
  print(log->recovery());
  const auto contents = read_back(*log, source.lines.size());
  if (!contents) return fail(contents.error());
  if (!all_acknowledged_are_there(*contents, source, acknowledged))
    return fail("acknowledged lines are lost");

  // A line may be in the log without having been acknowledged: it must not be appended again.
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < source.lines.size(); ++i)
    if (!contents->lines[i]) missing.push_back(i);
  const auto begin = Clock::now();
  if (!append_lines(*log, source, missing, threads, acknowledged)) return 1;
  print_rate("ingest of the rest", missing.size(), Clock::now() - begin, threads);
  if (auto closed = log->close(); !closed) return fail(closed.error());
  return 0;
}

int compare(const std::filesystem::path& directory, const std::filesystem::path& restored,
            const Source& source) {
  const auto begin = Clock::now();
  auto log = varve::Log::open(directory, {.access = varve::Access::read_only});
  if (!log) return fail(log.error());
  const auto contents = read_back(*log, source.lines.size());
  if (!contents) return fail(contents.error());
  const std::chrono::duration<double> took = Clock::now() - begin;
  std::cout << "read back: " << contents->records << " records in " << took.count() << " s\n";

  const std::string text = restore(*contents, source);
  std::ofstream(restored, std::ios::binary) << text;
  const auto missing = static_cast<std::uint64_t>(
      std::count(contents->lines.begin(), contents->lines.end(), std::nullopt));
  if (text == source.text && missing + contents->duplicates + contents->foreign == 0) {
    std::cout << "verdict: identical\n";
    return 0;
  }
  std::cout << "verdict: different: " << missing << " lines missing, " << contents->duplicates
            << " doubled, " << contents->foreign << " foreign";
  for (std::size_t i = 0; i < source.lines.size(); ++i)
    if (contents->lines[i] && *contents->lines[i] != source.lines[i]) {
      std::cout << ", line " << i + 1 << " changed";
      break;
    }
  std::cout << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path directory = argc > 1 ? argv[1] : "ingest_demo";
  const int threads_asked = argc > 3 ? std::atoi(argv[3]) : 32;
  if (threads_asked < 1 || threads_asked > 1024) return fail("THREADS is 1 to 1024");
  const auto threads = static_cast<unsigned>(threads_asked);
  const auto source = load(argc > 2 ? argv[2] : nullptr);
  if (!source) return fail(std::string("cannot read ") + argv[2]);
  if (source->lines.size() < 1000)
    return fail("the source has too few lines to kill in the middle");
  std::cout << "source: " << source->lines.size() << " lines, " << source->text.size() << " bytes"
            << (argc > 2 ? "" : ", made up") << '\n';

  std::error_code error;
  std::filesystem::create_directories(directory, error);
  const std::filesystem::path log = directory / "ingest.varve";
  std::filesystem::remove_all(log, error);
  if (error) return fail("cannot remove " + log.string() + ": " + error.message());

  Acknowledgements acknowledged(source->lines.size());
  if (!acknowledged.good()) return fail("no shared memory");
  if (!ingest_and_kill(log, *source, threads, acknowledged))
    return fail("the ingesting process was not killed in the middle");
  if (int status = resume(log, *source, threads, acknowledged); status != 0) return status;
  return compare(log, directory / "restored", *source);
}
