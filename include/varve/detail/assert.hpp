// VARVE_ASSERT: states what the code around it has made true. A violation is a bug in varve, never bad input.
#pragma once

#include <cassert>

#define VARVE_ASSERT(condition) assert(condition)
