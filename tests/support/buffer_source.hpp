// BufferSource: a buffer to read frames from.
#pragma once

#include <cstddef>
#include <cstdint>

#include "varve/detail/store.hpp"

namespace varve::test {

class BufferSource final : public detail::ByteSource {
 public:
  // Borrows the bytes.
  explicit BufferSource(Bytes buffer) : buffer_(buffer) {}
  Result<Bytes> at(Position position, std::uint64_t) override {
    if (position.value >= buffer_.size()) return Bytes{};
    return buffer_.subspan(static_cast<std::size_t>(position.value));
  }

 private:
  Bytes buffer_;
};

}  // namespace varve::test
