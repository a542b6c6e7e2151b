// KeyMap: the greatest offset of each key, in memory that is bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "varve/result.hpp"
#include "varve/types.hpp"

namespace varve::inline v0::detail {

// Remembers 128-bit hashes for keys: two of n keys are taken for one with a chance of about n^2 / 2^129, whatever keys
// they are, for the seed is nobody's to know. Open addressing, at most three quarters full.
class KeyMap {
 public:
  static constexpr std::size_t slot_bytes = 24;

  // A map of at most `bytes`, though of 16 slots at least, and no larger than `keys` of them need. `seed` is random.
  // Errors: ENOMEM.
  static Result<KeyMap> make(std::uint64_t bytes, std::uint64_t keys, std::uint64_t seed);

  // Notes that `key` has a record at `offset`, which is above all noted so far. False, and nothing noted, if there is
  // no room for another key.
  bool put(Bytes key, std::uint64_t offset) noexcept;

  // The offset noted last for the key.
  std::optional<std::uint64_t> find(Bytes key) const noexcept;

  std::size_t size() const noexcept { return size_; }
  std::size_t bytes() const noexcept { return slots_count_ * slot_bytes; }

 private:
  struct Slot {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    std::uint64_t behind = 0;  // the offset + 1; 0: the slot is free
  };
  static_assert(sizeof(Slot) == slot_bytes);

  Slot& slot_of(Bytes key, std::uint64_t& low, std::uint64_t& high) const noexcept;

  std::unique_ptr<Slot[]> slots_{};
  std::size_t slots_count_ = 0;
  std::size_t size_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace varve::inline v0::detail
