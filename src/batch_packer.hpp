// BatchPacker: makes of the records of one append the body of a frame of their own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "varve/compression.hpp"
#include "varve/detail/checksum.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/format.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/try.hpp"
#include "varve/record.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::detail {

// What is made is good until the next is. One thread at a time.
class BatchPacker {
 public:
  // Batches that are smaller are not worth a frame of their own.
  static constexpr std::uint64_t native_bytes_min = 128;

  // Encodes records, whose measured sizes add up to `bytes`, and compresses them; those without a timestamp get
  // `now_ms`. False if they take no less room so. May throw std::bad_alloc. Errors: what the codec met.
  Result<bool> pack(const Compression& how, std::span<const Record> records,
                    std::span<const RecordSize> sizes, std::uint64_t bytes, std::int64_t now_ms) {
    const std::size_t native_bytes = encode(records, sizes, bytes, now_ms);
    plain_ = false;
    const Codec& codec = *how.codec;
    grow(body_, compressed_prefix_bytes + codec.compressed_bytes_max(native_bytes));
    const std::span<std::byte> out = std::span(body_).subspan(compressed_prefix_bytes);
    VARVE_TRY_ASSIGN(const std::size_t size,
                     codec.compress({native_.data(), native_bytes}, out,
                                    how.level.value_or(codec.levels().usual)));
    size_ = compressed_prefix_bytes + size;
    native_bytes_ = native_bytes;
    if (size_ + frame_header_bytes >= native_bytes) return false;
    store_compressed_prefix(
        body_.data(), {codec.id(), static_cast<std::uint32_t>(native_bytes), now_ms, newest_ms_});
    check_ = checksum(body());
    return true;
  }

  // The same without compressing them.
  void pack_plain(std::span<const Record> records, std::span<const RecordSize> sizes,
                  std::uint64_t bytes, std::int64_t now_ms) {
    native_bytes_ = encode(records, sizes, bytes, now_ms);
    stay_plain();
  }

  // Instead of what pack() made, what it was made of.
  void stay_plain() noexcept {
    plain_ = true;
    size_ = native_bytes_;
    check_ = checksum(body());
  }

  Bytes body() const noexcept { return {plain_ ? native_.data() : body_.data(), size_}; }
  bool is_plain() const noexcept { return plain_; }
  std::uint64_t check() const noexcept { return check_; }  // of the body
  std::size_t native_bytes() const noexcept { return native_bytes_; }
  std::int64_t newest_ms() const noexcept { return newest_ms_; }

  // How much memory it keeps.
  std::size_t kept_bytes() const noexcept {
    return native_.capacity() + body_.capacity() + ends_.capacity() * sizeof ends_[0];
  }

 private:
  std::size_t encode(std::span<const Record> records, std::span<const RecordSize> sizes,
                     std::uint64_t bytes, std::int64_t now_ms) {
    grow(native_, static_cast<std::size_t>(bytes + std::uint64_t{4} * records.size()));
    ends_.clear();
    ends_.reserve(records.size());
    newest_ms_ = no_time;
    std::byte* const begin = native_.data();
    std::byte* end = begin;
    for (std::size_t i = 0; i < records.size(); ++i) {
      end = encode_record(end, records[i], sizes[i], now_ms, now_ms);
      ends_.push_back(static_cast<std::uint32_t>(end - begin));
      const auto& timestamp = records[i].timestamp;
      newest_ms_ = std::max<std::int64_t>(
          newest_ms_, timestamp ? timestamp->time_since_epoch().count() : now_ms);
    }
    const std::uint64_t size = body_size(ends_.back(), ends_.size());
    for (std::size_t i = 0; i < ends_.size(); ++i) put_end(end, table_width(size), i, ends_[i]);
    return static_cast<std::size_t>(size);
  }

  // Only ever larger: making room again would fill it with zeros again.
  static void grow(std::vector<std::byte>& buffer, std::size_t bytes) {
    if (buffer.size() < bytes) buffer.resize(bytes);
  }

  std::vector<std::byte> native_;
  std::vector<std::byte> body_;
  std::vector<std::uint32_t> ends_;
  bool plain_ = false;
  std::size_t size_ = 0;  // of what was made
  std::size_t native_bytes_ = 0;
  std::uint64_t check_ = 0;
  std::int64_t newest_ms_ = no_time;
};

}  // namespace varve::inline v0::detail
