// Follower: how a log that is open for reading only sees what another process appends, without a word
// between them: it walks the frames as they appear in the mapped file.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "log_core.hpp"
#include "manifest.hpp"
#include "recovery.hpp"
#include "varve/detail/segment.hpp"
#include "varve/detail/store.hpp"

namespace varve::inline v0::detail {

class Follower final : public Refresher {
 public:
  // `core` outlives the follower, which it owns.
  Follower(LogCore& core, Recovered recovered);

  // Takes in what has appeared since the last call. Any thread.
  Result<void> refresh() override;

  Epoch epoch() const;
  Position active_end() const;  // of the growing segment: behind its last complete frame

 private:
  Result<void> adopt(Recovered recovered);
  Result<void> follow(TailSegment segment);
  Result<bool> walk();
  Result<bool> enter_successor();
  Result<bool> reload();
  void publish_active();
  void note_durable(const Frame& frame);
  void publish_marks() noexcept;

  LogCore& core_;
  mutable std::mutex mutex_;
  std::uint64_t generation_ = 0;      // of the manifest that was last read
  std::uint32_t epoch_ = 0;
  LogEnd end_{};
  std::uint64_t durable_position_ = 0;

  std::shared_ptr<SegmentFile> file_{};  // of the segment that is growing; null: none yet
  SegmentMeta meta_{};
  std::shared_ptr<GrowingIndex> index_{};
  std::optional<MappedSource> source_{};
  std::optional<SegmentWalk> walk_{};
  std::chrono::steady_clock::time_point reloaded_{};
};

}  // namespace varve::inline v0::detail
