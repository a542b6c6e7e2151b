// Runs a fuzz target on files, with any compiler and without libFuzzer; or writes its seeds.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.hpp"

namespace fs = std::filesystem;

// Targets with mutators of their own refer to it; nothing here mutates.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t*, std::size_t size, std::size_t) {
  return size;
}

namespace {

int write_seeds(const fs::path& folder) {
  fs::create_directories(folder);
  for (const auto& [name, content] : varve::fuzz::seeds()) {
    std::ofstream out(folder / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
    if (!out.flush()) {
      std::fprintf(stderr, "cannot write %s\n", (folder / name).c_str());
      return 1;
    }
  }
  return 0;
}

void replay(const fs::path& path) {
  std::fprintf(stderr, "%s\n", path.c_str());  // the last one told is the one that crashed
  std::ifstream in(path, std::ios::binary);
  const std::string content(std::istreambuf_iterator<char>(in), {});
  // To the byte, so that a sanitizer sees what goes beyond.
  const auto input = std::make_unique<std::uint8_t[]>(content.size());
  std::copy(content.begin(), content.end(), input.get());
  LLVMFuzzerTestOneInput(input.get(), content.size());
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string_view> given(arguments + 1, arguments + count);
  if (given.size() == 2 && given[0] == "--seeds") return write_seeds(given[1]);
  std::vector<fs::path> files;
  for (const fs::path path : given) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(path)) files.push_back(entry.path());
  }
  if (files.empty()) {
    std::fprintf(stderr, "usage: %s FILE|FOLDER.. | --seeds FOLDER\n", arguments[0]);
    return 2;
  }
  std::sort(files.begin(), files.end());
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (const fs::path& file : files) replay(file);
  std::printf("%zu inputs\n", files.size());
  return 0;
}
