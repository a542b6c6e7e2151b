// The pieces that appending and reading a record are made of.
#include <vector>

#include <varve/detail/checksum.hpp>
#include <varve/detail/codec.hpp>

#include "support/files.hpp"
#include "support/payload.hpp"

namespace {

using namespace bench;
namespace detail = varve::detail;

// Runs piece(i) so often that one sample is some tens of milliseconds.
template <class Piece>
void repeat(Sample& sample, std::uint64_t count, Piece&& piece) {
  sample.time(count, [&] {
    for (std::uint64_t i = 0; i < count; ++i) piece(i);
  });
}

constexpr std::size_t frame_records = 37;  // of 100 bytes, in some 4 KiB

void encode(Sample& sample) {
  const Payload payload(100);
  std::vector<std::byte> frame(8192);
  std::byte* out = frame.data();
  repeat(sample, scaled(20'000'000), [&](std::uint64_t i) {
    if (i % frame_records == 0) out = frame.data();
    const varve::Record record{.value = varve::bytes(payload(i))};
    out = detail::encode_record(out, record, detail::measure(record), 0, 0);
    benchmark::ClobberMemory();
  });
  require(static_cast<std::size_t>(out - frame.data()) <= frame.size(), "encoded too much");
}

void decode(Sample& sample) {
  const Payload payload(100);
  std::vector<std::byte> frame(8192);
  std::byte* end = frame.data();
  for (std::size_t i = 0; i < frame_records; ++i) {
    const varve::Record record{.value = varve::bytes(payload(i))};
    end = detail::encode_record(end, record, detail::measure(record), 0, 0);
  }
  const varve::Bytes encoded(frame.data(), static_cast<std::size_t>(end - frame.data()));
  varve::Bytes rest;
  varve::RecordView view;
  repeat(sample, scaled(20'000'000), [&](std::uint64_t i) {
    if (i % frame_records == 0) rest = encoded;
    require(detail::decode_record(rest, 0, view), "not decoded");
    payload.check(i % frame_records, varve::text(*view.value));
  });
}

void check(Sample& sample, std::size_t bytes) {
  const AlignedBuffer buffer(bytes);
  std::uint64_t sum = 0;
  repeat(sample, scaled((std::uint64_t{2} << 30) / (bytes + 64)), [&](std::uint64_t) {
    sum += detail::checksum({buffer.data(), bytes});
  });
  benchmark::DoNotOptimize(sum);
}

const Registration samples([] {
  add("codec/encode", encode);
  add("codec/decode", decode);
  add("codec/checksum/100", [](Sample& sample) { check(sample, 100); });
  add("codec/checksum/4096", [](Sample& sample) { check(sample, 4096); });
});

}  // namespace
