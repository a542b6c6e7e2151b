#include "../../src/segment_set.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../../src/manifest.hpp"
#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/faulty_storage.hpp"

namespace varve {
namespace {

using namespace detail;

SegmentMeta meta_of(std::uint64_t id, std::uint64_t base, std::uint64_t end) {
  SegmentMeta meta;
  meta.id = id;
  meta.base_offset = base;
  meta.end_offset = end;
  meta.sealed = true;
  return meta;
}

TEST_CASE("segment set: a list finds the segment that holds an offset", "[segment_set]") {
  SegmentList list;
  CHECK(list.find(0) == nullptr);
  list.sealed = {meta_of(1, 10, 20), meta_of(2, 20, 35), meta_of(4, 40, 41)};
  CHECK(list.find(9) == nullptr);
  CHECK(list.find(10)->id == 1);
  CHECK(list.find(19)->id == 1);
  CHECK(list.find(20)->id == 2);
  CHECK(list.find(34)->id == 2);
  CHECK(list.find(35) == nullptr);
  CHECK(list.find(39) == nullptr);
  CHECK(list.find(40)->id == 4);
  CHECK(list.find(41) == nullptr);
}

TEST_CASE("segment set: a draft is seen when it is published, and not before", "[segment_set]") {
  SegmentSet set(make_memory_storage(), {1, 2}, 1024);
  const std::uint64_t before = set.version();
  const auto old = set.list();
  {
    auto draft = set.draft();
    draft.list->sealed.push_back(meta_of(1, 0, 5));
    CHECK(set.list()->sealed.empty());
    CHECK(set.version() == before);
    set.publish(std::move(draft));
  }
  CHECK(set.version() > before);
  CHECK(set.list()->sealed.size() == 1);
  CHECK(old->sealed.empty());  // whoever holds the old list keeps it
  auto next = set.draft();     // and the lock is free again
  CHECK(next.list->sealed.size() == 1);
}

struct Bench {
  std::shared_ptr<FaultyStorage> storage;
  Manifest manifest;
  std::unique_ptr<SegmentSet> set;

  explicit Bench(const test::Files& files = test::make_closed_log({.durable = 700})) {
    storage = std::make_shared<FaultyStorage>(test::memory_with(files));
    const auto loaded = load_manifest(*storage);
    REQUIRE(loaded);
    manifest = **loaded;
    REQUIRE(manifest.segments.size() >= 3);
    set = std::make_unique<SegmentSet>(storage, manifest.log, 1024);
  }
};

TEST_CASE("segment set: opened segments are kept open, with their indexes", "[segment_set]") {
  const Bench bench;
  const SegmentMeta& meta = bench.manifest.segments[0];
  const auto first = bench.set->open(meta);
  REQUIRE(first);
  CHECK(first->index);
  CHECK(first->file->mapping->size() == meta.end_position);
  const std::uint64_t opens = bench.storage->calls(StorageOp::open);
  const auto second = bench.set->open(meta);
  REQUIRE(second);
  CHECK(second->file == first->file);
  CHECK(bench.storage->calls(StorageOp::open) == opens);
  bench.set->forget_below(meta.end_offset);
  const auto third = bench.set->open(meta);
  REQUIRE(third);
  CHECK(third->file != first->file);
  CHECK(first->file->mapping->data() != nullptr);  // still whole for who holds it
}

TEST_CASE("segment set: without its index a segment finds things all the same", "[segment_set]") {
  auto files = test::make_closed_log({.durable = 700});
  const Bench with(files);
  files.erase(index_name({0}));
  const Bench without(files);
  const SegmentMeta& meta = with.manifest.segments[0];
  const auto indexed = with.set->open(meta);
  const auto rebuilt = without.set->open(meta);
  REQUIRE(indexed);
  REQUIRE(rebuilt);
  REQUIRE(indexed->index);
  REQUIRE(!rebuilt->index);
  CHECK(rebuilt->rebuilt->size() == indexed->index->size());
  for (std::uint64_t offset = 0; offset < meta.end_offset; ++offset)
    CHECK(indexed->find(Offset{offset})->position == rebuilt->find(Offset{offset})->position);
}

TEST_CASE("segment set: what is not the segment is refused by name", "[segment_set]") {
  auto files = test::make_closed_log({.durable = 700});
  const auto names = test::segment_names(files);
  SECTION("another one in its place") { std::swap(files[names[0]], files[names[1]]); }
  SECTION("too short") { files[names[0]].resize(8000); }
  SECTION("a damaged header block") { test::flip_bit(files[names[0]], 300); }
  const Bench bench(files);
  const auto open = bench.set->open(bench.manifest.segments[0]);
  REQUIRE(!open);
  CHECK(open.error() == Errc::corrupt);
  CHECK(open.error().context().find(names[0]) != std::string::npos);
}

TEST_CASE("segment set: an I/O error is not taken for damage", "[segment_set]") {
  const Bench bench;
  const auto op = GENERATE(StorageOp::open, StorageOp::map, StorageOp::read);
  bench.storage->inject({.ops = {op}, .name = ".log"});
  const auto open = bench.set->open(bench.manifest.segments[0]);
  REQUIRE(!open);
  CHECK(open.error().code() == std::errc::io_error);
  CHECK(bench.set->open(bench.manifest.segments[0]));  // nothing of it was kept
}

}  // namespace
}  // namespace varve
