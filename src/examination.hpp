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
  SegmentMeta meta{};         // what the manifest says, or what the file itself does
  bool extent_known = false;  // by the manifest: all up to meta.end_position was durable
  bool exists = false;        // there is a file of that name
  std::optional<SegmentHeader> header{};  // nullopt: it is not a segment of this log
  std::uint64_t file_size = 0;
  SegmentScan scan{};
  std::vector<Damage> damage{};  // of durable records
  std::vector<Damage> torn{};    // of the rest

  std::string name() const { return meta.name(); }
};

struct Examination {
  Inventory inventory{};
  Manifest manifest{};  // rebuilt from the segments if there is none to be read
  bool manifest_rebuilt = false;
  std::uint64_t generation = 0;  // of the manifest that was read
  std::vector<Damage> damage{};  // that belongs to no segment
  std::vector<Damage> torn{};
  std::vector<ExaminedSegment> segments{};

  bool intact() const noexcept;
};

struct ExamineOptions {
  Progress progress{};
  // Called with every frame, good or bad, until it returns false; and once, without a frame, for a segment that
  // has none to show.
  std::function<bool(const ExaminedSegment&, const Frame*)> visit{};
  // Makes sure first that what is found is on the medium, and looks at that. Changes nothing either.
  bool settle = false;
};

// Errors: I/O errors, Errc::unsupported_format, Errc::not_a_log. Damage is in what it returns.
Result<Examination> examine(StorageBackend& storage, const ExamineOptions& options);

// Opens an examined segment's file and scans it the same way again.
Result<SegmentScan> scan_again(StorageBackend& storage, LogId log, const ExaminedSegment& segment,
                               ScanOptions options, bool medium);

}  // namespace varve::inline v0::detail
