// Journal: what a log was asked and what it answered, to hold it to that after a crash. Records carry a number
// of their own, so that whatever is found can be told: lost, doubled, torn or changed. In a log that is compacted they
// share keys, and what was superseded may be gone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/workload.hpp"
#include "varve/log.hpp"

namespace varve::test {

// What became of the machine since the records were acknowledged.
enum class Survived : std::uint8_t {
  process_death,  // whatever was acknowledged must be there
  power_loss,     // what was acknowledged as durable must be there
};

class Journal {
 public:
  // `keys`: how many keys the records of a compacted log share; 0: it is not compacted.
  explicit Journal(std::uint64_t seed, WorkloadOptions options = {}, std::uint64_t keys = 0)
      : seed_(seed), options_(options), keys_(keys) {}

  // The record with that number: its key starts with it, or its first header is it.
  OwnedRecord numbered(std::uint64_t number) const {
    OwnedRecord record = record_at(seed_, number, options_);
    if (keys_ == 0) {
      record.key = std::to_string(number) + ":" + record.key.value_or("");
    } else {
      record.key = std::to_string(split_mix(seed_ + number) % keys_);
      record.headers.insert(record.headers.begin(), {"number", std::to_string(number)});
    }
    return record;
  }

  // Appends a batch of new records and notes the answer.
  Result<OffsetRange> append(Log& log, std::uint64_t size, Ack ack,
                             const Compression* compression = nullptr) {
    const std::uint64_t first = next_;
    std::vector<OwnedRecord> records;
    for (; next_ < first + size; ++next_) {
      records.push_back(numbered(next_));
      batches_.emplace_hint(batches_.end(), next_, Span{first, first + size});
    }
    auto offsets = log.append(Batch(records).records(), {ack, compression});
    if (offsets) acknowledged(*offsets, first, ack);
    return offsets;
  }

  // For appends made elsewhere: `first` is the number of the first record.
  void acknowledged(OffsetRange offsets, std::uint64_t first, Ack ack) {
    for (Offset offset = offsets.begin; offset < offsets.end; offset = offset + 1)
      acked_[offset.value] = {first++, ack};
    next_ = std::max(next_, first);
    if (ack == Ack::disk) durable_below(offsets.end);
  }

  // The log says that all below `end` is durable.
  void durable_below(Offset end) {
    for (auto it = acked_.begin(); it != acked_.end() && it->first < end.value; ++it)
      it->second.ack = Ack::disk;
  }

  Result<void> truncate_prefix(Log& log, Offset start) {
    start_asked_ = std::max(start_asked_, start.value);
    auto done = log.truncate_prefix(start);
    if (done) start_ = std::max(start_, start.value);
    return done;
  }

  // The log's chores, of which one is that the oldest segments go while the others have so many bytes.
  Result<void> tick(Log& log, std::uint64_t retention_bytes) {
    std::uint64_t start = start_;
    if (retention_bytes != 0) {
      const auto segments = log.segments();
      std::uint64_t behind = 0;
      for (auto at = segments.rbegin(); at != segments.rend(); ++at) {
        if (behind >= retention_bytes) {
          start = std::max(start, at->offsets.end.value);
          break;
        }
        behind += at->bytes;
      }
    }
    start_asked_ = std::max(start_asked_, start);
    auto done = log.tick();
    if (done) start_ = start;
    return done;
  }

  // The power was lost, and may have taken what was not durable.
  void lost_power() {
    std::erase_if(acked_, [](const auto& entry) { return entry.second.ack == Ack::os; });
  }

  std::uint64_t acknowledged_count() const noexcept { return acked_.size(); }

  // Reads the whole log and says what is wrong with it; empty if nothing is. What was found is from then on
  // held to be durable: it was recovered.
  std::string check(const Log& log, Survived survived) {
    if (survived == Survived::power_loss) lost_power();
    const std::uint64_t start = log.start_offset().value;
    if (start < start_) return "the log starts at " + std::to_string(start) + " again";
    if (start > start_asked_) return "the log starts at " + std::to_string(start);
    std::map<std::uint64_t, Entry> found;
    if (std::string what = read(log, start, found); !what.empty()) return what;
    for (const auto& [offset, entry] : acked_) {
      if (offset < start) continue;
      const auto at = found.find(offset);
      if (at == found.end() && keys_ != 0) {
        if (std::string what = missing(offset, entry.number, found); !what.empty()) return what;
        continue;
      }
      const char* ack = entry.ack == Ack::disk ? "disk" : "os";
      if (at == found.end() || at->second.number != entry.number)
        return "record " + std::to_string(entry.number) + " acknowledged (" + ack + ") at offset " +
               std::to_string(offset) +
               (at == found.end() ? " is gone" : " is " + std::to_string(at->second.number)) +
               "; the log is [" + std::to_string(start) + ", " +
               std::to_string(log.end_offset().value) + ")";
    }
    acked_ = std::move(found);
    start_ = start;
    return {};
  }

