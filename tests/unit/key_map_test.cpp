#include "key_map.hpp"

#include <cstdint>
#include <map>
#include <string>

#include "support/catch.hpp"
#include "support/workload.hpp"

namespace varve::detail {
namespace {

TEST_CASE("key map: the greatest offset of every key is found again", "[keymap]") {
  const std::uint64_t seed = test::fresh_seed();
  CAPTURE(seed);
  test::Random random(seed);
  auto map = KeyMap::make(1u << 20, 3000, random.bits());
  REQUIRE(map);
  std::map<std::string, std::uint64_t> known;
  for (std::uint64_t offset = 0; offset < 3000; ++offset) {
    const std::string key = random.text(random.below(3));
    REQUIRE(map->put(bytes(key), offset));
    known[key] = offset;
  }
  CHECK(map->size() == known.size());
  for (const auto& [key, offset] : known) REQUIRE(map->find(bytes(key)) == offset);
  CHECK(!map->find(bytes("longer than any")));
}

TEST_CASE("key map: a full one takes no new keys, but goes on with those it has", "[keymap]") {
  auto map = KeyMap::make(0, 1'000'000, 7);
  REQUIRE(map);
  CHECK(map->bytes() <= 16 * KeyMap::slot_bytes);
  std::uint64_t taken = 0;
  while (map->put(bytes("key " + std::to_string(taken)), taken)) ++taken;
  CHECK(taken == 12);
  CHECK(map->size() == taken);
  CHECK(map->put(bytes("key 3"), 100));
  CHECK(map->find(bytes("key 3")) == 100);
  CHECK(!map->find(bytes("key 12")));
}

TEST_CASE("key map: memory is what is needed, and no more than is allowed", "[keymap]") {
  const auto few = KeyMap::make(64u << 20, 100, 1);
  REQUIRE(few);
  CHECK(few->bytes() < 200 * KeyMap::slot_bytes);
  const auto many = KeyMap::make(1u << 20, 1u << 30, 1);
  REQUIRE(many);
  CHECK(many->bytes() <= 1u << 20);
  for (const std::uint64_t keys : {1u, 2u, 13u, 100u, 1000u}) {
    CAPTURE(keys);
    auto fitting = KeyMap::make(64u << 20, keys, 1);
    REQUIRE(fitting);
    for (std::uint64_t key = 0; key < keys; ++key)
      REQUIRE(fitting->put(bytes(std::to_string(key)), key));
  }
}

}  // namespace
}  // namespace varve::detail
