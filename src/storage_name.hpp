// Which names a storage takes.
#pragma once

#include <string>
#include <string_view>

#include "varve/result.hpp"

namespace varve::inline v0::detail {

// Names are plain, so that no name leads out of the folder.
inline Result<void> check_storage_name(std::string_view folder, std::string_view name) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find('/') == std::string_view::npos &&
                     name.find('\0') == std::string_view::npos;
  if (plain) return {};
  return Error(Errc::invalid_argument,
               std::string(folder) + ": not the name of a file: '" + std::string(name) + "'");
}

}  // namespace varve::inline v0::detail
