#include "segment_set.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "segment_scan.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {

const SegmentMeta* SegmentList::find(std::uint64_t offset) const noexcept {
  auto after = std::upper_bound(
      sealed.begin(), sealed.end(), offset,
      [](std::uint64_t wanted, const SegmentMeta& meta) { return wanted < meta.base_offset; });
  if (after == sealed.begin()) return nullptr;
  const SegmentMeta& meta = *--after;
  return offset < meta.end_offset ? &meta : nullptr;
}

std::shared_ptr<const SegmentList> SegmentSet::list() const {
  const std::lock_guard lock(list_mutex_);
  return list_;
}

SegmentSet::Draft SegmentSet::draft() {
  Draft draft{std::unique_lock(update_mutex_), std::make_shared<SegmentList>()};
  const auto current = list();
  draft.list->sealed.reserve(current->sealed.size() + 1);
  draft.list->sealed = current->sealed;
  draft.list->active = current->active;
  return draft;
}

void SegmentSet::publish(std::shared_ptr<const SegmentList> list) noexcept {
  {
    const std::lock_guard lock(list_mutex_);
    list_.swap(list);
  }
  version_.fetch_add(1, std::memory_order_release);
}

Result<OpenSegment> SegmentSet::open_file(const SegmentMeta& meta) {
  VARVE_TRY_ASSIGN(auto file, open_listed(*storage_, meta, log_));
  const std::string& name = file->name;
  VARVE_TRY_ASSIGN(const std::uint64_t size, file->file->size());
  if (size < meta.end_position) return damage_error(name, too_short(size, meta.end_position));
  VARVE_TRY(file->map(meta.end_position, MapMode::read));
  OpenSegment segment;
  segment.index = SealedIndex::load(*storage_, index_name({meta.base_offset}),
                                    {log_, meta.id, meta.end_position});
  if (!segment.index) {
    // As far as the frames are good; what comes behind damage is found by walking.
    auto rebuilt = std::make_shared<GrowingIndex>(index_interval_);
    MappedSource source(*file->mapping, {meta.end_position}, file->populated.get(), name);
    SegmentState start;
    start.next_offset = meta.base_offset;
    start.next_sequence = meta.base_sequence;
    ScanOptions options;
    options.stop = meta.end_position;
    options.index = rebuilt.get();
    VARVE_TRY_ASSIGN([[maybe_unused]] const SegmentScan scanned,
                     scan_segment(source, *file, meta.end_position, start, options));
    segment.rebuilt = std::move(rebuilt);
  }
  file->file.reset();  // the mapping stays; descriptors are scarcer
  segment.file = std::move(file);
  return segment;
}

Result<OpenSegment> SegmentSet::open(const SegmentMeta& meta) {
  {
    const std::lock_guard lock(open_mutex_);
    if (const auto kept = open_.find(meta.id); kept != open_.end()) {
      kept->second.used = ++uses_;
      return kept->second.segment;
    }
  }
  auto opened = open_file(meta);
  if (!opened && opened.error().code() == std::errc::not_enough_memory) {
    // The process has run out of mappings: those kept for a later use are the first to go.
    forget_below(std::numeric_limits<std::uint64_t>::max());
    opened = open_file(meta);
  }
  if (!opened) return opened;
  OpenSegment segment = *std::move(opened);
  opened_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(open_mutex_);
  if (open_.size() >= open_max) forget_older_half();
  open_.insert_or_assign(meta.id, Kept{meta.base_offset, ++uses_, segment});
  return segment;
}

// Half of them at once: then finding those that were used longest ago costs next to nothing each.
void SegmentSet::forget_older_half() {
  std::vector<std::uint64_t> uses;
  uses.reserve(open_.size());
  for (const auto& [id, kept] : open_) uses.push_back(kept.used);
  const auto middle = uses.begin() + static_cast<std::ptrdiff_t>(uses.size() / 2);
  std::nth_element(uses.begin(), middle, uses.end());
  std::erase_if(open_, [&](const auto& one) { return one.second.used < *middle; });
}

void SegmentSet::forget(const std::vector<SegmentMeta>& segments) {
  const std::lock_guard lock(open_mutex_);
  for (const SegmentMeta& meta : segments) open_.erase(meta.id);
}

void SegmentSet::forget_below(std::uint64_t base_offset) {
  const std::lock_guard lock(open_mutex_);
  std::erase_if(open_, [&](const auto& one) { return one.second.base_offset < base_offset; });
}

}  // namespace varve::inline v0::detail
