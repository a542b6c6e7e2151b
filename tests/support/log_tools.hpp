// Small things that most tests of a whole log want.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/small_log.hpp"
#include "support/workload.hpp"
#include "varve/file_storage.hpp"
#include "varve/log.hpp"
#include "varve/memory_storage.hpp"

namespace varve::test {

// Opens, or fails the test.
template <class Where>
Log open_log(Where&& where, Options options = small_log()) {
  auto log = Log::open(std::forward<Where>(where), std::move(options));
  INFO((log ? std::string() : log.error().message()));
  REQUIRE(log);
  return *std::move(log);
}

inline Options read_only(Options options = small_log()) {
  options.access = Access::read_only;
  return options;
}

inline Result<Offset> append_text(Log& log, std::string_view value, AppendOptions how = os_ack) {
  Record record;
  record.value = bytes(value);
  return log.append(record, how);
}

// Appends records of `bytes` bytes each until the log has that many segments.
inline void fill_segments(Log& log, std::size_t segments, std::size_t bytes = 1000) {
  const std::string value(bytes, 'x');
  while (log.segments().size() < segments) REQUIRE(append_text(log, value));
}

// All values that can be read; the absent ones as "(none)". Fails the test at an error.
inline std::vector<std::string> read_values(const Log& log, Offset from, ReadOptions how = {}) {
  std::vector<std::string> values;
  Reader reader = log.reader(from, how);
  for (const RecordView& record : reader)
    values.push_back(record.value ? std::string(text(*record.value)) : "(none)");
  const auto status = reader.status();
  INFO((status ? std::string() : status.error().message()));
  REQUIRE(status);
  return values;
}

// Whether a result is an error of that code (Errc or std::errc) whose message contains all of these.
template <class T, class Code>
bool fails_with(const Result<T>& result, Code code, std::vector<std::string_view> words = {}) {
  if (result) {
    UNSCOPED_INFO("it succeeded");
    return false;
  }
  const std::string message = result.error().message();
  UNSCOPED_INFO(message);
  bool right = result.error().code() == code;
  for (const std::string_view word : words)
    right = right && message.find(word) != std::string::npos;
  return right;
}

// A directory as it stands: name to mode, time of the last change, and bytes.
struct FileState {
  unsigned mode = 0;
  std::int64_t changed_ns = 0;
  std::string bytes{};
  friend bool operator==(const FileState&, const FileState&) = default;
};
inline std::map<std::string, FileState> state_of(const std::filesystem::path& directory) {
  std::map<std::string, FileState> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    struct stat status {};
    REQUIRE(::lstat(entry.path().c_str(), &status) == 0);
    FileState& file = files[entry.path().filename().string()];
    file.mode = status.st_mode;
    file.changed_ns = std::int64_t{status.st_ctim.tv_sec} * 1'000'000'000 + status.st_ctim.tv_nsec;
    if (!S_ISREG(status.st_mode)) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    file.bytes.assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return files;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}
inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(out.good());
}

}  // namespace varve::test
