// varve verify: reads every byte of a log and says whether it is intact.
#include <cstdint>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "commands.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "varve/file_storage.hpp"
#include "varve/inspect.hpp"

namespace varve::cli {
namespace {

Result<VerifyReport> verify_directory(const std::filesystem::path& directory) {
  const Result<std::shared_ptr<StorageBackend>> storage = open_file_storage(directory, false);
  if (!storage) return storage.error();
  ProgressLine progress("verifying");
  return verify(**storage,
                [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
}

void print_text(const VerifyReport& report, Output& output) {
  for (const Damage& damage : report.damage) output.line("damaged   " + to_text(damage));
  for (const Damage& torn : report.torn) output.line("torn      " + to_text(torn));
  for (const std::string& file : report.stale_indexes) output.line("stale     " + file);
  for (const std::string& file : report.unknown_files) output.line("unknown   " + file);
  output.line(
      fmt::format("verified  {} records, {} frames, {} bytes in {} segments, offsets [{}, {})",
                  report.records, report.frames, report.bytes, report.segments,
                  report.offsets.begin.value, report.offsets.end.value));
  if (report.frames_compressed != 0) {
    output.line(fmt::format("packed    {} frames, {} bytes to {} ({:.2f} to 1)",
                            report.frames_compressed, report.bytes_before_compression,
                            report.bytes_after_compression,
                            static_cast<double>(report.bytes_before_compression) /
                                static_cast<double>(report.bytes_after_compression)));
  }
  output.line(report.intact() ? "intact" : "not intact");
}

}  // namespace

Exit run_verify(const LookCommand& command) {
  const Result<VerifyReport> report = verify_directory(command.directory);
  if (!report) return fail(report.error());
  Output output;
  if (command.json)
    output.line(json_of(*report).dump());
  else
    print_text(*report, output);
  if (report->intact()) return output.finish(Exit::ok);
  complain(fmt::format("{} is damaged, in {} place(s)", command.directory.string(),
                       report->damage.size()));
  return output.finish(Exit::corrupt);
}

}  // namespace varve::cli
