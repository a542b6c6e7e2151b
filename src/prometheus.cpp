#include "varve/prometheus.hpp"

#include <cstdint>
#include <iterator>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace varve::inline v0 {
namespace {

class Text {
 public:
  void head(std::string_view name, std::string_view help, std::string_view type) {
    fmt::format_to(out(), "# HELP varve_{0} {1}\n# TYPE varve_{0} {2}\n", name, help, type);
  }

  template <class Value>
  void sample(std::string_view name, std::string_view suffix, const std::string& labels,
              Value value) {
    fmt::format_to(out(), "varve_{}{}{{{}}} {}\n", name, suffix, labels, value);
  }

  std::string take() { return std::move(text_); }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }

  std::string text_;
};

std::string label_of(const LogMetrics& one) {
  std::string label = "log=\"";
  for (const char c : one.log) {
    if (c == '\n') {
      label += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') label += '\\';
    label += c;
  }
  return label + '"';
}

double seconds(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

void put(Text& text, std::string_view name, const std::string& label, const Histogram& histogram) {
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < Histogram::bounds; ++i) {
    so_far += histogram.counts[i];
    const auto bound = static_cast<std::uint64_t>(Histogram::bound(i).count());
    text.sample(name, "_bucket", fmt::format("{},le=\"{}\"", label, seconds(bound)), so_far);
  }
  text.sample(name, "_bucket", label + ",le=\"+Inf\"", histogram.count());
  text.sample(name, "_sum", label, seconds(histogram.sum_nanoseconds));
  text.sample(name, "_count", label, histogram.count());
}

}  // namespace

std::string prometheus_text(std::span<const LogMetrics> logs, MetricKinds kinds) {
  Text text;
  for (const MetricInfo& info : metric_table()) {
    if (kinds == MetricKinds::gauges && !info.gauge) continue;
    text.head(info.name, info.help, info.gauge ? "gauge" : "counter");
    for (const LogMetrics& one : logs)
      text.sample(info.name, "", label_of(one), one.metrics.*info.field);
  }
  if (kinds == MetricKinds::gauges) return text.take();
  for (const HistogramInfo& info : histogram_table()) {
    text.head(info.name, info.help, "histogram");
    for (const LogMetrics& one : logs) put(text, info.name, label_of(one), one.metrics.*info.field);
  }
  return text.take();
}

}  // namespace varve::inline v0
