// Child: a process forked from the test, to be killed. It runs a lambda, never returns into the test, and can
// send fixed-size messages to its parent. Fork while no Log with a background thread is open: threads
// do not survive in the child.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace varve::test {

// One end of a pipe.
class PipeEnd {
 public:
  explicit PipeEnd(int fd = -1) noexcept : fd_(fd) {}
  PipeEnd(PipeEnd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  PipeEnd& operator=(PipeEnd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~PipeEnd() { close(); }

  void close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  // One write(2) of at most PIPE_BUF bytes: all of it or nothing, whatever kills the sender.
  template <class Message>
  bool send(const Message& message) const noexcept {
    static_assert(std::is_trivially_copyable_v<Message> && sizeof(Message) <= 512);
    ssize_t done = -1;
    do {
      done = ::write(fd_, &message, sizeof message);
    } while (done < 0 && errno == EINTR);
    return done == static_cast<ssize_t>(sizeof message);
  }

  // Blocks; nullopt when the other end is closed and everything was read.
  template <class Message>
  std::optional<Message> receive() const noexcept {
    Message message{};
    std::size_t done = 0;
    while (done < sizeof message) {
      const ssize_t got =
          ::read(fd_, reinterpret_cast<char*>(&message) + done, sizeof message - done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return std::nullopt;
      done += static_cast<std::size_t>(got);
    }
    return message;
  }

 private:
  int fd_;
};

class Child {
 public:
  // Runs `run(const PipeEnd& to_parent, const PipeEnd& from_parent) -> int`; what it returns is the exit status.
  template <class Run>
  explicit Child(Run&& run) {
    auto [from_child, to_parent] = make_pipe();
    auto [from_parent, to_child] = make_pipe();
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ == 0) {
      from_child.close();
      to_child.close();
      ::signal(SIGPIPE, SIG_IGN);
      // What catches fatal signals in the test program would report them twice.
      for (const int fatal : {SIGINT, SIGTERM, SIGSEGV, SIGABRT, SIGFPE, SIGILL})
        ::signal(fatal, SIG_DFL);
      ::_exit(run_guarded(run, to_parent, from_parent));
    }
    output_ = std::move(from_child);
    input_ = std::move(to_child);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) kill();
  }

  const PipeEnd& output() const noexcept { return output_; }  // what it sends
  PipeEnd& input() noexcept { return input_; }                // what it receives

  // SIGKILL; returns once it is dead.
  void kill() noexcept {
    ::kill(pid_, SIGKILL);
    (void)wait();
  }

  // Its exit status, or the negative number of the signal that killed it.
  int wait() noexcept {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  static constexpr int threw = 99;

  static std::pair<PipeEnd, PipeEnd> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    return {PipeEnd(ends[0]), PipeEnd(ends[1])};
  }

  template <class Run>
  static int run_guarded(Run& run, const PipeEnd& to_parent, const PipeEnd& from_parent) noexcept {
    try {
      return run(to_parent, from_parent);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child process: %s\n", error.what());
    } catch (...) {
      std::fprintf(stderr, "child process: threw\n");
    }
    return threw;
  }

  pid_t pid_ = -1;
  PipeEnd output_;
  PipeEnd input_;
};

}  // namespace varve::test
