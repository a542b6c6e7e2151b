#include "follower.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "varve/detail/filename.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {

namespace {
// How often the manifest is looked at while nothing appears: it says what the frames cannot, that the log
// was truncated or recovered by another writer.
constexpr std::chrono::milliseconds reload_interval{20};
}  // namespace

Epoch Follower::epoch() const {
  const std::lock_guard lock(mutex_);
  return {epoch_};
}

SegmentMeta Follower::active_meta() const {
  const std::lock_guard lock(mutex_);
  SegmentMeta meta = meta_;
  if (!walk_) return meta;
  meta.end_offset = end_.next_offset;
  meta.end_position = static_cast<std::uint32_t>(walk_->state().position.value);
  meta.newest_ms = walk_->newest_ms();
  return meta;
}

Result<void> Follower::adopt(Recovered recovered) {
  if (recovered.active) VARVE_TRY(map_whole(*recovered.active));
  const Manifest& manifest = recovered.manifest;
  generation_ = manifest.generation;
  epoch_ = manifest.epoch();
  end_ = recovered.end;
  durable_position_ = std::max(durable_position_, end_.next_position);
  const auto before = core_.segments.list();
  auto list = std::make_shared<SegmentList>();
  std::unordered_set<std::uint64_t> kept;
  for (const SegmentMeta& meta : manifest.segments) {
    kept.insert(meta.id);
    if (meta.sealed) list->sealed.push_back(meta);
  }
  for (TailSegment& segment : recovered.sealed_tail) {
    segment.meta.sealed = true;
    list->sealed.push_back(segment.meta);
  }
  file_.reset();
  walk_.reset();
  core_.marks.start.store(manifest.start_offset, std::memory_order_release);
  core_.cleaned.store(manifest.cleaned_offset, std::memory_order_relaxed);
  if (recovered.active) {
    durable_position_ = recovered.active->meta.base_position;
    follow(*std::move(recovered.active), std::move(list));
  } else {
    core_.segments.publish(std::move(list));
  }
  // Files that are gone take room for as long as they are open.
  std::vector<SegmentMeta> gone;
  for (const SegmentMeta& meta : before->sealed)
    if (!kept.contains(meta.id)) gone.push_back(meta);
  core_.segments.forget(gone);
  // Another writer's recovery may have taken back what was never durable.
  core_.marks.end.store(end_.next_offset, std::memory_order_release);
  core_.marks.durable.store(recovered.durable_offset, std::memory_order_release);
  publish_marks();
  return {};
}

// Maps a segment as large as it may become.
Result<void> Follower::map_whole(const TailSegment& segment) {
  const std::uint64_t size =
      std::max<std::uint64_t>(segment.file->header.capacity, segment.file_size);
  VARVE_TRY_ASSIGN(segment.file->mapping,
                   segment.file->file->map(static_cast<std::size_t>(size), MapMode::read));
  return {};
}

// Goes on with a mapped segment where its scan ended, and shows it behind the sealed ones of `list`.
void Follower::follow(TailSegment segment, std::shared_ptr<SegmentList> list) {
  file_ = std::move(segment.file);
  meta_ = segment.meta;
  index_ = segment.index;
  source_.emplace(*file_->mapping, Position{segment.file_size}, nullptr, file_->name);
  SegmentState state = segment.scan.far_end;
  // An open frame may have grown since, or be sealed by now: read it again.
  if (segment.scan.open_frame && state.next_offset == segment.scan.end.next_offset)
    state = segment.scan.before_open;
  walk_.emplace(FrameReader(*source_, file_->header.salt), state, segment.scan.far_ended);
  auto view = std::make_shared<ActiveView>();
  view->file = file_;
  view->index = index_;
  view->id = meta_.id;
  view->base_offset = meta_.base_offset;
  list->active = std::move(view);
  core_.segments.publish(std::move(list));
}

Result<void> Follower::refresh() {
  const std::lock_guard lock(mutex_);
  return catch_up();
}

Result<void> Follower::refresh_structure() {
  const std::lock_guard lock(mutex_);
  reloaded_ = {};
  return catch_up();
}

Result<void> Follower::catch_up() {
  if (core_.closed.load()) return {};
  // Once through what is there, not until there is no more: a busy writer would keep us here for ever.
  for (;;) {
    if (walk_) VARVE_TRY(walk());
    publish_marks();
    bool entered = false;
    if (!walk_ || walk_->ended()) {
      VARVE_TRY_ASSIGN(entered, enter_successor());
    }
    if (entered) continue;
    VARVE_TRY_ASSIGN(const bool reloaded, reload());
    if (!reloaded) return {};
  }
}

