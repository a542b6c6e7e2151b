// Keyed: a log of keys, as it was appended, to hold a compacted one to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/workload.hpp"
#include "varve/log.hpp"

namespace varve::test {

class Keyed {
 public:
  explicit Keyed(std::uint64_t seed, std::uint64_t keys) : random_(seed), keys_(keys) {}

  Random& random() noexcept { return random_; }
  std::uint64_t end() const noexcept { return records_.size(); }

  // Appends records of random keys: values, some with headers and times of their own, and tombstones.
  Result<OffsetRange> append(Log& log, std::uint64_t size, Ack ack, std::uint64_t bytes_max = 300) {
    std::vector<OwnedRecord> batch;
    for (; size > 0; --size) {
      OwnedRecord& record = batch.emplace_back();
      record.key = "key " + std::to_string(random_.below(keys_));
      if (!random_.one_in(6)) record.value = random_.text(random_.below(bytes_max));
      if (random_.one_in(5)) record.headers = {{"h", random_.text(random_.below(20))}, {"", {}}};
      if (random_.one_in(4)) record.time_ms = static_cast<std::int64_t>(random_.below(2'000'000));
    }
    auto range = log.append(Batch(batch).records(), {ack});
    if (range) records_.insert(records_.end(), batch.begin(), batch.end());
    return range;
  }

  // A loss of power took what is behind.
  void end_at(std::uint64_t end) {
    records_.resize(static_cast<std::size_t>(end));
    std::erase_if(seen_ms_, [&](const auto& one) { return one.first >= end; });
  }

  // A pass at that time has looked at all below `cleaned`.
  void passed(std::uint64_t cleaned, std::int64_t now_ms) {
    cleaned = std::min(cleaned, end());
    for (std::uint64_t offset = cleaned_; offset < cleaned; ++offset)
      if (!at(offset).value) seen_ms_.emplace(offset, now_ms);
    cleaned_ = std::max(cleaned_, cleaned);
    passed_ms_ = now_ms;
  }
  std::uint64_t cleaned() const noexcept { return cleaned_; }

  // What is wrong with a log that begins with the first of them; empty if nothing is. `retention_ms`: how long tombstones
  // stay. `finished`: what the passes so far could remove is gone.
  std::string difference_to(const Log& log, std::int64_t retention_ms, bool finished) const {
    if (log.end_offset().value != end())
      return "it ends at " + std::to_string(log.end_offset().value);
    std::map<std::string, std::uint64_t> latest;
    std::map<std::string, std::uint64_t> latest_cleaned;
    for (std::uint64_t offset = 0; offset < end(); ++offset) {
      latest[*at(offset).key] = offset;
      if (offset < cleaned_) latest_cleaned[*at(offset).key] = offset;
    }
    std::map<std::string, std::string> replayed;
    std::map<std::uint64_t, bool> there;
    std::optional<std::uint64_t> before;
    Reader reader = log.reader(log.start_offset());
    for (const RecordView& record : reader) {
      const std::uint64_t offset = record.offset.value;
      const std::string here = " at offset " + std::to_string(offset);
      if (before && offset <= *before) return "offsets go back" + here;
      if (offset >= end()) return "nobody appended what stands" + here;
      if (const std::string what = difference(record, at(offset)); !what.empty())
        return what + here;
      if (finished && offset < cleaned_ && latest_cleaned.at(*at(offset).key) != offset)
        return "a superseded record stands" + here;
      before = offset;
      there[offset] = true;
      replay(replayed, at(offset));
    }
    if (const auto status = reader.status(); !status) return status.error().message();
    for (const auto& [key, offset] : latest) {
      if (offset >= log.start_offset().value && !there.contains(offset) &&
          !may_be_gone(offset, retention_ms))
        return "the latest of " + key + " is gone, at offset " + std::to_string(offset);
    }
    std::map<std::string, std::string> original;
    for (std::uint64_t offset = log.start_offset().value; offset < end(); ++offset)
      replay(original, at(offset));
    return replayed == original ? "" : "replaying it builds another map";
  }

  const OwnedRecord& at(std::uint64_t offset) const {
    return records_.at(static_cast<std::size_t>(offset));
  }

 private:
  static void replay(std::map<std::string, std::string>& to, const OwnedRecord& record) {
    if (record.value)
      to[*record.key] = *record.value;
    else
      to.erase(*record.key);
  }

  // Whether it is a tombstone that has been there long enough.
  bool may_be_gone(std::uint64_t offset, std::int64_t retention_ms) const {
    const auto seen = seen_ms_.find(offset);
    return !at(offset).value && seen != seen_ms_.end() && passed_ms_ >= seen->second + retention_ms;
  }

  Random random_;
  std::uint64_t keys_;
  std::vector<OwnedRecord> records_;  // by offset
  std::uint64_t cleaned_ = 0;
  std::int64_t passed_ms_ = 0;
  std::map<std::uint64_t, std::int64_t> seen_ms_;  // tombstones: when a pass saw them first
};

}  // namespace varve::test
