#include "varve/detail/native_body.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/log_tools.hpp"
#include "support/run_codec.hpp"

namespace varve::test {
namespace {

using namespace detail;

std::vector<std::byte> body_of(const CompressedPrefix& prefix, std::size_t behind = 10) {
  std::vector<std::byte> body(compressed_prefix_bytes + behind);
  store_compressed_prefix(body.data(), prefix);
  return body;
}

constexpr CompressedPrefix good{CodecId::zstd, 1000, 1'700'000'000'000, -3};

TEST_CASE("native body: a prefix comes back as it was", "[native_body]") {
  const auto body = body_of(good);
  const auto prefix = parse_compressed_prefix(body, 5);
  REQUIRE(prefix);
  CHECK(prefix->codec == CodecId::zstd);
  CHECK(prefix->native_bytes == 1000);
  CHECK(prefix->base_time_ms == 1'700'000'000'000);
  CHECK(prefix->newest_ms == -3);
}

TEST_CASE("native body: sizes and counts that cannot be are malformed", "[native_body]") {
  const auto refused = [](CompressedPrefix prefix, std::uint32_t count) {
    return !parse_compressed_prefix(body_of(prefix), count);
  };
  CHECK(!refused(good, 1));
  CHECK(!refused(good, 333));
  CHECK(refused(good, 334));  // three bytes a record
  CHECK(refused(good, 0));
  CompressedPrefix huge = good;
  huge.native_bytes = segment_bytes_limit;
  CHECK(!refused(huge, 1));
  ++huge.native_bytes;
  CHECK(refused(huge, 1));
  CHECK(refused({CodecId{}, 1000, 0, 0}, 1));

  auto body = body_of(good);
  for (const std::size_t size : {0u, 1u, 23u})
    CHECK(!parse_compressed_prefix(Bytes(body).first(size), 1));
  CHECK(parse_compressed_prefix(Bytes(body).first(24), 1));
  for (std::size_t zero = 1; zero < 4; ++zero) {
    body[zero] = std::byte{1};
    CHECK(!parse_compressed_prefix(body, 1));
    body[zero] = std::byte{0};
  }
}

TEST_CASE("native body: the size that is stated has to be what comes out", "[native_body]") {
  const std::array<std::shared_ptr<const Codec>, 1> codecs{run_codec()};
  const std::vector<std::byte> native(300, std::byte{'n'});
  std::array<std::byte, 600> packed{};
  const std::size_t size = codecs[0]->compress(native, packed, 1).value();
  for (const std::uint32_t stated : {299u, 300u, 301u}) {
    CAPTURE(stated);
    auto body = body_of({CodecId::zstd, stated, 42, 0}, size);
    std::copy_n(packed.begin(), size, body.begin() + compressed_prefix_bytes);
    Frame frame;
    frame.state = FrameState::sealed;
    frame.position = {4096};
    frame.header.flags = flag_compressed;
    frame.header.base_offset = 7;
    frame.body = body;
    frame.count = 2;
    std::vector<std::byte> scratch;
    const auto got = native_body(frame, "a.log", codecs, scratch);
    if (stated == 300) {
      REQUIRE(got);
      CHECK(text(got->bytes) == text(native));
      CHECK(got->base_time_ms == 42);
    } else {
      CHECK(fails_with(got, Errc::corrupt, {"a.log at 4096"}));
    }
    CHECK(fails_with(native_body(frame, "a.log", {}, scratch), Errc::unsupported_format,
                     {"a.log at 4096", "[7, 9)", "zstd", "codec 4"}));
  }
}

TEST_CASE("native body: an uncompressed one is where the frame is", "[native_body]") {
  Frame frame;
  const std::vector<std::byte> bytes(10);
  frame.body = bytes;
  frame.header.append_time_ms = 9;
  std::vector<std::byte> scratch;
  const auto got = native_body(frame, "a.log", {}, scratch);
  REQUIRE(got);
  CHECK(got->bytes.data() == bytes.data());
  CHECK(got->base_time_ms == 9);
  CHECK(scratch.empty());
}

}  // namespace
}  // namespace varve::test
