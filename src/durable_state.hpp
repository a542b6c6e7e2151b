// DurableState: which files of a storage there are, and what of their names and bytes a loss of power would leave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "durable_image.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// A file of the inner storage, from when it was first opened here, whatever names it has had since. Any thread, but for
// what its DurableState does with it.
class Inode {
 public:
  explicit Inode(std::string first_name) : name_(std::move(first_name)) {}

  // Guarded by whoever guards the DurableState.
  const std::string& name() const noexcept { return name_; }

  // A mapping to write, while it exists: stores into it are seen without being told.
  void add_window(const void* owner, const std::byte* data, std::size_t size);
  void remove_window(const void* owner);

  // What was done to the file; see DurableImage.
  void changed(std::uint64_t begin, std::uint64_t end, bool rewritten);
  void truncated(std::uint64_t size);
  Result<void> synced(bool success);
  void show_medium(std::uint64_t position, std::span<std::byte> bytes);

 private:
  friend class DurableState;

  struct Window {
    const void* owner;
    const std::byte* data;
    std::size_t size;
  };

  // The caller holds mutex_.
  Result<DurableImage::Seen> look();
  Result<void> read_page(std::uint64_t size, std::uint64_t number, DurableImage::Page& out) const;
  Result<void> load(std::unique_ptr<StorageFile> reader);

  std::string name_;
  bool tracked_ = false;  // if not, the inner storage holds what is durable; guarded as the name is

  std::mutex mutex_;  // guards what follows
  std::unique_ptr<StorageFile> reader_;
  std::vector<Window> windows_;
  DurableImage image_;
};

// Passes changes of names on to the inner storage, and remembers of every file that is changed what was durable. The
// caller sees to it that one call runs at a time, and that nothing is changed while the power is cut.
class DurableState {
 public:
  explicit DurableState(std::shared_ptr<StorageBackend> inner) : inner_(std::move(inner)) {}

  // `inode` becomes the file's.
  Result<std::unique_ptr<StorageFile>> open(std::string_view name, OpenMode mode,
                                            std::shared_ptr<Inode>& inode);

  // A file that the inner storage has got by now: durable as it is, but for its name.
  Result<std::shared_ptr<Inode>> add(std::string_view name);

  Result<void> rename(std::string_view from, std::string_view to);
  Result<void> remove(std::string_view name);
  Result<void> sync_names();

  // The inner storage becomes what a loss of power leaves. Files that were open are no longer those that have their names.
  Result<void> cut_power(const Dice& dice);

  // Copies into `medium` what a loss of power would leave.
  Result<void> copy_medium(const Dice& dice, StorageBackend& medium) const;

  // A bit of the file was changed in the inner storage: on the medium, too.
  void flipped(std::string_view name, std::uint64_t bit);

 private:
  using Names = std::map<std::string, std::shared_ptr<Inode>, std::less<>>;

  // A change of names that may or may not have reached the medium.
  struct NameChange {
    std::string from{};  // empty: a creation
    std::string to{};    // empty: a removal
    std::shared_ptr<Inode> inode{};

    void apply(Names& names) const;
  };

  std::shared_ptr<Inode> find(std::string_view name);
  Result<void> track(Inode& inode);
  Result<std::shared_ptr<Inode>> track(std::string_view name);
  Names names_after(const Dice& dice) const;

  std::shared_ptr<StorageBackend> inner_;
  Names names_;          // of the files opened or renamed so far; of others nothing is unsynced
  Names durable_names_;  // the same as the medium has them
  std::vector<NameChange> unsynced_;
};

}  // namespace varve::inline v0::detail
