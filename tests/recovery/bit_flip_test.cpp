// A bit flipped anywhere in any file is told on opening or reading, or it does not matter: never a wrong
// byte, never a record that is silently missing.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace test;
using detail::FrameState;

// Flips bits of a file in place, one at a time.
class Flipper {
 public:
  Flipper(StorageBackend& storage, const std::string& name, const std::vector<std::byte>& content)
      : content_(content) {
    auto file = storage.open(name, OpenMode::write);
    REQUIRE(file);
    file_ = *std::move(file);
  }

  void flip(std::uint64_t bit) {
    put(bit, content_[static_cast<std::size_t>(bit / 8)] ^ static_cast<std::byte>(1u << (bit % 8)));
  }
  void restore(std::uint64_t bit) { put(bit, content_[static_cast<std::size_t>(bit / 8)]); }

 private:
  void put(std::uint64_t bit, std::byte byte) {
    if (!file_->write_at({bit / 8}, {&byte, 1})) FAIL("cannot write");
  }

  const std::vector<std::byte>& content_;
  std::unique_ptr<StorageFile> file_;
};

// All bits of a file, but only few of those in long runs of zeros.
std::vector<std::uint64_t> bits_of(const std::vector<std::byte>& content) {
  constexpr std::size_t long_run = 64;
  constexpr std::uint64_t step = 4099;
  std::vector<std::uint64_t> bits;
  for (std::size_t at = 0; at < content.size();) {
    std::size_t end = at;
    while (end < content.size() && content[end] == std::byte{0}) ++end;
    if (end - at >= long_run) {
      // Its edges, where the bytes may mean something, and a sample of the rest.
      for (std::size_t i = 0; i < 64; ++i) bits.push_back(at * 8 + i);
      for (std::uint64_t bit = at * 8 + 64; bit + 64 < end * 8; bit += step) bits.push_back(bit);
      for (std::size_t i = 0; i < 64; ++i) bits.push_back((end - 8) * 8 + i);
      at = end;
    } else {
      end = std::max(end, at + 1);
      for (; at < end; ++at)
        for (unsigned i = 0; i < 8; ++i) bits.push_back(at * 8 + i);
    }
  }
  return bits;
}

std::vector<OwnedRecord> known_records(std::uint64_t end) {
  std::vector<OwnedRecord> known;
  for (std::uint64_t offset = 0; offset < end; ++offset) known.push_back(known_record(offset));
  return known;
}

// Whether an error says which file it is about.
bool names_a_file(const std::string& message) {
  return message.find(".log") != std::string::npos || message.find("MANIFEST") != std::string::npos;
}

// Nullptr, or what is wrong with what came of a flip.
const char* judge_reading(const Log& log, const std::vector<OwnedRecord>& known,
                          bool must_be_exact) {
  const ReadBack read = read_back(log, &known);
  if (!read.wrong.empty()) return "wrong bytes";
  if (read.silent) return "a silent loss";
  if (read.stuck) {  // there is no way around a segment of a version to come
    return read.errors[0].find("format version") == std::string::npos
               ? "a reader that does not move on"
               : nullptr;
  }
  if (read.end != known.size()) return "an end that is not the log's";
  if (read.good + read.missing() != known.size()) return "records that are neither there nor lost";
  for (const std::string& error : read.errors)
    if (!names_a_file(error)) return "an error that names no file";
  if (must_be_exact && !read.exact()) return "a loss from what does not matter";
  return nullptr;
}

void check_closed(const LogPlan& plan, bool writing) {
  const Files files = make_closed_log(plan);
  const auto known = known_records(plan.durable + plan.more);
  const auto storage = memory_with(files);
  const Options options = writing ? small_options(9) : read_only();
  std::uint64_t refused = 0;
  std::uint64_t lossy = 0;
  for (const auto& [name, content] : files) {
    Flipper flipper(*storage, name, content);
    const bool derived = name.ends_with(".idx");
    for (const std::uint64_t bit : bits_of(content)) {
      if (!writing && bit % 8 != bit / 8 % 8) continue;  // reads what was read when writing, too
      flipper.flip(bit);
      const auto log = Log::open(storage, options);
      const char* wrong = nullptr;
      if (log) {
        wrong = judge_reading(*log, known, derived);
        if (log->recovery().torn.size() + log->recovery().lost.size() > 0) ++lossy;
      } else {
        ++refused;
        const Error& error = log.error();
        if (derived) wrong = "an index that blocks opening";
        if (error != Errc::corrupt && error != Errc::unsupported_format) wrong = "another error";
        if (!names_a_file(error.message())) wrong = "an error that names no file";
      }
      flipper.restore(bit);
      if (wrong != nullptr) {
        CAPTURE(name, bit / 8, bit % 8, writing, (log ? std::string() : log.error().message()));
        FAIL(wrong);
      }
    }
  }
  CHECK(refused > 100);  // all of the manifest
  Log log = open_log(storage, options);
  CHECK(read_back(log, &known).exact());
  CHECK(copy_files(*storage) == files);  // opening and reading changed nothing at all
}

