// Result<T>: a value or an Error. A strict subset of std::expected<T, Error> of C++23.
#pragma once

#include <cstdlib>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "varve/error.hpp"

namespace varve::inline v0 {
namespace detail {

// Exceptions are one of two ways to hear of an error; without them value() has no other way out
// than to stop, as std::expected has it.
[[noreturn]] inline void throw_error([[maybe_unused]] const Error& error) {
#if defined(__cpp_exceptions)
  throw Exception(error);
#else
  std::abort();
#endif
}

}  // namespace detail

// Either a T or the Error that took its place.
//
// Test it, then use `*result`; or call value(), which throws varve::Exception when there is none
// (and aborts in a program built with -fno-exceptions). Reading `*result` of an error, or error() of
// a value, is undefined, as for std::expected.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  using error_type = Error;

  template <class U = T>
  requires(std::is_constructible_v<T, U&&> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, Error> &&
           !std::is_same_v<std::remove_cvref_t<U>, Errc>) Result(U&& value)
      : state_(std::in_place_index<0>, std::forward<U>(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  Result(Errc code) : state_(std::in_place_index<1>, code) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }

  T& value() & { return check(), **this; }
  const T& value() const& { return check(), **this; }
  T&& value() && { return check(), std::move(**this); }

  const Error& error() const noexcept { return *std::get_if<1>(&state_); }

  template <class U>
  T value_or(U&& fallback) const& {
    return has_value() ? **this : static_cast<T>(std::forward<U>(fallback));
  }
  template <class U>
  T value_or(U&& fallback) && {
    return has_value() ? std::move(**this) : static_cast<T>(std::forward<U>(fallback));
  }

  // f(T) -> Result<U>; called with the value, skipped for an error.
  template <class F>
  auto and_then(F&& f) && -> std::invoke_result_t<F, T&&> {
    if (has_value()) return std::invoke(std::forward<F>(f), std::move(**this));
    return error();
  }
  // f(Error) -> Result<T>; called with the error, skipped for a value.
  template <class F>
  Result or_else(F&& f) && {
    if (has_value()) return std::move(*this);
    return std::invoke(std::forward<F>(f), error());
  }
  // f(T) -> U, wrapped into Result<U>.
  template <class F>
  auto transform(F&& f) && -> Result<std::invoke_result_t<F, T&&>> {
    if (has_value()) return std::invoke(std::forward<F>(f), std::move(**this));
    return error();
  }

 private:
  void check() const {
    if (!has_value()) detail::throw_error(error());
  }

  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  using error_type = Error;

  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  Result(Errc code) : error_(code) {}

  bool has_value() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return has_value(); }
  void operator*() const noexcept {}
  void value() const {
    if (error_) detail::throw_error(*error_);
  }
  const Error& error() const noexcept { return *error_; }

  template <class F>
  auto and_then(F&& f) const -> std::invoke_result_t<F> {
    if (has_value()) return std::invoke(std::forward<F>(f));
    return error();
  }

 private:
  std::optional<Error> error_;
};

}  // namespace varve::inline v0
