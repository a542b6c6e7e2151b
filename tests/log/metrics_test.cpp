#include <set>
#include <string>
#include <string_view>

#include "support/log_tools.hpp"

namespace varve::test {
namespace {

TEST_CASE("metrics: count what happened", "[log][metrics]") {
  Log log = open_log(make_memory_storage());
  CHECK(log.metrics().records_appended == 0);
  REQUIRE(append_text(log, std::string(100, 'x')));
  const std::vector<Record> batch(3, Record{.value = bytes("y")});
  REQUIRE(log.append(batch, {Ack::disk}));
  CHECK(!log.append(std::span<const Record>()));
  CHECK(!append_text(log, std::string(20'000, 'x')));
  Metrics metrics = log.metrics();
  CHECK(metrics.records_appended == 4);
  CHECK(metrics.batches_appended == 2);
  CHECK(metrics.appends_refused == 2);
  CHECK(metrics.syncs == 1);
  CHECK(metrics.bytes_appended >= 103);
  CHECK(metrics.bytes_appended < 250);
  CHECK(metrics.segments == 1);
  CHECK(metrics.bytes > 4096);
  CHECK(metrics.bytes <= small_segment);
  CHECK(metrics.end_offset == 4);
  CHECK(metrics.durable_offset == 4);

  fill_segments(log, 3);
  REQUIRE(log.truncate_prefix(log.segments()[1].offsets.begin));
  metrics = log.metrics();
  CHECK(metrics.segments_rolled == 2);
  CHECK(metrics.segments_removed == 1);
  CHECK(metrics.segments == 2);
  CHECK(metrics.start_offset == log.start_offset().value);
}

TEST_CASE("metrics: the table has every field once, with a name and a help text", "[metrics]") {
  std::set<std::string_view> names;
  std::set<std::uint64_t> values;
  Metrics metrics;
  std::uint64_t next = 0;
  for (const MetricInfo& info : metric_table()) {
    CAPTURE(info.name);
    REQUIRE(info.field != nullptr);
    CHECK(metrics.*info.field == 0);  // no field twice
    metrics.*info.field = ++next;
    CHECK(names.insert(info.name).second);
    CHECK(!info.help.empty());
    CHECK(info.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string_view::npos);
    CHECK(info.name.ends_with("_total") == !info.gauge);
  }
  CHECK(next == sizeof(Metrics) / sizeof(std::uint64_t));
}

TEST_CASE("metrics: of a read-only log have its gauges", "[log][metrics]") {
  const auto storage = make_memory_storage();
  {
    Log log = open_log(storage);
    fill_segments(log, 3);
  }
  const Log log = open_log(storage, read_only());
  const Metrics metrics = log.metrics();
  CHECK(metrics.records_appended == 0);
  CHECK(metrics.segments == 3);
  CHECK(metrics.end_offset == log.end_offset().value);
  CHECK(metrics.durable_offset == log.end_offset().value);
  CHECK(metrics.bytes > 2 * 12'000);
}

}  // namespace
}  // namespace varve::test
