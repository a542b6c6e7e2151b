// An index is a hint: without it, or with a wrong one, everything is found all the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../../src/manifest.hpp"
#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/detail/index.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/inspect.hpp"
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace test;

constexpr std::uint64_t records = 500;

std::vector<std::string> index_names(const Files& files) {
  std::vector<std::string> names;
  for (const auto& [name, content] : files)
    if (name.ends_with(".idx")) names.push_back(name);
  return names;
}

// Where everything is, by going through all of it.
struct Truth {
  std::vector<Timestamp> timestamps;

  explicit Truth(const Files& files) {
    const Log log = open_log(memory_with(files), read_only());
    Reader reader = log.reader({0});
    for (const RecordView& record : reader) timestamps.push_back(record.timestamp);
    REQUIRE(timestamps.size() == records);
  }

  std::uint64_t find(Timestamp time) const {
    const auto found = std::find_if(timestamps.begin(), timestamps.end(),
                                    [&](Timestamp one) { return one >= time; });
    return static_cast<std::uint64_t>(found - timestamps.begin());
  }
};

void check_lookups(const Log& log, const Truth& truth) {
  for (std::uint64_t offset = 0; offset < records; offset += 3) {
    Reader reader = log.reader({offset});
    const auto record = reader.next();
    CAPTURE(offset, (record ? std::string() : record.error().message()));
    REQUIRE(record);
    REQUIRE(*record);
    CHECK((*record)->offset.value == offset);
    CHECK(same(known_record(offset), **record));
  }
  for (std::size_t i = 0; i < records; i += 7) {
    for (const int off : {-1, 0, 1}) {
      const Timestamp time = truth.timestamps[i] + std::chrono::milliseconds(off);
      const auto found = log.find(time);
      CAPTURE(i, off);
      REQUIRE(found);
      CHECK(found->value == truth.find(time));
    }
  }
  CHECK(log.find(truth.timestamps.back() + std::chrono::hours(1))->value == records);
}

void check_harmless(const Files& files, const Truth& truth) {
  for (const bool writing : {false, true}) {
    CAPTURE(writing);
    const auto storage = memory_with(files);
    const Log log = open_log(storage, writing ? small_options(30) : read_only());
    CHECK(log.recovery().lost.empty());
    CHECK(log.recovery().torn.empty());
    CHECK(read_back(log).exact());
    check_lookups(log, truth);
  }
}

