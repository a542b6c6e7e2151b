// varve compact: keeps only the latest record of each key.
#include <fmt/format.h>

#include "codecs.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "varve/log.hpp"

namespace varve::cli {
namespace {

void print(const CompactionReport& report, Output& output) {
  const char* const doing = report.dry_run ? "would remove" : "removed";
  output.line(fmt::format("{} {} superseded records and {} tombstones of {} records", doing,
                          report.records_removed, report.tombstones_removed,
                          report.records_before));
  if (report.tombstones_kept > 0)
    output.line(
        fmt::format("kept      {} tombstones until their time is over", report.tombstones_kept));
  output.line(fmt::format("segments  {} to {}", report.segments_before, report.segments_after));
  output.line(fmt::format("bytes     {} to {}", report.bytes_before, report.bytes_after));
  output.line(fmt::format("keys      {} at most, in {} bytes of memory, {} passes", report.keys,
                          report.key_map_bytes, report.passes));
  if (report.segments_left_alone > 0)
    output.line(
        fmt::format("left      {} segments as they are: see verify", report.segments_left_alone));
  output.line(fmt::format("clean     below offset {}, in {} ms", report.cleaned.value,
                          report.took.count()));
}

}  // namespace

Exit run(const CompactCommand& command) {
  Options options{.create = false};
  options.access = command.dry_run ? Access::read_only : Access::read_write;
  options.codecs = all_codecs();
  options.background = Background::manual;  // what is done here is all that is to be done
  Compaction& compaction = options.compaction.emplace();
  if (command.key_map_bytes) compaction.key_map_bytes = *command.key_map_bytes;
  if (command.delete_retention) compaction.delete_retention = *command.delete_retention;
  Result<Log> log = Log::open(command.directory, options);
  if (!log) return fail(log.error());
  const Result<CompactionReport> report = [&] {
    ProgressLine progress("compacting");
    return log->compact({command.dry_run, [&](std::uint64_t done, std::uint64_t total) {
                           progress.update(done, total);
                         }});
  }();
  if (!report) return fail(report.error());
  Output output;
  if (command.json)
    output.line(json_of(*report).dump());
  else
    print(*report, output);
  if (const auto closed = log->close(); !closed) return output.finish(fail(closed.error()));
  return output.finish(log->recovery().lost.empty() ? Exit::ok : Exit::corrupt);
}

}  // namespace varve::cli
