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
  explicit Follower(LogCore& core) : core_(core) {}

  // Takes over what opening found: the list of segments, and where to go on. On an error nothing is
  // taken over.
  Result<void> adopt(Recovered recovered);

  // Takes in what has appeared since the last call. Any thread.
  Result<void> refresh() override;
  Result<void> refresh_structure() override;

  Epoch epoch() const;
  SegmentMeta active_meta()
      const;  // of the growing segment; it ends behind its last complete frame

 private:
  static Result<void> map_whole(const TailSegment& segment);
  void follow(TailSegment segment, std::shared_ptr<SegmentList> list);
  Result<void> catch_up();
  Result<void> walk();
  Result<bool> enter_successor();
  Result<bool> reload();
  void note_durable(const Frame& frame);
  void publish_marks() noexcept;

  LogCore& core_;
  mutable std::mutex mutex_;
  std::uint64_t generation_ = 0;  // of the manifest that was last read
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
