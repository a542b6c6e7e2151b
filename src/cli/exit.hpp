// How the command ends, and how it complains.
#pragma once

#include <string_view>

#include "varve/error.hpp"

namespace varve::cli {

// The documented exit codes.
enum class Exit : int {
  ok = 0,
  usage = 2,    // the command line makes no sense
  error = 3,    // I/O, or anything else that is not below
  corrupt = 4,  // durable records are damaged or missing
  locked = 5,   // somebody else has the log open for writing
};

// Writes "varve: <message>" to standard error.
void complain(std::string_view message);

Exit exit_for(const Error& error);

// Complains about the error and says how to end because of it.
Exit fail(const Error& error);

// The graver of two ways to end.
Exit worse(Exit a, Exit b);

}  // namespace varve::cli
