#include "varve/file_storage.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "sigbus_guard.hpp"
#include "storage_name.hpp"
#include "system_error.hpp"

namespace varve::inline v0 {
namespace {

using detail::is_missing;
using detail::system_error;

static_assert(sizeof(off_t) == 8, "build with _FILE_OFFSET_BITS=64");

constexpr int open_flags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr mode_t file_mode = 0600;
constexpr mode_t directory_mode = 0700;
constexpr std::size_t direct_alignment = 4096;

// Linux 5.14; older headers lack them.
constexpr int advice_populate_read = 22;
constexpr int advice_populate_write = 23;

template <class Call>
auto retry(Call call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

// To be called before anything else may change errno.
Error failure(const std::string& path, std::string_view action) {
  const int cause = errno;
  return system_error(cause, path + ": " + std::string(action));
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  explicit operator bool() const noexcept { return fd_ >= 0; }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct Directory {
  Descriptor fd;
  std::string path;

  std::string path_of(std::string_view name) const { return path + "/" + std::string(name); }
};

Descriptor open_at(const Directory& directory, const std::string& name, int flags) {
  return Descriptor(retry(
      [&] { return ::openat(directory.fd.get(), name.c_str(), flags | open_flags, file_mode); }));
}

Result<struct stat> status_of(const Descriptor& fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return failure(path, "stat");
  return status;
}

// Opening did not wait (O_NONBLOCK: a FIFO would have), so that it can be told what it is.
Result<Descriptor> only_regular(Descriptor fd, const std::string& path) {
  const auto status = status_of(fd, path);
  if (!status) return status.error();
  if (S_ISDIR(status->st_mode)) return system_error(EISDIR, path + ": open");
  if (!S_ISREG(status->st_mode)) return system_error(ENOTSUP, path + ": open: not a regular file");
  if (::fcntl(fd.get(), F_SETFL, 0) != 0) return failure(path, "open");
  return fd;
}

Result<Descriptor> open_existing(const Directory& directory, const std::string& name, int flags) {
  Descriptor fd = open_at(directory, name, flags);
  if (!fd) return failure(directory.path_of(name), "open");
  return only_regular(std::move(fd), directory.path_of(name));
}

Result<Descriptor> open_or_create(const Directory& directory, const std::string& name) {
  const std::string path = directory.path_of(name);
  // Another process may remove and make the name between the two calls, but hardly for ever.
  for (int attempt = 0; attempt < 16; ++attempt) {
    Descriptor fd = open_at(directory, name, O_RDWR | O_CREAT | O_EXCL);
    if (fd) {
      // Only gives back what the umask took, so a file system without modes (EPERM) loses nothing.
      if (::fchmod(fd.get(), file_mode) != 0 && errno != EPERM) return failure(path, "chmod");
      return only_regular(std::move(fd), path);
    }
    if (errno != EEXIST) return failure(path, "create");
    fd = open_at(directory, name, O_RDWR);
    if (fd) return only_regular(std::move(fd), path);
    if (errno != ENOENT) return failure(path, "open");
  }
  return system_error(EAGAIN, path + ": create");
}

// Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, which ends a host that does not expect it.
Result<void> check_limit(std::uint64_t end, const std::string& path, std::string_view action) {
  struct rlimit limit {};
  std::uint64_t bytes_max = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    bytes_max = std::min<std::uint64_t>(bytes_max, limit.rlim_cur);
  }
  if (end <= bytes_max) return {};
  return system_error(EFBIG, path + ": " + std::string(action));
}

class Window {
 public:
  Window(void* address, std::size_t bytes) noexcept : address_(address), bytes_(bytes) {}
  Window(Window&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), bytes_(other.bytes_) {}
  Window& operator=(Window&&) = delete;
  ~Window() {
    if (address_ != nullptr) ::munmap(address_, bytes_);
  }

  std::byte* data() const noexcept { return static_cast<std::byte*>(address_); }
  std::size_t size() const noexcept { return bytes_; }

 private:
  void* address_;
  std::size_t bytes_;
};

class FileMapping final : public StorageMapping {
 public:
  FileMapping(Window window, MapMode mode, std::string path)
      : window_(std::move(window)),
        guard_(window_.data(), window_.size()),
        mode_(mode),
        path_(std::move(path)) {}

  std::byte* data() noexcept override { return window_.data(); }
  std::size_t size() const noexcept override { return window_.size(); }
  bool faulted() const noexcept override { return guard_.faulted(); }

  // The pages come back when they are read; what was stored is the file's already. In pieces: where cores are
  // few a thread that wakes up meanwhile may have to wait for one of them, but not for milliseconds.
  void finish() noexcept override {
    constexpr std::size_t piece = 256u << 10;
    for (std::size_t at = 0; at < size(); at += piece) {
      (void)::madvise(data() + at, std::min(piece, size() - at), MADV_DONTNEED);
      sched_yield();
    }
  }

  Result<void> populate(Position begin, Position end) override {
    if (end < begin || end.value > size()) {
      return Error(Errc::invalid_argument, path_ + ": populate beyond the mapping");
    }
    if (begin == end) return {};
    const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto first = static_cast<std::size_t>(begin.value) / page_bytes * page_bytes;
    const auto last =
        (static_cast<std::size_t>(end.value) + page_bytes - 1) / page_bytes * page_bytes;
    const int advice = mode_ == MapMode::read ? advice_populate_read : advice_populate_write;
    if (retry([&] { return ::madvise(data() + first, last - first, advice); }) != 0) {
      if (errno != EINVAL && errno != EFAULT) return failure(path_, "populate");
      if (errno == EFAULT) return no_bytes();
      touch(first, last, page_bytes);
    }
    if (faulted()) return no_bytes();
    return {};
  }

 private:
  // What MADV_POPULATE_* does, for kernels that do not know it. The guard catches what fails.
  void touch(std::size_t first, std::size_t last, std::size_t page_bytes) noexcept {
    for (std::size_t at = first; at < last; at += page_bytes) {
      auto* const byte = reinterpret_cast<volatile unsigned char*>(data() + at);
      unsigned char value = *byte;
      if (mode_ == MapMode::read) continue;
      // Stores what is there, unless another thread just stored something else. Compilers turn the
      // simpler "or nothing" into a load.
      __atomic_compare_exchange_n(byte, &value, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
  }

  Error no_bytes() const {
    return system_error(EIO, path_ + ": populate: the file is shorter, its medium failed, or no " +
                                 "space is left for a hole in it");
  }

  Window window_;
  detail::SigbusGuard guard_;  // goes before the window
  MapMode mode_;
  std::string path_;
};

class PosixFile final : public StorageFile {
 public:
  PosixFile(std::shared_ptr<const Directory> directory, std::string name, Descriptor fd,
            bool writable)
      : directory_(std::move(directory)),
        name_(std::move(name)),
        path_(directory_->path_of(name_)),
        fd_(std::move(fd)),
        writable_(writable) {}

  Result<std::uint64_t> size() const override {
    const auto status = status_of(fd_, path_);
    if (!status) return status.error();
    return static_cast<std::uint64_t>(status->st_size);
  }

  Result<std::size_t> read_at(Position position, std::span<std::byte> out) const override {
    std::size_t done = 0;
    while (done < out.size()) {
      const auto got = read_some(fd_, position + done, out.subspan(done));
      if (!got) return failure(path_, "read at " + std::to_string(position.value + done));
      if (*got == 0) break;
      done += *got;
    }
    return done;
  }

  Result<std::size_t> read_medium(Position position, std::span<std::byte> out) const override;
  Result<void> write_at(Position position, Bytes data) override;
  Result<void> allocate(std::uint64_t size) override;
  Result<void> resize(std::uint64_t size) override;
  Result<std::unique_ptr<StorageMapping>> map(std::size_t size, MapMode mode) override;

  Result<void> sync() override {
    if (retry([&] { return ::fdatasync(fd_.get()); }) != 0) return failure(path_, "sync");
    return {};
  }

  void drop_cache() const noexcept override {
    (void)::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  }

 private:
  // nullopt: see errno.
  static std::optional<std::size_t> read_some(const Descriptor& fd, Position position,
                                              std::span<std::byte> out) noexcept {
    const ssize_t got = retry([&] {
      return ::pread(fd.get(), out.data(), out.size(), static_cast<off_t>(position.value));
    });
    if (got < 0) return std::nullopt;
    return static_cast<std::size_t>(got);
  }

  Descriptor open_direct() const;
  Result<void> check_writable(std::string_view action) const;
  Result<void> write_all(Position position, Bytes data, std::string_view action);
  Result<void> fill(std::uint64_t begin, std::uint64_t end);

  std::shared_ptr<const Directory> directory_;
  std::string name_;
  std::string path_;
  Descriptor fd_;
  bool writable_;
};

// A second descriptor, because O_DIRECT on the first would disturb its other readers. None is
// returned where the file system refuses or the name stands for another file by now.
Descriptor PosixFile::open_direct() const {
  Descriptor direct = open_at(*directory_, name_, O_RDONLY | O_DIRECT);
  if (!direct) return direct;
  struct stat mine {};
  struct stat theirs {};
  const bool same = ::fstat(fd_.get(), &mine) == 0 && ::fstat(direct.get(), &theirs) == 0 &&
                    mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino;
  return same ? std::move(direct) : Descriptor();
}

Result<std::size_t> PosixFile::read_medium(Position position, std::span<std::byte> out) const {
  const Descriptor direct = open_direct();
  std::size_t done = 0;
  while (direct && done < out.size()) {
    const auto got = read_some(direct, position + done, out.subspan(done));
    if (!got) {
      if (errno == EINVAL) break;
      return failure(path_, "read the medium at " + std::to_string(position.value + done));
    }
    done += *got;
    if (*got != 0 && *got % direct_alignment == 0) continue;
    // Only the end of the file excuses less than whole blocks.
    const auto end = size();
    if (!end) return end.error();
    if (position.value + done >= *end) return done;
    return system_error(EIO,
                        path_ + ": read the medium at " + std::to_string(position.value + done));
  }
  if (done == out.size()) return done;
  const int refused = ::posix_fadvise(fd_.get(), static_cast<off_t>(position.value),
                                      static_cast<off_t>(out.size()), POSIX_FADV_DONTNEED);
  if (refused != 0) return system_error(refused, path_ + ": drop the cache");
  return read_at(position, out);
}

Result<void> PosixFile::check_writable(std::string_view action) const {
  if (writable_) return {};
  return system_error(EBADF, path_ + ": " + std::string(action) + ": opened for reading only");
}

Result<void> PosixFile::write_all(Position position, Bytes data, std::string_view action) {
  while (!data.empty()) {
    const ssize_t put = retry([&] {
      return ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(position.value));
    });
    if (put < 0) {
      return failure(path_, std::string(action) + " at " + std::to_string(position.value));
    }
    position = position + static_cast<std::uint64_t>(put);
    data = data.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> PosixFile::write_at(Position position, Bytes data) {
  if (auto writable = check_writable("write"); !writable) return writable;
  if (data.empty()) return {};
  const std::uint64_t end = position.value + data.size();
  if (end < position.value) return system_error(EFBIG, path_ + ": write");
  if (auto allowed = check_limit(end, path_, "write"); !allowed) return allowed;
  return write_all(position, data, "write");
}

Result<void> PosixFile::allocate(std::uint64_t size) {
  if (auto writable = check_writable("allocate"); !writable) return writable;
  if (size == 0) return {};
  const auto before = this->size();
  if (!before) return before.error();
  if (size > *before) {
    if (auto allowed = check_limit(size, path_, "allocate"); !allowed) return allowed;
  }
  // What is there already costs the kernel a look, so a repeated call needs no shortcut.
  Result<void> done;
  if (retry([&] { return ::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size)); }) != 0) {
    const bool unsupported = errno == EOPNOTSUPP || errno == ENOSYS;
    done = unsupported ? fill(*before, size) : Result<void>(failure(path_, "allocate"));
  }
  // Half a reservation is of no use, but it would keep the room from everybody else.
  if (!done && size > *before) {
    static_cast<void>(retry([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(*before)); }));
  }
  return done;
}

// Reserves room the hard way.
Result<void> PosixFile::fill(std::uint64_t begin, std::uint64_t end) {
  static constexpr std::array<std::byte, 16384> zeros{};
  while (begin < end) {
    const std::uint64_t bytes = std::min<std::uint64_t>(zeros.size(), end - begin);
    auto done = write_all({begin}, Bytes(zeros).first(static_cast<std::size_t>(bytes)), "allocate");
    if (!done) return done;
    begin += bytes;
  }
  return {};
}

Result<void> PosixFile::resize(std::uint64_t size) {
  if (auto writable = check_writable("resize"); !writable) return writable;
  const auto before = this->size();
  if (!before) return before.error();
  if (size > *before) {
    if (auto allowed = check_limit(size, path_, "resize"); !allowed) return allowed;
  }
  if (retry([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(size)); }) != 0) {
    return failure(path_, "resize");
  }
  return {};
}

Result<std::unique_ptr<StorageMapping>> PosixFile::map(std::size_t size, MapMode mode) {
  if (size == 0) return Error(Errc::invalid_argument, path_ + ": map of no bytes");
  const int protection = mode == MapMode::read ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const address = ::mmap(nullptr, size, protection, MAP_SHARED, fd_.get(), 0);
  if (address == MAP_FAILED) return failure(path_, "map");
  return std::make_unique<FileMapping>(Window(address, size), mode, path_);
}

class FileLock final : public StorageLock {
 public:
  explicit FileLock(Descriptor fd) noexcept : fd_(std::move(fd)) {}

