#include "varve/detail/index.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/memory_storage.hpp"

namespace varve {
namespace {

using namespace detail;
using test::Random;

constexpr IndexIdentity identity{{11, 22}, 33, 1'000'000};

Timestamp at_ms(std::int64_t ms) { return Timestamp(std::chrono::milliseconds(ms)); }

// Frames as a segment has them: offsets and positions rise, times never fall.
std::vector<IndexEntry> make_entries(std::size_t size, std::uint64_t seed) {
  Random numbers(seed);
  std::vector<IndexEntry> entries;
  IndexEntry next{100, segment_header_bytes, std::numeric_limits<std::int64_t>::min()};
  for (std::size_t i = 0; i < size; ++i) {
    entries.push_back(next);
    next.offset += 1 + numbers.below(5);
    next.position += 64 + 8 * numbers.below(40);
    if (i == 0) next.newest_ms = 0;
    next.newest_ms += static_cast<std::int64_t>(numbers.below(3));
  }
  return entries;
}

template <class Index, class Wanted, class Above>
void check_against(const Index& index, const std::vector<IndexEntry>& kept, Wanted wanted,
                   Above above) {
  std::optional<IndexEntry> expected;
  for (const IndexEntry& entry : kept)
    if (!above(entry)) expected = entry;
  const auto found = index.find(wanted);
  REQUIRE(found.has_value() == expected.has_value());
  if (!found) return;
  CHECK(found->offset == expected->offset);
  CHECK(found->position == expected->position);
  CHECK(found->newest_ms == expected->newest_ms);
}

template <class Index>
std::vector<IndexEntry> entries_of(const Index& index) {
  std::vector<IndexEntry> entries;
  for (std::size_t i = 0; i < index.size(); ++i) entries.push_back(index(i));
  return entries;
}

TEST_CASE("index: lookups do not depend on how evenly offsets grow", "[index]") {
  const int shape = GENERATE(0, 1, 2, 3);
  CAPTURE(shape);
  GrowingIndex index(1024);
  std::uint64_t offset = 10;
  for (std::uint64_t i = 0; i < 700; ++i) {
    index.add({offset, segment_header_bytes + i * 2048, static_cast<std::int64_t>(i)});
    const std::uint64_t steps[] = {1, i + 1, i < 350 ? 1u : 100'000u, i % 50 == 49 ? 1u << 30 : 1u};
    offset += steps[shape];
  }
  const auto kept = entries_of(index);
  REQUIRE(kept.size() == 700);
  CHECK(!index.find(Offset{9}));
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const std::uint64_t end = i + 1 < kept.size() ? kept[i + 1].offset : offset_max.value;
    for (const std::uint64_t wanted :
         {kept[i].offset, kept[i].offset + (end - kept[i].offset) / 2, end - 1}) {
      const auto found = index.find(Offset{wanted});
      REQUIRE(found);
      REQUIRE(found->offset == kept[i].offset);
    }
  }
}

TEST_CASE("index: lookups lead to the last frame that cannot be too late", "[index]") {
  const auto entries = make_entries(1500, 3);
  GrowingIndex index(1024);
  for (const IndexEntry& entry : entries) index.add(entry);
  const auto kept = entries_of(index);
  REQUIRE(kept.size() > 100);
  REQUIRE(kept.size() < entries.size());
  for (std::size_t i = 1; i < kept.size(); ++i)
    REQUIRE(kept[i].position - kept[i - 1].position >= 1024);
  CHECK(kept.front().offset == 100);

  Random numbers(4);
  for (int i = 0; i < 300; ++i) {
    const Offset offset{numbers.below(entries.back().offset + 50)};
    check_against(index, kept, offset,
                  [&](const IndexEntry& e) { return e.offset > offset.value; });
    const Position position{numbers.below(entries.back().position + 500)};
    check_against(index, kept, position,
                  [&](const IndexEntry& e) { return e.position > position.value; });
    const auto time = static_cast<std::int64_t>(
        numbers.below(static_cast<std::uint64_t>(entries.back().newest_ms) + 9));
    check_against(index, kept, at_ms(time),
                  [&](const IndexEntry& e) { return e.newest_ms >= time; });
  }
  CHECK(!index.find(Offset{99}));
  CHECK(index.find(Offset{offset_max})->offset == kept.back().offset);
}

TEST_CASE("index: an empty one leads nowhere", "[index]") {
  const GrowingIndex index(4096);
  CHECK(index.size() == 0);
  CHECK(!index.find(Offset{0}));
  CHECK(!index.find(Position{0}));
  CHECK(!index.find(at_ms(0)));
}

struct IndexFile {
  GrowingIndex index{1024};
  std::vector<std::byte> bytes;

