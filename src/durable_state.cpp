#include "durable_state.hpp"

#include <algorithm>

#include "system_error.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

// Copies bytes that other threads may be storing into, as the kernel does when it writes them back.
// That this is a race is what happens to a real page too, so no sanitizer shall mind.
__attribute__((no_sanitize("thread"))) void copy_shared(const std::byte* from,
                                                        std::span<std::byte> to) {
  const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(from);
  std::size_t done = 0;
  for (; done + sizeof(std::uint64_t) <= to.size(); done += sizeof(std::uint64_t)) {
    const std::uint64_t word = words[done / sizeof(std::uint64_t)];
    __builtin_memcpy(to.data() + done, &word, sizeof word);
  }
  for (; done < to.size(); ++done) to[done] = static_cast<const volatile std::byte*>(from)[done];
}

}  // namespace

// ---- one file ----------------------------------------------------------------------------------

void Inode::add_window(const void* owner, const std::byte* data, std::size_t size) {
  const std::lock_guard lock(mutex_);
  windows_.push_back({owner, data, size});
}

void Inode::remove_window(const void* owner) {
  const std::lock_guard lock(mutex_);
  std::erase_if(windows_, [&](const Window& window) {
    if (window.owner != owner) return false;
    image_.changed(0, window.size, false);
    return true;
  });
}

void Inode::changed(std::uint64_t begin, std::uint64_t end, bool rewritten) {
  const std::lock_guard lock(mutex_);
  image_.changed(begin, end, rewritten);
}

void Inode::truncated(std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  image_.truncated(size);
}

Result<void> Inode::synced(bool success) {
  const std::lock_guard lock(mutex_);
  if (reader_ == nullptr) return {};  // only ever opened for reading
  VARVE_TRY_ASSIGN(const DurableImage::Seen seen, look());
  return success ? image_.synced(seen) : image_.sync_failed(seen);
}

void Inode::show_medium(std::uint64_t position, std::span<std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  image_.show_medium(position, bytes);
}

Result<DurableImage::Seen> Inode::look() {
  for (const Window& window : windows_) image_.changed(0, window.size, false);
  VARVE_TRY_ASSIGN(const std::uint64_t size, reader_->size());
  return DurableImage::Seen{.size = size,
                            .read = [this, size](auto number, DurableImage::Page& out) {
                              return read_page(size, number, out);
                            }};
}

Result<void> Inode::read_page(std::uint64_t size, std::uint64_t number,
                              DurableImage::Page& out) const {
  const std::uint64_t begin = number * out.size();
  const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size - begin));
  const auto window = std::find_if(windows_.begin(), windows_.end(), [&](const Window& candidate) {
    return candidate.size >= begin + bytes;
  });
  if (window != windows_.end()) {
    copy_shared(window->data + begin, std::span(out).first(bytes));
  } else if (auto got = reader_->read_at({begin}, std::span(out).first(bytes)); !got) {
    return got.error();
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(bytes), out.end(), std::byte{0});
  return {};
}

// Takes all of the file as durable.
Result<void> Inode::load(std::unique_ptr<StorageFile> reader) {
  reader_ = std::move(reader);
  VARVE_TRY_ASSIGN(const DurableImage::Seen seen, look());
  return image_.load(seen);
}

// ---- all of them -------------------------------------------------------------------------------

void DurableState::NameChange::apply(Names& names) const {
  const auto old = names.find(from);
  if (old != names.end() && old->second == inode) names.erase(old);
  if (to.empty()) return;
  // Had an earlier change been lost, the file would now have two names.
  std::erase_if(names, [this](const auto& entry) { return entry.second == inode; });
  names[to] = inode;
}

// Of a file that the inner storage has under that name.
std::shared_ptr<Inode> DurableState::find(std::string_view name) {
  auto& inode = names_[std::string(name)];
  if (inode == nullptr) {
    inode = std::make_shared<Inode>(std::string(name));
    durable_names_[std::string(name)] = inode;
  }
  return inode;
}

// From here on the durable bytes are remembered. Nothing has been changed before.
Result<void> DurableState::track(Inode& inode) {
  if (inode.tracked_) return {};
  VARVE_TRY_ASSIGN(auto reader, inner_->open(inode.name_, OpenMode::read));
  const std::lock_guard lock(inode.mutex_);
  VARVE_TRY(inode.load(std::move(reader)));
  inode.tracked_ = true;
  return {};
}

// Null where there is no file.
Result<std::shared_ptr<Inode>> DurableState::track(std::string_view name) {
  const auto entry = inner_->stat(name);
  if (!entry && is_missing(entry.error())) return std::shared_ptr<Inode>();
  if (!entry) return entry.error();
  if (entry->kind != FileKind::file) return std::shared_ptr<Inode>();
  std::shared_ptr<Inode> inode = find(name);
  VARVE_TRY(track(*inode));
  return inode;
}

