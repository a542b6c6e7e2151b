// The sparse index of a segment of 64 MiB: adding a frame, finding one.
#include <varve/detail/index.hpp>

#include "support/sample.hpp"

namespace {

using namespace bench;
namespace detail = varve::detail;

constexpr std::uint64_t entries = 16'384;
constexpr std::uint64_t frame_bytes = 4096;
constexpr std::uint64_t frame_records = 37;

void fill(detail::GrowingIndex& index) {
  for (std::uint64_t i = 0; i < entries; ++i)
    index.add({.offset = i * frame_records, .position = i * frame_bytes});
}

void grow(Sample& sample) {
  const std::uint64_t indexes = scaled(300);
  sample.time(indexes * entries, [&] {
    for (std::uint64_t i = 0; i < indexes; ++i) {
      detail::GrowingIndex index(frame_bytes);
      fill(index);
      require(index.size() == entries, "entries are missing");
    }
  });
}

void find(Sample& sample) {
  detail::GrowingIndex index(frame_bytes);
  fill(index);
  const std::uint64_t finds = scaled(2'000'000);
  std::uint64_t wanted = 0;
  sample.time(finds, [&] {
    for (std::uint64_t i = 0; i < finds; ++i) {
      wanted = (wanted + 0x9E3779B97F4A7C15) % (entries * frame_records);
      const auto entry = index.find(varve::Offset{wanted});
      require(entry && entry->offset == wanted / frame_records * frame_records, "wrong entry");
    }
  });
}

const Registration samples([] {
  add("index/add", grow);
  add("index/find", find);
});

}  // namespace
