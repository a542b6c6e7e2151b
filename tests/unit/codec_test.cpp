#include "varve/detail/codec.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/log_files.hpp"

namespace varve {
namespace {

using namespace detail;
using test::Batch;
using test::known_record;
using test::OwnedRecord;
using test::Random;
using test::same;

constexpr std::int64_t frame_time = 1'700'000'000'000;

std::vector<std::byte> encode(const OwnedRecord& owned, std::int64_t now = frame_time) {
  const Batch lent(owned);
  const RecordSize size = measure(lent.front());
  std::vector<std::byte> out(static_cast<std::size_t>(size.total));
  const std::byte* end = encode_record(out.data(), lent.front(), size, frame_time, now);
  const auto used = static_cast<std::size_t>(end - out.data());
  REQUIRE(used <= out.size());
  out.resize(used);
  return out;
}

// Walks everything that a decoded record shows, for a sanitizer to watch.
std::uint64_t touch(const RecordView& record) {
  std::uint64_t sum = 0;
  const auto add = [&](Bytes bytes) {
    for (const std::byte byte : bytes) sum += static_cast<std::uint64_t>(byte);
  };
  if (record.key) add(*record.key);
  if (record.value) add(*record.value);
  for (const Header& header : record.headers) {
    add(bytes(header.name));
    if (header.value) add(*header.value);
  }
  return sum;
}

OwnedRecord random_record(Random& numbers) {
  const auto some_text = [&](std::uint64_t limit) {
    std::string text(static_cast<std::size_t>(numbers.below(limit)), '\0');
    for (char& character : text) character = static_cast<char>(numbers.bits());
    return text;
  };
  OwnedRecord record;
  if (numbers.below(2) != 0) record.key = some_text(300);
  if (numbers.below(4) != 0) record.value = some_text(400);
  for (std::uint64_t left = numbers.below(5); left > 0; --left) {
    record.headers.push_back({some_text(140), std::nullopt});
    if (numbers.below(3) != 0) record.headers.back().second = some_text(140);
  }
  if (numbers.below(2) != 0) record.time_ms = static_cast<std::int64_t>(numbers.bits());
  return record;
}

TEST_CASE("codec: every shape of record comes back as it was", "[codec]") {
  const std::uint64_t seed = 20'240'601;
  CAPTURE(seed);
  Random numbers(seed);
  for (std::uint64_t i = 0; i < 500; ++i) {
    const OwnedRecord owned = i < 32 ? known_record(i) : random_record(numbers);
    const auto encoded = encode(owned);
    Bytes in(encoded);
    RecordView view;
    REQUIRE(decode_record(in, frame_time, view));
    CHECK(in.empty());
    CHECK(same(owned, view));
    if (!owned.time_ms) CHECK(view.timestamp.time_since_epoch().count() == frame_time);
  }
}

TEST_CASE("codec: absent, empty and present stay distinct", "[codec]") {
  for (const auto& key : {std::optional<std::string>(), std::optional<std::string>(""),
                          std::optional<std::string>("k")}) {
    for (const auto& value : {std::optional<std::string>(), std::optional<std::string>(""),
                              std::optional<std::string>("v")}) {
      OwnedRecord owned;
      owned.key = key;
      owned.value = value;
      const auto encoded = encode(owned);
      Bytes in(encoded);
      RecordView view;
      REQUIRE(decode_record(in, frame_time, view));
      CHECK(view.key.has_value() == key.has_value());
      CHECK(view.value.has_value() == value.has_value());
      CHECK(same(owned, view));
    }
  }
}

TEST_CASE("codec: any timestamp survives", "[codec]") {
  constexpr auto least = std::numeric_limits<std::int64_t>::min();
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t time : {least, least + 1, std::int64_t{-1}, std::int64_t{0},
                                  frame_time - 1, frame_time, frame_time + 1, most - 1, most}) {
    OwnedRecord owned;
    owned.time_ms = time;
    const auto encoded = encode(owned);
    Bytes in(encoded);
    RecordView view;
    REQUIRE(decode_record(in, frame_time, view));
    CHECK(view.timestamp.time_since_epoch().count() == time);
  }
  const auto later = encode({}, frame_time + 17);  // the time of append, when the frame is older
  Bytes in(later);
  RecordView view;
  REQUIRE(decode_record(in, frame_time, view));
  CHECK(view.timestamp.time_since_epoch().count() == frame_time + 17);
}

TEST_CASE("codec: a record cut short is none", "[codec]") {
  for (std::uint64_t i = 0; i < 16; ++i) {
    const auto encoded = encode(known_record(i));
    for (std::size_t size = 0; size < encoded.size(); ++size) {
      const std::vector<std::byte> cut(encoded.begin(),
                                       encoded.begin() + static_cast<std::ptrdiff_t>(size));
      Bytes in(cut);
      RecordView view;
      CHECK(!decode_record(in, frame_time, view));
    }
  }
}

TEST_CASE("codec: damaged records never lead outside of their bytes", "[codec]") {
  const std::uint64_t seed = 77;
  CAPTURE(seed);
  Random numbers(seed);
  std::uint64_t sum = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto encoded = encode(known_record(numbers.below(64)));
    for (std::uint64_t flips = 1 + numbers.below(4); flips > 0; --flips)
      encoded[static_cast<std::size_t>(numbers.below(encoded.size()))] =
          static_cast<std::byte>(numbers.bits());
    Bytes in(encoded);
    RecordView view;
    while (!in.empty() && decode_record(in, frame_time, view)) sum += touch(view);
  }
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> noise(static_cast<std::size_t>(numbers.below(40)));
    for (std::byte& byte : noise) byte = static_cast<std::byte>(numbers.bits());
    if (!noise.empty()) noise[0] &= std::byte{all_attributes};
    Bytes in(noise);
    RecordView view;
    while (!in.empty() && decode_record(in, frame_time, view)) sum += touch(view);
  }
  CHECK(sum > 0);
}

