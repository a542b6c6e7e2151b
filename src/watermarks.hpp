// Watermarks: how far the log reaches, how much of it is durable, and those who wait for either to move.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "event_count.hpp"

namespace varve::inline v0::detail {

struct Watermarks {
  std::atomic<std::uint64_t> start{0};
  std::atomic<std::uint64_t> end{
      0};  // stored after what it shows is in place, and its segment published
  std::atomic<std::uint64_t> durable{0};
  EventCount appended;  // end moved, or nothing will move any more
  EventCount synced;    // durable moved, a flush ended, or nothing will move any more

  // The same for appends: whom the flush in progress covers and whom the next one will take turns, so that a flush
  // wakes those whom it made durable, and of the others one, to lead.
  std::array<EventCount, 2> covered;
};

}  // namespace varve::inline v0::detail
