// Examination: a log looked at from end to end, every byte verified, nothing changed. What verify, dump and
// salvage go by.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "recovery.hpp"
#include "segment_scan.hpp"
#include "varve/inspect.hpp"
#include "varve/observer.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

struct ExaminedSegment {
  SegmentMeta meta{};                   // what the manifest says, or what the file itself does
  bool extent_known = false;            // by the manifest: all up to meta.end_position was durable
  std::shared_ptr<SegmentFile> file{};  // null if there is none that could be opened
  std::uint64_t file_size = 0;
  SegmentScan scan{};
  std::vector<Damage> damage{};         // of durable records
  std::vector<Damage> torn{};           // of the rest
};

struct Examination {
  Inventory inventory{};
  Manifest manifest{};                  // rebuilt from the segments if there is none to be read
  bool manifest_rebuilt = false;
  std::vector<Damage> damage{};         // that belongs to no segment
  std::vector<ExaminedSegment> segments{};

  bool intact() const noexcept;
};

// Errors: I/O errors, Errc::unsupported_format, Errc::not_a_log. Damage is in what it returns.
Result<Examination> examine(StorageBackend& storage, const Progress& progress,
                            const std::function<bool(const ExaminedSegment&, const Frame&)>& visit);

}  // namespace varve::inline v0::detail
