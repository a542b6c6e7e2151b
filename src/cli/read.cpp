// varve read: records as lines, of a log at rest or beside its writer.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "codecs.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "varve/log.hpp"

namespace varve::cli {
namespace {

// How long to wait for records before looking whether anybody still wants them.
constexpr std::chrono::milliseconds look_up_interval{100};

class Printer {
 public:
  Printer(const Log& log, Offset from, const ReadCommand& command);

  Exit run();

 private:
  enum class Next { go_on, stop };

  Next print(const RecordView& record);
  Next meet(const Error& error);
  Next wait_for_more();
  bool at_until() const { return until_offset_ && reader_.next_offset() >= *until_offset_; }

  const ReadCommand& command_;
  std::optional<Offset> until_offset_{};
  std::optional<Timestamp> until_time_{};
  Reader reader_;
  Output output_{};
  std::unique_ptr<StopSignals> stop_{};
  std::string line_{};
  std::uint64_t printed_ = 0;
  std::string last_damage_{};
  Exit exit_ = Exit::ok;
};

// Reads up to the end that the log has now, unless it is followed: a writer may be faster than us.
std::optional<Offset> until_offset(const Log& log, Offset from, const ReadCommand& command) {
  std::optional<Offset> until;
  if (!command.follow && from <= log.end_offset()) until = log.end_offset();
  if (command.until)
    if (const auto* offset = std::get_if<Offset>(&*command.until))
      until = until ? std::min(*until, *offset) : *offset;
  return until;
}

Printer::Printer(const Log& log, Offset from, const ReadCommand& command)
    : command_(command),
      until_offset_(until_offset(log, from, command)),
      reader_(log.reader(from, {.until = until_offset_})) {
  if (command.until)
    if (const auto* time = std::get_if<Timestamp>(&*command.until)) until_time_ = *time;
  if (command.follow) stop_ = std::make_unique<StopSignals>();
}

Exit Printer::run() {
  Next next = command_.max == 0 || at_until() ? Next::stop : Next::go_on;
  while (next == Next::go_on) {
    if (reader_.advance())
      next = print(reader_.record());
    else if (const Result<void> status = reader_.status(); !status)
      next = meet(status.error());
    else
      next = wait_for_more();
    if (stop_ && stop_->requested()) next = Next::stop;
  }
  return output_.finish(exit_);
}

Printer::Next Printer::print(const RecordView& record) {
  if (until_time_ && record.timestamp >= *until_time_) return Next::stop;
  if (command_.json) {
    line_ = json_of(record).dump();
  } else {
    line_.clear();
    if (command_.keys) line_.append(text(record.key.value_or(Bytes{}))).append(1, '\t');
    line_.append(text(record.value.value_or(Bytes{})));
  }
  if (!output_.line(line_)) return Next::stop;
  return ++printed_ == command_.max ? Next::stop : Next::go_on;
}

// Behind damage the reader goes on with what is left; anything else ends the reading.
Printer::Next Printer::meet(const Error& error) {
  std::string damage = fmt::format("{} {}", reader_.next_offset().value, error.message());
  if (damage == last_damage_) return Next::stop;  // there is no way past it
  last_damage_ = std::move(damage);
  output_.flush();
  exit_ = worse(exit_, fail(error));
  return error == Errc::corrupt ? Next::go_on : Next::stop;
}

Printer::Next Printer::wait_for_more() {
  if (!command_.follow || at_until() || !output_.flush() || !output_.open()) return Next::stop;
  const Result<bool> more = reader_.wait(look_up_interval);
  return more ? Next::go_on : meet(more.error());
}

Result<Offset> offset_of(const Log& log, const Place& place) {
  if (const auto* offset = std::get_if<Offset>(&place)) return *offset;
  if (const auto* time = std::get_if<Timestamp>(&place)) return log.find(*time);
  if (std::holds_alternative<End>(place)) return log.end_offset();
  return log.start_offset();
}

}  // namespace

Exit run(const ReadCommand& command) {
  const Result<Log> log = Log::open(command.directory, looking());
  if (!log) return fail(log.error());
  const Result<Offset> from = offset_of(*log, command.from);
  if (!from) return fail(from.error());
  return Printer(*log, *from, command).run();
}

}  // namespace varve::cli
