// Witness: what processes that append until they die were told, and whether a log still has it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/workload.hpp"
#include "varve/log.hpp"

namespace varve::test {

// A record of the test: the `number`th that a thread of a round appended.
struct Mark {
  std::uint32_t round = 0;
  std::uint32_t thread = 0;
  std::uint64_t number = 0;
  friend bool operator==(const Mark&, const Mark&) = default;

  std::string key() const {
    return std::to_string(round) + "/" + std::to_string(thread) + "/" + std::to_string(number);
  }
  std::string value() const {
    Random random(round * 1000 + thread * 100 + number);
    return random.text(random.one_in(20) ? random.below(5000) : random.below(200));
  }
  static Mark parse(std::string_view key) {
    Mark mark;
    const std::string text(key);
    unsigned long long number = 0;
    if (std::sscanf(text.c_str(), "%u/%u/%llu", &mark.round, &mark.thread, &number) != 3) return {};
    mark.number = number;
    return mark;
  }
};

// Sent when an append has returned.
struct Acknowledged {
  std::uint64_t offset = 0;
  Mark first{};
  std::uint32_t count = 0;
  Ack ack = Ack::os;
};

// Appends batches of all sizes until that fails, or nobody listens any more.
inline void append_until_killed(Log& log, std::uint32_t round, std::uint32_t thread,
                                const PipeEnd& acks) {
  Random random(round * 10 + thread);
  Mark mark{round, thread, 0};
  for (;;) {
    const auto count = static_cast<std::uint32_t>(random.one_in(4) ? random.between(2, 5) : 1);
    std::vector<OwnedRecord> records(count);
    Acknowledged done{0, mark, count, random.one_in(10) ? Ack::disk : Ack::os};
    for (OwnedRecord& record : records) {
      record.key = mark.key();
      record.value = mark.value();
      ++mark.number;
    }
    const auto offsets = log.append(Batch(records).records(), {done.ack});
    if (!offsets) return;
    done.offset = offsets->begin.value;
    if (!acks.send(done)) return;
  }
}

// What all rounds together have been told.
class Witness {
 public:
  void hear(const Acknowledged& message) {
    Mark mark = message.first;
    for (std::uint32_t i = 0; i < message.count; ++i, ++mark.number)
      acknowledged_[message.offset + i] = mark;
  }

  std::uint64_t heard() const noexcept { return acknowledged_.size(); }

  // Everything acknowledged is where it was said to be; nothing came twice or out of its thread's order.
  std::string check(const Log& log) const {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> next;
    std::uint64_t offset = 0;
    auto due = acknowledged_.begin();
    Epoch epoch{};
    Reader reader = log.reader({0});
    for (const RecordView& record : reader) {
      const std::string here = " at offset " + std::to_string(offset);
      if (record.offset.value != offset) return "a hole" + here;
      if (!record.key || !record.value) return "a foreign record" + here;
      const Mark mark = Mark::parse(text(*record.key));
      if (text(*record.value) != mark.value()) return "wrong bytes" + here;
      std::uint64_t& expected = next[{mark.round, mark.thread}];
      if (mark.number != expected) return "a thread's records are doubled, lost or swapped" + here;
      ++expected;
      if (record.epoch < epoch) return "the epoch fell" + here;
      epoch = record.epoch;
      if (due != acknowledged_.end() && due->first == offset) {
        if (due->second != mark) return "not what was acknowledged" + here;
        ++due;
      }
      ++offset;
    }
    if (const auto status = reader.status(); !status) return status.error().message();
    if (due != acknowledged_.end())
      return "acknowledged offset " + std::to_string(due->first) + " is gone";
    return {};
  }

 private:
  std::map<std::uint64_t, Mark> acknowledged_;
};

}  // namespace varve::test