TEST_CASE("codec: what no encoder writes is refused", "[codec]") {
  const auto refused = [](const std::vector<unsigned>& raw) {
    std::vector<std::byte> encoded;
    for (const unsigned byte : raw) encoded.push_back(static_cast<std::byte>(byte));
    Bytes in(encoded);
    RecordView view;
    return !decode_record(in, frame_time, view);
  };
  CHECK(refused({16}));  // an unknown attribute
  CHECK(refused({0x80}));
  CHECK(refused({has_headers, 0, 0}));           // headers, but none of them
  CHECK(refused({has_headers, 2, 1, 0}));        // more than there are bytes for
  CHECK(refused({has_headers, 1, 3, 0, 0, 0}));  // bytes behind the last one
  CHECK(refused({has_headers, 1, 2, 5, 0}));     // a name longer than all
  CHECK(refused({has_headers, 1, 2, 0, 3}));     // a value longer than all
  CHECK(refused({has_value, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}));
  CHECK(!refused({has_headers, 1, 2, 0, 0}));
}

// ---- bodies ------------------------------------------------------------------------------------

// A body of records of the given encoded sizes.
std::vector<std::byte> make_body(const std::vector<std::uint32_t>& sizes) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t size : sizes) bytes += size;
  const std::uint64_t total = body_size(bytes, sizes.size());
  std::vector<std::byte> body(static_cast<std::size_t>(total));
  std::uint32_t end = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    put_end(body.data() + bytes, table_width(total), i, end += sizes[i]);
  return body;
}

TEST_CASE("codec: the table of a body finds every record, however wide it is", "[codec]") {
  for (const std::uint32_t last :
       {std::uint32_t{1}, std::uint32_t{65'000}, std::uint32_t{65'535 - 3 * 2 - 12},
        std::uint32_t{65'535 - 3 * 2 - 11}, std::uint32_t{65'536}, std::uint32_t{200'000}}) {
    CAPTURE(last);
    const std::vector<std::uint32_t> sizes{5, 7, last};
    const auto encoded = make_body(sizes);
    CHECK(table_width(encoded.size()) == (encoded.size() <= 0xFFFF ? 2 : 4));
    const auto body = Body::parse(encoded, 3);
    REQUIRE(body);
    CHECK(body->count() == 3);
    CHECK(body->records().size() == 12 + last);
    CHECK(body->from(0)->size() == 12 + last);
    CHECK(body->from(1)->size() == 7 + last);
    CHECK(body->from(2)->size() == last);
  }
}

TEST_CASE("codec: a body that is cut short or miscounted is none", "[codec]") {
  const auto encoded = make_body({5, 7, 30});
  for (std::size_t size = 0; size < encoded.size(); ++size) {
    const std::vector<std::byte> cut(encoded.begin(),
                                     encoded.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(!Body::parse(cut, 3));
  }
  for (const std::uint32_t count : {0u, 1u, 2u, 4u, 100u, 0xFFFFFFFFu})
    CHECK(!Body::parse(encoded, count));
  CHECK(Body::parse({}, 0));
}

TEST_CASE("codec: a nonsensical table leads nowhere", "[codec]") {
  auto encoded = make_body({5, 7, 30});
  store_le(encoded.data() + 42, std::uint16_t{60'000});  // the first end
  const auto body = Body::parse(encoded, 3);
  REQUIRE(body);
  CHECK(!body->from(1));
  CHECK(body->from(2));
}

}  // namespace
}  // namespace varve
