// Model: the reference log, a vector. It knows what every record must be, and which of them a loss of
// power may take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/workload.hpp"
#include "varve/log.hpp"

namespace varve::test {

class Model {
 public:
  explicit Model(Offset first = {})
      : start_(first.value), durable_(first.value), base_(first.value) {}

  std::uint64_t start() const noexcept { return start_; }
  std::uint64_t end() const noexcept { return base_ + entries_.size(); }
  std::uint64_t durable() const noexcept { return durable_; }
  const OwnedRecord& at(std::uint64_t offset) const { return entry(offset).record; }

  // A batch was acknowledged. `now_ms`: the log's clock, for records without a time of their own.
  void append(std::vector<OwnedRecord> records, Ack ack, std::int64_t now_ms) {
    for (OwnedRecord& record : records) {
      const std::int64_t time_ms = record.time_ms.value_or(now_ms);
      entries_.push_back({std::move(record), time_ms, false});
    }
    entries_.back().ends_batch = true;
    if (ack == Ack::disk) sync();
  }

  void sync() noexcept { durable_ = end(); }

  void truncate_prefix(std::uint64_t start) {
    start_ = std::max(start_, start);
    durable_ = std::max(durable_, start_);
  }

  // The first record at or after `time_ms`, or the end.
  std::uint64_t find(std::int64_t time_ms) const {
    for (std::uint64_t offset = start_; offset < end(); ++offset)
      if (entry(offset).time_ms >= time_ms) return offset;
    return end();
  }

  // The log was reopened after a loss of power and ends at `end`. Says what is wrong with that, if anything is.
  std::string lose_power(std::uint64_t end) {
    if (end < durable_) return "records acknowledged as durable are gone";
    if (end > this->end()) return "records that were never appended are there";
    if (end > base_ && end < this->end() && !entry(end - 1).ends_batch) return "a batch was torn";
    entries_.resize(static_cast<std::size_t>(end - base_));
    durable_ = end;
    return {};
  }

  // What differs in all that the log holds; empty if nothing does.
  std::string difference_to(const Log& log) const {
    if (log.start_offset().value != start_) return "it starts at " + number(log.start_offset());
    if (log.end_offset().value != end()) return "it ends at " + number(log.end_offset());
    return difference_of_read(log, start_, end());
  }

  // The same for a read of [from, until).
  std::string difference_of_read(const Log& log, std::uint64_t from, std::uint64_t until) const {
    Reader reader = log.reader({from}, {.until = Offset{until}});
    std::uint64_t offset = from;
    for (const RecordView& record : reader) {
      const std::string here = " at offset " + std::to_string(offset);
      if (record.offset.value != offset) return "offset " + number(record.offset) + here;
      if (const std::string what = difference(record, at(offset)); !what.empty())
        return what + here;
      if (record.timestamp.time_since_epoch().count() != entry(offset).time_ms)
        return "the time is " + std::to_string(record.timestamp.time_since_epoch().count()) + here;
      ++offset;
    }
    if (const auto status = reader.status(); !status) return status.error().message();
    if (offset != until) return "reading stopped at " + std::to_string(offset);
    return {};
  }

 private:
  struct Entry {
    OwnedRecord record;
    std::int64_t time_ms = 0;
    bool ends_batch = false;
  };

  static std::string number(Offset offset) { return std::to_string(offset.value); }
  const Entry& entry(std::uint64_t offset) const {
    return entries_.at(static_cast<std::size_t>(offset - base_));
  }

  std::uint64_t start_;
  std::uint64_t durable_;
  std::uint64_t base_;
  std::vector<Entry> entries_;
};

}  // namespace varve::test
