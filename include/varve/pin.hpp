// Pin: keeps records from being forgotten while somebody still needs them.
#pragma once

#include <memory>

#include "varve/export.hpp"
#include "varve/types.hpp"

namespace varve::inline v0 {

// Keeps the records from an offset on out of reach of the log's Retention, until it is destroyed or has not been
// moved for Retention::pin_age. It does not outlive the process, and stops neither truncate_prefix() nor compaction. Any thread, one
// at a time; may outlive its Log.
class VARVE_EXPORT Pin {
 public:
  Pin(Pin&&) noexcept;
  Pin& operator=(Pin&&) noexcept;
  ~Pin();

  // The first offset that is kept.
  Offset offset() const noexcept;

  // Gives up what is below `offset`, and counts the pin's age anew. Never goes back: an offset below offset() only does
  // the latter.
  void move_to(Offset offset) noexcept;

 private:
  friend class Log;
  struct Impl;
  explicit Pin(std::unique_ptr<Impl> impl) noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace varve::inline v0
