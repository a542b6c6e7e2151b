// Pin::Impl: a pin's place among those of its log.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "clock.hpp"
#include "log_core.hpp"
#include "pins.hpp"
#include "varve/pin.hpp"

namespace varve::inline v0 {

struct Pin::Impl {
  // The caller holds the lock of the pins.
  Impl(std::shared_ptr<detail::LogCore> of, std::uint64_t offset)
      : core(std::move(of)), place(core->pins.add({offset, now()})) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    const auto lock = core->pins.lock();
    core->pins.remove(place);
  }

  std::int64_t now() const noexcept {
    return detail::now_ms(core->options.environment.get(), detail::Precision::exact);
  }

  std::shared_ptr<detail::LogCore> core;
  detail::Pins::Place place;
};

}  // namespace varve::inline v0