  explicit IndexFile(std::size_t frames = 200) {
    for (const IndexEntry& entry : make_entries(frames, 5)) index.add(entry);
    bytes = encode_index(index, identity);
  }
};

std::shared_ptr<const SealedIndex> load(const std::vector<std::byte>& bytes,
                                        const IndexIdentity& of = identity) {
  const auto storage = make_memory_storage();
  test::write_file(*storage, "x.idx", bytes);
  return SealedIndex::load(*storage, "x.idx", of);
}

TEST_CASE("index: a written one answers like the one that grew", "[index]") {
  const IndexFile file;
  const auto sealed = load(file.bytes);
  REQUIRE(sealed);
  REQUIRE(sealed->size() == file.index.size());
  const auto kept = entries_of(file.index);
  for (std::uint64_t offset = 90; offset < kept.back().offset + 10; ++offset)
    check_against(*sealed, kept, Offset{offset},
                  [&](const IndexEntry& e) { return e.offset > offset; });
  for (std::int64_t time = -1; time < kept.back().newest_ms + 2; ++time)
    check_against(*sealed, kept, at_ms(time),
                  [&](const IndexEntry& e) { return e.newest_ms >= time; });
}

TEST_CASE("index: one of no frames can be written too", "[index]") {
  const IndexFile file(0);
  const auto sealed = load(file.bytes);
  REQUIRE(sealed);
  CHECK(sealed->size() == 0);
  CHECK(!sealed->find(Offset{5}));
}

TEST_CASE("index: a file with any bit flipped is not believed", "[index]") {
  IndexFile file;
  const auto storage = make_memory_storage();
  for (std::uint64_t bit = 0; bit < file.bytes.size() * 8; ++bit) {
    test::flip_bit(file.bytes, bit);
    test::write_file(*storage, "x.idx", file.bytes);
    const bool believed = SealedIndex::load(*storage, "x.idx", identity) != nullptr;
    test::flip_bit(file.bytes, bit);
    CAPTURE(bit);
    REQUIRE(!believed);
  }
}

TEST_CASE("index: a file cut short or grown is not believed", "[index]") {
  const IndexFile file;
  for (std::size_t size = 0; size < file.bytes.size(); size += size < 70 ? 1 : 7) {
    const std::vector<std::byte> cut(file.bytes.begin(),
                                     file.bytes.begin() + static_cast<std::ptrdiff_t>(size));
    CAPTURE(size);
    CHECK(!load(cut));
  }
  auto grown = file.bytes;
  grown.resize(grown.size() + index_entry_bytes);
  CHECK(!load(grown));
}

TEST_CASE("index: that of another segment is not believed", "[index]") {
  const IndexFile file;
  CHECK(load(file.bytes, identity));
  CHECK(!load(file.bytes, {{11, 23}, 33, 1'000'000}));
  CHECK(!load(file.bytes, {{12, 22}, 33, 1'000'000}));
  CHECK(!load(file.bytes, {{11, 22}, 34, 1'000'000}));
  CHECK(!load(file.bytes, {{11, 22}, 33, 1'000'008}));
  CHECK(!SealedIndex::load(*make_memory_storage(), "missing.idx", identity));
}

}  // namespace
}  // namespace varve
