// FaultyStorage: a decorator that makes any storage fail on demand, to test what is built on varve.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "varve/export.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0 {

// What a call into storage is about. `map` covers mapping and populating, `read` asking for a file's
// size, `list` stat().
enum class StorageOp : std::uint8_t {
  open,
  read,
  write,
  allocate,
  resize,
  sync,
  map,
  rename,
  remove,
  sync_names,
  list,
  lock
};

// Which calls fail, and how. A call fails when it is of the given kind (any kind if none is given), its
// file's name contains `name`, and it is among the calls [after, after + times) of those that match.
struct Fault {
  std::vector<StorageOp> ops{};
  std::string name{};
  std::uint64_t after = 0;
  std::uint64_t times = 1;
  std::error_code error = std::make_error_code(std::errc::io_error);
  bool half_done = false;  // a write stores the first half of its bytes before it fails
};

// What a loss of power leaves of the changes that were not synced: each 512-byte sector and each
// change of a name is decided by itself from the seed.
struct PowerCut {
  std::uint64_t seed = 0;
  double keep = 0.5;  // the chance of an unsynced sector or name to have reached the medium
};

// Wraps an inner storage, counts the calls and fails those that it was told to. It also remembers
// what of the inner storage is durable, so that it can play a loss of power. Thread-safe.
//
// A failed sync behaves as Linux does it: the unsynced bytes stay visible, but the medium keeps the
// old ones and a later sync of the same file reports success without writing them.
class VARVE_EXPORT FaultyStorage final : public StorageBackend {
 public:
  explicit FaultyStorage(std::shared_ptr<StorageBackend> inner);
  ~FaultyStorage() override;

  void inject(Fault fault);
  void clear_faults();

  // How many calls there have been, in all or of one kind.
  std::uint64_t calls() const;
  std::uint64_t calls(StorageOp op) const;

  // Called before every operation, outside any lock of this class, with the kind and the file's name.
  // Set it before the storage is in use.
  void on_call(std::function<void(StorageOp, std::string_view)> hook);

  // Cuts the power: every file and mapping opened so far is dead (EIO, and stores into its mappings go
  // nowhere), the lock is free, and the inner storage holds what the medium does. So that nobody who
  // has not heard of it changes that, names cannot be changed and files not be opened for writing
  // (EIO) until somebody takes the lock.
  Result<void> cut_power(PowerCut cut);

  // Copies to `medium`, which has no files yet, what that loss of power would leave at this moment. Nothing here
  // changes, so that one can look at many ends of the same story.
  Result<void> copy_medium(PowerCut cut, StorageBackend& medium) const;

  // Changes one bit of a file, cached and durable, as rot does.
  Result<void> flip_bit(std::string_view name, std::uint64_t bit);

  std::string describe() const override;
  Result<std::vector<FileEntry>> list() const override;
  Result<FileStatus> stat(std::string_view name) const override;
  Result<std::unique_ptr<StorageFile>> open(std::string_view name, OpenMode mode) override;
  Result<void> rename(std::string_view from, std::string_view to) override;
  Result<void> remove(std::string_view name) override;
  const void* kind() const noexcept override;
  Result<void> share(std::string_view name,
                     StorageBackend& to) override;  // a call of either, a rename
  Result<void> sync_names() override;
  Result<std::unique_ptr<StorageLock>> lock() override;

  struct State;  // shared with the files it opened

 private:
  std::shared_ptr<State> state_;
};

}  // namespace varve::inline v0
