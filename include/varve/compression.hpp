// Compression: how the batches of a log are made smaller. A port: the core has no codec of its own, varve::compress
// brings some.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "varve/result.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// Names a kind of compression on disk, with the numbers that Kafka gives them. A number never changes its meaning.
enum class CodecId : std::uint8_t { gzip = 1, snappy = 2, lz4 = 3, zstd = 4 };

// "zstd" and the like; "unknown" for what has no name.
constexpr std::string_view to_text(CodecId id) noexcept {
  switch (id) {
    case CodecId::gzip:
      return "gzip";
    case CodecId::snappy:
      return "snappy";
    case CodecId::lz4:
      return "lz4";
    case CodecId::zstd:
      return "zstd";
  }
  return "unknown";
}

// Compresses and decompresses bytes. The members may be called from any number of threads at once. They fail with an
// Error, never with an exception other than std::bad_alloc, and allocate nothing by what the compressed bytes say of
// themselves beyond a bound that the codec knows.
class Codec {
 public:
  Codec() = default;
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;
  virtual ~Codec() = default;

  virtual CodecId id() const noexcept = 0;

  // What a greater number buys with more time is a better ratio. Codecs without levels have one, 0.
  struct Levels {
    int least = 0;
    int greatest = 0;
    int usual = 0;
  };
  virtual Levels levels() const noexcept = 0;

  // The most that compress() makes of `bytes` bytes.
  virtual std::size_t compressed_bytes_max(std::size_t bytes) const noexcept = 0;

  // Compresses `in` to the front of `out`, which has at least compressed_bytes_max(in.size()) bytes, and returns how
  // many of them it took. `level` is one of levels(). Errors: the system's, for want of memory.
  virtual Result<std::size_t> compress(Bytes in, std::span<std::byte> out, int level) const = 0;

  // Decompresses all of `in` to the front of `out` and returns how many bytes that gave. nullopt if `out` is too small;
  // what stands in it then is worthless, and nothing behind it was touched.
  // Errors: Errc::corrupt, `in` is not what the codec makes; the system's, for want of memory.
  virtual Result<std::optional<std::size_t>> decompress(Bytes in,
                                                        std::span<std::byte> out) const = 0;
};

// How an append is to be compressed.
struct Compression {
  std::shared_ptr<const Codec> codec{};  // null: not at all
  std::optional<int> level{};            // one of its levels; nullopt: the usual one
};

}  // namespace varve::inline v0
