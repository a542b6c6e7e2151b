// Frames and records: any bytes, taken as numbers, a record, a body, a file of frames. What decodes lies within the
// bytes and means the same when encoded again.
//
// With the first byte odd the checks of all frames are made to fit the bytes (bugs in a writer, not rot): else none
// of it gets further than those.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "batch_packer.hpp"
#include "fuzz/fuzz.hpp"
#include "fuzz/log_image.hpp"
#include "support/run_codec.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/store.hpp"
#include "varve/detail/varint.hpp"

namespace varve {
namespace {

using namespace detail;
using fuzz::Buffer;
using fuzz::must;

constexpr std::uint64_t salt = 0x5A17;

bool within(Bytes inner, Bytes outer) {
  return inner.empty() || (inner.data() >= outer.data() &&
                           inner.data() + inner.size() <= outer.data() + outer.size());
}

bool equal(const std::optional<Bytes>& a, const std::optional<Bytes>& b) {
  return a.has_value() == b.has_value() && (!a || text(*a) == text(*b));
}

bool equal(const RecordView& a, const RecordView& b) {
  return a.timestamp == b.timestamp && equal(a.key, b.key) && equal(a.value, b.value) &&
         std::equal(a.headers.begin(), a.headers.end(), b.headers.begin(), b.headers.end(),
                    [](const Header& one, const Header& other) {
                      return one.name == other.name && equal(one.value, other.value);
                    });
}

void check_numbers(Bytes bytes) {
  Bytes left = bytes;
  while (const auto value = take_varint(left)) {
    const std::size_t taken = bytes.size() - left.size();
    must(taken >= 1 && taken <= varint_bytes_max, "a number has one to ten bytes");
    std::byte again[varint_bytes_max];
    const auto size = static_cast<std::size_t>(put_varint(again, *value) - again);
    must(size == varint_size(*value) && size <= taken, "no form of a number is shorter");
    Bytes encoded(again, size);
    must(take_varint(encoded) == value && encoded.empty(), "a number survives");
    must(zigzag(unzigzag(*value)) == *value, "a sign survives");
    bytes = left;
  }
}

void check_record(const RecordView& decoded, std::int64_t frame_time_ms) {
  std::vector<Header> headers(decoded.headers.begin(), decoded.headers.end());
  must(headers.size() == decoded.headers.size(), "there are as many headers as are told");
  Record record;
  record.key = decoded.key;
  record.value = decoded.value;
  record.headers = headers;
  record.timestamp = decoded.timestamp;
  const RecordSize size = measure(record);
  const auto room = std::make_unique<std::byte[]>(static_cast<std::size_t>(size.total));
  const std::byte* end = encode_record(room.get(), record, size, frame_time_ms, 0);
  Bytes left(room.get(), static_cast<std::size_t>(end - room.get()));
  must(left.size() <= size.total, "a record is no longer than was measured");
  RecordView again;
  must(decode_record(left, frame_time_ms, again) && left.empty(), "what was encoded decodes");
  must(equal(decoded, again), "a record survives");
}

// Returns how many records there are in a row.
std::uint32_t check_records(Bytes bytes, std::int64_t frame_time_ms) {
  Bytes left = bytes;
  RecordView record;
  std::uint32_t count = 0;
  for (Bytes before = left; decode_record(left, frame_time_ms, record); before = left, ++count) {
    must(left.size() < before.size() && within(left, bytes), "a record takes bytes off the front");
    must(!record.key || within(*record.key, before), "a key lies within the bytes");
    must(!record.value || within(*record.value, before), "a value lies within the bytes");
    for (const Header& header : record.headers) {
      must(within(varve::bytes(header.name), before), "a header lies within the bytes");
      must(!header.value || within(*header.value, before), "a header lies within the bytes");
    }
    check_record(record, frame_time_ms);

    // Alone it is the same record: nothing depends on what comes behind it.
    const std::size_t size = before.size() - left.size();
    const auto copy = std::make_unique<std::byte[]>(size);
    std::copy_n(before.begin(), size, copy.get());
    Bytes alone(copy.get(), size);
    RecordView same;
    must(decode_record(alone, frame_time_ms, same) && alone.empty() && equal(record, same),
         "a record ends where it ends");
  }
  return count;
}

void check_body(Bytes bytes, std::uint32_t count) {
  const auto body = Body::parse(bytes, count);
  if (!body) return;
  must(body->count() == count && within(body->records(), bytes), "a body lies within the bytes");
  const std::uint32_t step = std::max(1u, count / 16);
  for (std::uint32_t i = 0; i < count; i += step) {
    const auto from = body->from(i);
    if (from) check_records(*from, 0);
  }
}

// Writes the records of a frame anew, as a segment's only ones.
void check_rewriting(const Frame& frame, Bytes records) {
  const auto room_bytes = static_cast<std::size_t>(
      2 * std::uint64_t{frame_header_bytes} + align_frame(body_size(records.size(), frame.count)));
  Buffer room(room_bytes);
  StoreWriter writer(room.data(), salt, {0});
  writer.open({frame.header.base_offset, frame.header.sequence, frame.header.append_time_ms,
               frame.header.epoch, 0},
              sync_lag_unknown);
  RecordView ignored;
  for (Bytes left = records; !left.empty();) {
    const Bytes before = left;
    if (!decode_record(left, 0, ignored)) break;
    writer.reserve(1);
    writer.add(put_bytes(writer.tail(), before.first(before.size() - left.size())), true);
  }
  must(writer.open_count() == frame.count, "all records can be written anew");
  writer.publish();
  test::BufferSource source(room);
  const FrameReader reader(source, salt);
  const auto open = reader.read({0});
  must(open && open->state == FrameState::open && open->count == frame.count &&
           text(open->body) == text(records),
       "an open frame reads back");
  writer.seal(sync_lag_unknown);
  const auto sealed = reader.read({0});
  must(sealed && sealed->state == FrameState::sealed && sealed->count == frame.count &&
           sealed->header.base_offset == frame.header.base_offset,
       "a sealed frame reads back");
  const auto body = Body::parse(sealed->body, sealed->count);
  must(body && text(body->records()) == text(records), "with its records");
}

// A body that only its codec can look into: whatever that makes of it is a body like another, or told.
void check_compressed(const Frame& frame) {
  const std::array<std::shared_ptr<const Codec>, 1> codecs{
      test::run_codec(static_cast<CodecId>(frame.body.empty() ? std::byte{1} : frame.body[0]))};
  std::vector<std::byte> scratch;
  const auto native = native_body(frame, "file", codecs, scratch);
  if (!native) {
    must(native.error() == Errc::corrupt, "what cannot be decompressed is damage");
    return;
  }
  check_body(native->bytes, frame.count);
  must(!native_body(frame, "file", {}, scratch), "nothing is decompressed without a codec");
}

void reseal(std::span<std::byte> file) {
  for (std::size_t at = 0; at + frame_header_bytes <= file.size();) {
    const FrameHeader header = load_frame_header(file.data() + at);
    fuzz::reseal_frame(file.subspan(at), header, salt, {at});
    const std::uint64_t size = header.frame_bytes();
    at += size <= file.size() - at ? static_cast<std::size_t>(size) : frame_alignment;
  }
}

void check_frames(Bytes file) {
  test::BufferSource source(file);
  const FrameReader frames(source, salt);
  SegmentState state;
  state.position = {0};
  if (file.size() >= frame_header_bytes) {
    const FrameHeader first = load_frame_header(file.data());
    state.next_offset = first.base_offset;
    state.next_sequence = first.sequence;
  }
  SegmentWalk walk(frames, state);
  while (!walk.ended()) {
    const Position at = walk.state().position;
    const auto frame = walk.read();
    if (!frame) {
      must(frame.error() == Errc::unsupported_format, "only another version stops a walk");
      break;
    }
    if (!frame->good()) break;
    must(within(frame->body, file), "a frame lies within the file");
    if (frame->header.is_compressed()) {
      check_compressed(*frame);
    } else if (!frame->header.is_control() && frame->count > 0) {
      Bytes records = frame->body;
      if (frame->state == FrameState::sealed) {
        if (!frame->header.is_compacted()) check_body(frame->body, frame->count);
        const auto parsed = FrameRecords::parse(*frame).value();
        records = parsed.records();
        must(within(records, frame->body), "a frame's records lie within it");
        for (std::uint32_t i = 0; i < frame->count; ++i) {
          const std::uint64_t offset = parsed.offset_of(i);
          must(offset >= frame->header.base_offset && offset < frame->end_offset(),
               "a record's offset is one that its frame covers");
          must(parsed.first_from(offset) == i, "and leads to the record");
        }
      }
      must(check_records(records, frame->header.append_time_ms) == frame->count,
           "a frame has as many records as it tells");
      check_rewriting(*frame, records);
    }
    walk.accept(*frame);
    must(walk.state().position > at, "a walk goes on");
  }
  for (Position from{0};;) {
    const auto found = frames.probe(from, {file.size()});
    if (!found || !*found) break;
    must((**found).position >= from, "a search goes on");
    from = (**found).position + frame_alignment;
  }
}

// Two records, compressed.
Buffer compressed_frame() {
  const std::string value(200, 'v');
  std::vector<Record> records(2);
  std::vector<RecordSize> sizes;
  std::uint64_t bytes = 0;
  for (Record& record : records) {
    record.value = varve::bytes(value);
    bytes += sizes.emplace_back(measure(record)).total;
  }
  BatchPacker packer;
  must(packer.pack({test::run_codec()}, records, sizes, bytes, 42).value(), "it gets smaller");
  Buffer room(1024);
  StoreWriter writer(room.data(), salt, {0});
  writer.write({7, 3, 43, 1, flag_compressed}, packer.body(), 2, sync_lag_unknown);
  room.resize(static_cast<std::size_t>(writer.position().value));
  return room;
}

}  // namespace

std::map<std::string, Buffer> fuzz::seeds() {
  std::map<std::string, Buffer> seeds;
  for (const auto& [name, image] : example_images()) {
    Buffer& seed = seeds["seed-" + name];
    put_number(seed, std::uint8_t{1});
    put_number(seed, std::uint32_t{2});
    const Buffer& packed = image.segments[0];
    const Bytes frames = Bytes(packed).subspan(LogImage::frames_at);
    // The frame behind segment_begin stands first, so that its body is also tried as one.
    put_bytes(seed, frames.subspan(std::min<std::size_t>(begin_frame_bytes, frames.size())));
  }
  Buffer& seed = seeds["seed-compressed"];
  put_number(seed, std::uint8_t{1});
  put_number(seed, std::uint32_t{2});
  put_bytes(seed, compressed_frame());
  return seeds;
}

}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  fuzz::Input input(fuzz::input_bytes(data, size));
  const bool resealed = input.number<std::uint8_t>() % 2 != 0;
  const auto count = input.number<std::uint32_t>();
  const Bytes bytes = input.rest();
  check_numbers(bytes);
  check_records(bytes, static_cast<std::int64_t>(count) << 31);
  check_body(bytes, count);
  if (bytes.size() > detail::frame_header_bytes)
    check_body(bytes.subspan(detail::frame_header_bytes), count);

  // To the byte, and where words are aligned.
  const auto file = std::make_unique<std::byte[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), file.get());
  if (resealed) reseal({file.get(), bytes.size()});
  check_frames({file.get(), bytes.size()});
  return 0;
}
