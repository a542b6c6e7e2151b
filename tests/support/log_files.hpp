// Logs with known records, and what can happen to their files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/buffer_source.hpp"
#include "support/catch.hpp"
#include "support/log_tools.hpp"
#include "support/storage_files.hpp"
#include "support/workload.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/store.hpp"
#include "varve/environment.hpp"
#include "varve/log.hpp"
#include "varve/memory_storage.hpp"
#include "varve/storage.hpp"

namespace varve::test {

// ---- the world ---------------------------------------------------------------------------------

// A clock that ticks when it is looked at and random numbers that repeat: with it (and with
// Background::manual) a log has the same bytes in every run.
class FixedEnvironment final : public Environment {
 public:
  explicit FixedEnvironment(std::uint64_t seed = 1) noexcept : numbers_(seed) {}

  Timestamp now() noexcept override {
    return Timestamp(std::chrono::milliseconds(1'700'000'000'000 + looks_++ / 3));
  }
  std::uint64_t random() noexcept override { return split_mix(numbers_ += split_mix_step); }

 private:
  std::uint64_t numbers_;
  std::int64_t looks_ = 0;
};

// ---- records -----------------------------------------------------------------------------------

// The record that a known log holds at an offset: every shape that a record can have, in turn.
inline OwnedRecord known_record(std::uint64_t offset) {
  const std::string number = std::to_string(offset);
  OwnedRecord record;
  switch (offset % 8) {
    case 0:
      record.value = "record " + number;
      break;
    case 1:
      record.key = "key " + number, record.value = std::string(40 + offset % 90, 'v');
      break;
    case 2:
      record.key = "gone " + number;
      break;  // a tombstone
    case 3:
      record.key = "", record.value = "";
      break;
    case 4:
      record.value = "with headers " + number;
      record.headers = {{"a", "1"}, {"", ""}, {"null", std::nullopt}, {"a", std::string(20, 'h')}};
      break;
    case 5:
      record.value = "from the past " + number;
      record.time_ms = static_cast<std::int64_t>(1'600'000'000'000 + offset * 7 % 1000);
      break;
    case 6:
      record.value = std::string(200 + offset % 120, static_cast<char>('a' + offset % 26));
      break;
    default:
      break;  // nothing at all
  }
  return record;
}

// ---- files -------------------------------------------------------------------------------------

inline std::shared_ptr<StorageBackend> memory_with(const Files& files) {
  auto storage = make_memory_storage();
  write_files(*storage, files);
  return storage;
}

inline void flip_bit(std::vector<std::byte>& file, std::uint64_t bit) {
  file[static_cast<std::size_t>(bit / 8)] ^= static_cast<std::byte>(1u << (bit % 8));
}

inline void blank(std::vector<std::byte>& file, std::uint64_t begin, std::uint64_t end) {
  end = std::min<std::uint64_t>(end, file.size());
  for (std::uint64_t at = begin; at < end; ++at) file[static_cast<std::size_t>(at)] = std::byte{0};
}

inline void scribble(std::vector<std::byte>& file, std::uint64_t begin, std::uint64_t end,
                     std::uint64_t seed) {
  Random numbers(seed);
  end = std::min<std::uint64_t>(end, file.size());
  for (std::uint64_t at = begin; at < end; ++at)
    file[static_cast<std::size_t>(at)] = static_cast<std::byte>(numbers.bits());
}

inline std::vector<std::string> segment_names(const Files& files) {
  std::vector<std::string> names;
  for (const auto& [name, content] : files)
    if (detail::parse_segment_name(name)) names.push_back(name);
  return names;
}

// ---- logs --------------------------------------------------------------------------------------

// Small segments, no thread, always the same bytes.
inline Options small_options(std::uint64_t seed = 1) {
  Options options;
  options.segment_bytes = detail::segment_bytes_min;
  options.index_interval_bytes = 1024;
  options.background = Background::manual;
  options.environment = std::make_shared<FixedEnvironment>(seed);
  return options;
}

// Appends known records up to `end`, `batch` of them at a time.
inline void append_known(Log& log, std::uint64_t end, Ack ack, std::size_t batch = 1) {
  for (std::uint64_t next = log.end_offset().value; next < end;) {
    std::vector<OwnedRecord> owned;
    for (std::size_t i = 0; i < batch && next < end; ++i) owned.push_back(known_record(next++));
    const auto range = log.append(Batch(owned).records(), {ack});
    INFO((range ? std::string() : range.error().message()));
    REQUIRE(range);
    REQUIRE(range->end.value == next);
  }
}

// A log as a process that was killed leaves it.
struct CrashedLog {
  Files files{};
  std::uint64_t durable = 0;  // records below it were acknowledged as Ack::disk
  std::uint64_t end = 0;      // and those below it as Ack::os
};

struct LogPlan {
  std::uint64_t durable = 60;   // records that are appended durably, in batches of 1, 2 and 3
  std::uint64_t more = 0;       // and then with Ack::os
  std::uint64_t per_flush = 6;  // durable records that share a flush
  bool tick = true;             // whether chores are done on the way
  std::uint64_t seed = 1;
  std::uint32_t segment_bytes = detail::segment_bytes_min;