Result<std::unique_ptr<StorageFile>> DurableState::open(std::string_view name, OpenMode mode,
                                                        std::shared_ptr<Inode>& inode) {
  if (mode == OpenMode::read) {
    auto file = inner_->open(name, mode);
    if (file) inode = find(name);
    return file;
  }
  VARVE_TRY_ASSIGN(inode, track(name));
  auto file = inner_->open(name, mode);
  if (!file) return file;
  if (inode != nullptr) {
    if (mode == OpenMode::create) inode->truncated(0);
    return file;
  }
  VARVE_TRY_ASSIGN(inode, add(name));
  return file;
}

Result<std::shared_ptr<Inode>> DurableState::add(std::string_view name) {
  auto inode = std::make_shared<Inode>(std::string(name));
  names_[inode->name_] = inode;
  unsynced_.push_back({.from = {}, .to = inode->name_, .inode = inode});
  VARVE_TRY(track(*inode));
  return inode;
}

Result<void> DurableState::rename(std::string_view from, std::string_view to) {
  VARVE_TRY_ASSIGN(const auto moved, track(from));
  VARVE_TRY_ASSIGN([[maybe_unused]] const auto replaced, track(to));
  if (auto done = inner_->rename(from, to); !done || from == to || moved == nullptr) return done;
  const NameChange change{.from = std::string(from), .to = std::string(to), .inode = moved};
  change.apply(names_);
  change.inode->name_ = change.to;
  unsynced_.push_back(change);
  return {};
}

Result<void> DurableState::remove(std::string_view name) {
  VARVE_TRY_ASSIGN(const auto removed, track(name));
  if (auto done = inner_->remove(name); !done || removed == nullptr) return done;
  const NameChange change{.from = std::string(name), .to = {}, .inode = removed};
  change.apply(names_);
  unsynced_.push_back(change);
  return {};
}

Result<void> DurableState::sync_names() {
  VARVE_TRY(inner_->sync_names());
  durable_names_ = names_;
  unsynced_.clear();
  return {};
}

// The names that a loss of power leaves.
DurableState::Names DurableState::names_after(const Dice& dice) const {
  Names left = durable_names_;
  for (std::size_t i = 0; i < unsynced_.size(); ++i) {
    const NameChange& change = unsynced_[i];
    if (dice.about(change.from + "/" + change.to).roll(i)) change.apply(left);
  }
  return left;
}

Result<void> DurableState::cut_power(const Dice& dice) {
  const Names left = names_after(dice);
  const Names seen = std::exchange(names_, {});
  durable_names_.clear();
  unsynced_.clear();
  for (const auto& [name, inode] : left) {
    if (!inode->tracked_) continue;
    const std::lock_guard lock(inode->mutex_);
    VARVE_TRY_ASSIGN(const DurableImage::Seen bytes, inode->look());
    VARVE_TRY(inode->image_.cut(bytes, dice.about(name)));
  }
  // New files take the place of the old ones, so that stores into their mappings go nowhere.
  for (const auto& [name, inode] : seen)
    if (inode->tracked_) VARVE_TRY(inner_->remove(name));
  for (const auto& [name, inode] : left)
    if (inode->tracked_) VARVE_TRY(inode->image_.write_to(*inner_, name));
  return inner_->sync_names();
}

Result<void> DurableState::copy_medium(const Dice& dice, StorageBackend& medium) const {
  for (const auto& [name, inode] : names_after(dice)) {
    if (!inode->tracked_) continue;
    const std::lock_guard lock(inode->mutex_);
    VARVE_TRY_ASSIGN(const DurableImage::Seen seen, inode->look());
    DurableImage image = inode->image_;
    VARVE_TRY(image.cut(seen, dice.about(name)));
    VARVE_TRY(image.write_to(medium, name));
  }
  // Of the files that were not touched nothing is unsynced.
  VARVE_TRY_ASSIGN(const auto entries, inner_->list());
  for (const FileEntry& entry : entries) {
    const auto known = names_.find(entry.name);
    if (entry.kind != FileKind::file || (known != names_.end() && known->second->tracked_))
      continue;
    Inode inode(entry.name);
    VARVE_TRY_ASSIGN(auto reader, inner_->open(entry.name, OpenMode::read));
    VARVE_TRY(inode.load(std::move(reader)));
    VARVE_TRY(inode.image_.write_to(medium, entry.name));
  }
  return medium.sync_names();
}

void DurableState::flipped(std::string_view name, std::uint64_t bit) {
  const auto found = names_.find(name);
  if (found == names_.end() || !found->second->tracked_) return;
  const std::lock_guard lock(found->second->mutex_);
  found->second->image_.flip(bit);
}

}  // namespace varve::inline v0::detail
