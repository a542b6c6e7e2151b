#include "varve/detail/varint.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"

namespace varve {
namespace {

using namespace detail;

std::vector<std::uint64_t> edges() {
  std::vector<std::uint64_t> values{
      0, 1, 2, 127, 128, 300, std::numeric_limits<std::uint64_t>::max()};
  for (unsigned shift = 7; shift < 64; shift += 7) {
    const std::uint64_t power = std::uint64_t{1} << shift;
    values.insert(values.end(), {power - 1, power, power + 1});
  }
  return values;
}

TEST_CASE("varint: every number comes back, in as many bytes as was said", "[varint]") {
  for (const std::uint64_t value : edges()) {
    CAPTURE(value);
    std::array<std::byte, varint_bytes_max> buffer{};
    const std::byte* end = put_varint(buffer.data(), value);
    const auto size = static_cast<std::size_t>(end - buffer.data());
    CHECK(size == varint_size(value));
    Bytes in(buffer.data(), size);
    const auto taken = take_varint(in);
    REQUIRE(taken);
    CHECK(*taken == value);
    CHECK(in.empty());
  }
}

TEST_CASE("varint: taking one leaves what follows it", "[varint]") {
  std::array<std::byte, 2 * varint_bytes_max> buffer{};
  const std::byte* end = put_varint(put_varint(buffer.data(), 300), 7);
  Bytes in(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  CHECK(take_varint(in) == 300u);
  CHECK(take_varint(in) == 7u);
  CHECK(!take_varint(in));
}

TEST_CASE("varint: a number cut short is none, and takes nothing", "[varint]") {
  for (const std::uint64_t value : edges()) {
    std::array<std::byte, varint_bytes_max> buffer{};
    put_varint(buffer.data(), value);
    for (std::size_t size = 0; size < varint_size(value); ++size) {
      // A buffer of its own, so that a sanitizer sees any look behind its end.
      const std::vector<std::byte> cut(buffer.begin(),
                                       buffer.begin() + static_cast<std::ptrdiff_t>(size));
      Bytes in(cut);
      CHECK(!take_varint(in));
      CHECK(in.size() == size);
    }
  }
}

TEST_CASE("varint: what does not fit 64 bits is refused", "[varint]") {
  std::vector<std::byte> tenth(10, std::byte{0xFF});
  tenth[9] = std::byte{0x02};
  Bytes in(tenth);
  CHECK(!take_varint(in));
  const std::vector<std::byte> endless(20, std::byte{0x80});
  in = endless;
  CHECK(!take_varint(in));
}

TEST_CASE("varint: zigzag keeps small numbers small and loses none", "[varint]") {
  constexpr auto least = std::numeric_limits<std::int64_t>::min();
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  static_assert(zigzag(0) == 0 && zigzag(-1) == 1 && zigzag(1) == 2 && zigzag(-2) == 3);
  for (const std::int64_t value : {std::int64_t{0}, std::int64_t{-1}, least, most, least + 1})
    CHECK(unzigzag(zigzag(value)) == value);
  test::Random numbers(7);
  for (int i = 0; i < 1000; ++i) {
    const auto value = static_cast<std::int64_t>(numbers.bits());
    CHECK(unzigzag(zigzag(value)) == value);
  }
}

TEST_CASE("varint: bytes are taken only if all of them are there", "[varint]") {
  const std::vector<std::byte> buffer(5);
  Bytes in(buffer);
  CHECK(!take_bytes(in, 6));
  CHECK(!take_bytes(in, std::numeric_limits<std::uint64_t>::max()));
  CHECK(in.size() == 5);
  REQUIRE(take_bytes(in, 3));
  CHECK(in.size() == 2);
  CHECK(take_bytes(in, 0)->empty());
}

}  // namespace
}  // namespace varve
