// What all benchmarks share: a fresh directory, a payload, and the raw system calls to compare with.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <varve/varve.hpp>

namespace bench {

// A directory below $VARVE_BENCH_DIR, or the current one: not /tmp, which may be memory.
class Directory {
 public:
  Directory() {
    const char* base = std::getenv("VARVE_BENCH_DIR");
    std::string name = std::string(base != nullptr ? base : ".") + "/varve-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
    path_ = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::string payload(std::size_t bytes) {
  std::string text(bytes, '\0');
  std::uint64_t state = 0x9E3779B97F4A7C15;
  for (char& byte : text) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  return text;
}

// A file for the raw system calls.
class RawFile {
 public:
  explicit RawFile(const std::filesystem::path& path, std::size_t reserve = 0)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    if (fd_ < 0) throw std::runtime_error("cannot open " + path.string());
    if (reserve == 0) return;
    // Written blocks, so that overwriting them changes no metadata.
    const std::string zeros(1u << 20, '\0');
    for (std::size_t at = 0; at < reserve; at += zeros.size())
      if (::pwrite(fd_, zeros.data(), zeros.size(), static_cast<off_t>(at)) < 0)
        throw std::runtime_error("cannot fill " + path.string());
    ::fsync(fd_);
  }
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;
  ~RawFile() { ::close(fd_); }
  int fd() const { return fd_; }

 private:
  int fd_;
};

}  // namespace bench
