#include <chrono>
#include <cstddef>
#include <filesystem>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/log_tools.hpp"
#include "varve/prometheus.hpp"

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
  CHECK(metrics.sync_time.count() == 1);
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
  for (const HistogramInfo& info : histogram_table()) {
    CAPTURE(info.name);
    REQUIRE(info.field != nullptr);
    CHECK((metrics.*info.field).sum_nanoseconds == 0);
    (metrics.*info.field).sum_nanoseconds = 1;
    CHECK(names.insert(info.name).second);
    CHECK(!info.help.empty());
    CHECK(info.name.ends_with("_seconds"));
    next += sizeof(Histogram) / sizeof(std::uint64_t);
  }
  CHECK(next == sizeof(Metrics) / sizeof(std::uint64_t));
}

TEST_CASE("metrics: a histogram's bucket takes what is not longer than its bound", "[metrics]") {
  using namespace std::chrono_literals;
  CHECK(Histogram::bound(0) == 16us);
  CHECK(Histogram::bound(19) == 8'388'608us);
  CHECK(Histogram::bucket_of(-1ns) == 0);  // no clock does that
  CHECK(Histogram::bucket_of(0ns) == 0);
  for (std::size_t i = 0; i < Histogram::bounds; ++i) {
    CAPTURE(i);
    CHECK(Histogram::bucket_of(Histogram::bound(i)) == i);
    CHECK(Histogram::bucket_of(Histogram::bound(i) + 1ns) == i + 1);
  }
  CHECK(Histogram::bucket_of(std::chrono::nanoseconds::max()) == Histogram::bounds);
}

TEST_CASE("metrics: flushes and durable appends are timed, others are not", "[log][metrics]") {
  Log log = open_log(make_memory_storage());
  REQUIRE(append_text(log, "x"));
  CHECK(log.metrics().durable_append_time.count() == 0);
  REQUIRE(append_text(log, "x", {Ack::disk}));
  CHECK(!append_text(log, std::string(20'000, 'x'), {Ack::disk}));
  REQUIRE(log.sync());  // with nothing to do
  const Metrics metrics = log.metrics();
  CHECK(metrics.sync_time.count() == 1);
  CHECK(metrics.durable_append_time.count() == 1);
  CHECK(metrics.durable_append_time.sum_nanoseconds >= metrics.sync_time.sum_nanoseconds);
}

TEST_CASE("metrics: as Prometheus reads them", "[metrics]") {
  std::vector<LogMetrics> logs{{"a", {}}, {"quo\"te\\back\nslash", {}}};
  logs[0].metrics.records_appended = 7;
  logs[0].metrics.sync_time.counts[0] = 2;
  logs[0].metrics.sync_time.counts[2] = 1;
  logs[0].metrics.sync_time.counts[Histogram::bounds] = 1;
  logs[0].metrics.sync_time.sum_nanoseconds = 1'500'000'000;
  const std::string text = prometheus_text(logs);
  CAPTURE(text);
  for (const std::string_view line :
       {"# HELP varve_records_appended_total Records appended.\n"
        "# TYPE varve_records_appended_total counter\n"
        "varve_records_appended_total{log=\"a\"} 7\n"
        "varve_records_appended_total{log=\"quo\\\"te\\\\back\\nslash\"} 0\n",
        "# TYPE varve_segments gauge\n", "# TYPE varve_sync_seconds histogram\n",
        "varve_sync_seconds_bucket{log=\"a\",le=\"1.6e-05\"} 2\n"
        "varve_sync_seconds_bucket{log=\"a\",le=\"3.2e-05\"} 2\n"
        "varve_sync_seconds_bucket{log=\"a\",le=\"6.4e-05\"} 3\n",
        "varve_sync_seconds_bucket{log=\"a\",le=\"+Inf\"} 4\n"
        "varve_sync_seconds_sum{log=\"a\"} 1.5\n"
        "varve_sync_seconds_count{log=\"a\"} 4\n"})
    CHECK(text.find(line) != std::string::npos);
  for (const MetricInfo& info : metric_table()) {  // each is said what it is once
    const std::string type = "# TYPE varve_" + std::string(info.name) + ' ';
    CHECK(text.find(type) != std::string::npos);
    CHECK(text.find(type) == text.rfind(type));
  }
}

TEST_CASE("metrics: the dashboard asks for what there is, and the document names all",
          "[metrics]") {
  const std::filesystem::path docs = std::filesystem::path(VARVE_TEST_DIR).parent_path() / "docs";
  const std::string document = read_file(docs / "metrics.md");
  std::set<std::string> names;
  for (const MetricInfo& info : metric_table()) names.insert(std::string(info.name));
  for (const HistogramInfo& info : histogram_table()) {
    names.insert(std::string(info.name));
    for (const char* suffix : {"_bucket", "_count", "_sum"})
      names.insert(std::string(info.name) + suffix);
    CHECK(document.find("| `" + std::string(info.name) + "` | histogram |") != std::string::npos);
  }
  for (const MetricInfo& info : metric_table())
    CHECK(document.find("| `" + std::string(info.name) + "` | " +
                        (info.gauge ? "gauge |" : "counter |")) != std::string::npos);

  const std::string dashboard = read_file(docs / "grafana.json");
  const std::regex metric("varve_([a-z_]+)");
  std::size_t asked = 0;
  for (std::sregex_iterator at(dashboard.begin(), dashboard.end(), metric), end; at != end; ++at) {
    CAPTURE(at->str());
    CHECK(names.contains((*at)[1].str()));
    ++asked;
  }
  CHECK(asked > metric_table().size());
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
