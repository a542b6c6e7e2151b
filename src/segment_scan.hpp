// SegmentScan: everything that can be learnt of a segment from its bytes alone. Recovery, verification and
// salvage decide by it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "varve/detail/index.hpp"
#include "varve/detail/native_body.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/store.hpp"
#include "varve/observer.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::detail {

// Frames that hold compressed records.
struct CompressedFrames {
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;         // of their bodies
  std::uint64_t native_bytes = 0;  // what those were before they were compressed

  // Counts a good frame.
  void add(const Frame& frame) noexcept {
    if (!frame.header.is_compressed()) return;
    const auto prefix = parse_compressed_prefix(frame.body, frame.count);
    if (!prefix) return;  // the place of one
    ++frames;
    bytes += frame.body.size();
    native_bytes += prefix->native_bytes;
  }
};

struct SegmentScan {
  // The unbroken run of frames from the start.
  SegmentState end{};                // behind its last frame
  bool ended = false;                // that was a segment_end
  std::optional<BeginBody> begin{};  // from its first frame, if that is intact
  std::uint64_t first_sequence = 0;  // what the first frame was expected to have, or had
  std::uint32_t epoch = 0;           // the greatest of any valid frame
  std::uint64_t frames = 0;
  std::uint64_t records = 0;
  CompressedFrames compressed{};  // of all that are good, behind damage too
  bool open_frame = false;        // its last frame was left open
  SegmentState before_open{};     // where that starts
  std::string what{};             // what stands behind it, if that is not blank

  // What comes behind it.
  SegmentState far_end{};  // behind the last frame of all whose header is valid
  bool far_ended = false;
  std::uint64_t frames_behind = 0;
  std::uint64_t records_behind = 0;
  std::uint64_t bytes_behind = 0;  // up to the last one that is not zero
  std::vector<Damage> broken{};    // between valid frames, with the offsets missing there
  std::optional<std::uint64_t> first_base_behind{};  // base offset of the first valid frame there

  // Up to where the frames prove the log to have been durable: see durable_proof().
  std::optional<std::int64_t> proof{};

  bool torn() const noexcept { return bytes_behind > 0; }
};

// What a scan is asked to do besides.
struct ScanOptions {
  bool trust_start = true;  // whether `start` says what the first frame must say
  std::uint64_t stop =
      ~std::uint64_t{0};        // sealed: where the segment ends; nothing behind it counts
  bool adopt_sequence = false;  // the first frame says what its sequence number is
  bool live = false;  // a writer may be at work: look twice before calling anything broken
  GrowingIndex* index = nullptr;  // gets the frames of the unbroken run
  std::function<bool(const Frame&)>
      visit{};  // called with every frame, good or bad; false: stop here
  std::function<void(std::uint64_t)> done{};  // called now and then with the position reached
};

// Scans a segment's bytes from `start` to `size`. Errors are I/O errors and unknown formats only.
Result<SegmentScan> scan_segment(ByteSource& source, const SegmentFile& file, std::uint64_t size,
                                 const SegmentState& start, const ScanOptions& options = {});

}  // namespace varve::inline v0::detail
