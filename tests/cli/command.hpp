// Runs the varve command as people and scripts do.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/catch.hpp"

extern char** environ;

namespace varve::test {

using Arguments = std::vector<std::string>;

// Starts the command with those standard streams and returns its process.
inline pid_t start_varve(Arguments arguments, int in, int out, int err) {
  arguments.insert(arguments.begin(), VARVE_TEST_CLI);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  REQUIRE(posix_spawn_file_actions_init(&actions) == 0);
  REQUIRE(posix_spawn_file_actions_adddup2(&actions, in, 0) == 0);
  REQUIRE(posix_spawn_file_actions_adddup2(&actions, out, 1) == 0);
  REQUIRE(posix_spawn_file_actions_adddup2(&actions, err, 2) == 0);
  pid_t process = -1;
  const int error = posix_spawn(&process, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  REQUIRE(error == 0);
  return process;
}

// The exit code, or 128 and the signal, as a shell tells it.
inline int wait_for(pid_t process) {
  int status = 0;
  REQUIRE(waitpid(process, &status, 0) == process);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// A file without a name: what a stream was given, or has got.
class StreamFile {
 public:
  explicit StreamFile(std::string_view text = "") : file_(std::tmpfile()) {
    REQUIRE(file_);
    REQUIRE(fcntl(descriptor(), F_SETFD, FD_CLOEXEC) == 0);
    REQUIRE(std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size());
    REQUIRE(std::fflush(file_.get()) == 0);
    std::rewind(file_.get());
  }

  int descriptor() const { return fileno(file_.get()); }

  std::string text() const {
    std::string text(static_cast<std::size_t>(lseek(descriptor(), 0, SEEK_END)), '\0');
    REQUIRE(pread(descriptor(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    return text;
  }

 private:
  std::unique_ptr<std::FILE, CloseFile> file_;
};

struct Outcome {
  int exit = 0;
  std::string out{};
  std::string err{};
};

// Runs the command to its end.
inline Outcome run_varve(Arguments arguments, std::string_view input = "") {
  const StreamFile in(input);
  const StreamFile out;
  const StreamFile err;
  const pid_t process =
      start_varve(std::move(arguments), in.descriptor(), out.descriptor(), err.descriptor());
  Outcome outcome{.exit = wait_for(process)};
  outcome.out = out.text();
  outcome.err = err.text();
  return outcome;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// A command that runs beside the test, which talks to it through pipes.
class RunningVarve {
 public:
  explicit RunningVarve(Arguments arguments) {
    int in[2];
    int out[2];
    REQUIRE(pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(pipe2(out, O_CLOEXEC) == 0);
    process_ = start_varve(std::move(arguments), in[0], out[1], err_.descriptor());
    close(in[0]);
    close(out[1]);
    to_ = in[1];
    from_ = out[0];
  }
  RunningVarve(const RunningVarve&) = delete;
  RunningVarve& operator=(const RunningVarve&) = delete;
  ~RunningVarve() {
    end_input();
    end_output();
    if (process_ < 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

  void write(std::string_view text) {
    REQUIRE(::write(to_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void end_input() {
    if (to_ >= 0) close(std::exchange(to_, -1));
  }
  void end_output() {
    if (from_ >= 0) close(std::exchange(from_, -1));
  }

  // The next line of its output; fails when none comes for a long time.
  std::string read_line() {
    for (;;) {
      const std::size_t end = buffer_.find('\n');
      if (end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return line;
      }
      pollfd ready{from_, POLLIN, 0};
      INFO(err_.text());
      REQUIRE(poll(&ready, 1, 30'000) == 1);
      char bytes[4096];
      const ssize_t got = read(from_, bytes, sizeof bytes);
      REQUIRE(got > 0);
      buffer_.append(bytes, static_cast<std::size_t>(got));
    }
  }

  void send(int signal) { REQUIRE(kill(process_, signal) == 0); }
  int wait() { return wait_for(std::exchange(process_, -1)); }
  std::string errors() const { return err_.text(); }

 private:
  StreamFile err_;
  pid_t process_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string buffer_;
};

}  // namespace varve::test
