#include "varve/compress/codecs.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/log_tools.hpp"
#include "varve/compress/decompress.hpp"

namespace varve::test {
namespace {

using compress::decompress;
using Buffer = std::vector<std::byte>;

Buffer compressed(const Codec& codec, Bytes in, int level) {
  Buffer out(codec.compressed_bytes_max(in.size()));
  const auto size = codec.compress(in, out, level);
  INFO((size ? std::string() : size.error().message()));
  REQUIRE(size);
  REQUIRE(*size <= out.size());
  out.resize(*size);
  return out;
}
Buffer compressed(const Codec& codec, Bytes in) {
  return compressed(codec, in, codec.levels().usual);
}

// Log-like: much repeats, not all does.
std::string lines(Random& random, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes)
    text += R"({"time":)" + std::to_string(random.below(1'000'000)) +
            R"(,"level":"info","path":"/orders/)" + std::to_string(random.below(50)) + "\"}\n";
  text.resize(bytes);
  return text;
}

std::vector<int> levels_of(const Codec& codec) {
  std::vector<int> levels;
  for (int level = codec.levels().least; level <= codec.levels().greatest; ++level)
    levels.push_back(level);
  return levels;
}

TEST_CASE("codecs: their numbers on disk are those of Kafka", "[compress]") {
  CHECK(compress::gzip()->id() == CodecId{1});
  CHECK(compress::snappy()->id() == CodecId{2});
  CHECK(compress::lz4()->id() == CodecId{3});
  CHECK(compress::zstd()->id() == CodecId{4});
  CHECK(compress::all_codecs().size() == 4);
}

