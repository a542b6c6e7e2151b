#include <limits>
#include <string>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"
#include "support/workload.hpp"
#include "varve/faulty_storage.hpp"

namespace varve::test {
namespace {

std::optional<RecordView> first_of(Reader& reader) { return reader.next().value(); }

TEST_CASE("append: offsets are dense and start where the log was told to", "[log][append]") {
  Options options = small_log();
  options.first_offset = {1000};
  Log log = open_log(make_memory_storage(), options);
  CHECK(log.start_offset() == Offset{1000});
  CHECK(log.end_offset() == Offset{1000});
  for (std::uint64_t i = 0; i < 100; ++i) CHECK(append_text(log, "x").value() == Offset{1000 + i});
  CHECK(log.end_offset() == Offset{1100});
  CHECK(log.high_watermark() == Offset{1100});
}

TEST_CASE("append: the first offset is the log's own once it is made", "[log][append]") {
  const auto storage = make_memory_storage();
  Options options = small_log();
  options.first_offset = {7};
  open_log(storage, options);
  options.first_offset = {9};
  Log log = open_log(storage, options);
  CHECK(append_text(log, "x").value() == Offset{7});
}

TEST_CASE("append: absent, empty and non-empty keys and values are told apart", "[log][append]") {
  Log log = open_log(make_memory_storage());
  const std::vector<std::optional<Bytes>> forms{std::nullopt, bytes(""), bytes("abc")};
  for (const auto& key : forms)
    for (const auto& value : forms) REQUIRE(log.append({.key = key, .value = value}, os_ack));
  const bool reopened = GENERATE(false, true);
  if (reopened) REQUIRE(log.sync());
  Reader reader = log.reader({0});
  for (const auto& key : forms) {
    for (const auto& value : forms) {
      const auto record = first_of(reader);
      REQUIRE(record);
      CHECK(owned_text(record->key) == owned_text(key));
      CHECK(owned_text(record->value) == owned_text(value));
      CHECK(record->headers.empty());
    }
  }
}

TEST_CASE("append: headers keep their order, their repeats and their absent values",
          "[log][append]") {
  Log log = open_log(make_memory_storage());
  const std::vector<Header> headers{
      {"trace", bytes("1")}, {"", bytes("nameless")}, {"trace", bytes("")}, {"none", std::nullopt}};
  REQUIRE(log.append({.value = bytes("v"), .headers = headers}, os_ack));
  Reader reader = log.reader({0});
  const auto record = first_of(reader);
  REQUIRE(record);
  REQUIRE(record->headers.size() == 4);
  std::size_t i = 0;
  for (const Header& header : record->headers) {
    CHECK(header.name == headers[i].name);
    CHECK(owned_text(header.value) == owned_text(headers[i].value));
    ++i;
  }
  CHECK(i == 4);
  CHECK(text(*record->headers.find("trace")->value).empty());
  CHECK(!record->headers.find("none")->value);
  CHECK(!record->headers.find("absent"));
}

TEST_CASE("append: a tombstone is a key without a value", "[log][append]") {
  Log log = open_log(make_memory_storage());
  REQUIRE(log.append({.key = bytes("k")}, os_ack));
  Reader reader = log.reader({0});
  const auto record = first_of(reader);
  REQUIRE(record);
  CHECK(text(*record->key) == "k");
  CHECK(!record->value);
}

TEST_CASE("append: a record keeps its own timestamp, whatever it is", "[log][append]") {
  const auto environment = std::make_shared<FakeEnvironment>(1, 5000);
  Options options = small_log();
  options.environment = environment;
  Log log = open_log(make_memory_storage(), options);
  const std::vector<std::int64_t> times{0,
                                        -1,
                                        1,
                                        4999,
                                        5000,
                                        std::numeric_limits<std::int64_t>::max(),
                                        std::numeric_limits<std::int64_t>::min() + 1,
                                        std::numeric_limits<std::int64_t>::min()};
  for (const std::int64_t time : times)
    REQUIRE(log.append({.timestamp = Timestamp(std::chrono::milliseconds(time))}, os_ack));
  REQUIRE(append_text(log, "own time"));
  const auto check = [&] {
    Reader reader = log.reader({0});
    for (const std::int64_t time : times) {
      const auto record = first_of(reader);
      REQUIRE(record);
      CHECK(record->timestamp.time_since_epoch().count() == time);
      CHECK(record->append_time.time_since_epoch().count() == 5000);
    }
    CHECK(first_of(reader)->timestamp.time_since_epoch().count() == 5000);
  };
  check();
  REQUIRE(log.sync());
  check();
}

TEST_CASE("append: a clock that goes backwards does not take the log's times with it",
          "[log][append]") {
  const auto storage = make_memory_storage();
  const auto environment = std::make_shared<FakeEnvironment>(1, 10'000);
  Options options = small_log();
  options.environment = environment;
  Log log = open_log(storage, options);
  const std::vector<std::int64_t> clock{10'000, 9'000, 10'500, 0, -50, 10'501, 1, 2, 10'400};
  for (std::size_t i = 0; i < clock.size(); ++i) {
    environment->set(clock[i]);
    REQUIRE(append_text(log, "x", {i % 2 == 0 ? Ack::disk : Ack::os}));
    if (i == 4) {  // also not across a reopening
      REQUIRE(log.close());
      log = open_log(storage, options);
    }
  }
  std::int64_t before = 0;
  Reader reader = log.reader({0});
  for (const RecordView& record : reader) {
    CHECK(record.timestamp.time_since_epoch().count() >= before);
    CHECK(record.append_time.time_since_epoch().count() <=
          record.timestamp.time_since_epoch().count());
    before = record.timestamp.time_since_epoch().count();
  }
  CHECK(reader.status());
  CHECK(before == 10'501);
}

TEST_CASE("append: a batch gets offsets in a row", "[log][append]") {
  Log log = open_log(make_memory_storage());
  REQUIRE(append_text(log, "a"));
  const std::vector<Record> batch{
      {.value = bytes("b")}, {.value = bytes("c")}, {.value = bytes("d")}};
  CHECK(log.append(batch, os_ack).value() == OffsetRange{{1}, {4}});
  REQUIRE(append_text(log, "e"));
  CHECK(read_values(log, {0}) == std::vector<std::string>{"a", "b", "c", "d", "e"});
}

TEST_CASE("append: records of every size come back, across frames and segments", "[log][append]") {
  Options options = small_log();
  options.segment_bytes = 256u << 10;
  const auto storage = make_memory_storage();
  Log log = open_log(storage, options);
  std::vector<std::string> values;
  Random random(1);
  for (const std::size_t base :
       {0u, 100u, 4000u, 4040u, 4096u, 8192u, 65500u, 65536u, 131072u, 200000u})
    for (std::size_t more = 0; more < 12; ++more) values.push_back(random.text(base + 5 * more));
  for (const std::string& value : values) REQUIRE(append_text(log, value));
  CHECK(read_values(log, {0}) == values);
  REQUIRE(log.close());
  log = open_log(storage, options);
  CHECK(read_values(log, {0}) == values);
}

TEST_CASE("append: borrows only until it returns", "[log][append]") {
  Log log = open_log(make_memory_storage());
  {
    std::string value = "short-lived";
    REQUIRE(append_text(log, value));
    value.assign("overwritten");
  }
  CHECK(read_values(log, {0}) == std::vector<std::string>{"short-lived"});
}

TEST_CASE("append: a durable append is durable when it returns, a cheap one need not be",
          "[log][append]") {
  Log log = open_log(make_memory_storage());
  REQUIRE(append_text(log, "a", {Ack::os}));
  CHECK(log.durable_offset() == Offset{0});
  REQUIRE(append_text(log, "b", {Ack::disk}));
  CHECK(log.durable_offset() == Offset{2});
  CHECK(log.metrics().sync_time.count() == 1);
  REQUIRE(log.append({.value = bytes("c")}));  // durable unless told otherwise
  CHECK(log.durable_offset() == Offset{3});
}

// As a storage that keeps a log of its own would.
TEST_CASE("append: what an append calls may append to another log", "[log][append]") {
  const auto storage = std::make_shared<FaultyStorage>(make_memory_storage());
  Log log = open_log(storage);
  Log other = open_log(make_memory_storage());
  const std::vector<Header> headers{{"name", bytes("a header's value")}};
  const std::vector<Record> inner(3, Record{.value = bytes("inner")});
  const std::vector<Record> outer(3, Record{.value = bytes("outer"), .headers = headers});
  std::uint64_t calls = 0;
  storage->on_call([&](StorageOp, std::string_view) {
    ++calls;
    REQUIRE(other.append(inner, os_ack));
  });
  REQUIRE(log.append(outer));
  storage->on_call({});
  REQUIRE(calls > 0);
  CHECK(read_values(log, {0}) == std::vector<std::string>(3, "outer"));
  CHECK(read_values(other, {0}) == std::vector<std::string>(3 * calls, "inner"));
}

}  // namespace
}  // namespace varve::test
