// Files and directories for the samples: fresh ones, fixtures that are kept, and raw access.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/sample.hpp"

namespace bench {

namespace fs = std::filesystem;

// $VARVE_BENCH_DIR, or the current directory: not /tmp, which may be memory.
inline fs::path base_directory() {
  const char* base = std::getenv("VARVE_BENCH_DIR");
  return base != nullptr ? base : ".";
}

// A fresh directory for one sample.
class Directory {
 public:
  Directory() {
    std::string name = base_directory() / "sample-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) fail("cannot make " + name);
    path_ = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  const fs::path& path() const { return path_; }
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

// A directory that build(path) fills once, and that later samples find as it is.
template <class Build>
fs::path fixture(const std::string& name, Build&& build) {
  const fs::path path = base_directory() / "fixtures" / (name + (quick() ? "-quick" : ""));
  if (fs::exists(path)) return path;
  const fs::path unfinished = path.string() + ".unfinished";
  fs::remove_all(unfinished);
  fs::create_directories(unfinished);
  build(unfinished);
  ::sync();  // or its pages would be written while a sample is measured
  fs::rename(unfinished, path);
  return path;
}

// Copies a directory of files; those that `shared(file)` says nobody will change are hard links.
template <class Shared>
void copy_files(const fs::path& from, const fs::path& to, Shared&& shared) {
  fs::create_directories(to);
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const fs::path target = to / entry.path().filename();
    if (shared(entry.path()))
      fs::create_hard_link(entry.path(), target);
    else
      fs::copy_file(entry.path(), target);
  }
}

// What the files of a directory take on disk.
inline std::uint64_t allocated_bytes(const fs::path& directory) {
  std::uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) == 0)
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

// Memory that O_DIRECT takes.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t bytes) : bytes_(bytes), data_(allocate(bytes)) {}

  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  static std::byte* allocate(std::size_t bytes) {
    auto* data = static_cast<std::byte*>(std::aligned_alloc(4096, bytes));
    require(data != nullptr, "out of memory");
    std::fill_n(data, bytes, std::byte{0x5A});
    return data;
  }

  std::size_t bytes_;
  std::unique_ptr<std::byte, Free> data_;
};

// A file by its system calls; whatever fails or is short throws.
class RawFile {
 public:
  RawFile(const fs::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {
    if (fd_ < 0) fail("cannot open " + path.string());
  }
  RawFile(RawFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawFile& operator=(RawFile&&) = delete;
  ~RawFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  std::uint64_t size() const {
    struct stat status {};
    require(::fstat(fd_, &status) == 0, "fstat failed");
    return static_cast<std::uint64_t>(status.st_size);
  }
  void write(const void* data, std::size_t bytes) const {
    require(::write(fd_, data, bytes) == static_cast<ssize_t>(bytes), "write failed");
  }
  void write_at(std::uint64_t at, const void* data, std::size_t bytes) const {
    require(::pwrite(fd_, data, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes),
            "pwrite failed");
  }
  void read_at(std::uint64_t at, void* data, std::size_t bytes) const {
    require(::pread(fd_, data, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes),
            "pread failed");
  }
  void sync() const { require(::fdatasync(fd_) == 0, "fdatasync failed"); }

 private:
  int fd_;
};

// Makes a file of written blocks, so that overwriting them changes no metadata. Not through the page
// cache, whose large folios would make small overwrites dear.
inline void make_zero_filled(const fs::path& path, std::size_t bytes) {
  const RawFile file(path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT);
  const AlignedBuffer block(1u << 20);
  std::fill_n(block.data(), block.size(), std::byte{0});
  for (std::size_t at = 0; at < bytes; at += block.size())
    file.write_at(at, block.data(), block.size());
  require(::fsync(file.fd()) == 0, "fsync failed");
}

// A whole file, mapped and in memory.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path) {
    const RawFile file(path, O_RDONLY);
    size_ = static_cast<std::size_t>(file.size());
    void* data = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED | MAP_POPULATE, file.fd(), 0);
    require(data != MAP_FAILED, "mmap failed");
    data_ = static_cast<const std::byte*>(data);
  }
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// The segment files of a varve log, in order.
inline std::vector<fs::path> segment_files(const fs::path& log) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(log))
    if (entry.path().extension() == ".log" && entry.path().stem() != "spare")
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace bench
