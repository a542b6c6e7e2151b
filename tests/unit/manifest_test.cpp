#include "../../src/manifest.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"
#include "varve/faulty_storage.hpp"
#include "varve/memory_storage.hpp"

namespace varve {
namespace {

using namespace detail;

Manifest make_manifest() {
  Manifest manifest;
  manifest.log = {1, 2};
  manifest.generation = 9;
  manifest.start_offset = 5;
  manifest.next_segment_id = 8;
  manifest.clean = true;
  manifest.next_offset = 400;
  manifest.next_sequence = 77;
  manifest.next_position = 40'000;
  manifest.append_time_ms = 1'700'000'000'000;
  manifest.epochs = {{1, 0}, {2, 150}};
  manifest.segments = {{3, 0, 150, 0, 20, 0, 1000, 16'000, true},
                       {4, 150, 300, 20, 50, 16'000, no_time, 15'000, true},
                       {7, 300, 400, 50, 77, 31'000, 5, 9'000, false}};
  manifest.dropped = {{1, 0}, {2, 7}};
  return manifest;
}

TEST_CASE("manifest: it comes back as it was", "[manifest]") {
  for (const Manifest& manifest : {make_manifest(), Manifest{}}) {
    const auto encoded = encode_manifest(manifest);
    const auto decoded = decode_manifest(encoded);
    REQUIRE(decoded);
    CHECK(encode_manifest(*decoded) == encoded);
    CHECK(decoded->log == manifest.log);
    CHECK(decoded->clean == manifest.clean);
    CHECK(decoded->epoch() == manifest.epoch());
    REQUIRE(decoded->segments.size() == manifest.segments.size());
    for (std::size_t i = 0; i < manifest.segments.size(); ++i) {
      CHECK(decoded->segments[i].id == manifest.segments[i].id);
      CHECK(decoded->segments[i].end_offset == manifest.segments[i].end_offset);
      CHECK(decoded->segments[i].newest_ms == manifest.segments[i].newest_ms);
      CHECK(decoded->segments[i].end_position == manifest.segments[i].end_position);
      CHECK(decoded->segments[i].sealed == manifest.segments[i].sealed);
    }
    CHECK(decoded->dropped.size() == manifest.dropped.size());
  }
}

// The second segment is compacted.
Manifest make_compacted() {
  Manifest manifest = make_manifest();
  manifest.cleaned_offset = 300;
  manifest.segments[1].id |= compacted_id;
  manifest.segments[1].replaced = Replaced{15'000, 5, 7'000};
  manifest.segments[1].end_position = 6'000;
  return manifest;
}

TEST_CASE("manifest: what a compacted segment replaced comes back as it was", "[manifest]") {
  const auto encoded = encode_manifest(make_compacted());
  const auto decoded = decode_manifest(encoded);
  REQUIRE(decoded);
  CHECK(encode_manifest(*decoded) == encoded);
  CHECK(decoded->cleaned_offset == 300);
  CHECK(!decoded->segments[0].replaced);
  const SegmentMeta& compacted = decoded->segments[1];
  CHECK(compacted.is_compacted());
  CHECK(compacted.next_position() == decoded->segments[2].base_position);
  CHECK(compacted.named_id() == 5);
  CHECK(compacted.named_end() == 7'000);
  CHECK(decoded->segments[0].named_id() == 3);
  CHECK(decoded->segments[0].named_end() == 16'000);
}

TEST_CASE("manifest: what compacted nothing replaced nothing", "[manifest]") {
  Manifest manifest = make_compacted();
  manifest.segments[0].replaced = Replaced{16'000, 1, 1};
  CHECK(!decode_manifest(encode_manifest(manifest)));
  manifest = make_compacted();
  manifest.segments[1].sealed = false;
  CHECK(!decode_manifest(encode_manifest(manifest)));
  manifest = make_compacted();
  manifest.segments[1].replaced->span = position_max + 1;
  CHECK(!decode_manifest(encode_manifest(manifest)));
}

TEST_CASE("manifest: any flipped bit is seen", "[manifest]") {
  auto encoded = encode_manifest(make_manifest());
  for (std::uint64_t bit = 0; bit < encoded.size() * 8; ++bit) {
    test::flip_bit(encoded, bit);
    const auto decoded = decode_manifest(encoded);
    test::flip_bit(encoded, bit);
    CAPTURE(bit);
    REQUIRE(!decoded);
    const bool version = bit / 8 >= 8 && bit / 8 < 12;
    CHECK(decoded.error() == (version ? Errc::unsupported_format : Errc::corrupt));
    CHECK(decoded.error().context().find("MANIFEST") != std::string::npos);
  }
}

TEST_CASE("manifest: one cut short or grown is refused", "[manifest]") {
  const auto encoded = encode_manifest(make_manifest());
  for (std::size_t size = 0; size < encoded.size(); ++size) {
    const std::vector<std::byte> cut(encoded.begin(),
                                     encoded.begin() + static_cast<std::ptrdiff_t>(size));
    CAPTURE(size);
    CHECK(!decode_manifest(cut));
  }
  auto grown = encoded;
  grown.resize(grown.size() + 8);
  CHECK(!decode_manifest(grown));
}

TEST_CASE("manifest: what no writer leaves behind is refused, whatever its check says",
          "[manifest]") {
  const std::vector<std::function<void(Manifest&)>> changes{
      [](Manifest& m) { m.segments[0].sealed = false; },
      [](Manifest& m) { m.segments[1].base_offset = 151; },
      [](Manifest& m) { m.segments[1].end_offset = 100; },
      [](Manifest& m) { m.segments[2].end_position = 4095; },
      [](Manifest& m) { m.segments[2].id = 8; },
      [](Manifest& m) { std::swap(m.segments[0], m.segments[1]); },
      [](Manifest& m) { m.segments[1].id = 3; },
      [](Manifest& m) { m.start_offset = offset_max.value + 1; },
      [](Manifest& m) { m.next_offset = ~std::uint64_t{0}; },
      [](Manifest& m) { m.segments[2].end_offset = offset_max.value + 1; },
      [](Manifest& m) { m.segments[1].end_position = 15'004; },
      [](Manifest& m) { m.segments[1].base_position = ~std::uint64_t{0}; },
      [](Manifest& m) { m.next_position = ~std::uint64_t{0}; },
      [](Manifest& m) { m.next_offset = 399; },
      [](Manifest& m) { m.next_sequence = 78; },
      [](Manifest& m) { m.next_position = 40'008; },
      [](Manifest& m) { m.start_offset = 401; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Manifest manifest = make_manifest();
    changes[i](manifest);
    const auto decoded = decode_manifest(encode_manifest(manifest));
    CAPTURE(i);
    REQUIRE(!decoded);
    CHECK(decoded.error() == Errc::corrupt);
  }
}

TEST_CASE("manifest: counts that cannot be are refused before anything is made of them",
          "[manifest]") {
  for (const std::size_t at : {60u, 64u, 68u}) {
    auto encoded = encode_manifest(make_manifest());
    store_le(encoded.data() + at, 0xFFFFFFFFu);
    store_le(encoded.data() + encoded.size() - 8,
             checksum(Bytes(encoded).first(encoded.size() - 8)));
    CHECK(!decode_manifest(encoded));
  }
}

TEST_CASE("manifest: storing replaces it as a whole, or not at all", "[manifest]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  const auto missing = load_manifest(*storage);
  REQUIRE(missing);
  CHECK(!*missing);
  REQUIRE(store_manifest(*storage, make_manifest()));
  const std::uint64_t calls_before = storage->calls();
  Manifest next = make_manifest();
  next.generation = 10;
  REQUIRE(store_manifest(*storage, next));
  const std::uint64_t calls = storage->calls() - calls_before;
  REQUIRE(calls >= 5);

  for (std::uint64_t call = 0; call < calls; ++call) {
    for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
      REQUIRE(store_manifest(*storage, make_manifest()));
      storage->inject({.after = call, .times = 1'000'000, .half_done = true});
      CHECK(!store_manifest(*storage, next));
      storage->clear_faults();
      REQUIRE(storage->cut_power({.seed = seed}));
      REQUIRE(storage->lock());
      const auto loaded = load_manifest(*storage);
      CAPTURE(call, seed);
      REQUIRE(loaded);
      REQUIRE(*loaded);
      CHECK(((*loaded)->generation == 9 || (*loaded)->generation == 10));
    }
  }
}

TEST_CASE("manifest: its keeper keeps the old one when the new one cannot be stored",
          "[manifest]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  ManifestKeeper keeper(*storage, make_manifest());
  storage->inject({.ops = {StorageOp::write}});
  CHECK(!keeper.update([](Manifest& manifest) { manifest.start_offset = 6; }));
  CHECK(keeper.snapshot().start_offset == 5);
  CHECK(keeper.snapshot().generation == 10);  // used up: who knows whether the medium has it
  REQUIRE(keeper.update([](Manifest& manifest) { manifest.start_offset = 7; }));
  CHECK(keeper.snapshot().start_offset == 7);
  CHECK(keeper.snapshot().generation == 11);
  CHECK((*load_manifest(*storage))->start_offset == 7);
  keeper.forget_dropped({{1, 0}});
  REQUIRE(keeper.snapshot().dropped.size() == 1);
  CHECK(keeper.snapshot().dropped[0].id == 2);
}

}  // namespace
}  // namespace varve
