#include <zstd.h>
#include <zstd_errors.h>

#include <utility>

#include "codec_error.hpp"
#include "context_pool.hpp"
#include "varve/compress/codecs.hpp"

namespace varve::inline v0::compress {
namespace {

class Zstd final : public Codec {
 public:
  CodecId id() const noexcept override { return CodecId::zstd; }
  Levels levels() const noexcept override { return {-7, 19, 3}; }
  std::size_t compressed_bytes_max(std::size_t bytes) const noexcept override {
    return ZSTD_compressBound(bytes);
  }

  Result<std::size_t> compress(Bytes in, std::span<std::byte> out, int level) const override {
    auto context = compressing_.take();
    if (!context) context.reset(ZSTD_createCCtx());
    if (!context) return no_memory(id());
    const std::size_t size =
        ZSTD_compressCCtx(context.get(), out.data(), out.size(), in.data(), in.size(), level);
    if (ZSTD_isError(size) != 0) return error_of(size);
    compressing_.give_back(std::move(context));
    return size;
  }

  // In one go, straight to `out`: what a frame says of its window is not believed, for none is needed.
  Result<std::optional<std::size_t>> decompress(Bytes in, std::span<std::byte> out) const override {
    auto context = decompressing_.take();
    if (!context) context.reset(ZSTD_createDCtx());
    if (!context) return no_memory(id());
    const std::size_t size =
        ZSTD_decompressDCtx(context.get(), out.data(), out.size(), in.data(), in.size());
    decompressing_.give_back(std::move(context));
    if (ZSTD_isError(size) == 0) return std::optional(size);
    if (ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall) return std::optional<std::size_t>();
    return error_of(size);
  }

 private:
  Error error_of(std::size_t code) const {
    if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation) return no_memory(id());
    return malformed(id(), ZSTD_getErrorName(code));
  }

  mutable ContextPool<ZSTD_CCtx, ZSTD_freeCCtx> compressing_;
  mutable ContextPool<ZSTD_DCtx, ZSTD_freeDCtx> decompressing_;
};

}  // namespace

std::shared_ptr<const Codec> zstd() {
  static const auto codec = std::make_shared<const Zstd>();
  return codec;
}

}  // namespace varve::inline v0::compress
