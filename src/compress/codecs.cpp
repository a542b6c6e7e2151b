#include "varve/compress/codecs.hpp"

#include <algorithm>
#include <charconv>
#include <string>

#include "varve/compress/decompress.hpp"

namespace varve::inline v0::compress {

std::vector<std::shared_ptr<const Codec>> all_codecs() { return {zstd(), lz4(), snappy(), gzip()}; }

Result<Compression> parse_compression(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error(Errc::invalid_argument, "'" + std::string(text) + "' " + std::string(why));
  };
  if (text == "none") return Compression{};
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  Compression compression;
  for (const auto& codec : all_codecs())
    if (to_text(codec->id()) == name) compression.codec = codec;
  if (!compression.codec) return bad("names no codec; there are none, zstd, lz4, snappy and gzip");
  if (colon == std::string_view::npos) return compression;

  const std::string_view digits = text.substr(colon + 1);
  const Codec::Levels levels = compression.codec->levels();
  int level = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), level);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() ||
      level < levels.least || level > levels.greatest)
    return bad("names no level of " + std::string(name) + ", which has " +
               std::to_string(levels.least) + " to " + std::to_string(levels.greatest));
  compression.level = level;
  return compression;
}

Result<std::vector<std::byte>> decompress(const Codec& codec, Bytes in, std::size_t bytes_max) {
  constexpr std::size_t first_bytes = 64 * 1024;
  constexpr std::size_t usual_ratio = 4;
  std::size_t room = std::min(bytes_max, std::max(first_bytes, in.size() <= bytes_max / usual_ratio
                                                                   ? in.size() * usual_ratio
                                                                   : bytes_max));
  for (;;) {
    std::vector<std::byte> out(room);
    auto size = codec.decompress(in, out);
    if (!size) return size.error();
    if (*size) {
      out.resize(**size);
      return out;
    }
    if (room == bytes_max)
      return Error(Errc::batch_too_large, std::string(to_text(codec.id())) +
                                              " decompresses to more than " +
                                              std::to_string(bytes_max) + " bytes");
    room = room <= bytes_max / usual_ratio ? room * usual_ratio : bytes_max;
  }
}

}  // namespace varve::inline v0::compress
