// The outside of the process: standard output, the terminal, signals.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "exit.hpp"
#include "varve/error.hpp"

namespace varve::cli {

// Standard output, buffered here so that it is known what was delivered. A reader that went away
// (EPIPE) is no error, but a reason to stop: what is written after it is dropped.
class Output {
 public:
  // Adds a line, and writes everything out when there is much of it. False once output has ended.
  bool line(std::string_view text);

  // Writes out what there is. False once output has ended.
  bool flush();

  // Whether anybody still takes what is written; notices a reader that went away without a write.
  bool open();

  // Why output ended, unless nobody wanted more.
  const std::optional<Error>& error() const { return error_; }

  // Flushes, and turns `exit` into what to end with: Exit::error if not everything could be
  // written.
  Exit finish(Exit exit);

 private:
  std::string buffer_{};
  bool open_ = true;
  std::optional<Error> error_{};
};

// SIGINT and SIGTERM as something to ask for and to wait for instead of sudden death. The second
// one kills as ever. One object at a time.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  // Readable once a signal has come.
  int descriptor() const;
  bool requested() const { return signal() != 0; }

  // The signal that came, or 0.
  int signal() const;

  // Ends the process as whoever sent the signal expects.
  void die_of_it() const;
};

// A line on standard error that tells how far something has come; nothing unless that is a
// terminal.
class ProgressLine {
 public:
  explicit ProgressLine(std::string what, bool wanted = true);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();  // wipes the line

  void update(std::uint64_t done, std::uint64_t total);
  void update(std::uint64_t done);

 private:
  bool due();
  void show(const std::string& progress);

  std::string what_;
  bool active_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

// Whether standard input, output or error (0, 1, 2) is a terminal.
bool is_terminal(int descriptor);

}  // namespace varve::cli