  // A child that was forked meanwhile shares the lock, so closing alone would leave it taken; and
  // the child's own copy of this object must not take it from the parent.
  ~FileLock() override {
    struct flock nothing {};
    nothing.l_type = F_UNLCK;
    nothing.l_whence = SEEK_SET;
    if (::getpid() == owner_) ::fcntl(fd_.get(), F_OFD_SETLK, &nothing);
  }

 private:
  Descriptor fd_;
  pid_t owner_ = ::getpid();
};

struct CloseDirectory {
  void operator()(DIR* stream) const noexcept { ::closedir(stream); }
};

FileStatus to_status(const struct stat& status) {
  if (S_ISREG(status.st_mode)) return {.size = static_cast<std::uint64_t>(status.st_size)};
  if (S_ISDIR(status.st_mode)) return {.kind = FileKind::directory};
  return {.kind = S_ISLNK(status.st_mode) ? FileKind::symlink : FileKind::other};
}

// What the listing of a folder says of it. Not all file systems do.
std::optional<FileKind> listed_kind(const dirent& item) {
  switch (item.d_type) {
    case DT_REG:
      return FileKind::file;
    case DT_DIR:
      return FileKind::directory;
    case DT_LNK:
      return FileKind::symlink;
    case DT_UNKNOWN:
      return std::nullopt;
    default:
      return FileKind::other;
  }
}

class FileStorage final : public StorageBackend {
 public:
  explicit FileStorage(Directory directory)
      : directory_(std::make_shared<const Directory>(std::move(directory))) {}

