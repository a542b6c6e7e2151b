// Salvage: go on with what is left of a damaged log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "varve/export.hpp"
#include "varve/inspect.hpp"
#include "varve/observer.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0 {

struct SalvageReport {
  bool needed = false;  // whether anything was wrong; if not, nothing was changed
  std::uint64_t records_kept = 0;
  std::vector<Damage> lost{};         // what could not be saved, with the offsets
  std::vector<std::string> copies{};  // files that hold the damaged originals, in the same storage
};

// Makes a log that opening refuses as corrupt usable again. Every damaged file is first copied, byte
// for byte and durably, to `<name>.salvaged-<n>`; then it is replaced by one with the intact frames, in which
// the lost offsets are a recorded gap: readers pass over it, and no offset changes its meaning. A missing
// MANIFEST is rebuilt from the segments. Interrupted at any point it can be run again.
//
// Needs the storage's lock (Errc::locked). Never deletes a copy: that is for people to do.
VARVE_EXPORT Result<SalvageReport> salvage(StorageBackend& storage, const Progress& progress = {});

}  // namespace varve::inline v0
