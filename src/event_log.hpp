// EventLog: tells a host's Logger what happens to one log.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "events.hpp"
#include "varve/detail/guard.hpp"
#include "varve/error.hpp"
#include "varve/logger.hpp"
#include "varve/observer.hpp"
#include "varve/types.hpp"

namespace varve::inline v0::detail {

// An Observer, so that it hears what hosts hear; what only varve knows it is told by write(). Any thread.
class EventLog final : public Observer {
 public:
  // `logger` may be null, and lives longer than this. `log` is what the log is called.
  EventLog(Logger* logger, std::string log) : logger_(logger), log_(std::move(log)) {}

  bool has_logger() const noexcept { return logger_ != nullptr; }

  // The values are those of the event's fields behind the first, in their order.
  template <std::size_t N, class... Values>
  void write(const events::Event<N>& event, const Values&... values) const noexcept {
    static_assert(sizeof...(Values) + 1 == N, "a value for each field");
    if (logger_ == nullptr || event.level < logger_->level()) return;
    const std::array<LogValue, N> all{LogValue(std::string_view(log_)), value_of(values)...};
    std::array<LogField, N> fields;
    for (std::size_t i = 0; i < N; ++i) fields[i] = {event.fields[i], all[i]};
    (void)guarded([&] { logger_->log({event.level, event.name, fields}); });
  }

  // The same for an event whose last fields are an error.
  template <std::size_t N, class... Values>
  void write_error(const events::Event<N>& event, const Error& error,
                   const Values&... values) const {
    const std::string_view category = error.code().category().name();
    write(event, values..., category, error.code().value(), error.message());
  }

  void on_recovered(const RecoveryReport& report) override;
  void on_rolled(const SegmentInfo& sealed) override;
  void on_removed(const SegmentInfo& segment) override;
  void on_compacted(const CompactionReport& report) override;
  void on_synced(Offset durable, std::chrono::nanoseconds took) override;
  void on_no_space(const Error& error) override;
  void on_failed(const Error& error) override;

 private:
  static LogValue value_of(std::string_view text) noexcept { return text; }
  static LogValue value_of(int number) noexcept { return std::int64_t{number}; }
  static LogValue value_of(std::uint64_t number) noexcept {
    return static_cast<std::int64_t>(number);
  }
  static LogValue value_of(Offset offset) noexcept { return value_of(offset.value); }
  static LogValue value_of(Position position) noexcept { return value_of(position.value); }
  template <class Rep, class Period>
  static LogValue value_of(std::chrono::duration<Rep, Period> took) noexcept {
    return std::chrono::duration<double>(took).count();
  }

  Logger* logger_;
  std::string log_;
};

}  // namespace varve::inline v0::detail
