// varve dump: the frames of a log, one a line, for people who debug.
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

std::string line_of(const FrameInfo& frame) {
  std::string line =
      fmt::format("{} {:>10} {:<7} ", frame.file, frame.position.value, to_text(frame.state));
  if (frame.state == FrameInfo::State::damaged) return line + frame.what;
  std::string packed;
  if (frame.codec)
    packed = fmt::format(" ({} of {})", to_text(*frame.codec), frame.bytes_before_compression);
  return line + fmt::format(
                    "{:<13} seq {} epoch {} offsets [{}, {}) body {}{} lag {} flags {:02x} v{} "
                    "header {:08x} check {:016x} at {}",
                    frame.kind, frame.sequence, frame.epoch.value, frame.base_offset.value,
                    frame.end_offset.value, frame.body_bytes, packed, frame.sync_lag, frame.flags,
                    frame.version, frame.header_check, frame.body_check,
                    to_text(frame.append_time));
}

}  // namespace

Exit run_dump(const LookCommand& command) {
  const Result<std::shared_ptr<StorageBackend>> storage =
      open_file_storage(command.directory, false);
  if (!storage) return fail(storage.error());
  Output output;
  bool damaged = false;
  const Result<void> dumped = dump(**storage, [&](const FrameInfo& frame) {
    damaged |= frame.state == FrameInfo::State::damaged;
    return output.line(command.json ? json_of(frame).dump() : line_of(frame));
  });
  const Exit exit = damaged ? Exit::corrupt : Exit::ok;
  return output.finish(dumped ? exit : worse(exit, fail(dumped.error())));
}

}  // namespace varve::cli
