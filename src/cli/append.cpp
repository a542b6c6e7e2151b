// varve append: a record a line from standard input, and the offset of each once it is safe.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "commands.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "varve/log.hpp"

namespace varve::cli {
namespace {

constexpr std::size_t read_bytes = 256 * 1024;
constexpr std::size_t line_bytes_max = std::size_t{1} << 20;
constexpr std::size_t compressed_lines_bytes = 128 * 1024;  // of lines that are compressed together

// Lines are appended as they arrive: all that is there is handed to the operating system, one flush
// makes it durable, and only then are its offsets told. Slow input is thereby acknowledged line by
// line, and fast input costs a flush a bufferful.
class Appender {
 public:
  Appender(Log& log, const AppendCommand& command)
      : log_(log),
        command_(command),
        batch_bytes_(command.compression.codec ? compressed_lines_bytes : 0) {}

  Exit run();

 private:
  enum class Input { some, end, stopped, failed };

  Input read_some();
  bool append_lines();
  bool append_line(std::string_view line);
  bool append_batch();
  bool acknowledge();
  void complain_about_lines(std::size_t count, std::string_view what) const;

  Log& log_;
  const AppendCommand& command_;
  const std::size_t batch_bytes_;  // so many bytes of lines are one append; 0: each line is
  Output output_;
  StopSignals stop_;
  ProgressLine progress_{"appended", !is_terminal(STDIN_FILENO) && !is_terminal(STDOUT_FILENO)};
  std::string input_{};  // what was read and is not appended yet: at most one incomplete line
  std::vector<Record> batch_{};  // of lines of it, to be appended together
  std::size_t taken_bytes_ = 0;  // which have so many bytes
  std::uint64_t lines_ = 0;      // appended
  OffsetRange unacknowledged_{};
  Exit exit_ = Exit::ok;
};

Exit Appender::run() {
  Input input = Input::some;
  while (input == Input::some) {
    input = read_some();
    const bool appended = append_lines();
    // The last line need not end; but one that was cut short by a signal or an error is no line.
    const bool last = input == Input::end && appended && !input_.empty();
    if (last && append_line(input_)) append_batch();
    if (last) input_.clear();
    if (!acknowledge() || exit_ != Exit::ok) break;
  }
  const Result<void> closed = log_.close();
  if (!closed) exit_ = worse(exit_, fail(closed.error()));
  if (stop_.requested()) stop_.die_of_it();  // everything is in order
  return exit_;
}

Appender::Input Appender::read_some() {
  std::array<pollfd, 2> ready{{{STDIN_FILENO, POLLIN, 0}, {stop_.descriptor(), POLLIN, 0}}};
  while (::poll(ready.data(), ready.size(), -1) < 0 && errno == EINTR) {
  }
  if (stop_.requested()) return Input::stopped;
  const std::size_t before = input_.size();
  input_.resize(before + read_bytes);
  const ssize_t got = ::read(STDIN_FILENO, input_.data() + before, read_bytes);
  const int error = errno;
  input_.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
  if (got > 0 || (got < 0 && (error == EINTR || error == EAGAIN))) return Input::some;
  if (got == 0) return Input::end;
  exit_ = fail(Error(std::error_code(error, std::generic_category()), "standard input"));
  return Input::failed;
}

// Appends the complete lines of the input. False when one was refused: those before it stand.
bool Appender::append_lines() {
  std::string_view rest = input_;
  bool good = true;
  for (std::size_t end = 0; good && (end = rest.find('\n')) != std::string_view::npos;) {
    good = append_line(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  good = good && append_batch();
  if (good && rest.size() > line_bytes_max) {
    complain_about_lines(1, fmt::format("is longer than {} bytes", line_bytes_max));
    exit_ = Exit::error;
    good = false;
  }
  input_.erase(0, input_.size() - rest.size());
  return good;
}

bool Appender::append_line(std::string_view line) {
  Record record{.value = bytes(line)};
  if (!command_.key_separator.empty()) {
    const std::size_t at = line.find(command_.key_separator);
    if (at != std::string_view::npos) {
      record.key = bytes(line.substr(0, at));
      record.value = bytes(line.substr(at + command_.key_separator.size()));
    }
  }
  batch_.push_back(record);
  taken_bytes_ += line.size();
  return taken_bytes_ < batch_bytes_ || append_batch();
}

// Appends the lines that were taken. False if that was refused.
bool Appender::append_batch() {
  if (batch_.empty()) return true;
  const Result<OffsetRange> offsets = log_.append(batch_, {.ack = Ack::os});
  if (!offsets) {
    complain_about_lines(batch_.size(), offsets.error().message());
    exit_ = exit_for(offsets.error());
  } else {
    lines_ += batch_.size();
    if (unacknowledged_.empty()) unacknowledged_.begin = offsets->begin;
    unacknowledged_.end = offsets->end;
  }
  batch_.clear();
  taken_bytes_ = 0;
  return offsets.has_value();
}

// Prints the offsets that were appended since the last time, once they are as safe as was asked
// for.
bool Appender::acknowledge() {
  if (!unacknowledged_.empty() && command_.ack == Ack::disk) {
    const Result<void> synced = log_.sync();
    if (!synced) {
      exit_ = worse(exit_, fail(synced.error()));
      return false;
    }
  }
  for (Offset offset = unacknowledged_.begin; offset < unacknowledged_.end; offset = offset + 1)
    output_.line(fmt::format("{}", offset.value));
  unacknowledged_ = {};
  if (!output_.flush()) {
    if (output_.error())
      exit_ = worse(exit_, fail(*output_.error()));
    else if (exit_ == Exit::ok)
      complain(fmt::format("nobody reads the offsets any more: stopped after {} lines", lines_));
    exit_ = worse(exit_, Exit::error);
    return false;
  }
  progress_.update(lines_);
  return true;
}

void Appender::complain_about_lines(std::size_t count, std::string_view what) const {
  if (count == 1)
    complain(fmt::format("line {}: {}", lines_ + 1, what));
  else
    complain(fmt::format("lines {} to {}: {}", lines_ + 1, lines_ + count, what));
}

}  // namespace

Exit run(const AppendCommand& command) {
  Options options;
  if (command.segment_bytes) options.segment_bytes = *command.segment_bytes;
  options.compression = command.compression;
  Result<Log> log = Log::open(command.directory, std::move(options));
  if (!log) return fail(log.error());
  for (const Damage& torn : log->recovery().torn)
    complain("dropped an unfinished write of before: " + to_text(torn));
  return Appender(*log, command).run();
}

}  // namespace varve::cli
