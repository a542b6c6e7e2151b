// Other processes, memory shared with them, and what the system says of this one.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <fstream>
#include <new>
#include <string>
#include <utility>

#include "support/sample.hpp"

namespace bench {

// A T that child processes share.
template <class T>
class Shared {
 public:
  Shared() {
    void* memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    require(memory != MAP_FAILED, "mmap failed");
    value_ = new (memory) T;
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(static_cast<void*>(value_), sizeof(T)); }

  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  T* value_;
};

// A child process that runs work(); made before there are threads. Killed if nobody waits for it, and
// with its parent.
class Child {
 public:
  template <class Work>
  explicit Child(Work&& work) : pid_(::fork()) {
    require(pid_ >= 0, "fork failed");
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      work();
      ::_exit(0);
    } catch (const std::exception&) {
      ::_exit(1);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  // Its status as waitpid tells it.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
};

// Runs work() in a child process that must end by SIGKILL, which work() sends itself.
template <class Work>
void run_killed(Work&& work) {
  const int status = Child(std::forward<Work>(work)).wait();
  require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the process to kill failed");
}
inline void die_now() { ::kill(::getpid(), SIGKILL); }

// A line of /proc/self/status, such as "RssAnon" in KiB or "Threads".
inline double process_status(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(field + ":", 0) == 0) return std::stod(line.substr(field.size() + 1));
  fail("no " + field + " in /proc/self/status");
}
inline double anonymous_bytes() { return process_status("RssAnon") * 1024; }

}  // namespace bench
