// varve salvage: makes a damaged log usable again, keeping copies of what was damaged.
#include "varve/salvage.hpp"

#include <unistd.h>

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

// Shows what is damaged and asks whether to go on.
Result<bool> agreed(StorageBackend& storage, Output& output) {
  Result<VerifyReport> report = [&] {
    ProgressLine progress("verifying");
    return verify(storage,
                  [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
  }();
  if (!report) return report.error();
  for (const Damage& damage : report->damage) output.line("damaged   " + to_text(damage));
  output.flush();
  return confirm(fmt::format("{} is damaged, in {} place(s). Give up what is lost, for good?",
                             storage.describe(), report->damage.size()));
}

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
  if (!command.yes && !is_terminal(STDIN_FILENO)) {
    complain("salvage gives up on damaged records: say --yes to do it");
    return Exit::usage;
  }
  const Result<std::shared_ptr<StorageBackend>> storage =
      open_file_storage(command.directory, false);
  if (!storage) return fail(storage.error());
  Output output;
  if (!command.yes) {
    const Result<bool> yes = agreed(**storage, output);
    if (!yes) return fail(yes.error());
    if (!*yes) {
      complain("nothing was changed");
      return output.finish(Exit::usage);
    }
  }
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
