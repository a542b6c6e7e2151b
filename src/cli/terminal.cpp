#include "terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

namespace varve::cli {
namespace {

constexpr std::size_t output_buffer_bytes = 64 * 1024;
constexpr std::chrono::milliseconds progress_interval{200};

// What a signal handler may touch: there is one of it in a process.
std::atomic<int> signal_received{0};
std::array<int, 2> signal_pipe{-1, -1};

extern "C" void on_stop_signal(int signal) {
  const int saved_errno = errno;
  signal_received = signal;
  const char wake = 0;
  [[maybe_unused]] const ssize_t written = ::write(signal_pipe[1], &wake, 1);
  errno = saved_errno;
}

}  // namespace

bool Output::line(std::string_view text) {
  if (!open_) return false;
  buffer_ += text;
  buffer_ += '\n';
  return buffer_.size() < output_buffer_bytes || flush();
}

bool Output::flush() {
  std::string_view rest = buffer_;
  while (open_ && !rest.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {  // somebody we share it with made it non-blocking
      pollfd ready{STDOUT_FILENO, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      if (errno != EPIPE)
        error_ = Error(std::error_code(errno, std::generic_category()), "standard output");
      open_ = false;
    }
  }
  buffer_.clear();
  return open_;
}

bool Output::open() {
  pollfd state{STDOUT_FILENO, 0, 0};
  if (::poll(&state, 1, 0) == 1 && (state.revents & (POLLERR | POLLHUP)) != 0) open_ = false;
  return open_;
}

Exit Output::finish(Exit exit) {
  flush();
  if (!error_) return exit;
  return worse(exit, fail(*error_));
}

StopSignals::StopSignals() {
  signal_received = 0;
  if (::pipe2(signal_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) signal_pipe = {-1, -1};
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

StopSignals::~StopSignals() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::close(signal_pipe[0]);
  ::close(signal_pipe[1]);
}

int StopSignals::descriptor() const { return signal_pipe[0]; }

int StopSignals::signal() const { return signal_received; }

void StopSignals::die_of_it() const {
  std::signal(signal(), SIG_DFL);
  std::raise(signal());
}

ProgressLine::ProgressLine(std::string what, bool wanted)
    : what_(std::move(what)),
      active_(wanted && is_terminal(STDERR_FILENO)),
      next_(std::chrono::steady_clock::now() + progress_interval) {}

ProgressLine::~ProgressLine() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

bool ProgressLine::due() {
  if (!active_) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return false;
  next_ = now + progress_interval;
  return true;
}

void ProgressLine::update(std::uint64_t done, std::uint64_t total) {
  if (!due()) return;
  const std::uint64_t percent = total == 0 ? 100 : std::min<std::uint64_t>(done * 100 / total, 100);
  show(fmt::format("{} % of {} MiB", percent, total >> 20));
}

void ProgressLine::update(std::uint64_t done) {
  if (due()) show(fmt::format("{}", done));
}

void ProgressLine::show(const std::string& progress) {
  shown_ = true;
  std::fputs(fmt::format("\r\033[K{}: {}", what_, progress).c_str(), stderr);
}

bool is_terminal(int descriptor) { return ::isatty(descriptor) == 1; }

}  // namespace varve::cli