  std::string describe() const override { return directory_->path; }

  Result<std::vector<FileEntry>> list() const override;

  Result<FileStatus> stat(std::string_view name) const override {
    if (auto valid = check_name(name); !valid) return valid.error();
    struct stat status {};
    if (::fstatat(fd(), std::string(name).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return failure(directory_->path_of(name), "stat");
    }
    return to_status(status);
  }

  Result<std::unique_ptr<StorageFile>> open(std::string_view name, OpenMode mode) override {
    if (auto valid = check_name(name); !valid) return valid.error();
    std::string owned(name);
    auto fd = mode == OpenMode::create
                  ? open_or_create(*directory_, owned)
                  : open_existing(*directory_, owned, mode == OpenMode::read ? O_RDONLY : O_RDWR);
    if (!fd) return fd.error();
    if (mode == OpenMode::create && retry([&] { return ::ftruncate(fd->get(), 0); }) != 0) {
      return failure(directory_->path_of(name), "empty");
    }
    return std::make_unique<PosixFile>(directory_, std::move(owned), *std::move(fd),
                                       mode != OpenMode::read);
  }

  Result<void> rename(std::string_view from, std::string_view to) override {
    if (auto valid = check_name(from); !valid) return valid;
    if (auto valid = check_name(to); !valid) return valid;
    if (::renameat(fd(), std::string(from).c_str(), fd(), std::string(to).c_str()) != 0) {
      return failure(directory_->path_of(from), "rename to " + std::string(to));
    }
    return {};
  }

  const void* kind() const noexcept override { return &storage_kind<FileStorage>; }

  Result<void> share(std::string_view name, StorageBackend& to) override {
    if (auto valid = check_name(name); !valid) return valid;
    if (to.kind() != kind()) return StorageBackend::share(name, to);
    const auto& other = static_cast<const FileStorage&>(to);
    const std::string owned(name);
    if (::linkat(fd(), owned.c_str(), other.fd(), owned.c_str(), 0) != 0)
      return failure(directory_->path_of(name), "link into " + other.directory_->path);
    return {};
  }

  Result<void> remove(std::string_view name) override {
    if (auto valid = check_name(name); !valid) return valid;
    if (::unlinkat(fd(), std::string(name).c_str(), 0) != 0) {
      return failure(directory_->path_of(name), "remove");
    }
    return {};
  }

  Result<void> sync_names() override {
    if (retry([&] { return ::fsync(fd()); }) != 0) return failure(directory_->path, "sync names");
    return {};
  }

  Result<std::unique_ptr<StorageLock>> lock() override {
    auto file = open_or_create(*directory_, "LOCK");
    if (!file) return file.error();
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (retry([&] { return ::fcntl(file->get(), F_OFD_SETLK, &whole); }) != 0) {
      const std::string path = directory_->path_of("LOCK");
      if (errno == EAGAIN || errno == EACCES) return Error(Errc::locked, path);
      return failure(path, "lock");
    }
    return std::make_unique<FileLock>(*std::move(file));
  }

 private:
  int fd() const noexcept { return directory_->fd.get(); }
  Result<void> check_name(std::string_view name) const {
    return detail::check_storage_name(directory_->path, name);
  }

  std::shared_ptr<const Directory> directory_;
};

Result<std::vector<FileEntry>> FileStorage::list() const {
  // A descriptor of its own, for the place in the listing belongs to it.
  Descriptor own(retry([&] { return ::openat(fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!own) return failure(directory_->path, "list");
  const std::unique_ptr<DIR, CloseDirectory> stream(::fdopendir(own.get()));
  if (!stream) return failure(directory_->path, "list");
  own.release();

  std::vector<FileEntry> entries;
  for (;;) {
    errno = 0;
    const dirent* const item = ::readdir(stream.get());
    if (item == nullptr && errno != 0) return failure(directory_->path, "list");
    if (item == nullptr) return entries;
    std::string name(item->d_name);
    if (name == "." || name == "..") continue;
    std::optional<FileKind> kind = listed_kind(*item);
    if (!kind) {
      const auto status = stat(name);
      if (!status && is_missing(status.error())) continue;  // removed since it was listed
      if (!status) return status.error();
      kind = status->kind;
    }
    entries.push_back({std::move(name), *kind});
  }
}

Result<void> sync_directory(const std::string& path) {
  const Descriptor fd(
      retry([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!fd) return failure(path, "open to sync names");
  if (retry([&] { return ::fsync(fd.get()); }) != 0) return failure(path, "sync names");
  return {};
}

Result<void> make_directory(const std::filesystem::path& directory) {
  const std::string& path = directory.native();
  const bool made = ::mkdir(path.c_str(), directory_mode) == 0;
  if (!made && errno != EEXIST) return failure(path, "create");
  if (made && ::chmod(path.c_str(), directory_mode) != 0 && errno != EPERM) {
    return failure(path, "chmod");
  }
  const std::filesystem::path plain =
      directory.has_filename() ? directory : directory.parent_path();
  const std::filesystem::path parent = plain.parent_path();
  auto synced = sync_directory(parent.empty() ? "." : parent.native());
  // Found, not made: an earlier crash may have left its name unsynced, but hardly where even
  // looking at the parent is forbidden.
  if (!synced && !made && synced.error().code() == std::errc::permission_denied) return {};
  return synced;
}

}  // namespace

Result<std::shared_ptr<StorageBackend>> open_file_storage(const std::filesystem::path& directory,
                                                          bool create) {
  if (directory.native().find('\0') != std::string::npos) {
    return Error(Errc::invalid_argument, "not a path: it contains a zero byte");
  }
  if (create) {
    if (auto made = make_directory(directory); !made) return made.error();
  }
  Descriptor fd(
      retry([&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!fd) return failure(directory.native(), "open");

  // Messages stay right when the host changes its working directory.
  std::error_code unknown;
  std::filesystem::path full = std::filesystem::absolute(directory, unknown);
  if (unknown) full = directory;
  if (!full.has_filename() && full.has_parent_path() && full != full.root_path()) {
    full = full.parent_path();
  }
  return std::shared_ptr<StorageBackend>(
      std::make_shared<FileStorage>(Directory{std::move(fd), full.native()}));
}

}  // namespace varve::inline v0
