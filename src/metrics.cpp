#include "varve/metrics.hpp"

namespace varve::inline v0 {
namespace {

constexpr MetricInfo table[] = {
    {"records_appended_total", "Records appended.", false, &Metrics::records_appended},
    {"bytes_appended_total", "Encoded bytes of the records appended.", false,
     &Metrics::bytes_appended},
    {"batches_appended_total", "Appends, of one record or many.", false,
     &Metrics::batches_appended},
    {"bytes_before_compression_total", "Encoded bytes of the batches that were stored compressed.",
     false, &Metrics::bytes_before_compression},
    {"bytes_after_compression_total", "What they took compressed.", false,
     &Metrics::bytes_after_compression},
    {"appends_refused_total", "Appends that were answered with an error.", false,
     &Metrics::appends_refused},
    {"segments_rolled_total", "Segments filled and succeeded by another.", false,
     &Metrics::segments_rolled},
    {"segments_removed_total", "Segments removed by truncation or retention.", false,
     &Metrics::segments_removed},
    {"populate_stalls_total", "Appends that had to prepare their file's next pages themselves.",
     false, &Metrics::populate_stalls},
    {"segments_opened_total",
     "Sealed segments opened for reading; those that stay open are not opened again.", false,
     &Metrics::segments_opened},
    {"compactions_total", "Passes of compaction over the log.", false, &Metrics::compactions},
    {"compactions_failed_total", "Passes of compaction that failed, to be tried again.", false,
     &Metrics::compactions_failed},
    {"compaction_records_removed_total", "Records removed by compaction.", false,
     &Metrics::compaction_records_removed},
    {"compaction_bytes_removed_total", "Bytes by which compaction made segments smaller.", false,
     &Metrics::compaction_bytes_removed},
    {"compaction_dirty_percent",
     "Share of the sealed segments' bytes that compaction has not looked at yet.", true,
     &Metrics::compaction_dirty_percent},
    {"compaction_key_map_bytes", "Memory that the last pass of compaction took for keys.", true,
     &Metrics::compaction_key_map_bytes},
    {"compaction_milliseconds", "Duration of the last pass of compaction.", true,
     &Metrics::compaction_milliseconds},
    {"segments", "Segments in the log.", true, &Metrics::segments},
    {"bytes", "Bytes of the log's segments, up to the end of each one's last frame.", true,
     &Metrics::bytes},
    {"start_offset", "Offset of the first record kept.", true, &Metrics::start_offset},
    {"end_offset", "Offset that the next record will get.", true, &Metrics::end_offset},
    {"durable_offset", "First offset that a loss of power might take.", true,
     &Metrics::durable_offset},
};

constexpr HistogramInfo histograms[] = {
    {"sync_seconds",
     "Duration of flushes to the medium, each shared by all appends that waited for it.",
     &Metrics::sync_time},
    {"durable_append_seconds", "Duration of appends that were to be on disk, from call to answer.",
     &Metrics::durable_append_time},
};

}  // namespace

std::span<const MetricInfo> metric_table() noexcept { return table; }

std::span<const HistogramInfo> histogram_table() noexcept { return histograms; }

}  // namespace varve::inline v0
