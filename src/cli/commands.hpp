// The subcommands: what each was told, and the functions that do them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "exit.hpp"
#include "parse.hpp"
#include "varve/options.hpp"

namespace varve::cli {

struct AppendCommand {
  std::filesystem::path directory{};
  std::string key_separator{};  // empty: records have no key
  Ack ack = Ack::disk;
  std::optional<std::uint32_t> segment_bytes{};
  Compression compression{};
};

struct ReadCommand {
  std::filesystem::path directory{};
  Place from = Start{};
  std::optional<Place> until{};
  std::optional<std::uint64_t> max{};
  bool follow = false;
  bool json = false;
  bool keys = false;
};

// What info, verify and dump have in common.
struct LookCommand {
  std::filesystem::path directory{};
  bool json = false;
};

struct TrimCommand {
  std::filesystem::path directory{};
  std::optional<Place> before{};              // an offset or a time; either this
  std::optional<std::uint64_t> keep_bytes{};  // or that
  bool dry_run = false;
  bool json = false;
};

struct CompactCommand {
  std::filesystem::path directory{};
  std::optional<std::uint64_t> key_map_bytes{};
  std::optional<std::chrono::milliseconds> delete_retention{};
  bool dry_run = false;
  bool json = false;
};

struct StatsCommand {
  std::filesystem::path directory{};
  bool json = false;
  bool prometheus = false;
};

// What backup and restore have in common.
struct CopyCommand {
  std::filesystem::path from{};
  std::filesystem::path to{};
  bool json = false;
  bool copy = false;        // backup: also what could be shared
  bool full_speed = false;  // backup: as fast as can be
};

// Either so many records, or as many as there is time for.
struct BenchCommand {
  std::filesystem::path directory{};  // of which file system is measured
  std::size_t record_bytes = 100;
  std::optional<std::uint64_t> records{};
  std::uint64_t seconds = 3;
  std::size_t threads = 1;
  std::size_t batch = 1;
  Ack ack = Ack::disk;
  bool json = false;
};

struct SalvageCommand {
  std::filesystem::path directory{};
};

Exit run(const AppendCommand& command);
Exit run(const ReadCommand& command);
Exit run_info(const LookCommand& command);
Exit run_verify(const LookCommand& command);
Exit run_dump(const LookCommand& command);
Exit run(const SalvageCommand& command);
Exit run(const TrimCommand& command);
Exit run(const CompactCommand& command);
Exit run(const StatsCommand& command);
Exit run(const BenchCommand& command);
Exit run_backup(const CopyCommand& command);
Exit run_restore(const CopyCommand& command);

}  // namespace varve::cli
