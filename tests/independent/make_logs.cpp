// Writes logs that have in them what the format knows: for a reader that shares no code with varve.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <iterator>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/varve.hpp"

namespace {

// Fixed, so that only ids, salts and times differ from one run to the next.
std::mt19937 generator(20240229);

std::size_t below(std::size_t bound) { return generator() % bound; }

std::string some_text(std::size_t size) {
  // Quotes, control characters, valid UTF-8 and what is none.
  static constexpr std::string_view alphabet = "abc\"\\/\n\t\x01\x7f\xc3\xa9\xe2\x82\xac";
  static constexpr std::string_view binary("\xff\xed\xa0\x80\xc0\x00", 6);
  if (below(4) == 0) return std::string(binary.substr(0, std::min(size, binary.size())));
  std::string text;
  while (text.size() < size) text += alphabet[below(alphabet.size())];
  return text;
}

std::optional<varve::Timestamp> some_time() {
  using Limits = std::numeric_limits<std::int64_t>;
  constexpr std::int64_t year_0 = -62'167'219'200'000;
  constexpr std::int64_t year_10000 = 253'402'300'800'000;
  constexpr std::int64_t times[] = {Limits::min(),  Limits::max(), year_0 - 1, year_0,
                                    year_10000 - 1, year_10000,    -1,         1'709'210'000'250};
  const std::size_t choice = below(4 * std::size(times));
  if (choice >= std::size(times)) return std::nullopt;
  return varve::Timestamp(std::chrono::milliseconds(times[choice]));
}

struct OwnedRecord {
  std::optional<std::string> key{}, value{};
  std::vector<std::pair<std::string, std::optional<std::string>>> headers{};
  std::optional<varve::Timestamp> timestamp{};
};

OwnedRecord some_record() {
  OwnedRecord record;
  if (below(2) != 0) record.key = some_text(below(12));
  if (below(4) != 0) record.value = some_text(below(50) == 0 ? below(3000) : below(30));
  for (std::size_t left = below(3) != 0 ? 0 : below(4); left != 0; --left) {
    auto& [name, value] = record.headers.emplace_back();
    name = some_text(below(6));
    if (below(3) != 0) value = some_text(below(200));
  }
  record.timestamp = some_time();
  return record;
}

std::optional<varve::Bytes> borrow(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  return varve::bytes(*text);
}

void append_batch(varve::Log& log, const std::vector<OwnedRecord>& batch) {
  std::vector<std::vector<varve::Header>> headers;
  std::vector<varve::Record> records;
  for (const OwnedRecord& record : batch) {
    headers.emplace_back();
    for (const auto& [name, value] : record.headers)
      headers.back().push_back({name, borrow(value)});
  }
  for (std::size_t i = 0; i < batch.size(); ++i)
    records.push_back(
        {borrow(batch[i].key), borrow(batch[i].value), headers[i], batch[i].timestamp});
  log.append(records, {below(20) == 0 ? varve::Ack::disk : varve::Ack::os}).value();
}

void append(varve::Log& log, std::uint64_t count) {
  const varve::Offset end = log.end_offset() + count;
  while (log.end_offset() < end) {
    const std::size_t left = end - log.end_offset();
    std::vector<OwnedRecord> batch(below(3) != 0 ? 1 : std::min(left, 1 + below(40)));
    for (OwnedRecord& record : batch) record = some_record();
    append_batch(log, batch);
  }
}

varve::Log open(const std::filesystem::path& directory, std::uint64_t first_offset = 0) {
  varve::Options options;
  options.segment_bytes = 16u << 10;
  options.index_interval_bytes = 1024;
  options.first_offset = {first_offset};
  return varve::Log::open(directory, options).value();
}

// A process of its own, which ends without a word: what is not closed by then never is.
void write_log(const std::filesystem::path& directory,
               const std::function<void(const std::filesystem::path&)>& write) {
  generator.discard(1);  // so that no two write the same
  const pid_t child = ::fork();
  if (child == 0) {
    write(directory);
    ::_exit(0);
  }
  int status = -1;
  if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) {
    std::cerr << "make_logs: " << directory << " was not written\n";
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_logs DIR\n";
    return 2;
  }
  const std::filesystem::path root = argv[1];

