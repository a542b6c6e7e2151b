// Decompressing what does not say how large it gets, or cannot be believed: what clients send.
#pragma once

#include <cstddef>
#include <vector>

#include "varve/compression.hpp"
#include "varve/export.hpp"
#include "varve/result.hpp"
#include "varve/types.hpp"

namespace varve::inline v0::compress {

// Decompresses `in` to at most `bytes_max` bytes. Never allocates more than that for it, whatever `in` says of itself,
// and no more than some times what it turns out to be.
//
// Errors: Errc::corrupt (not what the codec makes), Errc::batch_too_large (more than `bytes_max`), the system's.
VARVE_EXPORT Result<std::vector<std::byte>> decompress(const Codec& codec, Bytes in,
                                                       std::size_t bytes_max);

}  // namespace varve::inline v0::compress
