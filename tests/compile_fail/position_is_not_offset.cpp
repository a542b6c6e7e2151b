// Where a byte is in a file is not the number of a record.
#include "varve/types.hpp"

varve::Offset first(varve::OffsetRange offsets, varve::Position position) {
#ifdef WITH_BUG
  (void)offsets;
  return position;
#else
  (void)position;
  return offsets.begin;
#endif
}