 private:
  struct Entry {
    std::uint64_t number = 0;
    Ack ack = Ack::os;
  };
  struct Span {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  // Whether a record that is not there could be compacted away: a later one of its key is there; or none is, because a
  // tombstone came and is gone as well, or it was one. Nothing that came before may be there then: it would be back.
  // In the first case it may: a segment that cannot be rewritten keeps what is superseded.
  std::string missing(std::uint64_t offset, std::uint64_t number,
                      const std::map<std::uint64_t, Entry>& found) const {
    const OwnedRecord record = numbered(number);
    bool before = false;
    for (const auto& [other, entry] : found) {
      if (numbered(entry.number).key != record.key) continue;
      if (other > offset) return {};
      before = true;
    }
    const std::string here =
        "record " + std::to_string(number) + " at offset " + std::to_string(offset);
    if (before) return here + " is gone, but not the one before it of the same key";
    bool tombstone = !record.value;
    for (std::uint64_t later = number + 1; later < next_ && !tombstone; ++later) {
      const OwnedRecord other = numbered(later);
      tombstone = other.key == record.key && !other.value;
    }
    return tombstone ? "" : here + ", the latest of its key, is gone";
  }

  std::uint64_t number_of(const RecordView& record) const {
    const std::string_view digits = keys_ == 0 || record.headers.empty()
                                        ? text(*record.key)
                                        : text((*record.headers.begin()).value.value());
    return std::strtoull(std::string(digits).c_str(), nullptr, 10);
  }

  // Offsets are dense, numbers rise, bytes are what they were, batches are whole.
  std::string read(const Log& log, std::uint64_t start,
                   std::map<std::uint64_t, Entry>& found) const {
    std::uint64_t offset = start;
    std::optional<std::uint64_t> before;
    Reader reader = log.reader({start});
    for (const RecordView& record : reader) {
      const std::string here = " at offset " + std::to_string(offset);
      const bool hole = keys_ != 0 && record.offset.value > offset;
      if (hole) offset = record.offset.value;
      if (record.offset.value != offset)
        return "offset " + std::to_string(record.offset.value) + " comes" + here;
      if (!record.key) return "a record that nobody appended" + here;
      const std::uint64_t number = number_of(record);
      if (std::string what = difference(record, numbered(number)); !what.empty())
        return what + here;
      if (before && number <= *before) return "a record came twice or out of order" + here;
      if (!hole && !follows(before, number)) return "a batch was torn" + here;
      found[offset++] = {number, Ack::disk};
      before = number;
    }
    if (const auto status = reader.status(); !status) return status.error().message();
    if (keys_ != 0 && reader.next_offset().value > offset) return {};  // the last are gone
    if (offset != log.end_offset().value)
      return "reading stopped at offset " + std::to_string(offset);
    if (before && !follows(before, std::nullopt)) return "the last batch was torn";
    return {};
  }

  // Whether a batch may end before and one may begin here. The log may start within one.
  bool follows(std::optional<std::uint64_t> before, std::optional<std::uint64_t> number) const {
    if (before && number && *number == *before + 1) return true;
    const auto last = before ? batches_.find(*before) : batches_.end();
    if (last != batches_.end() && last->second.end != *before + 1) return false;
    const auto next = number && before ? batches_.find(*number) : batches_.end();
    return next == batches_.end() || next->second.begin == *number;
  }

  std::uint64_t seed_;
  WorkloadOptions options_;
  std::uint64_t keys_;
  std::uint64_t next_ = 0;
  std::uint64_t start_ = 0;
  std::uint64_t start_asked_ = 0;
  std::map<std::uint64_t, Entry> acked_;   // by offset
  std::map<std::uint64_t, Span> batches_;  // by number
};

}  // namespace varve::test
