#include "varve/memory_storage.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage_name.hpp"
#include "system_error.hpp"

namespace varve::inline v0 {
namespace {

using detail::system_error;

// Files of a few pages move as they grow. What is larger, or mapped and so cannot move, reserves
// address space to grow into, for that costs nothing: only pages that were touched take up memory.
constexpr std::size_t movable_bytes_max = std::size_t{1} << 20;
constexpr std::size_t reserved_bytes_min = std::size_t{1} << 30;

std::size_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::size_t round_to_page(std::size_t bytes) noexcept {
  return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

// Zeros that take up memory page by page as they are written.
class Pages {
 public:
  Pages() = default;
  explicit Pages(std::size_t bytes) noexcept {
    void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return;
    data_ = static_cast<std::byte*>(address);
    size_ = bytes;
  }
  Pages(Pages&& other) noexcept { *this = std::move(other); }
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Pages() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

  // Gives whole pages back, so that they are blank again.
  void clear(std::size_t begin, std::size_t end) const noexcept {
    const std::size_t first = std::min(round_to_page(begin), end);
    std::memset(data_ + begin, 0, first - begin);
    if (first == end) return;
    const std::size_t last = std::min(round_to_page(end), size_);
    if (::madvise(data_ + first, last - first, MADV_DONTNEED) != 0) {
      std::memset(data_ + first, 0, end - first);
    }
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// What a name stands for. It lives on without one while it is open or mapped.
class Inode {
 public:
  std::uint64_t size() const {
    const std::lock_guard lock(mutex_);
    return size_;
  }

  std::size_t read(Position position, std::span<std::byte> out) const {
    const std::lock_guard lock(mutex_);
    if (position.value >= size_ || out.empty()) return 0;
    const auto begin = static_cast<std::size_t>(position.value);
    const std::size_t bytes = std::min(out.size(), size_ - begin);
    std::memcpy(out.data(), pages_.data() + begin, bytes);
    return bytes;
  }

  // The members below return 0 or an errno.
  int write(Position position, Bytes data) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t end = position.value + data.size();
    if (end < position.value) return EFBIG;
    if (end > size_) {
      if (const int error = grow(end); error != 0) return error;
    }
    std::memcpy(pages_.data() + position.value, data.data(), data.size());
    return 0;
  }

  int resize(std::uint64_t size) {
    const std::lock_guard lock(mutex_);
    if (size > size_) return grow(size);
    if (size < size_) pages_.clear(static_cast<std::size_t>(size), size_);
    size_ = static_cast<std::size_t>(size);
    return 0;
  }

  int allocate(std::uint64_t size) {
    const std::lock_guard lock(mutex_);
    return size > size_ ? grow(size) : 0;
  }

  int pin(std::size_t size) {
    const std::lock_guard lock(mutex_);
    if (const int error = reserve(std::max({size, size_, reserved_bytes_min})); error != 0) {
      // No such address space to be had (RLIMIT_AS): then without room to grow.
      if (reserve(std::max(size, size_)) != 0) return error;
    }
    ++pins_;
    return 0;
  }

  void unpin() noexcept {
    const std::lock_guard lock(mutex_);
    --pins_;
  }

  // Stays where it is while pinned.
  std::byte* data() const noexcept {
    const std::lock_guard lock(mutex_);
    return pages_.data();
  }

 private:
  int grow(std::uint64_t size) {
    if (size > std::numeric_limits<std::size_t>::max() / 4) return EFBIG;
    const auto bytes = static_cast<std::size_t>(size);
    if (const int error = reserve(bytes); error != 0) return error;
    // A mapping may have been written behind the file's end, on the page where it stands.
    const std::size_t dirty_end = std::min(round_to_page(size_), bytes);
    if (dirty_end > size_) std::memset(pages_.data() + size_, 0, dirty_end - size_);
    size_ = bytes;
    return 0;
  }

  int reserve(std::size_t bytes) {
    if (bytes <= pages_.size()) return 0;
    if (pins_ != 0) return ENOMEM;
    const std::size_t small = std::max(std::bit_ceil(bytes), page_bytes());
    Pages pages(small <= movable_bytes_max ? small : std::max(small, reserved_bytes_min));
    if (pages.data() == nullptr) pages = Pages(round_to_page(bytes));
    if (pages.data() == nullptr) return ENOMEM;
    if (size_ != 0) std::memcpy(pages.data(), pages_.data(), size_);
    pages_ = std::move(pages);
    return 0;
  }

  mutable std::mutex mutex_;
  Pages pages_;
  std::size_t size_ = 0;
  std::size_t pins_ = 0;
};

class MemoryMapping final : public StorageMapping {
 public:
  // `inode` has been pinned for this.
  MemoryMapping(std::shared_ptr<Inode> inode, std::size_t size, std::string path)
      : inode_(std::move(inode)), data_(inode_->data()), size_(size), path_(std::move(path)) {}
  ~MemoryMapping() override { inode_->unpin(); }

  std::byte* data() noexcept override { return data_; }
  std::size_t size() const noexcept override { return size_; }
  bool faulted() const noexcept override { return false; }

  // There is nothing to fetch, but where a file would fail this does too.
  Result<void> populate(Position begin, Position end) override {
    if (end < begin || end.value > size_) {
      return Error(Errc::invalid_argument, path_ + ": populate beyond the mapping");
    }
    if (begin == end || end.value <= round_to_page(static_cast<std::size_t>(inode_->size()))) {
      return {};
    }
    return system_error(EIO, path_ + ": populate: the file is shorter");
  }

 private:
  std::shared_ptr<Inode> inode_;
  std::byte* data_;
  std::size_t size_;
  std::string path_;
};

class MemoryFile final : public StorageFile {
 public:
  MemoryFile(std::shared_ptr<Inode> inode, std::string path, bool writable)
      : inode_(std::move(inode)), path_(std::move(path)), writable_(writable) {}

  Result<std::uint64_t> size() const override { return inode_->size(); }

  Result<std::size_t> read_at(Position position, std::span<std::byte> out) const override {
    return inode_->read(position, out);
  }
  Result<std::size_t> read_medium(Position position, std::span<std::byte> out) const override {
    return inode_->read(position, out);
  }

  Result<void> write_at(Position position, Bytes data) override {
    if (!writable_) return read_only("write");
    return data.empty() ? Result<void>() : check(inode_->write(position, data), "write");
  }
  Result<void> allocate(std::uint64_t size) override {
    return writable_ ? check(inode_->allocate(size), "allocate") : read_only("allocate");
  }
  Result<void> resize(std::uint64_t size) override {
    return writable_ ? check(inode_->resize(size), "resize") : read_only("resize");
  }
  Result<void> sync() override { return {}; }

  Result<std::unique_ptr<StorageMapping>> map(std::size_t size, MapMode mode) override {
    if (size == 0) return Error(Errc::invalid_argument, path_ + ": map of no bytes");
    if (mode == MapMode::read_write && !writable_) return system_error(EACCES, path_ + ": map");
    if (size > std::numeric_limits<std::size_t>::max() / 4) {
      return system_error(ENOMEM, path_ + ": map");
    }
    if (auto pinned = check(inode_->pin(size), "map"); !pinned) return pinned.error();
    return std::make_unique<MemoryMapping>(inode_, size, path_);
  }

 private:
  Result<void> check(int error, std::string_view action) const {
    if (error == 0) return {};
    return system_error(error, path_ + ": " + std::string(action));
  }
  Error read_only(std::string_view action) const {
    return system_error(EBADF, path_ + ": " + std::string(action) + ": opened for reading only");
  }

  std::shared_ptr<Inode> inode_;
  std::string path_;
  bool writable_;
};

class MemoryLock final : public StorageLock {
 public:
  ~MemoryLock() override {
    if (taken_) taken_->store(false);
  }

  // False if somebody else has it.
  bool take(std::shared_ptr<std::atomic<bool>> taken) noexcept {
    if (taken->exchange(true)) return false;
    taken_ = std::move(taken);
    return true;
  }

 private:
  std::shared_ptr<std::atomic<bool>> taken_{};
};

class MemoryStorage final : public StorageBackend {
 public:
  std::string describe() const override { return std::string(folder); }

  Result<std::vector<FileEntry>> list() const override {
    const std::lock_guard lock(mutex_);
    std::vector<FileEntry> entries;
    for (const auto& [name, inode] : names_) entries.push_back({.name = name});
    return entries;
  }

  const void* kind() const noexcept override { return &storage_kind<MemoryStorage>; }

  Result<void> share(std::string_view name, StorageBackend& to) override {
    if (auto valid = check_name(name); !valid) return valid;
    if (to.kind() != kind()) return StorageBackend::share(name, to);
    std::shared_ptr<Inode> inode;
    {
      const std::lock_guard lock(mutex_);
      const auto found = names_.find(name);
      if (found == names_.end()) return missing(name, "share");
      inode = found->second;
    }
    auto& other = static_cast<MemoryStorage&>(to);
    const std::lock_guard lock(other.mutex_);
    if (other.names_.emplace(std::string(name), std::move(inode)).second) return {};
    return system_error(EEXIST, path_of(name) + ": share");
  }

  Result<FileStatus> stat(std::string_view name) const override {
    if (auto valid = check_name(name); !valid) return valid.error();
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(name);
    if (found == names_.end()) return missing(name, "stat");
    return FileStatus{.size = found->second->size()};
  }

  Result<std::unique_ptr<StorageFile>> open(std::string_view name, OpenMode mode) override {
    if (auto valid = check_name(name); !valid) return valid.error();
    const std::lock_guard lock(mutex_);
    auto found = names_.find(name);
    if (found == names_.end()) {
      if (mode != OpenMode::create) return missing(name, "open");
      found = names_.emplace(std::string(name), std::make_shared<Inode>()).first;
    } else if (mode == OpenMode::create) {
      found->second->resize(0);
    }
    return std::make_unique<MemoryFile>(found->second, path_of(name), mode != OpenMode::read);
  }

  Result<void> rename(std::string_view from, std::string_view to) override {
    if (auto valid = check_name(from); !valid) return valid;
    if (auto valid = check_name(to); !valid) return valid;
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(from);
    if (found == names_.end()) return missing(from, "rename");
    if (from == to) return {};
    std::string name(to);  // all memory first: a rename happens or it does not
    auto node = names_.extract(found);
    node.key() = std::move(name);
    if (const auto replaced = names_.find(to); replaced != names_.end()) names_.erase(replaced);
    names_.insert(std::move(node));
    return {};
  }

  Result<void> remove(std::string_view name) override {
    if (auto valid = check_name(name); !valid) return valid;
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(name);
    if (found == names_.end()) return missing(name, "remove");
    names_.erase(found);
    return {};
  }

  Result<void> sync_names() override { return {}; }

  Result<std::unique_ptr<StorageLock>> lock() override {
    auto lock = std::make_unique<MemoryLock>();
    if (!lock->take(locked_)) return Error(Errc::locked, std::string(folder));
    return lock;
  }

 private:
  static constexpr std::string_view folder = "memory";

  static std::string path_of(std::string_view name) {
    return std::string(folder) + "/" + std::string(name);
  }
  static Error missing(std::string_view name, std::string_view action) {
    return system_error(ENOENT, path_of(name) + ": " + std::string(action));
  }
  static Result<void> check_name(std::string_view name) {
    return detail::check_storage_name(folder, name);
  }

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Inode>, std::less<>> names_;
  std::shared_ptr<std::atomic<bool>> locked_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace

std::shared_ptr<StorageBackend> make_memory_storage() { return std::make_shared<MemoryStorage>(); }

}  // namespace varve::inline v0
