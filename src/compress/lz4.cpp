#include <lz4frame.h>

#include <utility>

#include "codec_error.hpp"
#include "context_pool.hpp"
#include "varve/compress/codecs.hpp"

namespace varve::inline v0::compress {
namespace {

class Lz4 final : public Codec {
 public:
  CodecId id() const noexcept override { return CodecId::lz4; }
  Levels levels() const noexcept override { return {1, 12, 1}; }
  std::size_t compressed_bytes_max(std::size_t bytes) const noexcept override {
    const LZ4F_preferences_t how = preferences(bytes, levels().usual);
    return LZ4F_compressFrameBound(bytes, &how);
  }

  Result<std::size_t> compress(Bytes in, std::span<std::byte> out, int level) const override {
    const LZ4F_preferences_t how = preferences(in.size(), level);
    const std::size_t size = LZ4F_compressFrame(out.data(), out.size(), in.data(), in.size(), &how);
    // There is room, so it can only be for want of memory.
    if (LZ4F_isError(size) != 0) return no_memory(id());
    return size;
  }

  Result<std::optional<std::size_t>> decompress(Bytes in, std::span<std::byte> out) const override {
    auto context = decompressing_.take();
    if (!context) {
      LZ4F_dctx* made = nullptr;
      if (LZ4F_isError(LZ4F_createDecompressionContext(&made, LZ4F_VERSION)) != 0)
        return no_memory(id());
      context.reset(made);
    }
    LZ4F_resetDecompressionContext(context.get());
    auto done = run(*context, in, out);
    if (done) decompressing_.give_back(std::move(context));
    return done;
  }

 private:
  // Which error it was the library tells by name only.
  Error error_of(std::size_t code) const {
    const std::string_view name = LZ4F_getErrorName(code);
    return name == "ERROR_allocation_failed" ? no_memory(id()) : malformed(id(), name);
  }

  // A checksum would be one more: a log checks what it stores.
  static LZ4F_preferences_t preferences(std::size_t bytes, int level) noexcept {
    LZ4F_preferences_t how{};
    how.frameInfo.blockSizeID = bytes > 64 * 1024 ? LZ4F_max256KB : LZ4F_max64KB;
    how.frameInfo.blockMode = LZ4F_blockLinked;
    how.frameInfo.contentSize = bytes;
    how.compressionLevel = level;
    return how;
  }

  // One frame. What the library allocates for it is bounded by the greatest block there is, 4 MiB.
  Result<std::optional<std::size_t>> run(LZ4F_dctx& context, Bytes in,
                                         std::span<std::byte> out) const {
    std::size_t written = 0;
    for (;;) {
      std::size_t to = out.size() - written;
      std::size_t from = in.size();
      std::byte nowhere{};  // an empty buffer may have no address, which the library does not take
      const std::size_t wanted = LZ4F_decompress(
          &context, to == 0 ? &nowhere : out.data() + written, &to, in.data(), &from, nullptr);
      if (LZ4F_isError(wanted) != 0) return error_of(wanted);
      written += to;
      in = in.subspan(from);
      if (wanted == 0) break;
      if (to != 0 || from != 0) continue;
      if (in.empty() && written < out.size()) return malformed(id(), "it ends too early");
      if (in.empty()) return ends_with_full_buffer(context);
      return std::optional<std::size_t>();
    }
    if (!in.empty()) return malformed(id(), "bytes behind its frame");
    return std::optional(written);
  }

  // Nothing is left to take, `out` is full, and the frame is not over: is there more to come out of what was taken?
  Result<std::optional<std::size_t>> ends_with_full_buffer(LZ4F_dctx& context) const {
    std::byte more{};
    std::size_t to = 1;
    std::size_t from = 0;
    const std::size_t wanted = LZ4F_decompress(&context, &more, &to, nullptr, &from, nullptr);
    if (LZ4F_isError(wanted) == 0 && to == 0) return malformed(id(), "it ends too early");
    return std::optional<std::size_t>();
  }

  mutable ContextPool<LZ4F_dctx, LZ4F_freeDecompressionContext> decompressing_;
};

}  // namespace

std::shared_ptr<const Codec> lz4() {
  static const auto codec = std::make_shared<const Lz4>();
  return codec;
}

}  // namespace varve::inline v0::compress