TEST_CASE("bit flip: in a closed log every one is told or does not matter",
          "[recovery][bit_flip]") {
  const bool writing = GENERATE(true, false);
  check_closed({.durable = 260, .per_flush = 40}, writing);
}

// ---- a log whose process was killed ------------------------------------------------------------

enum class Part { durable, unsynced, other };

// What stands at a bit of a segment of a crashed log.
Part part_at(const std::vector<FoundFrame>& frames, std::uint64_t durable, std::uint64_t bit) {
  for (const FoundFrame& frame : frames) {
    const std::uint64_t end =
        frame.position.value + detail::frame_header_bytes + frame.header.body_bytes;
    if (bit / 8 < frame.position.value || bit / 8 >= end || frame.count == 0) continue;
    return frame.offsets().end.value <= durable ? Part::durable : Part::unsynced;
  }
  return Part::other;
}

void check_crashed(const LogPlan& plan) {
  const CrashedLog crashed = make_crashed_log(plan);
  const auto known = known_records(crashed.end);
  REQUIRE(crashed.durable == plan.durable);
  std::uint64_t refused = 0;
  std::uint64_t torn = 0;
  for (const auto& [name, content] : crashed.files) {
    const bool segment = detail::parse_segment_name(name).has_value();
    const auto frames = segment ? frames_of(content) : std::vector<FoundFrame>();
    const auto reading_storage = memory_with(crashed.files);
    Flipper flipper(*reading_storage, name, content);
    for (const std::uint64_t bit : bits_of(content)) {
      CAPTURE(name, bit / 8, bit % 8);
      const Part part = segment ? part_at(frames, crashed.durable, bit) : Part::other;

      flipper.flip(bit);
      const auto reading = Log::open(reading_storage, read_only());
      const char* wrong = nullptr;
      if (reading) {
        const std::uint64_t end = reading->end_offset().value;
        const bool told = !reading->recovery().lost.empty();
        if (part == Part::durable && !told) wrong = "an untold loss";
        if (end < crashed.durable) wrong = "an end below what was durable";
        if (end < crashed.end && reading->recovery().torn.empty())
          wrong = "a silent loss at the end";
        if (wrong == nullptr) {
          wrong = judge_reading(
              *reading, {known.begin(), known.begin() + static_cast<std::ptrdiff_t>(end)}, false);
        }
      } else if (!names_a_file(reading.error().message())) {
        wrong = "an error that names no file";
      }
      flipper.restore(bit);
      if (wrong != nullptr) FAIL("reading: " << wrong);

      // Opening for append changes files, so it gets its own; for most bits reading has said it all.
      if (part == Part::durable && bit % 8 != bit / 8 % 8) continue;
      Files files = crashed.files;
      flip_bit(files.at(name), bit);
      const auto storage = memory_with(files);
      const auto log = Log::open(storage, small_options(77));
      if (!log) {
        ++refused;
        if (!names_a_file(log.error().message())) FAIL("an error that names no file");
        if (part == Part::unsynced) FAIL("refused for what was never durable");
        if (copy_files(*storage) != files) FAIL("refused, but files were changed");
        continue;
      }
      if (part == Part::durable && frames.back().count == 0)
        FAIL("damage of durable records was accepted");
      const std::uint64_t end = log->end_offset().value;
      if (end < crashed.durable) FAIL("durable records were dropped");
      if (end < crashed.end && log->recovery().torn.empty()) FAIL("records were dropped silently");
      if (!log->recovery().torn.empty()) ++torn;
      wrong = judge_reading(*log, {known.begin(), known.begin() + static_cast<std::ptrdiff_t>(end)},
                            false);
      if (wrong != nullptr) FAIL(wrong);
    }
  }
  CHECK(refused > 1000);
  CHECK(torn > 100);
}

TEST_CASE("bit flip: in a crashed log durable records are refused and never dropped",
          "[recovery][bit_flip]") {
  SECTION("in one segment") { check_crashed({.durable = 30, .more = 3, .per_flush = 5}); }
  SECTION("in one segment, all durable") { check_crashed({.durable = 30, .per_flush = 3}); }
  SECTION("in several segments") {
    check_crashed({.durable = 190, .more = 4, .per_flush = 40, .tick = false});
  }
}

}  // namespace
}  // namespace varve
