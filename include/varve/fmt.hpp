// Opt-in formatting of varve's types by {fmt}. The only public header that includes it; link fmt yourself.
#pragma once

#include <fmt/format.h>

#include "varve/error.hpp"
#include "varve/types.hpp"

template <>
struct fmt::formatter<varve::Offset> : fmt::formatter<std::uint64_t> {
  template <class Context>
  auto format(varve::Offset offset, Context& context) const {
    return fmt::formatter<std::uint64_t>::format(offset.value, context);
  }
};

template <>
struct fmt::formatter<varve::OffsetRange> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(varve::OffsetRange range, Context& context) const {
    return fmt::format_to(context.out(), "[{}, {})", range.begin.value, range.end.value);
  }
};

template <>
struct fmt::formatter<varve::Position> : fmt::formatter<std::uint64_t> {
  template <class Context>
  auto format(varve::Position position, Context& context) const {
    return fmt::formatter<std::uint64_t>::format(position.value, context);
  }
};

template <>
struct fmt::formatter<varve::Epoch> : fmt::formatter<std::uint32_t> {
  template <class Context>
  auto format(varve::Epoch epoch, Context& context) const {
    return fmt::formatter<std::uint32_t>::format(epoch.value, context);
  }
};

template <>
struct fmt::formatter<varve::Error> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const varve::Error& error, Context& context) const {
    return fmt::formatter<std::string>::format(error.message(), context);
  }
};
