// The codecs of varve::compress: any bytes, decompressed to a buffer that is as large as the input says; and compressed, to
// be the same again afterwards.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "varve/compress/codecs.hpp"
#include "varve/compress/decompress.hpp"

namespace varve {
namespace {

using fuzz::Buffer;
using fuzz::must;

Buffer compressed(const Codec& codec, Bytes bytes, int level) {
  Buffer out(codec.compressed_bytes_max(bytes.size()));
  const auto size = codec.compress(bytes, out, level);
  must(size && *size <= out.size(), "anything can be compressed");
  out.resize(*size);
  return out;
}

void check_decompressing(const Codec& codec, Bytes bytes, std::size_t room) {
  // To the byte, for a sanitizer to see what leaves it.
  const auto out = std::make_unique<std::byte[]>(room);
  const auto size = codec.decompress(bytes, {out.get(), room});
  if (!size) must(size.error() == Errc::corrupt, "what cannot be decompressed is damage");
  const auto grown = compress::decompress(codec, bytes, room);
  if (!grown)
    must(grown.error() == Errc::corrupt || grown.error() == Errc::batch_too_large,
         "what is too large is told");
  if (size && *size)
    must(grown && text(*grown) == text(Bytes(out.get(), **size)), "it is the same in any buffer");
  if (grown) must(grown->size() <= room, "the bound holds");
}

void check_compressing(const Codec& codec, Bytes bytes, std::uint8_t choice) {
  const auto [least, greatest, usual] = codec.levels();
  const int level = least + choice % (std::min(greatest, 6) - least + 1);
  const auto back = compress::decompress(codec, compressed(codec, bytes, level), bytes.size());
  must(back && text(*back) == text(bytes), "what was compressed comes back");
}

}  // namespace

std::map<std::string, Buffer> fuzz::seeds() {
  std::map<std::string, Buffer> seeds;
  const std::string line = R"({"time":1700000000,"level":"info","path":"/orders"})";
  const std::string text = line + line + line + std::string(300, 'x');
  std::uint8_t number = 0;
  for (const auto& codec : compress::all_codecs()) {
    Buffer& seed = seeds["seed-" + std::string(to_text(codec->id()))];
    put_number(seed, number++);
    put_number(seed, std::uint16_t{1000});
    put_bytes(seed, compressed(*codec, bytes(text), codec->levels().usual));
  }
  Buffer& framed = seeds["seed-snappy-stream"];
  put_number(framed, std::uint8_t{2});
  put_number(framed, std::uint16_t{1000});
  put_bytes(framed, bytes(std::string_view("\x82SNAPPY\0\0\0\0\1\0\0\0\1\0\0\0", 19)));
  const Buffer block = compressed(*compress::snappy(), bytes(line), 0);
  put_number(framed, static_cast<std::uint8_t>(block.size()));
  put_bytes(framed, block);
  return seeds;
}

}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  fuzz::Input input(fuzz::input_bytes(data, size));
  const auto choice = input.number<std::uint8_t>();
  const auto room = input.number<std::uint16_t>();
  const Bytes bytes = input.rest();
  const auto codecs = compress::all_codecs();
  const Codec& codec = *codecs[choice % codecs.size()];
  check_decompressing(codec, bytes, room);
  check_compressing(codec, bytes, static_cast<std::uint8_t>(choice / codecs.size()));
  return 0;
}
