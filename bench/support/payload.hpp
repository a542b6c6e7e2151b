// Records' values: different from one record to the next, so that nothing compresses, and cut from
// a buffer that stays in the first-level cache, so that making them costs next to nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "support/sample.hpp"

namespace bench {

class Payload {
 public:
  explicit Payload(std::size_t bytes) : bytes_(bytes), pool_(pool_bytes + bytes, '\0') {
    std::uint64_t state = 0x9E3779B97F4A7C15;
    for (char& byte : pool_) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<char>(state >> 56);
    }
  }

  std::size_t bytes() const { return bytes_; }

  std::string_view operator()(std::uint64_t number) const {
    return {pool_.data() + number * (bytes_ + 4) % pool_bytes, bytes_};
  }

  // Whether `value` is record `number`'s, by its size and its ends: looking at every byte would be most of
  // the time that is measured.
  bool matches(std::uint64_t number, std::string_view value) const {
    const std::string_view wanted = (*this)(number);
    return value.size() == bytes_ && value.front() == wanted.front() &&
           value.back() == wanted.back();
  }
  void check(std::uint64_t number, std::string_view value) const {
    require(matches(number, value), "a record is not what was appended");
  }

 private:
  static constexpr std::size_t pool_bytes = 16u << 10;

  std::size_t bytes_;
  std::string pool_;
};

}  // namespace bench
