// Sums over segments.
#pragma once

#include <cstdint>
#include <vector>

#include "varve/observer.hpp"

namespace varve::cli {

inline std::uint64_t bytes_of(const std::vector<SegmentInfo>& segments) {
  std::uint64_t bytes = 0;
  for (const SegmentInfo& segment : segments) bytes += segment.bytes;
  return bytes;
}

}  // namespace varve::cli
