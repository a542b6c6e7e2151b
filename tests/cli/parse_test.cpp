#include "cli/parse.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using varve::Offset;
using varve::Timestamp;
namespace cli = varve::cli;

namespace {

Timestamp time_of(std::string_view text) {
  const auto time = cli::parse_rfc3339(text);
  INFO(text);
  INFO((time ? std::string() : time.error().message()));
  REQUIRE(time);
  return *time;
}

// What is said of a text that is refused: the text itself and a reason.
std::string refusal_of(std::string_view text) {
  const auto time = cli::parse_rfc3339(text);
  CAPTURE(text);
  REQUIRE(!time);
  CHECK(time.error() == varve::Errc::invalid_argument);
  CHECK(time.error().context().starts_with("'" + std::string(text) + "' "));
  return time.error().context();
}

constexpr Timestamp day(int year, unsigned month, unsigned day) {
  return std::chrono::sys_days(std::chrono::year(year) / static_cast<int>(month) /
                               static_cast<int>(day));
}

}  // namespace

TEST_CASE("cli: times are read as RFC 3339 has them", "[cli][parse]") {
  const Timestamp noon = day(2024, 2, 29) + 12h;
  CHECK(time_of("2024-02-29T12:00:00Z") == noon);
  CHECK(time_of("2024-02-29t12:00:00z") == noon);
  CHECK(time_of("2024-02-29T13:30:00+01:30") == noon);
  CHECK(time_of("2024-02-29T07:00:00-05:00") == noon);
  CHECK(time_of("2024-03-01T11:59:00+23:59") == noon);
  CHECK(time_of("2024-02-29T12:00:00-00:00") == noon);
  CHECK(time_of("1970-01-01T00:00:00Z") == Timestamp());
  CHECK(time_of("1969-12-31T23:59:59.999Z") == Timestamp() - 1ms);
  CHECK(time_of("0000-01-01T00:00:00Z") == day(0, 1, 1));
  CHECK(time_of("9999-12-31T23:59:59Z") == day(10000, 1, 1) - 1s);
}

TEST_CASE("cli: a date alone is its midnight in UTC", "[cli][parse]") {
  CHECK(time_of("2024-02-29") == day(2024, 2, 29));
  CHECK(time_of("2000-02-29") == day(2000, 2, 29));
  CHECK(time_of("1965-07-04") == day(1965, 7, 4));
}

