#include "varve/types.hpp"

#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "../support/catch.hpp"

namespace varve {
namespace {

template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};
template <class A, class B>
concept Comparable = requires(A a, B b) {
  a < b;
};

// What has no meaning does not compile.
static_assert(Addable<Offset, std::uint64_t>);
static_assert(!Addable<Offset, Offset>);
static_assert(!Addable<Position, Position>);
static_assert(!Comparable<Offset, Position>);
static_assert(!Comparable<Offset, Epoch>);
static_assert(!std::is_convertible_v<Offset, std::uint64_t>);
static_assert(!std::is_convertible_v<Position, Offset>);

TEST_CASE("types: text becomes bytes and text again", "[types]") {
  const std::string_view words("a\0b", 3);
  CHECK(bytes(words).size() == 3);
  CHECK(bytes(words)[0] == std::byte{'a'});
  CHECK(text(bytes(words)) == words);
  CHECK(text(bytes(words)).data() == words.data());
  CHECK(bytes("").empty());
  CHECK(text(Bytes()).empty());
}

TEST_CASE("types: offsets count records", "[types]") {
  CHECK(Offset{}.value == 0);
  CHECK(Offset{3} + 4 == Offset{7});
  CHECK(Offset{7} - Offset{3} == 4);
  CHECK(Offset{3} < Offset{7});
  CHECK(offset_max.value - 1 ==
        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
}

TEST_CASE("types: ranges are half open", "[types]") {
  const OffsetRange range{.begin = {3}, .end = {7}};
  CHECK(range.size() == 4);
  CHECK(!range.empty());
  CHECK(OffsetRange{}.empty());
  CHECK(OffsetRange{{5}, {5}}.empty());
  CHECK(range == OffsetRange{{3}, {7}});
  CHECK(!(range == OffsetRange{{3}, {8}}));
}

TEST_CASE("types: positions count bytes", "[types]") {
  CHECK(Position{8} + 8 == Position{16});
  CHECK(Position{16} - Position{8} == 8);
  CHECK(Position{8} < Position{16});
}

TEST_CASE("types: epochs are ordered", "[types]") {
  CHECK(Epoch{1} < Epoch{2});
  CHECK(Epoch{} == Epoch{0});
}

TEST_CASE("types: timestamps count milliseconds since 1970", "[types]") {
  CHECK(Timestamp{}.time_since_epoch().count() == 0);
  CHECK((Timestamp{} + std::chrono::seconds(2)).time_since_epoch().count() == 2'000);
}

}  // namespace
}  // namespace varve
