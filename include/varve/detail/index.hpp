// Index: a sparse map of one segment, from offset to position and from time to offset. Derived from the
// frames and rebuilt from them when missing or wrong: a hint where to look, never evidence of what is there.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "varve/detail/endian.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/format.hpp"
#include "varve/detail/try.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// One frame of the segment.
struct IndexEntry {
  std::uint64_t offset = 0;    // the frame's base offset
  std::uint64_t position = 0;  // where it starts
  std::int64_t newest_ms =
      std::numeric_limits<std::int64_t>::min();  // greatest timestamp before it
};

inline constexpr std::size_t index_entry_bytes = 24;
inline constexpr std::size_t index_header_bytes = 64;

// The last entry that is not above the wanted one, by binary search; nullopt before the first.
template <class Entries, class Above>
std::optional<IndexEntry> last_not_above(const Entries& entries, std::size_t size, Above above) {
  std::size_t low = 0;
  std::size_t high = size;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (above(entries(middle)))
      high = middle;
    else
      low = middle + 1;
  }
  if (low == 0) return std::nullopt;
  return entries(low - 1);
}

// Offsets grow about evenly, so the place can be guessed: that touches two cache lines, where halving the whole
// would touch ten.
template <class Entries>
std::optional<IndexEntry> find_offset(const Entries& entries, std::size_t size, Offset offset) {
  const auto above = [&](std::size_t i) { return entries(i).offset > offset.value; };
  if (size == 0 || above(0)) return std::nullopt;
  const std::uint64_t first = entries(0).offset;
  const std::uint64_t span = entries(size - 1).offset - first;
  const double share =
      span == 0 ? 0 : static_cast<double>(offset.value - first) / static_cast<double>(span);
  const auto last = static_cast<double>(size - 1);
  // Brackets the place by ever larger steps from the guess: low is not above, high is.
  std::size_t low = static_cast<std::size_t>(std::min(share * last, last));
  std::size_t high = low + 1;
  for (std::size_t step = 1; above(low); step *= 2) {
    high = low;
    low = low > step ? low - step : 0;
  }
  for (std::size_t step = 1; high < size && !above(high); step *= 2) {
    low = high;
    high += step;
  }
  high = std::min(high, size);
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (above(middle) ? high : low) = middle;
  }
  return entries(low);
}

template <class Entries>
std::optional<IndexEntry> find_position(const Entries& entries, std::size_t size,
                                        Position position) {
  return last_not_above(entries, size,
                        [&](const IndexEntry& entry) { return entry.position > position.value; });
}

// The last entry before which no record is as young as `time`: the first that is comes at or after it.
template <class Entries>
std::optional<IndexEntry> find_time(const Entries& entries, std::size_t size, Timestamp time) {
  return last_not_above(entries, size, [&](const IndexEntry& entry) {
    return entry.newest_ms >= time.time_since_epoch().count();
  });
}

// The index of a segment that is being written. One thread adds, any number look up meanwhile.
class GrowingIndex {
 public:
  explicit GrowingIndex(std::uint32_t interval_bytes) : interval_(interval_bytes) {}
  GrowingIndex(const GrowingIndex&) = delete;
  GrowingIndex& operator=(const GrowingIndex&) = delete;
  ~GrowingIndex() {
    for (auto& chunk : chunks_) delete chunk.load(std::memory_order_relaxed);
  }

  // Adds the frame if it is far enough from the last one added. Memory for it may be missing: then it is
  // left out, which costs a lookup some time and nothing else.
  void add(const IndexEntry& entry) noexcept {
    const std::size_t size = size_.load(std::memory_order_relaxed);
    if (size > 0 && entry.position - last_position_ < interval_) return;
    if (size == chunk_entries * chunks_max) return;
    auto& slot = chunks_[size / chunk_entries];
    Chunk* chunk = slot.load(std::memory_order_relaxed);
    if (chunk == nullptr) {
      chunk = new (std::nothrow) Chunk;
      if (chunk == nullptr) return;
      slot.store(chunk, std::memory_order_relaxed);
    }
    chunk->entries[size % chunk_entries] = entry;
    last_position_ = entry.position;
    size_.store(size + 1, std::memory_order_release);
  }

  std::size_t size() const noexcept { return size_.load(std::memory_order_acquire); }
  IndexEntry operator()(std::size_t i) const noexcept {
    return chunks_[i / chunk_entries].load(std::memory_order_relaxed)->entries[i % chunk_entries];
  }

  std::optional<IndexEntry> find(Offset offset) const { return find_offset(*this, size(), offset); }
  std::optional<IndexEntry> find(Timestamp time) const { return find_time(*this, size(), time); }
  std::optional<IndexEntry> find(Position position) const {
    return find_position(*this, size(), position);
  }

 private:
  static constexpr std::size_t chunk_entries = 512;
  static constexpr std::size_t chunks_max = segment_bytes_limit / 1024 / chunk_entries;
  struct Chunk {
    IndexEntry entries[chunk_entries];
  };