TEST_CASE("cli: fractions of a second are rounded up to milliseconds", "[cli][parse]") {
  const Timestamp noon = day(2024, 2, 29) + 12h;
  CHECK(time_of("2024-02-29T12:00:00.5Z") == noon + 500ms);
  CHECK(time_of("2024-02-29T12:00:00.25Z") == noon + 250ms);
  CHECK(time_of("2024-02-29T12:00:00.007Z") == noon + 7ms);
  CHECK(time_of("2024-02-29T12:00:00.0070Z") == noon + 7ms);
  CHECK(time_of("2024-02-29T12:00:00.0070000000000000000000000001Z") == noon + 8ms);
  CHECK(time_of("2024-02-29T12:00:00.9999Z") == noon + 1s);
  CHECK(time_of("2024-02-29T12:00:00." + std::string(100'000, '0') + "Z") == noon);
}

TEST_CASE("cli: leap seconds are read where they can be", "[cli][parse]") {
  CHECK(time_of("2016-12-31T23:59:60Z") == day(2017, 1, 1));
  CHECK(time_of("2016-12-31T23:59:60.5Z") == day(2017, 1, 1) + 500ms);
  CHECK(time_of("2017-01-01T00:59:60+01:00") == day(2017, 1, 1));
  CHECK(refusal_of("2016-12-30T23:59:60Z").find("61st second") != std::string::npos);
  CHECK(refusal_of("2016-12-31T22:59:60Z").find("61st second") != std::string::npos);
  CHECK(refusal_of("2016-12-31T23:59:61Z").find("no time") != std::string::npos);
}

TEST_CASE("cli: what is not RFC 3339 is refused with a reason", "[cli][parse]") {
  const auto text =
      GENERATE(as<std::string>(), "", "2", "now", "2024", "2024-02", "24-02-29", "2024-2-29",
               "2024-02-30", "2023-02-29", "2024-00-01", "2024-13-01", "2024-01-00", "-024-02-29",
               "+2024-02-29", "2024/02/29", " 2024-02-29");
  CHECK(refusal_of(text).find("date") != std::string::npos);
  CHECK(refusal_of("2024-02-29 ").find("no T") != std::string::npos);
  CHECK(refusal_of("2024-02-29 12:00:00Z").find("no T") != std::string::npos);
  for (const char* time : {"2024-02-29T", "2024-02-29T12", "2024-02-29T12:00",
                           "2024-02-29T24:00:00Z", "2024-02-29T12:60:00Z", "2024-02-29T12:00:00.Z",
                           "2024-02-29T1:00:00Z", "2024-02-29T12:00Z"})
    CHECK(refusal_of(time).find("no time") != std::string::npos);
  for (const char* zone : {"2024-02-29T12:00:00", "2024-02-29T12:00:00.5", "2024-02-29T12:00:00,5Z",
                           "2024-02-29T12:00:00+1:00", "2024-02-29T12:00:00+0100",
                           "2024-02-29T12:00:00+24:00", "2024-02-29T12:00:00+01:60"})
    CHECK(refusal_of(zone).find("no zone") != std::string::npos);
  CHECK(refusal_of("2024-02-29T12:00:00Z ").find("goes on") != std::string::npos);
  CHECK(refusal_of("2024-02-29T12:00:00+01:00Z").find("goes on") != std::string::npos);
}

TEST_CASE("cli: times are written in UTC with milliseconds", "[cli][parse]") {
  CHECK(cli::format_rfc3339(Timestamp()) == "1970-01-01T00:00:00.000Z");
  CHECK(cli::format_rfc3339(Timestamp() - 1ms) == "1969-12-31T23:59:59.999Z");
  CHECK(cli::format_rfc3339(day(2024, 2, 29) + 1h + 2min + 3s + 4ms) == "2024-02-29T01:02:03.004Z");
  CHECK(cli::format_rfc3339(day(0, 1, 1)) == "0000-01-01T00:00:00.000Z");
  CHECK(cli::format_rfc3339(day(10000, 1, 1) - 1ms) == "9999-12-31T23:59:59.999Z");
}

TEST_CASE("cli: times that RFC 3339 cannot tell are not written", "[cli][parse]") {
  CHECK(cli::format_rfc3339(day(0, 1, 1) - 1ms) == std::nullopt);
  CHECK(cli::format_rfc3339(day(10000, 1, 1)) == std::nullopt);
  CHECK(cli::format_rfc3339(Timestamp::min()) == std::nullopt);
  CHECK(cli::format_rfc3339(Timestamp::max()) == std::nullopt);
}

TEST_CASE("cli: what is written is read back as the same time", "[cli][parse]") {
  // Steps that hit every month, hour, second and millisecond alike.
  const auto step = 987'654'321'123ms;
  for (Timestamp time = day(0, 1, 1); time < day(10000, 1, 1); time += step) {
    const auto text = cli::format_rfc3339(time);
    REQUIRE(text);
    REQUIRE(time_of(*text) == time);
  }
}

TEST_CASE("cli: numbers are digits between bounds", "[cli][parse]") {
  CHECK(*cli::parse_count("0", 0, UINT64_MAX) == 0);
  CHECK(*cli::parse_count("007", 0, UINT64_MAX) == 7);
  CHECK(*cli::parse_count("18446744073709551615", 0, UINT64_MAX) == UINT64_MAX);
  CHECK(!cli::parse_count("18446744073709551616", 0, UINT64_MAX));
  CHECK(!cli::parse_count("99999999999999999999999", 0, UINT64_MAX));
  CHECK(*cli::parse_count("16", 16, 32) == 16);
  CHECK(*cli::parse_count("32", 16, 32) == 32);
  CHECK(!cli::parse_count("15", 16, 32));
  CHECK(!cli::parse_count("33", 16, 32));
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "0x10", "1e3", "1.0", "one"}) {
    CAPTURE(text);
    CHECK(!cli::parse_count(text, 0, UINT64_MAX));
  }
}

TEST_CASE("cli: offsets end at 2^63", "[cli][parse]") {
  CHECK(*cli::parse_offset("4711") == Offset{4711});
  CHECK(*cli::parse_offset("9223372036854775808") == varve::offset_max);
  CHECK(!cli::parse_offset("9223372036854775809"));
}

TEST_CASE("cli: reading begins at a name, an offset or a time", "[cli][parse]") {
  CHECK(std::holds_alternative<cli::Start>(*cli::parse_from("start")));
  CHECK(std::holds_alternative<cli::End>(*cli::parse_from("end")));
  CHECK(std::get<Offset>(*cli::parse_from("42")) == Offset{42});
  CHECK(std::get<Timestamp>(*cli::parse_from("@2024-02-29")) == day(2024, 2, 29));
  for (const char* text : {"", "@", "Start", "42x", "-1", "2024-02-29", "@2024-02-30", "@42"}) {
    CAPTURE(text);
    CHECK(!cli::parse_from(text));
  }
}

TEST_CASE("cli: reading ends at an offset or a time", "[cli][parse]") {
  CHECK(std::get<Offset>(*cli::parse_until("42")) == Offset{42});
  CHECK(std::get<Timestamp>(*cli::parse_until("@2024-02-29")) == day(2024, 2, 29));
  CHECK(!cli::parse_until("start"));
  CHECK(!cli::parse_until("end"));
  CHECK(cli::parse_until("9999999999999999999").error().context().find("between") !=
        std::string::npos);
}

TEST_CASE("cli: acknowledgements are called os and disk", "[cli][parse]") {
  CHECK(*cli::parse_ack("os") == varve::Ack::os);
  CHECK(*cli::parse_ack("disk") == varve::Ack::disk);
  CHECK(!cli::parse_ack(""));
  CHECK(!cli::parse_ack("Disk"));
}
