// What all fuzz targets share. A target is a *_fuzz.cpp that defines the two functions below: libFuzzer drives it,
// or replay_main.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/types.hpp"

// Runs one input. Traps where varve does not keep what it promises; sanitizers see to the rest.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace varve::fuzz {

using Buffer = std::vector<std::byte>;

// The inputs to begin with, by name, made by varve itself: `varve_<name>_fuzz --seeds FOLDER` of an ordinary build
// writes them, and so made what the corpus holds.
std::map<std::string, Buffer> seeds();

// Ends the run where `condition` does not hold.
inline void must(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %.*s\n", static_cast<int>(what.size()), what.data());
  __builtin_trap();
}

inline Bytes input_bytes(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

// Takes an input apart from its front. What is missing is zero or empty.
class Input {
 public:
  explicit Input(Bytes bytes) : rest_(bytes) {}

  template <class T>
  T number() {
    T value{};
    const Bytes taken = take(sizeof value);
    if (!taken.empty()) std::memcpy(&value, taken.data(), taken.size());
    return value;
  }
  Bytes take(std::size_t size) {
    const Bytes taken = rest_.first(std::min(size, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  Bytes rest() { return take(rest_.size()); }

 private:
  Bytes rest_;
};

template <class T>
void put_number(Buffer& to, T value) {
  const auto at = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), at.begin(), at.end());
}
inline void put_bytes(Buffer& to, Bytes bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

}  // namespace varve::fuzz
