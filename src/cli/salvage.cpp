// varve salvage: makes a damaged log usable again, keeping copies of what was damaged.
#include "varve/salvage.hpp"

#include <cstdint>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "commands.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "varve/file_storage.hpp"

namespace varve::cli {
namespace {

void print(const SalvageReport& report, Output& output) {
  if (!report.needed) {
    output.line("nothing was wrong, nothing was changed");
    return;
  }
  for (const Damage& lost : report.lost) output.line("lost      " + to_text(lost));
  for (const std::string& file : report.copies) output.line("copied    " + file);
  output.line(fmt::format("salvaged  {} records kept", report.records_kept));
}

}  // namespace

Exit run(const SalvageCommand& command) {
  const Result<std::shared_ptr<StorageBackend>> storage =
      open_file_storage(command.directory, false);
  if (!storage) return fail(storage.error());
  Output output;
  Result<SalvageReport> report = [&] {
    ProgressLine progress("salvaging");
    return salvage(**storage,
                   [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
  }();
  if (!report) return output.finish(fail(report.error()));
  print(*report, output);
  return output.finish(Exit::ok);
}

}  // namespace varve::cli
