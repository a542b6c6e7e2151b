// varve info: what a log holds and what its last opening would find, without changing it.
#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "codecs.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "segments.hpp"
#include "terminal.hpp"
#include "varve/log.hpp"

namespace varve::cli {
namespace {

void print_json(const Log& log, const std::string& directory, Output& output) {
  const std::vector<SegmentInfo> segments = log.segments();
  const Json json = {{"directory", json_of(directory)},
                     {"start_offset", log.start_offset().value},
                     {"end_offset", log.end_offset().value},
                     {"durable_offset", log.durable_offset().value},
                     {"offset_count", log.end_offset() - log.start_offset()},
                     {"bytes", bytes_of(segments)},
                     {"epoch", log.epoch().value},
                     {"segments", json_of(segments)},
                     {"recovery", json_of(log.recovery())}};
  output.line(json.dump());
}

void print_recovery(const RecoveryReport& report, Output& output) {
  if (report.clean) {
    output.line("closed    properly");
  } else {
    output.line(fmt::format("closed    no: scanned {} records, {} bytes, {} segments in {} us",
                            report.records_scanned, report.bytes_scanned, report.segments_scanned,
                            report.took.count()));
  }
  if (report.frames_dropped + report.bytes_dropped != 0)
    output.line(fmt::format("dropped   {} frames, {} bytes that were never durable",
                            report.frames_dropped, report.bytes_dropped));
  for (const Damage& torn : report.torn) output.line("torn      " + to_text(torn));
  for (const Damage& lost : report.lost) output.line("damaged   " + to_text(lost));
  for (const std::string& file : report.unknown_files) output.line("unknown   " + file);
}

void print_text(const Log& log, Output& output) {
  const std::vector<SegmentInfo> segments = log.segments();
  // Of which some may have no record: compaction and salvage leave gaps. Verifying counts records.
  output.line(fmt::format("offsets   [{}, {}), {} of them", log.start_offset().value,
                          log.end_offset().value, log.end_offset() - log.start_offset()));
  output.line(fmt::format("durable   {}", log.durable_offset().value));
  output.line(fmt::format("bytes     {}", bytes_of(segments)));
  output.line(fmt::format("epoch     {}", log.epoch().value));
  print_recovery(log.recovery(), output);
  for (const SegmentInfo& segment : segments)
    output.line(fmt::format("segment   {} [{}, {}) {} bytes, newest {}, {}", segment.file,
                            segment.offsets.begin.value, segment.offsets.end.value, segment.bytes,
                            segment.offsets.empty() ? "none" : to_text(segment.newest),
                            segment.sealed ? "sealed" : "active"));
}

}  // namespace

Exit run_info(const LookCommand& command) {
  const Result<Log> log = Log::open(command.directory, looking());
  if (!log) return fail(log.error());
  Output output;
  if (command.json)
    print_json(*log, command.directory.string(), output);
  else
    print_text(*log, output);
  return output.finish(log->recovery().lost.empty() ? Exit::ok : Exit::corrupt);
}

}  // namespace varve::cli
