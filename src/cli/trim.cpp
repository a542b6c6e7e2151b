// varve trim: forgets the oldest records of a log.
#include <algorithm>
#include <cstdint>
#include <vector>

#include <fmt/format.h>

#include "codecs.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "segments.hpp"
#include "terminal.hpp"
#include "varve/log.hpp"

namespace varve::cli {
namespace {

// The offset that a log is to start with so that what is kept has at least so many bytes, whole segments gone.
Offset start_keeping(const Log& log, std::uint64_t bytes) {
  Offset start = log.start_offset();
  std::uint64_t kept = 0;
  std::vector<SegmentInfo> segments = log.segments();
  std::reverse(segments.begin(), segments.end());
  for (const SegmentInfo& segment : segments) {
    if (kept >= bytes) return std::max(start, segment.offsets.end);
    kept += segment.bytes;
  }
  return start;
}

Result<Offset> new_start(const Log& log, const TrimCommand& command) {
  if (command.keep_bytes) return start_keeping(log, *command.keep_bytes);
  if (const auto* time = std::get_if<Timestamp>(&*command.before)) return log.find(*time);
  return std::get<Offset>(*command.before);
}

struct Trimmed {
  OffsetRange offsets{};
  std::vector<SegmentInfo> segments{};  // that go
};

Trimmed expected(const Log& log, Offset start) {
  Trimmed trimmed;
  trimmed.offsets = {log.start_offset(), std::max(start, log.start_offset())};
  for (const SegmentInfo& segment : log.segments()) {
    if (segment.sealed && segment.offsets.end <= trimmed.offsets.end)
      trimmed.segments.push_back(segment);
  }
  return trimmed;
}

// What is still there was not removed after all.
void leave_out(Trimmed& trimmed, const std::vector<SegmentInfo>& kept) {
  std::erase_if(trimmed.segments, [&](const SegmentInfo& segment) {
    return std::any_of(kept.begin(), kept.end(),
                       [&](const SegmentInfo& one) { return one.file == segment.file; });
  });
}

void print(const Trimmed& trimmed, const TrimCommand& command, Output& output) {
  if (command.json) {
    const Json json = {{"dry_run", command.dry_run},
                       {"offsets", json_of(trimmed.offsets)},
                       {"segments", json_of(trimmed.segments)},
                       {"bytes", bytes_of(trimmed.segments)}};
    output.line(json.dump());
    return;
  }
  const char* const doing = command.dry_run ? "would remove" : "removed";
  for (const SegmentInfo& segment : trimmed.segments)
    output.line(fmt::format("{} {} [{}, {}) {} bytes", doing, segment.file,
                            segment.offsets.begin.value, segment.offsets.end.value, segment.bytes));
  output.line(fmt::format("{} offsets [{}, {}), {} segments, {} bytes",
                          command.dry_run ? "would forget" : "forgot", trimmed.offsets.begin.value,
                          trimmed.offsets.end.value, trimmed.segments.size(),
                          bytes_of(trimmed.segments)));
}

}  // namespace

Exit run(const TrimCommand& command) {
  Options options = looking();
  options.access = command.dry_run ? Access::read_only : Access::read_write;
  Result<Log> log = Log::open(command.directory, options);
  if (!log) return fail(log.error());
  const Result<Offset> start = new_start(*log, command);
  if (!start) return fail(start.error());
  if (*start > log->end_offset())
    return fail({Errc::offset_out_of_range, fmt::format("--before {}: the log ends at {}",
                                                        start->value, log->end_offset().value)});
  if (!log->recovery().lost.empty())  // of a dry run: the real one was refused
    return fail({Errc::corrupt, to_text(log->recovery().lost.front())});
  Trimmed trimmed = expected(*log, *start);
  if (!command.dry_run) {
    const auto done = log->truncate_prefix(*start);
    if (!done) return fail(done.error());
    leave_out(trimmed, log->segments());
    if (const auto closed = log->close(); !closed) return fail(closed.error());
  }
  Output output;
  print(trimmed, command, output);
  return output.finish(Exit::ok);
}

}  // namespace varve::cli
