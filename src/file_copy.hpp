// Copying bytes from one file to another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "varve/detail/try.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// Copies the first `size` bytes, or all there are if that is less. How many that were. Not synced. Calls
// `after_piece`, which may fail, after every megabyte.
template <class AfterPiece>
Result<std::uint64_t> copy_bytes(const StorageFile& from, StorageFile& to, std::uint64_t size,
                                 AfterPiece after_piece) {
  constexpr std::uint64_t piece_bytes = 1u << 20;
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(size, piece_bytes)));
  std::uint64_t done = 0;
  while (done < size) {
    const std::span piece(buffer.data(),
                          static_cast<std::size_t>(std::min(size - done, piece_bytes)));
    VARVE_TRY_ASSIGN(const std::size_t read, from.read_at({done}, piece));
    if (read == 0) break;
    VARVE_TRY(to.write_at({done}, Bytes(piece).first(read)));
    done += read;
    VARVE_TRY(after_piece());
  }
  return done;
}

inline Result<std::uint64_t> copy_bytes(const StorageFile& from, StorageFile& to,
                                        std::uint64_t size) {
  return copy_bytes(from, to, size, [] { return Result<void>(); });
}

}  // namespace varve::inline v0::detail
