// The sum of two offsets means nothing; an offset and a count make an offset.
#include "varve/types.hpp"

varve::Offset end(varve::Offset begin, varve::Offset other) {
#ifdef WITH_BUG
  return begin + other;
#else
  return begin + (other - begin);
#endif
}