// Walks over what is complete and reads what is open.
Result<void> Follower::walk() {
  VARVE_TRY_ASSIGN(const std::uint64_t size, file_->file->size());
  source_->set_limit({std::min<std::uint64_t>(size, file_->mapping->size())});
  while (!walk_->ended()) {
    VARVE_TRY_ASSIGN(const Frame frame, walk_->read());
    note_durable(frame);
    // Anything else is the writer at work, or a tail that it left torn: it will be seen in time.
    if (frame.state == FrameState::open) {
      end_.next_offset = frame.header.base_offset + frame.count;
      break;
    }
    if (frame.state != FrameState::sealed) break;
    if (!frame.header.is_control())
      index_->add({frame.header.base_offset, frame.position.value, walk_->state().newest_ms});
    walk_->accept(frame);
    end_.next_offset = walk_->state().next_offset;
    end_.next_sequence = walk_->state().next_sequence;
    end_.append_time_ms = walk_->state().append_time_ms;
  }
  return {};
}

void Follower::note_durable(const Frame& frame) {
  std::optional<std::int64_t> proof;
  if (frame.state == FrameState::sealed)
    proof = durable_proof(frame.header.proven_lag(), frame.position);
  else if (frame.state == FrameState::open)
    proof = durable_proof_of_open(frame.header.body_check, file_->header.salt, frame.position);
  if (!proof) return;
  const auto base = static_cast<std::int64_t>(meta_.base_position);
  durable_position_ = std::max(
      durable_position_, static_cast<std::uint64_t>(std::max<std::int64_t>(base + *proof, 0)));
}

void Follower::publish_marks() noexcept {
  Watermarks& marks = core_.marks;
  // The end first: what is durable is never beyond it.
  if (end_.next_offset > marks.end.load(std::memory_order_relaxed))
    marks.end.store(end_.next_offset, std::memory_order_release);
  if (walk_) {
    const std::uint64_t position = meta_.base_position + walk_->state().position.value;
    std::uint64_t durable = walk_->state().next_offset;  // of the frame at the walk's position
    if (durable_position_ < position) {
      const auto entry = durable_position_ > meta_.base_position
                             ? index_->find(Position{durable_position_ - meta_.base_position})
                             : std::nullopt;
      durable = entry ? entry->offset : 0;
    }
    if (durable > marks.durable.load(std::memory_order_relaxed))
      marks.durable.store(durable, std::memory_order_release);
  }
}

// The segment that was walked to its end has a successor named by the next offset.
Result<bool> Follower::enter_successor() {
  TailSegment next;
  auto file = SegmentFile::open(*core_.storage, segment_name({end_.next_offset}), OpenMode::read,
                                core_.log, std::nullopt);
  if (!file) {
    if (is_missing(file.error())) return false;
    return file.error();
  }
  next.file = *std::move(file);
  VARVE_TRY_ASSIGN(next.file_size, next.file->file->size());
  VARVE_TRY(map_whole(next));
  next.index = std::make_shared<GrowingIndex>(core_.options.index_interval_bytes);
  next.meta.id = next.file->header.id;
  next.meta.base_offset = end_.next_offset;
  next.meta.base_sequence = end_.next_sequence;
  next.meta.base_position = end_.next_position;
  auto list = std::make_shared<SegmentList>(*core_.segments.list());
  if (walk_) {
    meta_.end_offset = end_.next_offset;
    meta_.end_sequence = end_.next_sequence;
    meta_.end_position = static_cast<std::uint32_t>(walk_->state().position.value);
    meta_.newest_ms = walk_->state().newest_ms;
    meta_.sealed = true;
    next.meta.base_position = meta_.base_position + meta_.end_position;
    list->sealed.push_back(meta_);
  }
  next.scan.far_end.next_offset = end_.next_offset;
  next.scan.far_end.next_sequence = end_.next_sequence;
  follow(std::move(next), std::move(list));
  return true;
}

// Looks whether the manifest has changed, and if so takes the log's structure from it anew.
Result<bool> Follower::reload() {
  const auto now = std::chrono::steady_clock::now();
  if (now - reloaded_ < reload_interval) return false;
  reloaded_ = now;
  VARVE_TRY_ASSIGN(const auto manifest, load_manifest(*core_.storage));
  if (!manifest || manifest->log != core_.log)
    return damage_error(std::string(manifest_name),
                        manifest ? "it is another log's by now" : "missing");
  if (manifest->generation == generation_) return false;
  VARVE_TRY_ASSIGN(Recovered recovered, recover_for_reading(*core_.storage, core_.options));
  VARVE_TRY(adopt(std::move(recovered)));
  return true;
}

}  // namespace varve::inline v0::detail