  std::uint32_t interval_;
  std::uint64_t last_position_ = 0;
  std::atomic<std::size_t> size_{0};
  std::unique_ptr<std::atomic<Chunk*>[]> owned_ =
      std::make_unique<std::atomic<Chunk*>[]>(chunks_max);
  std::span<std::atomic<Chunk*>> chunks_{owned_.get(), chunks_max};
};

// ---- the .idx file -----------------------------------------------------------------------------
//
//   0 u64 magic   8 u32 version   12 u32 entries   16 u128 log id   32 u64 segment id
//  40 u64 the segment's end position   48 u64 zero
//  56 u64 XXH3 of bytes [0, 56), with the XXH3 of the entries as its seed
//  64 entries: u64 offset, u64 position, i64 greatest timestamp before it

struct IndexIdentity {
  LogId log{};
  std::uint64_t segment = 0;
  std::uint64_t end_position = 0;
};

inline std::uint64_t index_check(Bytes file) noexcept {
  return checksum(file.first(56), checksum(file.subspan(index_header_bytes)));
}

inline std::vector<std::byte> encode_index(const GrowingIndex& index, const IndexIdentity& of) {
  const std::size_t size = index.size();
  std::vector<std::byte> file(index_header_bytes + size * index_entry_bytes);
  std::byte* at = file.data();
  store_le(at, index_magic);
  store_le(at + 8, format_version);
  store_le(at + 12, static_cast<std::uint32_t>(size));
  store_le(at + 16, of.log.low);
  store_le(at + 24, of.log.high);
  store_le(at + 32, of.segment);
  store_le(at + 40, of.end_position);
  for (std::size_t i = 0; i < size; ++i) {
    const IndexEntry entry = index(i);
    std::byte* to = at + index_header_bytes + i * index_entry_bytes;
    store_le(to, entry.offset);
    store_le(to + 8, entry.position);
    store_le(to + 16, entry.newest_ms);
  }
  store_le(at + 56, index_check(file));
  return file;
}

// Writes a segment's .idx. Not synced: it carries its own check, and a torn one is rebuilt.
inline Result<void> store_index(StorageBackend& storage, const GrowingIndex& index, Offset base,
                                const IndexIdentity& of) {
  const auto bytes = encode_index(index, of);
  const std::string new_name = offset_name(base, index_new_suffix);
  VARVE_TRY_ASSIGN(auto file, storage.open(new_name, OpenMode::create));
  VARVE_TRY(file->write_at({0}, bytes));
  return storage.rename(new_name, index_name(base));
}

// The index of a sealed segment, read from its file through a mapping: it costs page cache, no memory.
class SealedIndex {
 public:
  // Nullptr if the file is missing, damaged, or of another segment: then it is to be rebuilt.
  static std::shared_ptr<const SealedIndex> load(StorageBackend& storage, std::string_view name,
                                                 const IndexIdentity& of) {
    auto file = storage.open(name, OpenMode::read);
    if (!file) return nullptr;
    const auto size = (*file)->size();
    if (!size || *size < index_header_bytes || *size > std::numeric_limits<std::uint32_t>::max())
      return nullptr;
    auto mapping = (*file)->map(static_cast<std::size_t>(*size), MapMode::read);
    if (!mapping || (*mapping)->size() < *size) return nullptr;
    if (!(*mapping)->populate({0}, {*size})) return nullptr;
    auto index = std::make_shared<SealedIndex>();
    index->mapping_ = *std::move(mapping);
    return index->check(static_cast<std::size_t>(*size), of) ? index : nullptr;
  }

  std::size_t size() const noexcept { return size_; }
  IndexEntry operator()(std::size_t i) const noexcept {
    const std::byte* at = mapping_->data() + index_header_bytes + i * index_entry_bytes;
    return {load_le<std::uint64_t>(at), load_le<std::uint64_t>(at + 8),
            load_le<std::int64_t>(at + 16)};
  }

  std::optional<IndexEntry> find(Offset offset) const { return find_offset(*this, size_, offset); }
  std::optional<IndexEntry> find(Timestamp time) const { return find_time(*this, size_, time); }

 private:
  bool check(std::size_t file_size, const IndexIdentity& of) {
    const std::byte* at = mapping_->data();
    size_ = load_le<std::uint32_t>(at + 12);
    if (load_le<std::uint64_t>(at) != index_magic ||
        load_le<std::uint32_t>(at + 8) != format_version ||
        file_size != index_header_bytes + size_ * index_entry_bytes ||
        load_le<std::uint64_t>(at + 16) != of.log.low ||
        load_le<std::uint64_t>(at + 24) != of.log.high ||
        load_le<std::uint64_t>(at + 32) != of.segment ||
        load_le<std::uint64_t>(at + 40) != of.end_position)
      return false;
    return index_check({at, file_size}) == load_le<std::uint64_t>(at + 56) && !mapping_->faulted();
  }

  std::unique_ptr<StorageMapping> mapping_;
  std::size_t size_ = 0;
};

}  // namespace varve::inline v0::detail
