// SegmentSet: the log's segments as readers see them, and the files of those that are being read.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "varve/detail/index.hpp"
#include "varve/detail/segment.hpp"
#include "varve/options.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// The segment at the log's end, which is still growing.
struct ActiveView {
  std::shared_ptr<const SegmentFile> file{};
  std::shared_ptr<const GrowingIndex> index{};
  std::uint64_t id = 0;
  std::uint64_t base_offset = 0;
};

// An immutable list: sealed segments in order, then the active one, if there is one.
struct SegmentList {
  std::vector<SegmentMeta> sealed{};
  std::shared_ptr<const ActiveView> active{};

  // The sealed segment that holds the offset, or nullptr.
  const SegmentMeta* find(std::uint64_t offset) const noexcept;
};

// A sealed segment, opened for reading.
struct OpenSegment {
  std::shared_ptr<const SegmentFile> file{};
  std::shared_ptr<const SealedIndex> index{};
  std::shared_ptr<const GrowingIndex> rebuilt{};  // in its place, if that is missing or damaged

  template <class Key>
  std::optional<IndexEntry> find(Key key) const {
    return index ? index->find(key) : rebuilt->find(key);
  }
};

class SegmentSet {
 public:
  SegmentSet(std::shared_ptr<StorageBackend> storage, LogId log, std::uint32_t index_interval)
      : storage_(std::move(storage)), log_(log), index_interval_(index_interval) {}

  // Goes up with every publish(); cheap to poll.
  std::uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }
  std::shared_ptr<const SegmentList> list() const;
  void publish(std::shared_ptr<const SegmentList> list) noexcept;

  // A change of the list in the making: nobody else changes it meanwhile, and publishing cannot fail.
  struct Draft {
    std::unique_lock<std::mutex> lock{};
    std::shared_ptr<SegmentList> list{};  // a copy with room for one more
  };
  Draft draft();
  void publish(Draft draft) noexcept { publish(std::move(draft.list)); }

  // Opens a sealed segment, or finds it among those that were opened last.
  Result<OpenSegment> open(const SegmentMeta& meta);

  // How many were opened so far.
  std::uint64_t opened() const noexcept { return opened_.load(std::memory_order_relaxed); }

  // Forgets the open files of segments below `base_offset`; readers keep theirs.
  void forget_below(std::uint64_t base_offset);
  void forget(const std::vector<SegmentMeta>& segments);  // the same of these

 private:
  Result<OpenSegment> open_file(const SegmentMeta& meta);
  void forget_older_half();  // under open_mutex_

  // Segments kept open beyond those in use: two mappings each, of which Linux gives a process 65,530.
  static constexpr std::size_t open_max = 10'240;

  struct Kept {
    std::uint64_t base_offset = 0;
    std::uint64_t used = 0;  // when: a later one is greater
    OpenSegment segment{};
  };

  std::shared_ptr<StorageBackend> storage_;
  LogId log_;
  std::uint32_t index_interval_;
  std::atomic<std::uint64_t> version_{0};
  std::mutex update_mutex_;
  mutable std::mutex list_mutex_;  // held for a pointer's copy
  std::shared_ptr<const SegmentList> list_ = std::make_shared<SegmentList>();
  std::mutex open_mutex_;
  std::unordered_map<std::uint64_t, Kept> open_;  // by id
  std::uint64_t uses_ = 0;
  std::atomic<std::uint64_t> opened_{0};
};

}  // namespace varve::inline v0::detail
