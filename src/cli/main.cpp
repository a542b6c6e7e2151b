// The varve command: parses the command line and calls what it asks for.
#include <csignal>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "codecs.hpp"
#include "commands.hpp"
#include "exit.hpp"
#include "parse.hpp"
#include "varve/version.hpp"

namespace varve::cli {
namespace {

constexpr const char* footer =
    R"(All but append, bench, compact, salvage and trim leave DIR as it is, and work beside a writer.

Times are RFC 3339, as in @2024-02-29T12:30:00.250Z or @2024-02-29T13:30:00+01:00; a date
alone is its midnight in UTC. JSON is one object a line; bytes that are not valid UTF-8 are
{"base64": "..."}, what is absent is null.

Exit codes:
  0  everything is in order
  2  the command line makes no sense
  3  an I/O error, or any other that is not below
  4  durable records are damaged or missing; read has printed all others, append has
     changed nothing
  5  somebody else has the log open for writing

Examples:
  journalctl -f | varve append logs
  varve append logs --compress zstd:9 <access.log
  varve read logs --from @2024-02-29 --until @2024-03-01 --json
  varve read logs --from end --follow)";

// What every subcommand is given, and the one that was chosen.
struct CommandLine {
  AppendCommand append{};
  ReadCommand read{};
  LookCommand look{};
  SalvageCommand salvage{};
  CopyCommand copy{};
  TrimCommand trim{};
  CompactCommand compact{};
  StatsCommand stats{};
  BenchCommand bench{};
  std::function<Exit()> chosen{};
};

// An option whose text `parse` turns into the value of `target`, or refuses.
template <class Target, class Parse>
void add_parsed(CLI::App& command, const std::string& name, Target& target, Parse parse,
                const std::string& form, const std::string& description) {
  const auto set = [&target, name, parse](const std::string& text) {
    auto parsed = parse(text);
    if (!parsed) throw CLI::ValidationError(name, parsed.error().context());
    target = *std::move(parsed);
  };
  command.add_option_function<std::string>(name, set, description)->type_name(form);
}

CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& description,
                      std::filesystem::path& directory) {
  CLI::App& command = *app.add_subcommand(name, description);
  command.add_option("DIR", directory, "The directory of the log")->required()->type_name("");
  return command;
}

void add_append(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "append",
      "Append each line of standard input, and print the offset of each once it is safe",
      line.append.directory);
  add_parsed(
      command, "--key-separator", line.append.key_separator,
      [](const std::string& text) -> Result<std::string> {
        if (text.empty()) return Error(Errc::invalid_argument, "it must not be empty");
        return text;
      },
      "SEP", "What precedes the first SEP of a line is its key; a line without SEP has none");
  add_parsed(command, "--ack", line.append.ack, parse_ack, "os|disk",
             "What a record survives when its offset is printed: os, the death of the process; "
             "disk, a loss of power (default)");
  add_parsed(
      command, "--segment-bytes", line.append.segment_bytes,
      [](const std::string& text) {
        return parse_count(text, 16u << 10, 1u << 30).transform([](std::uint64_t bytes) {
          return static_cast<std::uint32_t>(bytes);
        });
      },
      "BYTES", "Size at which a segment is full, 16384 to 1073741824 (default: 64 MiB)");
  add_parsed(
      command, "--compress", line.append.compression,
      [](const std::string& text) { return parse_compression(text); }, "CODEC[:LEVEL]",
      "Compress what is appended together, the lines that are there at once: zstd, lz4, snappy, "
      "gzip, or none (default)");
  command.callback([&line] { line.chosen = [&line] { return run(line.append); }; });
}