  Options options() const {
    Options options = small_options(seed);
    options.segment_bytes = segment_bytes;
    return options;
  }
};

inline void append_plan(Log& log, const LogPlan& plan) {
  std::size_t batch = 1;
  while (log.end_offset().value < plan.durable) {
    const std::uint64_t end = std::min(log.end_offset().value + plan.per_flush, plan.durable);
    append_known(log, end, Ack::os, batch);
    REQUIRE(log.sync());
    if (plan.tick) REQUIRE(log.tick());
    batch = batch % 3 + 1;
  }
  append_known(log, plan.durable + plan.more, Ack::os, 2);
}

inline CrashedLog make_crashed_log(const LogPlan& plan = {}) {
  const auto storage = make_memory_storage();
  Log log = open_log(storage, plan.options());
  append_plan(log, plan);
  return {copy_files(*storage), log.durable_offset().value, log.end_offset().value};
}

inline Files make_closed_log(const LogPlan& plan = {}) {
  const auto storage = make_memory_storage();
  Log log = open_log(storage, plan.options());
  append_plan(log, plan);
  REQUIRE(log.close());
  return copy_files(*storage);
}

// Two segments that no manifest knows the extent of. The first is `durable`, or else nothing is.
struct TwoSegments {
  CrashedLog log;
  std::vector<std::string> names;

  explicit TwoSegments(bool durable) {
    const auto storage = make_memory_storage();
    Log writer = open_log(storage, small_options());
    append_known(writer, 20, Ack::os);
    REQUIRE(writer.sync());
    while (writer.segments().size() < 2) {
      if (durable) REQUIRE(writer.sync());
      append_known(writer, writer.end_offset().value + 1, Ack::os);
    }
    append_known(writer, writer.end_offset().value + 10, Ack::os);
    log = {copy_files(*storage), writer.durable_offset().value, writer.end_offset().value};
    names = segment_names(log.files);
    REQUIRE(names.size() == 2);
  }

  std::uint64_t base() const { return detail::parse_segment_name(names[1])->value; }
};

// ---- reading -----------------------------------------------------------------------------------

// What reading a whole log gives, compared with the known records.
struct ReadBack {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;               // where reading stopped
  std::uint64_t good = 0;              // known records, as they were written
  std::vector<std::uint64_t> wrong{};  // offsets that read as something else, or out of order
  std::vector<OffsetRange> skipped{};  // offsets not read, with an error that said so
  std::vector<std::string> errors{};
  bool silent = false;  // offsets were passed over without an error
  bool stuck = false;   // errors without end, before the log's end

  bool exact() const noexcept { return wrong.empty() && errors.empty() && !silent && !stuck; }
  std::uint64_t missing() const {
    std::uint64_t count = 0;
    for (const OffsetRange& range : skipped) count += range.size();
    return count;
  }
};

inline ReadBack read_back(const Log& log, const std::vector<OwnedRecord>* known = nullptr) {
  ReadBack read;
  read.begin = log.start_offset().value;
  Reader reader = log.reader({read.begin});
  std::uint64_t expected = read.begin;
  bool told = false;
  for (;;) {
    const auto record = reader.next();
    if (!record) {
      read.errors.push_back(record.error().message());
      told = true;
      if (read.errors.size() < 30) continue;
      read.errors.resize(3);
      // At the log's end it is all right to say again and again why it does not go on.
      read.stuck = reader.next_offset() < log.end_offset();
      expected = reader.next_offset().value;
      break;
    }
    const std::uint64_t next = *record ? (*record)->offset.value : reader.next_offset().value;
    if (next < expected) read.wrong.push_back(next);
    if (next > expected) {
      if (!told) read.silent = true;
      read.skipped.push_back({{expected}, {next}});
    }
    if (!*record) {
      expected = next;
      break;
    }
    told = false;
    const bool good = known != nullptr && next < known->size() ? same((*known)[next], **record)
                                                               : same(known_record(next), **record);
    if (good)
      ++read.good;
    else
      read.wrong.push_back(next);
    expected = next + 1;
  }
  read.end = expected;
  return read;
}

// ---- frames ------------------------------------------------------------------------------------

struct FoundFrame {
  Position position{};
  Position end{};
  detail::FrameState state{};
  detail::FrameHeader header{};
  std::uint32_t count = 0;
  OffsetRange offsets() const { return {{header.base_offset}, {header.base_offset + count}}; }
};

inline detail::SegmentHeader header_of(const std::vector<std::byte>& segment) {
  const auto header = detail::parse_segment_header(segment, "a segment");
  REQUIRE(header);
  return *header;
}

// The intact frames of a segment, from its start to the first thing that is none.
inline std::vector<FoundFrame> frames_of(const std::vector<std::byte>& segment) {
  BufferSource source(segment);
  const detail::FrameReader frames(source, header_of(segment).salt);
  std::vector<FoundFrame> found;
  for (Position at{detail::segment_header_bytes};;) {
    const auto frame = frames.read(at);
    REQUIRE(frame);
    if (frame->state != detail::FrameState::sealed && frame->state != detail::FrameState::open)
      break;
    found.push_back({at, frame->end(), frame->state, frame->header, frame->count});
    at = frame->end();
  }
  return found;
}

// Those of them that hold records.
inline std::vector<FoundFrame> record_frames_of(const std::vector<std::byte>& segment) {
  auto found = frames_of(segment);
  std::erase_if(found, [](const FoundFrame& frame) { return frame.count == 0; });
  return found;
}

}  // namespace varve::test
