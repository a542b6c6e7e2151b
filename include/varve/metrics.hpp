// Metrics: a log's counters, with a table of names and help texts to export them by.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "varve/export.hpp"

namespace varve::inline v0 {

// Counters since the log was opened, except where a gauge says otherwise.
struct Metrics {
  std::uint64_t records_appended = 0;
  std::uint64_t bytes_appended = 0;
  std::uint64_t batches_appended = 0;
  std::uint64_t appends_refused = 0;
  std::uint64_t syncs = 0;
  std::uint64_t sync_nanoseconds = 0;
  std::uint64_t segments_rolled = 0;
  std::uint64_t segments_removed = 0;
  std::uint64_t populate_stalls = 0;
  std::uint64_t segments = 0;        // gauge
  std::uint64_t bytes = 0;           // gauge
  std::uint64_t start_offset = 0;    // gauge
  std::uint64_t end_offset = 0;      // gauge
  std::uint64_t durable_offset = 0;  // gauge
};

struct MetricInfo {
  std::string_view name;  // in the style of Prometheus, without a prefix: "records_appended_total"
  std::string_view help;
  bool gauge = false;
  std::uint64_t Metrics::*field = nullptr;
};

// One row a field, so that one loop exports all of them to any registry.
VARVE_EXPORT std::span<const MetricInfo> metric_table() noexcept;

}  // namespace varve::inline v0
