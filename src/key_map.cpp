#define XXH_INLINE_ALL  // no link dependency
#include "key_map.hpp"

#include <algorithm>
#include <new>
#include <string>
#include <system_error>

#include <xxhash.h>

namespace varve::inline v0::detail {

Result<KeyMap> KeyMap::make(std::uint64_t bytes, std::uint64_t keys, std::uint64_t seed) {
  constexpr std::uint64_t least_slots = 16;
  const std::uint64_t needed = keys + keys / 3 + 1;
  KeyMap map;
  map.seed_ = seed;
  map.slots_count_ = static_cast<std::size_t>(
      std::max(least_slots, std::min<std::uint64_t>(bytes / slot_bytes, needed)));
  map.slots_.reset(new (std::nothrow) Slot[map.slots_count_]());
  if (!map.slots_) {
    return Error(std::make_error_code(std::errc::not_enough_memory),
                 "a map of keys of " + std::to_string(map.bytes()) + " bytes");
  }
  return map;
}

KeyMap::Slot& KeyMap::slot_of(Bytes key, std::uint64_t& low, std::uint64_t& high) const noexcept {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(key.data(), key.size(), seed_);
  low = hash.low64;
  high = hash.high64;
  for (std::size_t at = static_cast<std::size_t>(low % slots_count_);;
       at = at + 1 == slots_count_ ? 0 : at + 1) {
    Slot& slot = slots_[at];
    if (slot.behind == 0 || (slot.low == low && slot.high == high)) return slot;
  }
}

bool KeyMap::put(Bytes key, std::uint64_t offset) noexcept {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  Slot& slot = slot_of(key, low, high);
  if (slot.behind == 0) {
    if (size_ + 1 > slots_count_ * 3 / 4) return false;
    ++size_;
  }
  slot = {low, high, offset + 1};
  return true;
}

std::optional<std::uint64_t> KeyMap::find(Bytes key) const noexcept {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  const Slot& slot = slot_of(key, low, high);
  if (slot.behind == 0) return std::nullopt;
  return slot.behind - 1;
}

}  // namespace varve::inline v0::detail
