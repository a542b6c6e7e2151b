// A Result cannot be dropped by accident.
#include "varve/log.hpp"

void flush(varve::Log& log) {
#ifdef WITH_BUG
  log.sync();
#else
  (void)log.sync();
#endif
}
