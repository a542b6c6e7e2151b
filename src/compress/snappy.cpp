#include <snappy-c.h>

#include <algorithm>
#include <array>

#include "codec_error.hpp"
#include "varve/compress/codecs.hpp"

namespace varve::inline v0::compress {
namespace {

const char* chars(const std::byte* bytes) noexcept { return reinterpret_cast<const char*>(bytes); }
char* chars(std::byte* bytes) noexcept { return reinterpret_cast<char*>(bytes); }

// snappy-java's stream: this, two big-endian u32 of versions, then blocks, each behind its size as a big-endian u32.
// Streams that were joined have the header again between blocks.
constexpr std::array<std::byte, 8> stream_magic{std::byte{0x82}, std::byte{'S'}, std::byte{'N'},
                                                std::byte{'A'},  std::byte{'P'}, std::byte{'P'},
                                                std::byte{'Y'},  std::byte{0}};
constexpr std::size_t stream_header_bytes = 16;

bool begins_stream(Bytes in) noexcept {
  return in.size() >= stream_header_bytes &&
         std::equal(stream_magic.begin(), stream_magic.end(), in.begin());
}

std::size_t take_big_endian(Bytes& in) noexcept {
  std::size_t value = 0;
  for (const std::byte byte : in.first(4)) value = value << 8 | static_cast<std::size_t>(byte);
  in = in.subspan(4);
  return value;
}

class Snappy final : public Codec {
 public:
  CodecId id() const noexcept override { return CodecId::snappy; }
  Levels levels() const noexcept override { return {}; }
  std::size_t compressed_bytes_max(std::size_t bytes) const noexcept override {
    return snappy_max_compressed_length(bytes);
  }

  Result<std::size_t> compress(Bytes in, std::span<std::byte> out, int) const override {
    std::size_t size = out.size();
    if (snappy_compress(chars(in.data()), in.size(), chars(out.data()), &size) != SNAPPY_OK)
      return refused(id(), "no room for what it may take");
    return size;
  }

  Result<std::optional<std::size_t>> decompress(Bytes in, std::span<std::byte> out) const override {
    if (!begins_stream(in)) return block(in, out);
    std::size_t written = 0;
    while (!in.empty()) {
      if (begins_stream(in)) {
        in = in.subspan(stream_header_bytes);
        continue;
      }
      if (in.size() < 4) return malformed(id(), "it ends within the size of a block");
      const std::size_t size = take_big_endian(in);
      if (size > in.size()) return malformed(id(), "it ends within a block");
      auto done = block(in.first(size), out.subspan(written));
      if (!done || !*done) return done;
      written += **done;
      in = in.subspan(size);
    }
    return std::optional(written);
  }

 private:
  Result<std::optional<std::size_t>> block(Bytes in, std::span<std::byte> out) const {
    std::size_t size = 0;
    if (snappy_uncompressed_length(chars(in.data()), in.size(), &size) != SNAPPY_OK)
      return malformed(id(), "a block that does not say its size");
    if (size > out.size()) return too_large(in, size);
    // Writes what it stated and no more, or fails.
    std::byte nowhere{};
    if (snappy_uncompress(chars(in.data()), in.size(), chars(out.empty() ? &nowhere : out.data()),
                          &size) != SNAPPY_OK)
      return malformed(id(), "a malformed block");
    return std::optional(size);
  }

  // A byte of a block can make no more than 64, for that is the longest copy and takes at least two.
  Result<std::optional<std::size_t>> too_large(Bytes in, std::size_t size) const {
    constexpr std::size_t per_byte_max = 64;
    if (size / per_byte_max > in.size()) return malformed(id(), "a block that cannot be so large");
    return std::optional<std::size_t>();
  }
};

}  // namespace

std::shared_ptr<const Codec> snappy() {
  static const auto codec = std::make_shared<const Snappy>();
  return codec;
}

}  // namespace varve::inline v0::compress
