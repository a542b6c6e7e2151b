// What people write on the command line: any text at all. What is taken means what it says, and what is printed can
// be read back.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>

#include "cli/parse.hpp"
#include "fuzz/fuzz.hpp"

namespace varve {
namespace {

using namespace cli;
using fuzz::must;

std::string without_leading_zeros(std::string_view digits) {
  const std::size_t first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? "0" : std::string(digits.substr(first));
}

void check_refusal(const Error& error, std::string_view text) {
  must(error == Errc::invalid_argument, "what cannot be parsed is an invalid argument");
  must(error.context().find(text) != std::string::npos, "a refusal shows what it refuses");
}

void check_printed(Timestamp time) {
  const auto printed = format_rfc3339(time);
  if (!printed) return;
  const auto parsed = parse_rfc3339(*printed);
  must(parsed && *parsed == time, "a time that was printed reads back as it was");
}

void check_time(std::string_view text) {
  const auto time = parse_rfc3339(text);
  if (!time) return check_refusal(time.error(), text);
  // Four digits for the year, and a zone or a fraction that may lead a little beyond.
  const auto around = std::chrono::days(2);
  const Timestamp first = std::chrono::sys_days(std::chrono::year(0) / 1 / 1) - around;
  const Timestamp last = std::chrono::sys_days(std::chrono::year(10000) / 1 / 1) + around;
  must(first < *time && *time < last, "a time of four-digit years is in them");
  check_printed(*time);
}

void check_count(std::string_view text, std::uint64_t min, std::uint64_t max) {
  const auto count = parse_count(text, min, max);
  if (!count) return check_refusal(count.error(), text);
  must(min <= *count && *count <= max, "a count is within its bounds");
  must(std::to_string(*count) == without_leading_zeros(text), "a count is what its digits say");
}

void check_offset(std::string_view text) {
  const auto offset = parse_offset(text);
  if (!offset) return check_refusal(offset.error(), text);
  must(*offset <= offset_max, "an offset is one that a log can have");
  must(std::to_string(offset->value) == without_leading_zeros(text),
       "an offset is what its digits say");
}

void check_place(std::string_view text) {
  const auto from = parse_from(text);
  const auto until = parse_until(text);
  if (until) {
    must(from && from->index() == until->index(), "where one can stop one can begin");
    if (const auto* offset = std::get_if<Offset>(&*until)) {
      const auto alone = parse_offset(text);
      must(std::get<Offset>(*from) == *offset && alone && *alone == *offset,
           "an offset is the same anywhere");
    } else {
      const Timestamp time = std::get<Timestamp>(*until);
      const auto alone = parse_rfc3339(text.substr(1));
      must(std::get<Timestamp>(*from) == time && alone && *alone == time,
           "a time is the same anywhere");
    }
  } else {
    must(!from || std::holds_alternative<Start>(*from) || std::holds_alternative<End>(*from),
         "one can begin at the ends besides");
    check_refusal(until.error(), text.substr(text.starts_with('@') ? 1 : 0));
  }
}

}  // namespace

std::map<std::string, fuzz::Buffer> fuzz::seeds() {
  std::map<std::string, Buffer> seeds;
  int number = 0;
  for (const std::string_view text :
       {"start", "end", "os", "disk", "0", "9223372036854775808", "18446744073709551616",
        "000000000042", "@2024-02-29", "2024-02-29", "@2024-02-29T12:30:00Z",
        "2024-02-29T12:30:00.250+01:00", "0000-01-01T00:00:00+23:59", "9999-12-31T23:59:60.999999Z",
        "2016-12-31T23:59:60z", "2017-01-01t00:59:60.5+01:00"}) {
    Buffer& seed = seeds["seed-" + std::to_string(10 + number++)];
    put_number(seed, std::int64_t{1'700'000'000'250} * number);
    put_bytes(seed, bytes(text));
  }
  return seeds;
}

}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  fuzz::Input input(fuzz::input_bytes(data, size));
  const auto number = input.number<std::int64_t>();
  const std::string_view text = varve::text(input.rest());
  check_printed(Timestamp(std::chrono::milliseconds(number)));
  check_time(text);
  check_offset(text);
  check_place(text);
  check_count(text, 0, std::numeric_limits<std::uint64_t>::max());
  check_count(text, static_cast<std::uint64_t>(number) % 1000, static_cast<std::uint64_t>(number));
  if (const auto ack = parse_ack(text); ack)
    must(text == (*ack == Ack::os ? "os" : "disk"), "an acknowledgement is named");
  else
    check_refusal(ack.error(), text);
  return 0;
}
