// Failures of the operating system as varve tells them.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "varve/error.hpp"

namespace varve::inline v0::detail {

// An errno in its generic category, but for those that all mean Errc::no_space, which keep the
// system's own words in the context.
inline Error system_error(int errno_value, std::string context) {
  const std::error_code code(errno_value, std::generic_category());
  if (errno_value != ENOSPC && errno_value != EDQUOT && errno_value != EFBIG) {
    return {code, std::move(context)};
  }
  if (!context.empty()) context += ": ";
  context += code.message();
  return {Errc::no_space, std::move(context)};
}

inline bool is_missing(const Error& error) noexcept {
  return error.code() == std::errc::no_such_file_or_directory;
}

// Whether an operation failed for want of something that may be there again later, having changed nothing.
inline bool is_transient(const Error& error) noexcept {
  return error == Errc::no_space || error.code() == std::errc::too_many_files_open ||
         error.code() == std::errc::too_many_files_open_in_system ||
         error.code() == std::errc::not_enough_memory;
}

}  // namespace varve::inline v0::detail
