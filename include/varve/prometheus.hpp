// Metrics in the text format that Prometheus scrapes.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "varve/export.hpp"
#include "varve/metrics.hpp"

namespace varve::inline v0 {

// The metrics of a log, and the name that tells it from the others of the process.
struct LogMetrics {
  std::string log{};  // becomes the label "log"
  Metrics metrics{};
};

enum class MetricKinds : std::uint8_t {
  all,
  gauges,  // what is so now: all that a process can say of a log that another one writes
};

// The metrics of all those logs, each under "varve_" and its name in metric_table() or histogram_table(), in the text
// exposition format, version 0.0.4 (Content-Type: text/plain; version=0.0.4). Answer a scrape with it.
VARVE_EXPORT std::string prometheus_text(std::span<const LogMetrics> logs,
                                         MetricKinds kinds = MetricKinds::all);

}  // namespace varve::inline v0
