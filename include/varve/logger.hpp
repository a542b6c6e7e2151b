// Logger: what a log has to say to the people who run it, as events with fields. The library prints nothing itself.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include "varve/export.hpp"

namespace varve::inline v0 {

enum class LogLevel : std::uint8_t {
  debug,  // once a flush
  info,   // once a change of structure
  warn,   // goes on, but somebody should look
  error,  // records were lost, or something that was asked for did not happen
};

// "debug", "info", "warn", "error".
VARVE_EXPORT std::string_view to_text(LogLevel level) noexcept;

// Offsets, bytes and counts are integers, durations are seconds.
using LogValue = std::variant<std::int64_t, double, std::string_view>;

struct LogField {
  std::string_view name{};
  LogValue value{};
};

// Something that happened. The name, and the names and kinds of its fields, are promised: see event_table(). All of it is
// borrowed until Logger::log returns.
struct LogEvent {
  LogLevel level = LogLevel::info;
  std::string_view name{};  // "segment_rolled"
  std::span<const LogField> fields{};
};

// Derive from it to have events written wherever the host writes its own: see Options::logger. Members are called on the
// thread that acted, several at a time, with no varve lock held; they must not call back into the Log, and should return
// quickly. Whatever log() throws is dropped. No append with Ack::os is an event.
class Logger {
 public:
  Logger() = default;
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;
  virtual ~Logger() = default;

  // Events below it are not made. Asked for before each.
  virtual LogLevel level() const noexcept { return LogLevel::info; }

  virtual void log(const LogEvent& event) = 0;
};

struct EventInfo {
  std::string_view name{};
  LogLevel level = LogLevel::info;
  std::string_view help{};
  std::span<const std::string_view> fields{};  // their names, in order
};

// All events that there are. The first field of each is "log": the directory, or how else the storage describes itself.
VARVE_EXPORT std::span<const EventInfo> event_table() noexcept;

}  // namespace varve::inline v0
