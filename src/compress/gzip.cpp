#include <zlib.h>

#include <algorithm>
#include <limits>

#include "codec_error.hpp"
#include "varve/compress/codecs.hpp"

namespace varve::inline v0::compress {
namespace {

constexpr int window_bits = 15 + 16;  // the greatest window, in gzip's wrapping rather than zlib's
constexpr int usual_memory = 8;

// zlib counts what it is given at once in 32 bits.
uInt portion(std::size_t bytes) noexcept {
  return static_cast<uInt>(std::min<std::size_t>(bytes, std::numeric_limits<uInt>::max()));
}

struct Stream {
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    if (end != nullptr) end(&z);
  }

  void give(Bytes in, std::span<std::byte> out) noexcept {
    // It does not write through next_in, and only some versions say so.
    z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    z.avail_in = portion(in.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = portion(out.size());
  }

  z_stream z{};
  int (*end)(z_stream*) = nullptr;
};

class Gzip final : public Codec {
 public:
  CodecId id() const noexcept override { return CodecId::gzip; }
  Levels levels() const noexcept override { return {1, 9, 6}; }

  // As deflateBound() has it without knowing the stream, and gzip's wrapping.
  std::size_t compressed_bytes_max(std::size_t bytes) const noexcept override {
    return bytes + (bytes >> 3) + (bytes >> 6) + 64;
  }

  Result<std::size_t> compress(Bytes in, std::span<std::byte> out, int level) const override {
    Stream stream;
    if (deflateInit2(&stream.z, level, Z_DEFLATED, window_bits, usual_memory, Z_DEFAULT_STRATEGY) !=
        Z_OK)
      return no_memory(id());
    stream.end = deflateEnd;
    std::size_t taken = 0;
    std::size_t written = 0;
    for (;;) {
      const Bytes left = in.subspan(taken);
      const std::span<std::byte> room = out.subspan(written);
      stream.give(left, room);
      const bool last = portion(left.size()) == left.size();
      const uInt before_in = stream.z.avail_in;
      const uInt before_out = stream.z.avail_out;
      const int state = deflate(&stream.z, last ? Z_FINISH : Z_NO_FLUSH);
      taken += before_in - stream.z.avail_in;
      written += before_out - stream.z.avail_out;
      if (state == Z_STREAM_END) return written;
      if (state != Z_OK || written == out.size())
        return refused(id(), "no room for what it may take");
    }
  }

  Result<std::optional<std::size_t>> decompress(Bytes in, std::span<std::byte> out) const override {
    if (in.empty()) return malformed(id(), "no bytes");
    Stream stream;
    if (inflateInit2(&stream.z, window_bits) != Z_OK) return no_memory(id());
    stream.end = inflateEnd;
    std::size_t written = 0;
    while (!in.empty()) {
      std::byte nowhere{};
      const std::span<std::byte> room = out.subspan(written);
      stream.give(in, room);
      if (room.empty()) stream.z.next_out = reinterpret_cast<Bytef*>(&nowhere);
      const uInt before_in = stream.z.avail_in;
      const uInt before_out = stream.z.avail_out;
      const int state = inflate(&stream.z, Z_NO_FLUSH);
      in = in.subspan(before_in - stream.z.avail_in);
      written += before_out - stream.z.avail_out;
      if (state == Z_STREAM_END) {
        if (in.empty()) return std::optional(written);
        if (inflateReset(&stream.z) != Z_OK) return malformed(id(), "it cannot be gone on with");
        continue;  // another member
      }
      if (state == Z_MEM_ERROR) return no_memory(id());
      if (state == Z_BUF_ERROR && written == out.size()) return std::optional<std::size_t>();
      if (state != Z_OK)
        return malformed(id(), stream.z.msg != nullptr ? stream.z.msg : "malformed");
      if (in.empty() && written == out.size() && has_more(stream))
        return std::optional<std::size_t>();
    }
    return malformed(id(), "it ends too early");
  }

 private:
  // Whether more comes out of what was taken in.
  static bool has_more(Stream& stream) noexcept {
    std::byte more{};
    stream.give({}, {&more, 1});
    return inflate(&stream.z, Z_NO_FLUSH) >= Z_OK && stream.z.avail_out == 0;
  }
};

}  // namespace

std::shared_ptr<const Codec> gzip() {
  static const auto codec = std::make_shared<const Gzip>();
  return codec;
}

}  // namespace varve::inline v0::compress
