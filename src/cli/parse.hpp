// Text to values and back: what people write on the command line and read from it. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "varve/options.hpp"
#include "varve/result.hpp"
#include "varve/types.hpp"

namespace varve::cli {

// A time as RFC 3339 has it, "2024-02-29T12:30:00.250+01:00", or a date alone, which is its
// midnight in UTC. Strict: nothing missing, nothing besides, no day that the calendar lacks, a leap
// second only where one can be. What is finer than a millisecond is rounded up, so that for times
// of whole milliseconds `time >= parsed` holds exactly where it does for what was written.
Result<Timestamp> parse_rfc3339(std::string_view text);

// The same in UTC with milliseconds, "2024-02-29T11:30:00.250Z"; nullopt outside the years 0 to
// 9999, which RFC 3339 cannot tell.
std::optional<std::string> format_rfc3339(Timestamp time);

// Decimal digits and nothing else, `min` to `max`.
Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t min, std::uint64_t max);

// "os" or "disk".
Result<Ack> parse_ack(std::string_view text);

// An offset: decimal digits and nothing else, at most `offset_max`.
Result<Offset> parse_offset(std::string_view text);

// Where to begin or to stop reading.
struct Start {};
struct End {};
using Place = std::variant<Start, End, Offset, Timestamp>;

// "start", "end", an offset, or "@" and a time.
Result<Place> parse_from(std::string_view text);

// An offset, or "@" and a time.
Result<Place> parse_until(std::string_view text);

}  // namespace varve::cli