void add_read(CLI::App& app, CommandLine& line) {
  CLI::App& command =
      add_command(app, "read", "Print records, the value of each on a line", line.read.directory);
  add_parsed(command, "--from", line.read.from, parse_from, "OFFSET|@TIME|start|end",
             "The first record to print; by time, the first one at or after it (default: start)");
  add_parsed(command, "--until", line.read.until, parse_until, "OFFSET|@TIME",
             "The first record not to print; by time, the first one at or after it");
  add_parsed(
      command, "--max", line.read.max,
      [](const std::string& text) { return parse_count(text, 0, UINT64_MAX); }, "N",
      "Stop after so many records");
  command.add_flag("--follow", line.read.follow,
                   "At the end wait for more, until SIGINT or a reader that goes away");
  CLI::Option* json = command.add_flag(
      "--json", line.read.json, "An object a line: offset, timestamp, epoch, key, value, headers");
  command.add_flag("--keys", line.read.keys, "Print key, tab, value")->excludes(json);
  command.callback([&line] { line.chosen = [&line] { return run(line.read); }; });
}

void add_look(CLI::App& app, CommandLine& line, const std::string& name,
              const std::string& description, Exit (*function)(const LookCommand&)) {
  CLI::App& command = add_command(app, name, description, line.look.directory);
  command.add_flag("--json", line.look.json, "Print JSON");
  command.callback(
      [&line, function] { line.chosen = [&line, function] { return function(line.look); }; });
}

void add_salvage(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "salvage",
      "Go on with what is left of a damaged log (see verify), keeping copies of the damaged files",
      line.salvage.directory);
  command.callback([&line] { line.chosen = [&line] { return run(line.salvage); }; });
}

void add_trim(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "trim", "Forget the oldest records, and remove the segments that hold no others",
      line.trim.directory);
  CLI::Option_group& what = *command.add_option_group("what goes");
  add_parsed(what, "--before", line.trim.before, parse_until, "OFFSET|@TIME",
             "Forget what is before this offset, or before the first record at or after that time");
  add_parsed(
      what, "--keep-bytes", line.trim.keep_bytes,
      [](const std::string& text) { return parse_count(text, 1, UINT64_MAX); }, "N",
      "Remove the oldest segments while those behind them have at least N bytes");
  what.require_option(1);
  command.add_flag("--dry-run", line.trim.dry_run, "Only say what would go");
  command.add_flag("--json", line.trim.json, "Print JSON");
  command.callback([&line] { line.chosen = [&line] { return run(line.trim); }; });
}

void add_compact(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "compact",
      "Keep only the latest record of each key in the sealed segments, with its offset; tombstones "
      "(keys without a value) go when their time is over",
      line.compact.directory);
  add_parsed(
      command, "--key-map-bytes", line.compact.key_map_bytes,
      [](const std::string& text) { return parse_count(text, 1, UINT64_MAX); }, "N",
      "Remember keys in at most N bytes at a time (default: 64 MiB)");
  add_parsed(
      command, "--delete-retention", line.compact.delete_retention,
      [](const std::string& text) {
        constexpr std::uint64_t most = 1'000'000'000;
        return parse_count(text, 0, most).transform([](std::uint64_t seconds) {
          return std::chrono::milliseconds(std::chrono::seconds(seconds));
        });
      },
      "SECONDS", "How long a tombstone stays from when it is seen first (default: a day)");
  command.add_flag("--dry-run", line.compact.dry_run, "Only say what would go");
  command.add_flag("--json", line.compact.json, "Print JSON");
  command.callback([&line] { line.chosen = [&line] { return run(line.compact); }; });
}

void add_stats(CLI::App& app, CommandLine& line) {
  CLI::App& command =
      add_command(app, "stats", "Show how large the log is, and where it begins and ends",
                  line.stats.directory);
  CLI::Option* const json = command.add_flag("--json", line.stats.json, "Print JSON");
  command
      .add_flag("--prometheus", line.stats.prometheus,
                "Print what a Prometheus scrapes; the log's name is DIR as it was given")
      ->excludes(json);
  command.callback([&line] { line.chosen = [&line] { return run(line.stats); }; });
}

