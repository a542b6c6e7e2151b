#include "exit.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

namespace varve::cli {

void complain(std::string_view message) {
  const std::string line = "varve: " + std::string(message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // unbuffered, so in one piece
}

Exit exit_for(const Error& error) {
  if (error == Errc::corrupt) return Exit::corrupt;
  if (error == Errc::locked) return Exit::locked;
  if (error == Errc::invalid_argument) return Exit::usage;
  return Exit::error;
}

Exit fail(const Error& error) {
  complain(error.message());
  return exit_for(error);
}

Exit worse(Exit a, Exit b) { return std::max(a, b); }

}  // namespace varve::cli
