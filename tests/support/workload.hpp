// Workload: seeded random records that remember what they are, and the seed that made them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/record.hpp"

namespace varve::test {

// The seed of a randomised test: VARVE_TEST_SEED if that is set, so that a failure can be replayed, else
// a fresh one. Tests show it with CAPTURE(seed).
inline std::uint64_t fresh_seed() {
  if (const char* given = std::getenv("VARVE_TEST_SEED")) return std::strtoull(given, nullptr, 10);
  std::random_device device;
  return std::uint64_t{device()} << 16 ^ device();
}

// The seeds that a test goes through: a given one alone, or `count` in a row from a fresh one.
inline std::vector<std::uint64_t> fresh_seeds(std::size_t count) {
  if (std::getenv("VARVE_TEST_SEED") != nullptr) return {fresh_seed()};
  std::vector<std::uint64_t> seeds{fresh_seed()};
  while (seeds.size() < count) seeds.push_back(seeds.back() + 1);
  return seeds;
}

// The steps and the finalizer of SplitMix64 (Steele, Lea, Flood 2014), for those who want a state of one word.
constexpr std::uint64_t split_mix_step = 0x9E3779B97F4A7C15;
constexpr std::uint64_t split_mix(std::uint64_t state) noexcept {
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EB;
  return state ^ (state >> 31);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  std::uint64_t below(std::uint64_t end) { return engine_() % end; }
  std::uint64_t between(std::uint64_t first, std::uint64_t last) {
    return first + below(last - first + 1);
  }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  double fraction() { return static_cast<double>(engine_() >> 11) / 9007199254740992.0; }

  std::string text(std::uint64_t size) {
    std::string text(static_cast<std::size_t>(size), '\0');
    for (char& c : text) c = static_cast<char>(engine_() & 0xFF);
    return text;
  }

 private:
  std::mt19937_64 engine_;
};

// A record that owns its bytes.
struct OwnedRecord {
  std::optional<std::string> key{};
  std::optional<std::string> value{};
  std::vector<std::pair<std::string, std::optional<std::string>>> headers{};
  std::optional<std::int64_t> time_ms{};

  // Borrows from this object and `storage`.
  Record record(std::vector<Header>& storage) const {
    storage.clear();
    for (const auto& [name, text] : headers)
      storage.push_back({name, text ? std::optional(bytes(*text)) : std::nullopt});
    Record record;
    if (key) record.key = bytes(*key);
    if (value) record.value = bytes(*value);
    record.headers = storage;
    if (time_ms) record.timestamp = Timestamp(std::chrono::milliseconds(*time_ms));
    return record;
  }
};

// Records to append, borrowed from owned ones that live longer.
class Batch {
 public:
  explicit Batch(std::span<const OwnedRecord> owned) : headers_(owned.size()) {
    records_.reserve(owned.size());
    for (std::size_t i = 0; i < owned.size(); ++i) records_.push_back(owned[i].record(headers_[i]));
  }
  explicit Batch(const OwnedRecord& owned) : Batch(std::span(&owned, 1)) {}

  std::span<const Record> records() const noexcept { return records_; }
  const Record& front() const noexcept { return records_.front(); }

 private:
  std::vector<std::vector<Header>> headers_;
  std::vector<Record> records_;
};

inline std::optional<std::string> owned_text(const std::optional<Bytes>& bytes) {
  if (!bytes) return std::nullopt;
  return std::string(text(*bytes));
}

inline bool same_bytes(const std::optional<Bytes>& read, const std::optional<std::string>& wanted) {
  return read.has_value() == wanted.has_value() && (!read || text(*read) == *wanted);
}

// What differs between a record that was read and the one that was appended; empty if nothing does.
inline std::string difference(const RecordView& read, const OwnedRecord& appended) {
  if (!same_bytes(read.key, appended.key)) return "the key differs";
  if (!same_bytes(read.value, appended.value)) return "the value differs";
  if (read.headers.size() != appended.headers.size()) return "the number of headers differs";
  std::size_t i = 0;
  for (const Header& header : read.headers) {
    const auto& [name, value] = appended.headers[i++];
    if (header.name != name || !same_bytes(header.value, value)) return "a header differs";
  }
  if (appended.time_ms && read.timestamp.time_since_epoch().count() != *appended.time_ms)
    return "the timestamp differs";
  return {};
}

inline bool same(const OwnedRecord& appended, const RecordView& read) {
  return difference(read, appended).empty();
}

// What kind of records there are to be.
struct WorkloadOptions {
  std::uint64_t usual_bytes_max = 300;
  std::uint64_t large_bytes_max = 6000;  // one in `large_one_in`
  std::uint64_t large_one_in = 25;
  std::uint64_t plain_one_in = 0;  // values of one letter, for a codec; 0: none
};

// Records of every kind: keys and values absent, empty, small and large; headers; times of their own.
class Workload {
 public:
  explicit Workload(std::uint64_t seed, WorkloadOptions options = {})
      : random_(seed), options_(options) {}

  Random& random() noexcept { return random_; }

  OwnedRecord next() {
    OwnedRecord record;
    if (!random_.one_in(3)) record.key = random_.one_in(5) ? "" : random_.text(random_.below(24));
    if (!random_.one_in(8)) record.value = value();
    if (random_.one_in(4)) {
      for (std::uint64_t left = random_.between(1, 3); left > 0; --left) {
        auto& [name, text] =
            record.headers.emplace_back("h" + std::to_string(random_.below(3)), std::nullopt);
        if (random_.one_in(4)) name.clear();
        if (!random_.one_in(3)) text = random_.text(random_.below(40));
      }
    }
    if (random_.one_in(2))
      record.time_ms = static_cast<std::int64_t>(random_.below(2'000'000)) - 1000;
    return record;
  }

  std::vector<OwnedRecord> batch(std::uint64_t size_max) {
    std::vector<OwnedRecord> records;
    for (std::uint64_t left = random_.between(1, size_max); left > 0; --left)
      records.push_back(next());
    return records;
  }

 private:
  std::string value() {
    if (random_.one_in(10)) return {};
    const bool large = random_.one_in(options_.large_one_in);
    const std::uint64_t size =
        random_.below(1 + (large ? options_.large_bytes_max : options_.usual_bytes_max));
    if (options_.plain_one_in != 0 && random_.one_in(options_.plain_one_in))
      return std::string(static_cast<std::size_t>(size), static_cast<char>('a' + size % 26));
    return random_.text(size);
  }

  Random random_;
  WorkloadOptions options_;
};

// The record that stands at `offset` of a stream named by `seed`: whoever knows both knows its bytes.
inline OwnedRecord record_at(std::uint64_t seed, std::uint64_t offset,
                             WorkloadOptions options = {}) {
  return Workload(seed + offset * split_mix_step, options).next();
}

}  // namespace varve::test