// An option that is a number from `min` to `max`.
template <class Target>
void add_count(CLI::App& command, const std::string& name, Target& target, std::uint64_t min,
               std::uint64_t max, const std::string& description) {
  const auto parse = [min, max](const std::string& text) {
    return parse_count(text, min, max).transform([](std::uint64_t count) {
      return static_cast<std::size_t>(count);
    });
  };
  add_parsed(command, name, target, parse, "N", description);
}

void add_bench(CLI::App& app, CommandLine& line) {
  BenchCommand& bench = line.bench;
  CLI::App& command = *app.add_subcommand(
      "bench",
      "Measure this machine: append to a log of its own in DIR, read it back, and remove it");
  command.add_option("DIR", bench.directory, "A directory of the disk to measure, not a log")
      ->required()
      ->type_name("");
  add_count(command, "--record-bytes", bench.record_bytes, 8, 1u << 19,
            "Size of a record (default: 100)");
  add_count(command, "--records", bench.records, 1, std::uint64_t{1} << 40, "Append so many");
  add_count(command, "--seconds", bench.seconds, 1, 86'400,
            "Append for so long, as many as there is room for (default: 3)");
  command.get_option("--records")->excludes("--seconds");
  add_count(command, "--threads", bench.threads, 1, 1024, "So many append at a time (default: 1)");
  add_count(command, "--batch", bench.batch, 1, 10'000, "Records of one append (default: 1)");
  add_parsed(command, "--ack", bench.ack, parse_ack, "os|disk",
             "What a record survives when its append returns (default: disk)");
  command.add_flag("--json", bench.json, "Print JSON, times in seconds");
  command.callback([&line] { line.chosen = [&line] { return run(line.bench); }; });
}

CLI::App& add_copy(CLI::App& app, CommandLine& line, const std::string& name,
                   const std::string& description, Exit (*function)(const CopyCommand&)) {
  CLI::App& command = add_command(app, name, description, line.copy.from);
  command
      .add_option("TO", line.copy.to, "The directory to make, or to fill if it is there and empty")
      ->required()
      ->type_name("");
  command.add_flag("--json", line.copy.json, "Print JSON");
  command.callback(
      [&line, function] { line.chosen = [&line, function] { return function(line.copy); }; });
  return command;
}

Exit run_command_line(int argc, char** argv) {
  CLI::App app("A durable, append-only log in a directory.", "varve");
  CommandLine line;
  app.set_version_flag("--version", "varve " VARVE_VERSION_STRING);
  app.require_subcommand(1);
  app.footer(footer);
  add_append(app, line);
  add_read(app, line);
  add_look(app, line, "info", "Show offsets, segments and how the log was left", run_info);
  add_look(app, line, "verify", "Read and check every byte, and report all damage", run_verify);
  add_look(app, line, "dump", "Print frames and their headers, a line each", run_dump);
  add_salvage(app, line);
  add_stats(app, line);
  add_trim(app, line);
  add_compact(app, line);
  CLI::App& backup = add_copy(
      app, line, "backup",
      "Make TO a log with all records that DIR has now, beside a writer, too; complete segments "
      "are hard links where that is possible, unread: verify TO reads all",
      run_backup);
  backup.add_flag("--copy", line.copy.copy, "Copy everything, so that no bytes are shared");
  backup.add_flag("--full-speed", line.copy.full_speed,
                  "Do not rest for three quarters of the time, as is done for the writer's sake");
  add_copy(app, line, "restore", "Verify a backup, copy it to TO, and verify that", run_restore);
  add_bench(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {  // --help, --version
      app.exit(error);
      return std::cout.flush() ? Exit::ok : Exit::error;
    }
    complain(std::string(error.what()) + " (see varve --help)");
    return Exit::usage;
  }
  return line.chosen();
}

}  // namespace
}  // namespace varve::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is told by write
  try {
    return static_cast<int>(varve::cli::run_command_line(argc, argv));
  } catch (const std::exception& error) {  // out of memory, at worst
    varve::cli::complain(error.what());
    return static_cast<int>(varve::cli::Exit::error);
  }
}