  write_log(root / "blank", [](const auto& directory) { open(directory).close().value(); });
  write_log(root / "small", [](const auto& directory) {
    varve::Log log = open(directory);
    append(log, 12);
    log.close().value();
  });
  write_log(root / "small-killed", [](const auto& directory) {
    varve::Log log = open(directory);
    append(log, 12);
    log.sync().value();
    append(log, 12);
    ::_exit(0);
  });
  write_log(root / "many", [](const auto& directory) {
    varve::Log log = open(directory, 5000);
    append(log, 1000);
    log.close().value();
  });
  write_log(root / "many-killed", [](const auto& directory) {
    varve::Log log = open(directory, 5000);
    append(log, 1000);
    ::_exit(0);
  });
  for (const char* name : {"reopened", "reopened-killed"})
    write_log(root / name, [](const auto& directory) {
      for (int i = 0; i < 5; ++i) {
        varve::Log log = open(directory);
        append(log, 100);
        log.close().value();
      }
    });
  write_log(root / "reopened-killed", [](const auto& directory) {
    varve::Log log = open(directory);
    append(log, 10);
    ::_exit(0);
  });
  // What a killed one left open is sealed as it is, and goes on in another segment and epoch.
  for (const char* name : {"recovered", "recovered-killed"})
    for (int i = 0; i < 3; ++i)
      write_log(root / name, [](const auto& directory) {
        varve::Log log = open(directory);
        append(log, 200);
        ::_exit(0);
      });
  write_log(root / "recovered", [](const auto& directory) { open(directory).close().value(); });
  for (const char* name : {"truncated", "truncated-killed"})
    write_log(root / name, [](const auto& directory) {
      varve::Log log = open(directory);
      append(log, 1000);
      log.truncate_prefix({777}).value();
      log.close().value();
    });
  write_log(root / "truncated-killed", [](const auto& directory) {
    varve::Log log = open(directory);
    append(log, 100);
    log.truncate_prefix({888}).value();
    append(log, 100);
    ::_exit(0);
  });
  // No segment is left of these that the next one could follow.
  for (const char* name : {"emptied", "emptied-killed"}) {
    write_log(root / name, [](const auto& directory) {
      varve::Log log = open(directory);
      append(log, 200);
      ::_exit(0);
    });
    write_log(root / name, [](const auto& directory) {
      varve::Log log = open(directory);
      log.truncate_prefix(log.end_offset()).value();
      log.close().value();
    });
  }
  write_log(root / "emptied-killed", [](const auto& directory) {
    varve::Log log = open(directory);
    append(log, 10);
    ::_exit(0);
  });
  for (const char* name : {"compacted", "compacted-killed", "compacted-twice"}) {
    write_log(root / name, [](const auto& directory) {
      varve::Log log = open(directory);
      append(log, 1000);
      log.compact().value();
      append(log, 300);
      ::_exit(0);
    });
    // The last sealed segment is compacted, and another begins behind it.
    write_log(root / name, [](const auto& directory) {
      varve::Log log = open(directory);
      log.compact().value();
      append(log, 300);
      ::_exit(0);
    });
  }
  write_log(root / "compacted", [](const auto& directory) { open(directory).close().value(); });
  write_log(root / "compacted-twice", [](const auto& directory) {
    varve::Log log = open(directory);
    log.compact().value();
    log.compact().value();
    log.close().value();
  });
  write_log(root / "last", [](const auto& directory) {
    varve::Log log = open(directory, varve::offset_max.value - 10);
    append(log, 10);
    log.close().value();
  });
}
