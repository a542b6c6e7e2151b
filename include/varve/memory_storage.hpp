// MemoryStorage: files in RAM, for tests and for logs that need not outlive their process.
#pragma once

#include <memory>

#include "varve/export.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0 {

// An empty folder in memory. It lives as long as the pointer: closing a Log and opening another on the
// same storage finds what the first one wrote.
VARVE_EXPORT std::shared_ptr<StorageBackend> make_memory_storage();

}  // namespace varve::inline v0
