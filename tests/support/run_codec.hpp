// RunCodec: run lengths, the least that compresses anything, for tests of what the core does with a codec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "varve/compression.hpp"

namespace varve::test {

// Pairs of a count and a byte.
class RunCodec final : public Codec {
 public:
  explicit RunCodec(CodecId id = CodecId::zstd) : id_(id) {}

  CodecId id() const noexcept override { return id_; }
  Levels levels() const noexcept override { return {1, 3, 2}; }
  std::size_t compressed_bytes_max(std::size_t bytes) const noexcept override { return 2 * bytes; }

  Result<std::size_t> compress(Bytes in, std::span<std::byte> out, int) const override {
    std::size_t written = 0;
    for (std::size_t at = 0; at < in.size();) {
      std::size_t run = 1;
      while (run < 255 && at + run < in.size() && in[at + run] == in[at]) ++run;
      out[written++] = static_cast<std::byte>(run);
      out[written++] = in[at];
      at += run;
    }
    return written;
  }

  Result<std::optional<std::size_t>> decompress(Bytes in, std::span<std::byte> out) const override {
    std::size_t written = 0;
    for (; in.size() >= 2; in = in.subspan(2)) {
      const auto run = static_cast<std::size_t>(in[0]);
      if (run == 0) return Error(Errc::corrupt, "a run of nothing");
      if (run > out.size() - written) return std::optional<std::size_t>();
      for (std::size_t i = 0; i < run; ++i) out[written++] = in[1];
    }
    if (!in.empty()) return Error(Errc::corrupt, "half a run");
    return std::optional(written);
  }

 private:
  CodecId id_;
};

inline std::shared_ptr<const Codec> run_codec(CodecId id = CodecId::zstd) {
  return std::make_shared<const RunCodec>(id);
}

}  // namespace varve::test
