// XXH3 for the vector units that a processor may have beyond those that the library is built for.
//
// Nothing but plain functions: what is compiled for such a unit must hold no inline function that the rest
// of the program might be given instead of its own.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
extern "C" uint64_t varve_checksum_avx2(const void* bytes, size_t size);
extern "C" uint64_t varve_checksum_avx512(const void* bytes, size_t size);
#endif
