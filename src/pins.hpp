// Pins: what retention must leave alone, and since when.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>

#include "retention.hpp"
#include "varve/options.hpp"

namespace varve::inline v0::detail {

class Pins {
 public:
  struct One {
    std::uint64_t offset = 0;
    std::int64_t moved_ms = 0;  // when it was made or moved last
  };
  using Place = std::list<One>::iterator;

  // Held by whoever changes the pins, or the log's start by what they allow.
  std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  // All under lock().
  Place add(One one) { return pins_.insert(pins_.end(), one); }
  void remove(Place place) noexcept { pins_.erase(place); }

  // The lowest offset pinned by any that is not older than it may be.
  std::optional<std::uint64_t> lowest(const Retention& retention,
                                      std::int64_t now_ms) const noexcept {
    std::optional<std::uint64_t> found;
    for (const One& one : pins_) {
      const bool ages = retention.pin_age > retention.pin_age.zero();
      if (ages && age_at(now_ms, one.moved_ms) >= retention.pin_age) continue;
      found = std::min(found.value_or(one.offset), one.offset);
    }
    return found;
  }

 private:
  std::mutex mutex_;
  std::list<One> pins_;
};

}  // namespace varve::inline v0::detail