TEST_CASE("lost index: nothing that happens to an index blocks or changes a result",
          "[recovery][lost_index]") {
  const bool closed = GENERATE(true, false);
  const LogPlan plan{.durable = records, .per_flush = 20};
  const Files files = closed ? make_closed_log(plan) : make_crashed_log(plan).files;
  const Files other = make_closed_log({.durable = records, .per_flush = 20, .seed = 55});
  const auto names = index_names(files);
  REQUIRE(names.size() >= 2);
  const Truth truth(files);
  Files changed = files;
  const auto change_each =
      [&](const std::function<void(const std::string&, std::vector<std::byte>&)>& change) {
        for (const std::string& name : names) change(name, changed.at(name));
      };
  SECTION("intact") {}
  SECTION("missing") {
    for (const std::string& name : names) changed.erase(name);
  }
  SECTION("empty") {
    change_each([](const std::string&, auto& file) { file.clear(); });
  }
  SECTION("cut short") {
    change_each([](const std::string&, auto& file) { file.resize(file.size() - 24); });
  }
  SECTION("zeros") {
    change_each([](const std::string&, auto& file) { blank(file, 0, file.size()); });
  }
  SECTION("rubbish") {
    change_each([](const std::string&, auto& file) { scribble(file, 0, file.size(), 8); });
  }
  SECTION("a flipped bit") {
    change_each([](const std::string&, auto& file) { flip_bit(file, 100 * 8 + 3); });
  }
  SECTION("of another segment") { std::swap(changed.at(names[0]), changed.at(names[1])); }
  SECTION("of another log") {
    change_each([&](const std::string& name, auto& file) {
      file = other.contains(name) ? other.at(name) : other.begin()->second;
    });
  }
  SECTION("without entries, but whole") {
    const auto manifest = detail::decode_manifest(files.at("MANIFEST"));
    REQUIRE(manifest);
    for (const detail::SegmentMeta& meta : manifest->segments)
      changed[detail::index_name({meta.base_offset})] = detail::encode_index(
          detail::GrowingIndex(1024), {manifest->log, meta.id, meta.end_position});
  }
  SECTION("wrong about positions, but whole") {
    const auto manifest = detail::decode_manifest(files.at("MANIFEST"));
    REQUIRE(manifest);
    Random numbers(3);
    for (const detail::SegmentMeta& meta : manifest->segments) {
      detail::GrowingIndex index(1024);
      for (std::uint64_t offset = meta.base_offset; offset < meta.base_offset + 60; offset += 4)
        index.add({offset, 4096 + 1500 * offset + numbers.below(4000),
                   std::numeric_limits<std::int64_t>::max()});
      changed[detail::index_name({meta.base_offset})] =
          detail::encode_index(index, {manifest->log, meta.id, meta.end_position});
    }
  }
  SECTION("leading one frame too far, but whole") {
    const auto manifest = detail::decode_manifest(files.at("MANIFEST"));
    REQUIRE(manifest);
    for (const detail::SegmentMeta& meta : manifest->segments) {
      detail::GrowingIndex index(64);
      std::uint64_t before = meta.base_offset;
      const auto add = [&](const FrameInfo& frame) {
        if (frame.file != meta.name() || frame.records == 0) return true;
        index.add({before, frame.position.value, std::numeric_limits<std::int64_t>::max()});
        before = frame.base_offset.value;
        return true;
      };
      REQUIRE(dump(*memory_with(files), add));
      changed[detail::index_name({meta.base_offset})] =
          detail::encode_index(index, {manifest->log, meta.id, meta.end_position});
    }
  }
  check_harmless(changed, truth);
}

TEST_CASE("lost index: that of an earlier close is not believed", "[recovery][lost_index]") {
  const auto storage = make_memory_storage();
  std::vector<std::byte> old;
  for (const std::uint64_t end : {std::uint64_t{40}, records}) {
    Log log = open_log(storage, small_options(end));
    append_plan(log, {.durable = end, .per_flush = 10});
    REQUIRE(log.close());
    if (old.empty()) old = copy_files(*storage).at(detail::index_name({0}));
  }
  Files files = copy_files(*storage);
  const Truth truth(files);
  files.at(detail::index_name({0})) = old;
  check_harmless(files, truth);
}

TEST_CASE("lost index: recovery writes those of the segments that it seals",
          "[recovery][lost_index]") {
  Files files = make_crashed_log({.durable = records, .per_flush = 20, .tick = false}).files;
  REQUIRE(index_names(files).empty());
  const auto storage = memory_with(files);
  { const Log log = open_log(storage, small_options(31)); }
  files = copy_files(*storage);
  CHECK(index_names(files).size() == segment_names(files).size());
  const auto report = verify(*storage);
  REQUIRE(report);
  CHECK(report->stale_indexes.empty());
}

TEST_CASE("lost index: one that cannot be written or read costs nothing but time",
          "[recovery][lost_index]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  storage->inject({.name = ".idx", .times = 1'000'000});
  {
    Log log = open_log(storage, small_options());
    append_plan(log, {.durable = records, .per_flush = 20});
    REQUIRE(log.close());
  }
  REQUIRE(index_names(copy_files(*storage)).empty());
  const Truth truth(copy_files(*storage));
  const Log log = open_log(storage, small_options(2));
  CHECK(log.recovery().clean);
  check_lookups(log, truth);
}

}  // namespace
}  // namespace varve
