// A log in a directory, and how what the command says of it is checked.
#pragma once

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "varve/varve.hpp"

namespace varve::test {

enum Exit { ok = 0, usage = 2, error = 3, corrupt = 4, locked = 5 };

// A directory that has no log yet, and what is done with it.
class LogDir {
 public:
  std::string path() const { return dir_.path() / "log"; }

  varve::Log open() const {
    auto log = varve::Log::open(path());
    INFO((log ? std::string() : log.error().message()));
    REQUIRE(log);
    return *std::move(log);
  }

  // Appends "record 0" to "record <count - 1>", each a frame of its own.
  void fill(int count) const {
    varve::Log log = open();
    for (int i = 0; i < count; ++i)
      REQUIRE(log.append({.value = varve::bytes("record " + std::to_string(i))}));
    REQUIRE(log.close());
  }

  // The same by a process that is killed: opening must look at all of it.
  void fill_and_crash(int count) const {
    RunningVarve append({"append", path()});
    for (int i = 0; i < count; ++i) {
      append.write("record " + std::to_string(i) + "\n");
      CHECK(append.read_line() == std::to_string(i));
    }
    append.send(SIGKILL);
    append.wait();
  }

  // Damages one frame that holds the record at `offset`.
  void damage(Offset offset) const {
    std::string file;
    std::uint64_t position = 0;
    const auto storage = varve::open_file_storage(path(), false);
    REQUIRE(storage);
    REQUIRE(varve::dump(**storage, [&](const varve::FrameInfo& frame) {
      if (offset < frame.base_offset || offset >= frame.base_offset + frame.records) return true;
      file = frame.file;
      position = frame.position.value + 56 + frame.body_bytes / 2;
      return false;
    }));
    REQUIRE(!file.empty());
    std::fstream stream(dir_.path() / "log" / file,
                        std::ios::binary | std::ios::in | std::ios::out);
    stream.seekg(static_cast<std::streamoff>(position));
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(static_cast<std::streamoff>(position));
    stream.put(byte);
    REQUIRE(stream.good());
  }

  // Every file and what it holds.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(path())) {
      std::ifstream in(entry.path(), std::ios::binary);
      files[entry.path().filename()] = std::string(std::istreambuf_iterator<char>(in), {});
    }
    return files;
  }

 private:
  TempDir dir_;
};

// Errors are one line, in the command's name.
inline void check_complaint(const Outcome& outcome, int exit) {
  CAPTURE(outcome.out, outcome.err);
  CHECK(outcome.exit == exit);
  CHECK(outcome.err.starts_with("varve: "));
  CHECK(lines_of(outcome.err).size() == 1);
}

inline nlohmann::json json_of(const Outcome& outcome) {
  CAPTURE(outcome.out);
  const nlohmann::json parsed = nlohmann::json::parse(outcome.out, nullptr, false);
  REQUIRE(parsed.is_object());
  return parsed;
}

// A log of several segments, with "record 0" and so on.
inline void fill_small_segments(const LogDir& dir, int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += "record " + std::to_string(i) + "\n";
  REQUIRE(
      run_varve({"append", dir.path(), "--ack", "os", "--segment-bytes", "16384"}, lines).exit ==
      ok);
}

}  // namespace varve::test
