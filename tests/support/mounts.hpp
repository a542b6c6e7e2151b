// File systems of a test's own, small and real. Only root can have them, in a mount namespace that nobody else sees:
// use them in a Child.
#pragma once

#include <sched.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

namespace varve::test {

// What a Child returns that may not mount here. The test then says that it was skipped.
constexpr int cannot_mount = 77;

// From here on mounts are this process's own.
inline bool leave_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

inline bool mount_tmpfs(const std::filesystem::path& at, const std::string& options) {
  return ::mount("tmpfs", at.c_str(), "tmpfs", 0, options.c_str()) == 0;
}

// An ext4 with a journal, in a file, on a loop device.
class Ext4 {
 public:
  Ext4(std::filesystem::path image, std::filesystem::path at)
      : image_(std::move(image)), at_(std::move(at)) {}

  // `how`: options of mkfs.
  bool make(const std::string& size, const std::string& how) const {
    std::filesystem::create_directory(at_);
    return run("truncate -s " + size + " " + image_.string()) &&
           run("PATH=$PATH:/sbin mkfs.ext4 -q -F " + how + " " + image_.string());
  }
  bool mount() const {
    return run("mount -o loop -t ext4 " + image_.string() + " " + at_.string());
  }
  bool unmount() const { return run("umount " + at_.string()); }

  const std::filesystem::path& path() const noexcept { return at_; }

 private:
  static bool run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
  }

  std::filesystem::path image_;
  std::filesystem::path at_;
};

}  // namespace varve::test
