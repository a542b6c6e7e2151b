// Environment: time and randomness, the two things that a log takes from the world besides storage.
#pragma once

#include <cstdint>

#include "varve/types.hpp"

namespace varve::inline v0 {

// Give a Log one of your own to make it deterministic or to test what clocks do. Both members may be
// called from any thread, also while varve holds locks: they must be quick and must not call the Log.
class Environment {
 public:
  virtual ~Environment() = default;

  // Wall-clock time. May run backwards: the log's own times do not.
  virtual Timestamp now() noexcept = 0;

  // 64 random bits. Identities of logs and the salts of their segments are made of them, so they must
  // not repeat between runs over the same storage.
  virtual std::uint64_t random() noexcept = 0;
};

}  // namespace varve::inline v0
