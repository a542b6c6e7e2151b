// Looking at a log as it stands on disk: verify everything, or walk its frames.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "varve/compression.hpp"
#include "varve/export.hpp"
#include "varve/observer.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

struct VerifyReport {
  std::uint64_t segments = 0;
  std::uint64_t frames = 0;
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;
  std::uint64_t frames_compressed = 0;
  std::uint64_t bytes_before_compression = 0;  // of those frames' records,
  std::uint64_t bytes_after_compression = 0;   // and what they take
  OffsetRange offsets{};                       // what the log holds
  std::vector<Damage> damage{};  // durable records that are damaged, files that are missing
  std::vector<Damage> torn{};    // an unsynced tail; the next open for append will drop it
  std::vector<std::string> stale_indexes{};  // to be rebuilt; harmless
  std::vector<std::string> unknown_files{};  // not varve's

  bool intact() const noexcept { return damage.empty(); }
};

// Reads every byte of the log and checks it, without changing anything; beside a writer too. Compressed records are
// checked as they are stored, so no codec is needed. Damage is reported, not returned as an error; errors are for what could not be read at all (no log, I/O).
VARVE_EXPORT Result<VerifyReport> verify(StorageBackend& storage, const Progress& progress = {});

// A frame, the unit of what is written and checked, as found in a file.
struct FrameInfo {
  enum class State : std::uint8_t { sealed, open, damaged };

  std::string file{};
  Position position{};
  State state = State::sealed;
  std::string what{};  // of a damaged one: what is wrong
  std::uint8_t version = 0;
  std::uint8_t flags = 0;
  std::string kind{};  // "records", "segment begin", "segment end", "gap"
  std::uint32_t body_bytes = 0;
  std::uint32_t records = 0;
  std::optional<CodecId> codec{};              // if the records are compressed
  std::uint32_t bytes_before_compression = 0;  // the body's size before that
  Offset base_offset{};
  Offset end_offset{};  // behind the last one that it covers
  std::uint64_t sequence = 0;
  Timestamp append_time{};
  Epoch epoch{};
  std::uint32_t sync_lag = 0;
  std::uint32_t header_check = 0;
  std::uint64_t body_check = 0;
};

// Calls `visit` with every frame of the log, oldest first, until it returns false. Beside a writer too.
VARVE_EXPORT Result<void> dump(StorageBackend& storage,
                               const std::function<bool(const FrameInfo&)>& visit);

}  // namespace varve::inline v0
