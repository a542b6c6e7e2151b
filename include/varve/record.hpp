// Record, what is appended, and RecordView, what is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

#include "varve/detail/varint.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// A named annotation that travels with a record. Names may repeat; order is kept. A value of nullopt
// is distinct from an empty one.
struct Header {
  std::string_view name{};
  std::optional<Bytes> value{};
};

// A record to append. Borrows everything it points to until append returns.
//
// Zero-length keys and values are legal and distinct from absent ones. A record with a key and no
// value is a tombstone: it says that the key is gone.
struct Record {
  std::optional<Bytes> key{};
  std::optional<Bytes> value{};
  std::span<const Header> headers{};
  std::optional<Timestamp> timestamp{};  // nullopt: the log's own time of append
};

// The headers of a record that was read: a forward range of Header, decoded while it is walked.
// Borrows from its RecordView's storage.
class HeadersView {
 public:
  class Iterator {
   public:
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = Header;
    using difference_type = std::ptrdiff_t;
    using pointer = const Header*;
    using reference = const Header&;

    Iterator() = default;
    Iterator(std::uint32_t left, Bytes encoded) : left_(left), encoded_(encoded) { decode(); }

    const Header& operator*() const noexcept { return header_; }
    const Header* operator->() const noexcept { return &header_; }
    Iterator& operator++() {
      --left_;
      decode();
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator& a, const Iterator& b) noexcept {
      return a.left_ == b.left_;
    }

   private:
    // A header is: varint length of the name, the name, varint 0 (no value) or 1 + its length, the
    // value. The bytes were checked when the record was taken from storage, so this cannot fail.
    void decode() {
      if (left_ == 0) return;
      header_.name = text(*detail::take_bytes(encoded_, *detail::take_varint(encoded_)));
      const std::uint64_t value = *detail::take_varint(encoded_);
      header_.value.reset();
      if (value != 0) header_.value = *detail::take_bytes(encoded_, value - 1);
    }

    std::uint32_t left_ = 0;
    Bytes encoded_{};
    Header header_{};
  };

  HeadersView() = default;
  HeadersView(std::uint32_t size, Bytes encoded) : size_(size), encoded_(encoded) {}

  std::uint32_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  Iterator begin() const { return {size_, encoded_}; }
  Iterator end() const { return {}; }

  // The last header of that name, as Kafka's clients read them, or nullopt.
  std::optional<Header> find(std::string_view name) const {
    std::optional<Header> found;
    for (const Header& header : *this)
      if (header.name == name) found = header;
    return found;
  }

 private:
  std::uint32_t size_ = 0;
  Bytes encoded_{};
};

// A record as the log holds it. Its bytes live in the log's own storage or, of a compressed batch, in the Reader that
// gave it: they stay valid until that moves on or is destroyed.
struct RecordView {
  Offset offset{};
  Epoch epoch{};
  Timestamp timestamp{};  // the record's own, or the time of its append
  Timestamp
      append_time{};  // when the log took it, to the precision of its frame (compaction: of its neighbours); never
                      // runs backwards
  std::optional<Bytes> key{};
  std::optional<Bytes> value{};
  HeadersView headers{};
};

}  // namespace varve::inline v0
