// varve backup and restore: copies of a log that are logs themselves.
#include <memory>

#include <fmt/format.h>

#include "commands.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "varve/file_storage.hpp"
#include "varve/snapshot.hpp"

namespace varve::cli {
namespace {

using Storage = std::shared_ptr<StorageBackend>;

Exit print(const Result<SnapshotReport>& report, const CopyCommand& command) {
  if (!report) return fail(report.error());
  Output output;
  if (command.json) {
    output.line(json_of(*report).dump());
  } else {
    output.line(fmt::format("{} offsets [{}, {}), {} segments ({} shared), {} bytes ({} copied)",
                            command.to.string(), report->offsets.begin.value,
                            report->offsets.end.value, report->segments, report->shared,
                            report->bytes, report->bytes_copied));
  }
  return output.finish(Exit::ok);
}

template <class Work>
Exit run(const CopyCommand& command, const char* doing, Work work) {
  const Result<Storage> from = open_file_storage(command.from, false);
  if (!from) return fail(from.error());
  const Result<Storage> to = open_file_storage(command.to, true);
  if (!to) return fail(to.error());
  const auto report = [&] {
    ProgressLine progress(doing);
    return work(**from, **to,
                [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
  }();
  return print(report, command);
}

}  // namespace

Exit run_backup(const CopyCommand& command) {
  return run(command, "backing up",
             [&](StorageBackend& from, StorageBackend& to, const Progress& progress) {
               SnapshotOptions options{.share = !command.copy, .progress = progress};
               if (command.full_speed) options.time_percent = 100;
               return snapshot(from, to, options);
             });
}

Exit run_restore(const CopyCommand& command) {
  return run(command, "restoring",
             [](StorageBackend& from, StorageBackend& to, const Progress& progress) {
               return restore(from, to, progress);
             });
}

}  // namespace varve::cli
