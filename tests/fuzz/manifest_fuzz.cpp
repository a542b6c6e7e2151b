// MANIFEST: any bytes. What decodes means the same when encoded again, and can be stored and loaded.
//
// With the first byte odd the counts, the size and the check are made to fit, so that what the entries say is what
// is tried. That is no model of rot, which the check stops, but of bugs in what wrote the manifest.
#include <cstdint>
#include <optional>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "fuzz/log_image.hpp"
#include "manifest.hpp"
#include "varve/detail/endian.hpp"
#include "varve/memory_storage.hpp"

namespace varve {
namespace {

using namespace detail;
using fuzz::Buffer;
using fuzz::must;

// Field by field, so that what encoding leaves out shows.
bool same(const Manifest& a, const Manifest& b) {
  const auto fixed = [](const Manifest& m) {
    return std::tuple(m.log.low, m.log.high, m.generation, m.start_offset, m.next_segment_id,
                      m.clean, m.salvaging, m.next_offset, m.next_sequence, m.next_position,
                      m.append_time_ms);
  };
  const auto entry = [](const SegmentMeta& s) {
    return std::tuple(s.id, s.base_offset, s.end_offset, s.base_sequence, s.end_sequence,
                      s.base_position, s.newest_ms, s.end_position, s.sealed);
  };
  const auto all = [](const auto& x, const auto& y, const auto& key) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [&](const auto& one, const auto& other) { return key(one) == key(other); });
  };
  return fixed(a) == fixed(b) && all(a.segments, b.segments, entry) &&
         all(a.epochs, b.epochs,
             [](const EpochStart& e) { return std::tuple(e.epoch, e.offset); }) &&
         all(a.dropped, b.dropped,
             [](const DroppedSegment& d) { return std::tuple(d.id, d.base_offset); });
}

void check(Bytes file) {
  const auto decoded = decode_manifest(file);
  if (!decoded) {
    must(decoded.error() == Errc::corrupt || decoded.error() == Errc::unsupported_format,
         "a manifest that does not decode is corrupt or of another version");
    return;
  }
  for (const SegmentMeta& segment : decoded->segments) {
    must(segment.base_offset <= segment.end_offset && segment.end_offset <= offset_max.value,
         "a segment's offsets are in order");
    must(segment.is_compacted() || segment.id < decoded->next_segment_id,
         "a segment's id was handed out, or is that of a compacted one");
    (void)segment.info();
  }

  const Buffer encoded = encode_manifest(*decoded);
  must(encoded.size() == file.size(), "encoding takes the room that it took");
  const auto again = decode_manifest(encoded);
  must(again && same(*decoded, *again), "what decodes encodes to the same meaning");

  const auto storage = make_memory_storage();
  must(store_manifest(*storage, *decoded).has_value(), "what decodes can be stored");
  const auto loaded = load_manifest(*storage);
  must(loaded && *loaded && same(*decoded, **loaded), "what was stored can be loaded");
}

}  // namespace

std::map<std::string, Buffer> fuzz::seeds() {
  std::map<std::string, Buffer> seeds;
  for (const auto& [name, image] : example_images()) {
    for (const bool reseal : {false, true}) {
      Buffer& seed = seeds["seed-" + name + (reseal ? "-resealed" : "")];
      put_number(seed, static_cast<std::uint8_t>(reseal));
      put_bytes(seed, image.manifest);
    }
  }
  return seeds;
}

}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  fuzz::Input input(fuzz::input_bytes(data, size));
  const bool reseal = input.number<std::uint8_t>() % 2 != 0;
  const Bytes rest = input.rest();
  Buffer file(rest.begin(), rest.end());
  if (reseal) fuzz::reseal_manifest(file);
  file.shrink_to_fit();
  check(file);
  return 0;
}
