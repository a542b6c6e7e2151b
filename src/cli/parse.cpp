#include "parse.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <system_error>

namespace varve::cli {
namespace {

namespace chrono = std::chrono;

Error bad(std::string_view text, std::string_view why) {
  return {Errc::invalid_argument, "'" + std::string(text) + "' " + std::string(why)};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes text off its front, piece by piece.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool done() const { return rest_.empty(); }

  bool take(char expected) {
    if (rest_.empty() || rest_.front() != expected) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool take_either(char a, char b) { return take(a) || take(b); }

  // Exactly `digits` digits.
  std::optional<unsigned> number(std::size_t digits) {
    if (rest_.size() < digits) return std::nullopt;
    unsigned value = 0;
    for (const char c : rest_.substr(0, digits)) {
      if (!is_digit(c)) return std::nullopt;
      value = value * 10 + static_cast<unsigned>(c - '0');
    }
    rest_.remove_prefix(digits);
    return value;
  }

  // One digit or more behind a decimal point, in milliseconds, rounded up: up to 1000.
  std::optional<chrono::milliseconds> fraction() {
    unsigned milliseconds = 0;
    bool more = false;
    std::size_t digits = 0;
    for (; !rest_.empty() && is_digit(rest_.front()); rest_.remove_prefix(1), ++digits) {
      const auto digit = static_cast<unsigned>(rest_.front() - '0');
      if (digits < 3)
        milliseconds = milliseconds * 10 + digit;
      else
        more |= digit != 0;
    }
    if (digits == 0) return std::nullopt;
    for (; digits < 3; ++digits) milliseconds *= 10;
    return chrono::milliseconds(milliseconds + (more ? 1 : 0));
  }

 private:
  std::string_view rest_;
};

// "2024-02-29".
std::optional<chrono::sys_days> take_date(Scanner& in) {
  const auto year = in.number(4);
  if (!year || !in.take('-')) return std::nullopt;
  const auto month = in.number(2);
  if (!month || !in.take('-')) return std::nullopt;
  const auto day = in.number(2);
  if (!day) return std::nullopt;
  const chrono::year_month_day date(chrono::year(static_cast<int>(*year)), chrono::month(*month),
                                    chrono::day(*day));
  if (!date.ok()) return std::nullopt;
  return chrono::sys_days(date);
}

struct TimeOfDay {
  chrono::minutes minutes{};
  chrono::seconds seconds{};  // up to 60
  chrono::milliseconds fraction{};
};

// "12:30:00.250".
std::optional<TimeOfDay> take_time(Scanner& in) {
  const auto hour = in.number(2);
  if (!hour || *hour > 23 || !in.take(':')) return std::nullopt;
  const auto minute = in.number(2);
  if (!minute || *minute > 59 || !in.take(':')) return std::nullopt;
  const auto second = in.number(2);
  if (!second || *second > 60) return std::nullopt;
  TimeOfDay time{chrono::hours(*hour) + chrono::minutes(*minute), chrono::seconds(*second), {}};
  if (in.take('.')) {
    const auto fraction = in.fraction();
    if (!fraction) return std::nullopt;
    time.fraction = *fraction;
  }
  return time;
}

// "Z", "+01:00": how far local time is ahead of UTC.
std::optional<chrono::minutes> take_zone(Scanner& in) {
  if (in.take_either('Z', 'z')) return chrono::minutes(0);
  const bool ahead = in.take('+');
  if (!ahead && !in.take('-')) return std::nullopt;
  const auto hours = in.number(2);
  if (!hours || *hours > 23 || !in.take(':')) return std::nullopt;
  const auto minutes = in.number(2);
  if (!minutes || *minutes > 59) return std::nullopt;
  const chrono::minutes zone = chrono::hours(*hours) + chrono::minutes(*minutes);
  return ahead ? zone : -zone;
}

// Leap seconds end the last minute of a month in UTC.
bool can_leap(chrono::sys_time<chrono::minutes> minute) {
  const auto next = minute + chrono::minutes(1);
  const auto day = chrono::floor<chrono::days>(next);
  return next == day && chrono::year_month_day(day).day() == chrono::day(1);
}

}  // namespace

Result<Timestamp> parse_rfc3339(std::string_view text) {
  Scanner in(text);
  const auto date = take_date(in);
  if (!date) return bad(text, "does not begin with a date such as 2024-02-29");
  if (in.done()) return Timestamp(*date);
  if (!in.take_either('T', 't')) return bad(text, "has no T between date and time");
  const auto time = take_time(in);
  if (!time) return bad(text, "has no time such as 12:30:00 or 12:30:00.250 behind its date");
  const auto zone = take_zone(in);
  if (!zone) return bad(text, "has no zone such as Z or +01:00 behind its time");
  if (!in.done()) return bad(text, "goes on behind its zone");
  const auto minute = *date + time->minutes - *zone;
  if (time->seconds == chrono::seconds(60) && !can_leap(minute))
    return bad(text, "has a 61st second in a minute without one");
  return Timestamp(minute + time->seconds + time->fraction);
}

std::optional<std::string> format_rfc3339(Timestamp time) {
  using namespace std::chrono_literals;
  constexpr Timestamp begin = chrono::sys_days(0y / 1 / 1);
  constexpr Timestamp end = chrono::sys_days(10000y / 1 / 1);
  if (time < begin || time >= end) return std::nullopt;
  const auto day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date(day);
  const chrono::hh_mm_ss clock(time - day);
  std::array<char, 64> out{};
  const int length = std::snprintf(
      out.data(), out.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
      static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
      static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return std::string(out.data(), static_cast<std::size_t>(length));
}

Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t min, std::uint64_t max) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit))
    return bad(text, "is not a number: decimal digits, as in 4711");
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < min || value > max)
    return bad(text, "is not between " + std::to_string(min) + " and " + std::to_string(max));
  return value;
}

Result<Ack> parse_ack(std::string_view text) {
  if (text == "os") return Ack::os;
  if (text == "disk") return Ack::disk;
  return bad(text, "is neither os nor disk");
}

Result<Offset> parse_offset(std::string_view text) {
  return parse_count(text, 0, offset_max.value).transform([](std::uint64_t value) {
    return Offset{value};
  });
}

Result<Place> parse_until(std::string_view text) {
  if (text.starts_with('@')) {
    const Result<Timestamp> time = parse_rfc3339(text.substr(1));
    if (!time) return time.error();
    return Place(*time);
  }
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit))
    return bad(text, "is neither an offset nor @ and a time, as in @2024-02-29T12:30:00Z");
  const Result<Offset> offset = parse_offset(text);
  if (!offset) return offset.error();
  return Place(*offset);
}

Result<Place> parse_from(std::string_view text) {
  if (text == "start") return Place(Start{});
  if (text == "end") return Place(End{});
  return parse_until(text);
}

}  // namespace varve::cli
