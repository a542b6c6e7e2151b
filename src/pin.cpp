#include "varve/pin.hpp"

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

void Pin::move_to(Offset offset) noexcept { impl_->move_to(offset.value); }

}  // namespace varve::inline v0