TEST_CASE("codecs: what was compressed comes back, at each level", "[compress]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  std::vector<std::string> inputs{"", "a", std::string(100'000, 'x'), random.text(70'000),
                                  lines(random, 300'000)};
  for (std::size_t bytes = 2; bytes < 2000; bytes += bytes / 2)
    inputs.push_back(lines(random, bytes));
  for (const auto& codec : compress::all_codecs()) {
    for (const int level : levels_of(*codec)) {
      CAPTURE(to_text(codec->id()), level);
      for (const std::string& input : inputs) {
        CAPTURE(input.size());
        const Buffer packed = compressed(*codec, bytes(input), level);
        Buffer out(input.size());
        const auto size = codec->decompress(packed, out);
        INFO((size ? std::string() : size.error().message()));
        REQUIRE(size);
        REQUIRE(*size == std::optional(input.size()));
        REQUIRE(text(out) == input);
        const auto grown = decompress(*codec, packed, input.size() + 10);
        REQUIRE(grown);
        REQUIRE(text(*grown) == input);
      }
    }
  }
}

TEST_CASE("codecs: greater levels and repeating text compress better", "[compress]") {
  Random random(7);
  const std::string input = lines(random, 500'000);
  for (const auto& codec : compress::all_codecs()) {
    const auto [least, greatest, usual] = codec->levels();
    CAPTURE(to_text(codec->id()));
    CHECK(compressed(*codec, bytes(input), least).size() < input.size() / 2);
    if (least != greatest)
      CHECK(compressed(*codec, bytes(input), greatest).size() <
            compressed(*codec, bytes(input), least).size());
  }
}

TEST_CASE("codecs: nothing is written behind the room there is", "[compress]") {
  Random random(3);
  for (const auto& codec : compress::all_codecs()) {
    for (const std::string& input :
         {std::string(5000, 'x'), lines(random, 5000), random.text(5000)}) {
      const Buffer packed = compressed(*codec, bytes(input));
      for (const std::size_t room : {0u, 1u, 100u, 4095u, 4999u}) {
        CAPTURE(to_text(codec->id()), room);
        Buffer out(6000, std::byte{0xEE});
        const auto size = codec->decompress(packed, std::span(out).first(room));
        INFO((size ? std::string() : size.error().message()));
        REQUIRE(size);
        REQUIRE(*size == std::nullopt);
        REQUIRE(std::all_of(out.begin() + static_cast<std::ptrdiff_t>(room), out.end(),
                            [](std::byte one) { return one == std::byte{0xEE}; }));
        CHECK(fails_with(decompress(*codec, packed, room), Errc::batch_too_large,
                         {to_text(codec->id()), std::to_string(room)}));
      }
    }
  }
}

TEST_CASE("codecs: what is cut short or has more behind it is told", "[compress]") {
  Random random(11);
  const std::string input = lines(random, 3000);
  for (const auto& codec : compress::all_codecs()) {
    const Buffer packed = compressed(*codec, bytes(input));
    for (std::size_t size = 1; size < packed.size(); ++size) {
      CAPTURE(to_text(codec->id()), size, packed.size());
      Buffer out(4000);
      const auto got = codec->decompress(Bytes(packed).first(size), out);
      REQUIRE(fails_with(got, Errc::corrupt, {to_text(codec->id())}));
    }
    Buffer longer = packed;
    longer.insert(longer.end(), 20, std::byte{0x77});
    Buffer out(4000);
    CHECK(fails_with(codec->decompress(longer, out), Errc::corrupt));
  }
}

TEST_CASE("codecs: whatever the bytes are, decompressing them is safe", "[compress]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  Random random(seed);
  for (const auto& codec : compress::all_codecs()) {
    CAPTURE(to_text(codec->id()));
    for (int round = 0; round < 1500; ++round) {
      Buffer packed = compressed(*codec, bytes(lines(random, random.below(4000))));
      if (packed.empty()) continue;
      for (std::uint64_t edits = random.between(1, 4); edits > 0; --edits) {
        const auto at = static_cast<std::size_t>(random.below(packed.size()));
        packed[at] = static_cast<std::byte>(random.bits());
      }
      if (random.one_in(4))
        packed.resize(static_cast<std::size_t>(random.below(packed.size() + 1)));
      // Exactly as large as it may be, so that a sanitizer sees what leaves it.
      const auto room = static_cast<std::size_t>(random.below(6000));
      const auto out = std::make_unique<std::byte[]>(room);
      const auto size = codec->decompress(packed, {out.get(), room});
      if (size && *size) REQUIRE(**size <= room);
      if (!size) REQUIRE(size.error() == Errc::corrupt);
      const auto grown = decompress(*codec, packed, 8000);
      if (grown) REQUIRE(grown->size() <= 8000);
    }
  }
}

TEST_CASE("codecs: a bomb is stopped at the bound", "[compress]") {
  const std::string input(50'000'000, '\0');
  for (const auto& codec : compress::all_codecs()) {
    const Buffer packed = compressed(*codec, bytes(input));
    CAPTURE(to_text(codec->id()), packed.size());
    CHECK(fails_with(decompress(*codec, packed, 1'000'000), Errc::batch_too_large));
  }
}

TEST_CASE("codecs: threads share them", "[compress][tsan]") {
  for (const auto& codec : compress::all_codecs()) {
    std::vector<std::future<bool>> threads;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      threads.push_back(std::async(std::launch::async, [&codec, seed] {
        Random random(seed);
        bool same = true;
        for (int round = 0; round < 30; ++round) {
          const std::string input = lines(random, 3000 + random.below(3000));
          Buffer packed(codec->compressed_bytes_max(input.size()));
          const auto size = codec->compress(bytes(input), packed, codec->levels().usual);
          const auto back = decompress(*codec, Bytes(packed).first(size.value()), 10'000);
          same = same && text(back.value()) == input;
        }
        return same;
      }));
    }
    for (auto& thread : threads) CHECK(thread.get());
  }
}

// ---- what Kafka's clients send -------------------------------------------------------------------

void put_big_endian(Buffer& to, std::size_t value) {
  for (const unsigned shift : {24u, 16u, 8u, 0u})
    to.push_back(static_cast<std::byte>(value >> shift));
}
void put(Buffer& to, Bytes more) { to.insert(to.end(), more.begin(), more.end()); }

// As snappy-java frames it.
Buffer framed_snappy(std::string_view input, std::size_t block_bytes) {
  Buffer stream;
  put(stream, bytes(std::string_view("\x82SNAPPY\0", 8)));
  put_big_endian(stream, 1);
  put_big_endian(stream, 1);
  for (; !input.empty(); input.remove_prefix(std::min(block_bytes, input.size()))) {
    const Buffer block = compressed(*compress::snappy(), bytes(input.substr(0, block_bytes)));
    put_big_endian(stream, block.size());
    put(stream, block);
  }
  return stream;
}

TEST_CASE("snappy: the framing of Kafka's Java clients is understood", "[compress]") {
  Random random(5);
  const std::string input = lines(random, 100'000);
  const auto snappy = compress::snappy();
  const Buffer stream = framed_snappy(input, 32 * 1024);
  CHECK(text(decompress(*snappy, stream, 200'000).value()) == input);

  Buffer joined = stream;
  put(joined, framed_snappy("more", 10));
  CHECK(text(decompress(*snappy, joined, 200'000).value()) == input + "more");
  CHECK(decompress(*snappy, framed_snappy("", 10), 10).value().empty());

  for (std::size_t size = 17; size < 60; ++size)
    CHECK(fails_with(decompress(*snappy, Bytes(stream).first(size), 200'000), Errc::corrupt));
  Buffer huge = stream;
  huge[16] = std::byte{0xFF};  // the size of its first block
  CHECK(fails_with(decompress(*snappy, huge, 200'000), Errc::corrupt));
}

TEST_CASE("snappy: a block that claims to be huge is not believed", "[compress]") {
  Buffer claim{std::byte{0xFF}, std::byte{0xFF}, std::byte{0xFF}, std::byte{0xFF},
               std::byte{0x0F}, std::byte{0},    std::byte{'x'}};
  CHECK(fails_with(decompress(*compress::snappy(), claim, 1u << 30), Errc::corrupt));
}

TEST_CASE("gzip: several members are one stream", "[compress]") {
  const auto gzip = compress::gzip();
  Buffer joined = compressed(*gzip, bytes("one, "));
  put(joined, compressed(*gzip, bytes("two")));
  CHECK(text(decompress(*gzip, joined, 100).value()) == "one, two");
}

TEST_CASE("gzip: zlib's own wrapping is not gzip", "[compress]") {
  std::array<Bytef, 100> packed{};
  uLongf size = packed.size();
  const std::string input(50, 'x');
  REQUIRE(::compress(packed.data(), &size, reinterpret_cast<const Bytef*>(input.data()),
                     input.size()) == Z_OK);
  CHECK(fails_with(decompress(*compress::gzip(), std::as_bytes(std::span(packed)).first(size), 100),
                   Errc::corrupt));
}

// Made by the command-line tools of each ("hello hello hello hello\n"), which state no size.
TEST_CASE("codecs: frames that others made are understood", "[compress]") {
  const auto from_hex = [](std::string_view hex) {
    Buffer made;
    for (; hex.size() >= 2; hex.remove_prefix(2))
      made.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(0, 2)), nullptr, 16)));
    return made;
  };
  struct Made {
    std::shared_ptr<const Codec> codec;
    std::string_view hex;
  };
  for (const Made& made : {
           Made{compress::gzip(), "1f8b0800000000000003cb48cdc9c957c84027b9000088590b18000000"},
           Made{compress::zstd(), "28b52ffd04586d00003868656c6c6f200a0100994b11a87c2ea8"},
           Made{compress::lz4(),
                "04224d186440a70f0000006968656c6c6f20060050656c6c6f0a00000000e2ff0342"},
       }) {
    CAPTURE(to_text(made.codec->id()));
    const auto out = decompress(*made.codec, from_hex(made.hex), 100);
    INFO((out ? std::string() : out.error().message()));
    REQUIRE(out);
    CHECK(text(*out) == "hello hello hello hello\n");
  }
}

TEST_CASE("codecs: they are named with their levels", "[compress]") {
  using compress::parse_compression;
  CHECK(!parse_compression("none").value().codec);
  const auto zstd = parse_compression("zstd:9").value();
  CHECK(zstd.codec == compress::zstd());
  CHECK(zstd.level == 9);
  CHECK(parse_compression("zstd:-3").value().level == -3);
  CHECK(parse_compression("lz4").value().level == std::nullopt);
  CHECK(parse_compression("snappy:0").value().codec == compress::snappy());
  for (const char* bad : {"", "zip", "zstd:", "zstd:20", "zstd:3x", "zstd: 3", "lz4:0", "gzip:10",
                          "snappy:1", ":3", "none:1", "ZSTD"})
    CHECK(fails_with(parse_compression(bad), Errc::invalid_argument, {bad}));
}

}  // namespace
}  // namespace varve::test
