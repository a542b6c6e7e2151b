#include "varve/pin.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "pin_impl.hpp"

namespace varve::inline v0 {

Pin::Pin(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Pin::Pin(Pin&&) noexcept = default;
Pin& Pin::operator=(Pin&&) noexcept = default;
Pin::~Pin() = default;

Offset Pin::offset() const noexcept {
  const auto lock = impl_->core->pins.lock();
  return {impl_->place->offset};
}

void Pin::move_to(Offset offset) noexcept {
  const std::int64_t moved = impl_->now();
  const auto lock = impl_->core->pins.lock();
  impl_->place->offset = std::max(impl_->place->offset, offset.value);
  impl_->place->moved_ms = moved;
}

}  // namespace varve::inline v0
