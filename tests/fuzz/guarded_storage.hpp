// GuardedStorage: MemoryStorage in which AddressSanitizer sees what leaves a mapping.
//
// A mapping of a file in memory lies in room that the file may grow into, so bytes behind the mapping's end, or
// behind the file's, can be touched without anybody noticing. Real files answer with a SIGBUS or with other memory.
// Here those bytes are poisoned. One thread only.
#pragma once

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/memory_storage.hpp"
#include "varve/storage.hpp"

namespace varve::fuzz {

// Of one file: what is mapped of it, and so what must not be touched.
class Guard {
 public:
  void add(std::byte* data, std::size_t size) {
    data_ = data;
    sizes_.insert(size);
  }
  void remove(std::size_t size) { sizes_.erase(sizes_.find(size)); }

  void lift() noexcept {
    if (guarded_ != nullptr) ASAN_UNPOISON_MEMORY_REGION(guarded_, guard_bytes);
    guarded_ = nullptr;
  }
  void set(std::uint64_t file_size) noexcept {
    lift();
    if (sizes_.empty()) return;
    const std::uint64_t in_file = (file_size + page - 1) / page * page;
    const std::uint64_t end = std::min<std::uint64_t>(*sizes_.rbegin(), in_file);
    if (end + guard_bytes > room) return;
    guarded_ = data_ + end;
    ASAN_POISON_MEMORY_REGION(guarded_, guard_bytes);
  }

 private:
  static constexpr std::uint64_t page = 4096;
  static constexpr std::uint64_t guard_bytes = 64u << 10;
  static constexpr std::uint64_t room = 1u << 30;  // what a mapped file in memory has at least

  std::byte* data_ = nullptr;
  std::multiset<std::size_t> sizes_{};
  std::byte* guarded_ = nullptr;
};

// Lifts the guard for a call into the storage itself, which may touch all of its memory.
class Lifted {
 public:
  Lifted(Guard& guard, const StorageFile& file) : guard_(guard), file_(file) { guard_.lift(); }
  Lifted(const Lifted&) = delete;
  Lifted& operator=(const Lifted&) = delete;
  ~Lifted() { guard_.set(file_.size().value()); }

 private:
  Guard& guard_;
  const StorageFile& file_;
};

class GuardedMapping final : public StorageMapping {
 public:
  GuardedMapping(std::shared_ptr<Guard> guard, std::shared_ptr<StorageFile> file,
                 std::unique_ptr<StorageMapping> mapping)
      : guard_(std::move(guard)), file_(std::move(file)), mapping_(std::move(mapping)) {
    guard_->add(mapping_->data(), mapping_->size());
  }
  ~GuardedMapping() override {
    const Lifted lifted(*guard_, *file_);
    guard_->remove(mapping_->size());
    mapping_.reset();
  }

  std::byte* data() noexcept override { return mapping_->data(); }
  std::size_t size() const noexcept override { return mapping_->size(); }
  bool faulted() const noexcept override { return mapping_->faulted(); }
  Result<void> populate(Position begin, Position end) override {
    return mapping_->populate(begin, end);
  }

 private:
  std::shared_ptr<Guard> guard_;
  std::shared_ptr<StorageFile> file_;
  std::unique_ptr<StorageMapping> mapping_;
};

class GuardedFile final : public StorageFile {
 public:
  GuardedFile(std::shared_ptr<Guard> guard, std::unique_ptr<StorageFile> file)
      : guard_(std::move(guard)), file_(std::move(file)) {}

  Result<std::uint64_t> size() const override { return file_->size(); }
  Result<std::size_t> read_at(Position position, std::span<std::byte> out) const override {
    const Lifted lifted(*guard_, *file_);
    return file_->read_at(position, out);
  }
  Result<std::size_t> read_medium(Position position, std::span<std::byte> out) const override {
    const Lifted lifted(*guard_, *file_);
    return file_->read_medium(position, out);
  }
  Result<void> write_at(Position position, Bytes data) override {
    const Lifted lifted(*guard_, *file_);
    return file_->write_at(position, data);
  }
  Result<void> allocate(std::uint64_t size) override {
    const Lifted lifted(*guard_, *file_);
    return file_->allocate(size);
  }
  Result<void> resize(std::uint64_t size) override {
    const Lifted lifted(*guard_, *file_);
    return file_->resize(size);
  }
  Result<void> sync() override { return file_->sync(); }
  Result<std::unique_ptr<StorageMapping>> map(std::size_t size, MapMode mode) override {
    const Lifted lifted(*guard_, *file_);
    auto mapping = file_->map(size, mode);
    if (!mapping) return mapping.error();
    return std::make_unique<GuardedMapping>(guard_, file_, *std::move(mapping));
  }

 private:
  std::shared_ptr<Guard> guard_;
  std::shared_ptr<StorageFile> file_;
};

class GuardedStorage final : public StorageBackend {
 public:
  std::string describe() const override { return storage_->describe(); }
  Result<std::vector<FileEntry>> list() const override { return storage_->list(); }
  Result<FileStatus> stat(std::string_view name) const override { return storage_->stat(name); }

  Result<std::unique_ptr<StorageFile>> open(std::string_view name, OpenMode mode) override {
    auto& guard = guards_[std::string(name)];
    if (guard) guard->lift();  // creating anew empties the file
    auto file = storage_->open(name, mode);
    if (!file) return file.error();
    if (!guard) guard = std::make_shared<Guard>();
    guard->set((*file)->size().value());
    return std::make_unique<GuardedFile>(guard, *std::move(file));
  }
  Result<void> rename(std::string_view from, std::string_view to) override {
    auto renamed = storage_->rename(from, to);
    if (renamed && from != to) guards_[std::string(to)] = std::move(guards_[std::string(from)]);
    return renamed;
  }
  Result<void> remove(std::string_view name) override {
    auto removed = storage_->remove(name);
    if (removed) guards_.erase(std::string(name));
    return removed;
  }
  Result<void> sync_names() override { return storage_->sync_names(); }
  Result<std::unique_ptr<StorageLock>> lock() override { return storage_->lock(); }

 private:
  std::shared_ptr<StorageBackend> storage_ = make_memory_storage();
  std::map<std::string, std::shared_ptr<Guard>> guards_{};
};

}  // namespace varve::fuzz
