// SigbusGuard: keeps a failing mapping from ending the process.
#pragma once

#include <cstddef>

namespace varve::inline v0::detail {

// Guards the mapped pages [begin, begin + bytes) while it lives: an access there that the kernel
// answers with SIGBUS (the file was cut short, its medium failed) finds zeros instead, and
// faulted() says so. Destroy it before the pages are unmapped, or a stranger's mapping could take
// their place.
//
// The first guard installs the process's SIGBUS handler, which passes on what hits no guarded page
// to the handler that was there before. It stays until the process ends. A thread that blocks
// SIGBUS cannot be helped: the kernel ends the process there.
class SigbusGuard {
 public:
  SigbusGuard(const void* begin, std::size_t bytes);
  ~SigbusGuard();
  SigbusGuard(const SigbusGuard&) = delete;
  SigbusGuard& operator=(const SigbusGuard&) = delete;

  // True for good once any thread's access was answered with zeros. Whoever has read such zeros
  // sees true here.
  bool faulted() const noexcept;

  struct Slot;

 private:
  Slot* slot_;
};

}  // namespace varve::inline v0::detail
