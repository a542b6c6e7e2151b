// VARVE_EXPORT marks what a shared library shows; everything else is built with hidden visibility.
#pragma once

#if defined(VARVE_SHARED) && defined(__GNUC__)
#define VARVE_EXPORT __attribute__((visibility("default")))
#else
#define VARVE_EXPORT
#endif
