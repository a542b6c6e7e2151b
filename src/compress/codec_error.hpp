// What codecs answer when something is wrong.
#pragma once

#include <string>
#include <string_view>
#include <system_error>

#include "varve/compression.hpp"
#include "varve/error.hpp"

namespace varve::inline v0::compress {

inline Error malformed(CodecId codec, std::string_view what) {
  return {Errc::corrupt, std::string(to_text(codec)) + ": " + std::string(what)};
}

inline Error no_memory(CodecId codec) {
  return {std::make_error_code(std::errc::not_enough_memory), std::string(to_text(codec))};
}

// For what only a misused library answers.
inline Error refused(CodecId codec, std::string_view what) {
  return {Errc::invalid_argument, std::string(to_text(codec)) + ": " + std::string(what)};
}

}  // namespace varve::inline v0::compress
