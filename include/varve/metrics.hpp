// Metrics: a log's counters, with a table of names and help texts to export them by.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>

#include "varve/export.hpp"

namespace varve::inline v0 {

// How often something took how long. A bucket takes what is longer than the bound of the one before it, and not longer
// than its own: 16 us, 32 us, and so on, up to 8.4 s; the last one has no bound.
struct Histogram {
  static constexpr std::size_t bounds = 20;
  static constexpr std::chrono::nanoseconds bound(std::size_t i) noexcept {
    return std::chrono::microseconds(16) * (std::int64_t{1} << i);
  }
  static constexpr std::size_t bucket_of(std::chrono::nanoseconds took) noexcept {
    const auto above = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count() - 1, 0));
    const auto units = above / static_cast<std::uint64_t>(bound(0).count());
    return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(units)), bounds);
  }

  std::array<std::uint64_t, bounds + 1> counts{};  // not cumulative
  std::uint64_t sum_nanoseconds = 0;

  std::uint64_t count() const noexcept {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  }
};

// Counters since the log was opened, except where a gauge says otherwise.
struct Metrics {
  std::uint64_t records_appended = 0;
  std::uint64_t bytes_appended = 0;
  std::uint64_t batches_appended = 0;
  std::uint64_t bytes_before_compression = 0;
  std::uint64_t bytes_after_compression = 0;
  std::uint64_t appends_refused = 0;
  std::uint64_t segments_rolled = 0;
  std::uint64_t segments_removed = 0;
  std::uint64_t populate_stalls = 0;
  std::uint64_t segments_opened = 0;
  std::uint64_t compactions = 0;
  std::uint64_t compactions_failed = 0;
  std::uint64_t compaction_records_removed = 0;
  std::uint64_t compaction_bytes_removed = 0;
  std::uint64_t compaction_dirty_percent = 0;  // gauge
  std::uint64_t compaction_key_map_bytes = 0;  // gauge
  std::uint64_t compaction_milliseconds = 0;   // gauge
  std::uint64_t segments = 0;                  // gauge
  std::uint64_t bytes = 0;                     // gauge
  std::uint64_t start_offset = 0;              // gauge
  std::uint64_t end_offset = 0;                // gauge
  std::uint64_t durable_offset = 0;            // gauge
  Histogram sync_time{};  // of flushes to the medium, each shared by all appends that waited for it
  Histogram durable_append_time{};  // of appends with Ack::disk, from the call to the answer
};

struct MetricInfo {
  std::string_view name;  // in the style of Prometheus, without a prefix: "records_appended_total"
  std::string_view help;
  bool gauge = false;
  std::uint64_t Metrics::*field = nullptr;
};

struct HistogramInfo {
  std::string_view name;  // with its unit: "sync_seconds"
  std::string_view help;
  Histogram Metrics::*field = nullptr;
};

// One row a field, so that one loop exports all of them to any registry. prometheus.hpp does.
VARVE_EXPORT std::span<const MetricInfo> metric_table() noexcept;
VARVE_EXPORT std::span<const HistogramInfo> histogram_table() noexcept;

}  // namespace varve::inline v0
