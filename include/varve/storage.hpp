// The port to bytes: what varve needs of the thing that stores its files.
//
// varve ships two implementations, FileStorage (file_storage.hpp) and MemoryStorage
// (memory_storage.hpp), and a decorator that makes any of them fail, FaultyStorage
// (faulty_storage.hpp). All of them pass the contract in tests/support/storage_contract.hpp; run it on
// your own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/result.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

enum class MapMode : std::uint8_t { read, read_write };

// A window onto a file, from its start: a store into it is a write to the file, seen at once by every
// other mapping and read of it, by other processes too. What was stored is in the hands of the
// operating system, so it survives the death of the process; only sync() makes it survive more.
//
// The window may be longer than the file; bytes behind the file's end must not be touched.
class StorageMapping {
 public:
  StorageMapping() = default;
  StorageMapping(const StorageMapping&) = delete;
  StorageMapping& operator=(const StorageMapping&) = delete;
  virtual ~StorageMapping() = default;

  virtual std::byte* data() noexcept = 0;
  virtual std::size_t size() const noexcept = 0;

  // Makes [begin, end) ready to be accessed without delay, and, for a mapping to write, makes sure
  // that storing there cannot meet a full disk. Fails with an Error where plain access would fault.
  virtual Result<void> populate(Position begin, Position end) = 0;

  // Nothing will be stored here any more: whatever it takes to write out what was may be given back. What
  // is mapped can be read as before. Writing pages out is far dearer while a process could store into them.
  virtual void finish() noexcept {}

  // Whether an access has met bytes that the storage could not deliver (the file was cut short
  // underneath, its medium failed). What was read is then worthless.
  virtual bool faulted() const noexcept = 0;
};

// An open file. The const members may be called from any thread at any time; the others by one
// thread at a time. Destroying it closes it, without any sync.
class StorageFile {
 public:
  StorageFile() = default;
  StorageFile(const StorageFile&) = delete;
  StorageFile& operator=(const StorageFile&) = delete;
  virtual ~StorageFile() = default;

  virtual Result<std::uint64_t> size() const = 0;

  // Reads into `out` what stands at `position`, and returns how much: less than asked for only where
  // the file ends.
  virtual Result<std::size_t> read_at(Position position, std::span<std::byte> out) const = 0;

  // The same, but of what the medium holds rather than of any cache above it. After a failed
  // write-back a cache shows bytes that the medium never got; recovery must not believe it.
  // `position`, `out` and its size are multiples of 4096.
  virtual Result<std::size_t> read_medium(Position position, std::span<std::byte> out) const = 0;

  // Writes all of `data` at `position`, growing the file as needed. After an error any part of it may
  // have been written.
  virtual Result<void> write_at(Position position, Bytes data) = 0;

  // Makes the file `size` bytes long and reserves the room for all of them, so that no later write
  // below `size` can meet a full disk. New bytes are zero. Never shortens.
  virtual Result<void> allocate(std::uint64_t size) = 0;

  // Makes the file `size` bytes long; new bytes are zero, without room reserved for them.
  virtual Result<void> resize(std::uint64_t size) = 0;

  // Returns once the file's bytes and size would survive a loss of power. Whoever sees it fail must
  // not believe a later success: the bytes may be gone from the cache that would have written them.
  // May run beside stores into a mapping and writes; covers those that came before the call.
  virtual Result<void> sync() = 0;

  // Gives back what memory a cache takes for bytes that are synced and mapped by nobody. They are read from the
  // medium when they are wanted again.
  virtual void drop_cache() const noexcept {}

  // Maps the first `size` bytes. A file is mapped for writing at most once at a time.
  virtual Result<std::unique_ptr<StorageMapping>> map(std::size_t size, MapMode mode) = 0;
};

enum class OpenMode : std::uint8_t {
  read,    // must exist
  write,   // must exist; reading is allowed too
  create,  // made if it is missing, emptied if it exists; reading is allowed too
};

enum class FileKind : std::uint8_t { file, directory, symlink, other };

struct FileEntry {
  std::string name;
  FileKind kind = FileKind::file;
};

struct FileStatus {
  FileKind kind = FileKind::file;
  std::uint64_t size = 0;  // in bytes, of a file
};

// Holds the storage's lock until it is destroyed.
class StorageLock {
 public:
  StorageLock() = default;
  StorageLock(const StorageLock&) = delete;
  StorageLock& operator=(const StorageLock&) = delete;
  virtual ~StorageLock() = default;
};

// Something of its own for every class of storage, to be told by: see StorageBackend::kind().
template <class Storage>
inline constexpr char storage_kind = 0;

// One flat folder of named files. Names are plain: no separators, not "." or "..". All members may be
// called from any thread.
class StorageBackend {
 public:
  StorageBackend() = default;
  StorageBackend(const StorageBackend&) = delete;
  StorageBackend& operator=(const StorageBackend&) = delete;
  virtual ~StorageBackend() = default;

  // What people call this place, for error messages: a path, usually.
  virtual std::string describe() const = 0;

  // Everything in the folder, in no particular order.
  virtual Result<std::vector<FileEntry>> list() const = 0;

  // What stands under that name, without opening it; ENOENT if nothing does.
  virtual Result<FileStatus> stat(std::string_view name) const = 0;

  // Refuses to follow a symbolic link (ELOOP).
  virtual Result<std::unique_ptr<StorageFile>> open(std::string_view name, OpenMode mode) = 0;

  // Atomically gives `from` the name `to`, replacing what had it.
  virtual Result<void> rename(std::string_view from, std::string_view to) = 0;
  virtual Result<void> remove(std::string_view name) = 0;

  // Tells the class of a storage that can share files: &storage_kind<it>. Null: it cannot. One that wraps another has its
  // own or none, never the other's.
  virtual const void* kind() const noexcept { return nullptr; }

  // Gives the file, which is synced, the same name in `to`, too, without copying it: it may not be written any more,
  // by either name. Only where both are of one kind, and near each other: std::errc::operation_not_supported,
  // cross_device_link and the like mean that it must be copied.
  virtual Result<void> share(std::string_view name, StorageBackend& /*to*/) {
    return Error(std::make_error_code(std::errc::operation_not_supported), std::string(name));
  }

  // Returns once all names created, renamed and removed so far would survive a loss of power.
  virtual Result<void> sync_names() = 0;

  // Takes the one writer's lock, at once or not at all (Errc::locked). It ends with the returned
  // object or with the process, however that dies.
  virtual Result<std::unique_ptr<StorageLock>> lock() = 0;
};

}  // namespace varve::inline v0
