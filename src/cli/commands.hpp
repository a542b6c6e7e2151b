// The subcommands: what each was told, and the functions that do them.
#pragma once

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

struct SalvageCommand {
  std::filesystem::path directory{};
};

Exit run(const AppendCommand& command);
Exit run(const ReadCommand& command);
Exit run_info(const LookCommand& command);
Exit run_verify(const LookCommand& command);
Exit run_dump(const LookCommand& command);
Exit run(const SalvageCommand& command);

}  // namespace varve::cli
