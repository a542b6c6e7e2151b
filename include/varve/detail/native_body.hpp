// The records of a verified frame in varve's own encoding, however the frame stores them. The one place that knows how a
// compressed body is laid out:
//
//   0 u8 codec   1 u8[3] zero   4 u32 size of the native body   8 i64 time that the records' times count from (ms)
//  16 i64 greatest timestamp of the records (ms)   24 what the codec made of the native body
//
// Offsets, counts and times are known without the codec, so recovery and indexes need none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "varve/compression.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/endian.hpp"
#include "varve/detail/format.hpp"
#include "varve/detail/store.hpp"
#include "varve/detail/try.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::detail {

using Codecs = std::span<const std::shared_ptr<const Codec>>;

inline constexpr std::uint32_t compressed_prefix_bytes = 24;

struct CompressedPrefix {
  CodecId codec{};
  std::uint32_t native_bytes = 0;  // of the body before it was compressed
  std::int64_t base_time_ms = 0;
  std::int64_t newest_ms = 0;
};

inline void store_compressed_prefix(std::byte* at, const CompressedPrefix& prefix) noexcept {
  store_le(at, std::uint32_t{static_cast<std::uint8_t>(prefix.codec)});
  store_le(at + 4, prefix.native_bytes);
  store_le(at + 8, prefix.base_time_ms);
  store_le(at + 16, prefix.newest_ms);
}

// Nullopt if that cannot be the body of a compressed frame of `count` records.
inline std::optional<CompressedPrefix> parse_compressed_prefix(Bytes body,
                                                               std::uint32_t count) noexcept {
  if (body.size() < compressed_prefix_bytes) return std::nullopt;
  const std::byte* at = body.data();
  const auto codec = load_le<std::uint32_t>(at);
  if (codec == 0 || codec > 0xFF) return std::nullopt;
  CompressedPrefix prefix;
  prefix.codec = static_cast<CodecId>(codec);
  prefix.native_bytes = load_le<std::uint32_t>(at + 4);
  prefix.base_time_ms = load_le<std::int64_t>(at + 8);
  prefix.newest_ms = load_le<std::int64_t>(at + 16);
  // A record has at least a byte, and its entry in the table.
  if (prefix.native_bytes > segment_bytes_limit || count == 0 ||
      count > prefix.native_bytes / (table_width(prefix.native_bytes) + 1u))
    return std::nullopt;
  return prefix;
}

inline const Codec* find_codec(Codecs codecs, CodecId id) noexcept {
  const auto found =
      std::find_if(codecs.begin(), codecs.end(), [&](const auto& one) { return one->id() == id; });
  return found == codecs.end() ? nullptr : found->get();
}

// Refuses a level that the codec does not have.
inline Result<void> check_level(const Compression& compression) {
  if (!compression.codec || !compression.level) return {};
  const Codec::Levels levels = compression.codec->levels();
  if (*compression.level >= levels.least && *compression.level <= levels.greatest) return {};
  return Error(Errc::invalid_argument,
               "a compression level of " + std::to_string(*compression.level) + "; " +
                   std::string(to_text(compression.codec->id())) + " has " +
                   std::to_string(levels.least) + " to " + std::to_string(levels.greatest));
}

struct NativeBody {
  Bytes bytes{};                  // records and table; of an open frame, the records
  std::int64_t base_time_ms = 0;  // what the records' times count from
};

// Decompresses the body of a compressed frame into `scratch`, which only ever grows.
inline Result<NativeBody> decompress_body(const Frame& frame, const std::string& file,
                                          Codecs codecs, std::vector<std::byte>& scratch) {
  const auto told = [&](std::string what) {
    return file + " at " + std::to_string(frame.position.value) + ": " + std::move(what);
  };
  const auto prefix = parse_compressed_prefix(frame.body, frame.count);
  if (!prefix) return Error(Errc::corrupt, told("the frame's compressed body is malformed"));
  const Codec* codec = find_codec(codecs, prefix->codec);
  if (codec == nullptr) {
    const std::uint64_t base = frame.header.base_offset;
    return Error(
        Errc::unsupported_format,
        told("offsets [" + std::to_string(base) + ", " + std::to_string(base + frame.count) +
             ") are compressed with " + std::string(to_text(prefix->codec)) + " (codec " +
             std::to_string(static_cast<unsigned>(prefix->codec)) +
             "), which is not among Options::codecs"));
  }
  if (scratch.size() < prefix->native_bytes) scratch.resize(prefix->native_bytes);
  const std::span<std::byte> native(scratch.data(), prefix->native_bytes);
  const auto size = codec->decompress(frame.body.subspan(compressed_prefix_bytes), native);
  if (!size && size.error() != Errc::corrupt) return size.error();
  if (!size || *size != std::optional<std::size_t>(native.size()))
    return Error(Errc::corrupt, told("the frame's records cannot be decompressed"));
  return NativeBody{native, prefix->base_time_ms};
}

// The records of a verified frame, which is not a control frame. They are in `scratch` if the frame is compressed, else
// where the frame is. `file` names it in errors: Errc::corrupt, Errc::unsupported_format for want of the codec, or what
// the codec met.
inline Result<NativeBody> native_body(const Frame& frame, const std::string& file, Codecs codecs,
                                      std::vector<std::byte>& scratch) {
  if (frame.header.is_compressed()) [[unlikely]]
    return decompress_body(frame, file, codecs, scratch);
  return NativeBody{frame.body, frame.header.append_time_ms};
}

}  // namespace varve::inline v0::detail
