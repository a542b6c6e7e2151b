#include "event_log.hpp"

namespace varve::inline v0 {

namespace {

template <std::size_t N>
constexpr EventInfo info(const detail::events::Event<N>& event) {
  return {event.name, event.level, event.help, event.fields};
}

namespace all = detail::events;

constexpr EventInfo table[] = {
    info(all::opened),
    info(all::open_failed),
    info(all::recovered),
    info(all::torn_tail),
    info(all::records_lost),
    info(all::unknown_file),
    info(all::synced),
    info(all::segment_rolled),
    info(all::segment_removed),
    info(all::records_forgotten),
    info(all::retention_held),
    info(all::compacted),
    info(all::compaction_failed),
    info(all::no_space),
    info(all::failed),
    info(all::closed),
    info(all::close_failed),
    info(all::snapshot_taken),
    info(all::snapshot_failed),
    info(all::restored),
    info(all::restore_failed),
};

}  // namespace

std::string_view to_text(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warn:
      return "warn";
    default:
      return "error";
  }
}

std::span<const EventInfo> event_table() noexcept { return table; }

namespace detail {

void EventLog::on_recovered(const RecoveryReport& report) {
  if (!report.clean)
    write(events::recovered, report.segments_scanned, report.records_scanned, report.bytes_scanned,
          report.frames_dropped, report.bytes_dropped);
  for (const Damage& torn : report.torn)
    write(events::torn_tail, torn.file, torn.begin, torn.end, torn.what);
  for (const Damage& lost : report.lost)
    write(events::records_lost, lost.file, lost.begin, lost.end, lost.offsets.begin,
          lost.offsets.end, lost.what);
  for (const std::string& file : report.unknown_files) write(events::unknown_file, file);
}

void EventLog::on_rolled(const SegmentInfo& sealed) {
  write(events::segment_rolled, sealed.file, sealed.offsets.begin, sealed.offsets.end,
        sealed.bytes);
}

void EventLog::on_removed(const SegmentInfo& segment) {
  write(events::segment_removed, segment.file, segment.offsets.begin, segment.offsets.end,
        segment.bytes);
}

void EventLog::on_compacted(const CompactionReport& report) {
  write(events::compacted, report.cleaned, report.records_removed, report.tombstones_removed,
        report.bytes_before, report.bytes_after, report.segments_before, report.segments_after,
        report.took);
}

void EventLog::on_synced(Offset durable, std::chrono::nanoseconds took) {
  write(events::synced, durable, took);
}

void EventLog::on_no_space(const Error& error) { write_error(events::no_space, error); }

void EventLog::on_failed(const Error& error) { write_error(events::failed, error); }

}  // namespace detail
}  // namespace varve::inline v0
