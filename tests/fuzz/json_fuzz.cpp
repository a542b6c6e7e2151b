// What --json prints: valid UTF-8 JSON on one line, whatever the bytes of a record are, and nothing of them lost.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/json.hpp"
#include "fuzz/fuzz.hpp"
#include "varve/detail/codec.hpp"
#include "varve/inspect.hpp"

namespace varve {
namespace {

using cli::Json;
using fuzz::must;

// The encoder's inverse, written anew: RFC 4648 with padding, nothing else.
std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::size_t sextets = 4;
    while (sextets > 2 && i + 4 == text.size() && text[i + sextets - 1] == '=') --sextets;
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t digit = k < sextets ? digits.find(text[i + k]) : 0;
      if (digit == std::string_view::npos) return std::nullopt;
      group = group << 6 | static_cast<std::uint32_t>(digit);
    }
    for (std::size_t k = 0; k + 1 < sextets; ++k)
      out += static_cast<char>(group >> (16 - 8 * k) & 0xFF);
  }
  return out;
}

// As a program that reads varve's output does it. The parser refuses what is not UTF-8.
Json printed_and_parsed(const Json& json) {
  const std::string line = json.dump();
  must(line.find('\n') == std::string::npos, "a value is one line");
  const Json parsed = Json::parse(line, nullptr, false);
  must(!parsed.is_discarded(), "what is printed is JSON");
  must(parsed == json, "what is printed reads back the same");
  return parsed;
}

void check_bytes(const Json& json, const std::optional<Bytes>& bytes) {
  if (!bytes) return must(json.is_null(), "what is absent is null");
  if (json.is_string())
    return must(json.get<std::string>() == text(*bytes), "a string is the bytes");
  must(json.is_object() && json.size() == 1 && json.contains("base64"), "bytes are in base64");
  const auto decoded = decode_base64(json["base64"].get<std::string>());
  must(decoded && *decoded == text(*bytes), "base64 is the bytes");
}

void check_record(Bytes encoded, std::int64_t time_ms) {
  RecordView record;
  if (!detail::decode_record(encoded, time_ms, record)) return;
  const Json json = printed_and_parsed(cli::json_of(record));
  check_bytes(json["key"], record.key);
  check_bytes(json["value"], record.value);
  must(json["headers"].size() == record.headers.size(), "all headers are there");
  std::size_t i = 0;
  for (const Header& header : record.headers) {
    check_bytes(json["headers"][i]["name"], bytes(header.name));
    check_bytes(json["headers"][i++]["value"], header.value);
  }
}

}  // namespace

std::map<std::string, fuzz::Buffer> fuzz::seeds() {
  std::map<std::string, Buffer> seeds;
  const std::array<Header, 3> headers{
      {{"name", bytes("value")}, {"", std::nullopt}, {"\xFF", bytes("\x01\"\\")}}};
  int number = 0;
  for (const std::string_view text :
       {"plain", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x8C\x8A", "\xC0\x80", "\xED\xA0\x80",
        "\xF4\x90\x80\x80", "\xE2\x82", "a\"b\\c\n\x7F\x1F", ""}) {
    Record record;
    record.key = bytes("key");
    record.value = bytes(text);
    if (number % 2 == 1) record.headers = headers;
    Buffer encoded(detail::measure(record).total);
    encoded.resize(static_cast<std::size_t>(
        detail::encode_record(encoded.data(), record, detail::measure(record), 0, number) -
        encoded.data()));
    Buffer& seed = seeds["seed-" + std::to_string(10 + number++)];
    put_number(seed, std::int64_t{1'700'000'000'000} * number);
    put_bytes(seed, encoded);
  }
  return seeds;
}

}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  fuzz::Input input(fuzz::input_bytes(data, size));
  const auto number = input.number<std::int64_t>();
  const Bytes rest = input.rest();

  check_bytes(printed_and_parsed(cli::json_of(rest)), rest);
  check_record(rest, number);
  (void)printed_and_parsed(cli::json_of(Timestamp(std::chrono::milliseconds(number))));
  (void)cli::to_text(Timestamp(std::chrono::milliseconds(number)));

  // Names of files and what is wrong with them come from outside, too.
  const Damage damage{std::string(text(rest)),
                      {static_cast<std::uint64_t>(number)},
                      {1},
                      {{2}, {static_cast<std::uint64_t>(number)}},
                      std::string(text(rest))};
  (void)printed_and_parsed(cli::json_of(damage));
  (void)cli::to_text(damage);
  VerifyReport report;
  report.damage = {damage};
  report.unknown_files = {damage.file, ""};
  (void)printed_and_parsed(cli::json_of(report));
  return 0;
}
