// FileStorage: a directory of POSIX files.
#pragma once

#include <filesystem>
#include <memory>

#include "varve/export.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0 {

// Opens `directory` as storage; with `create`, makes it (mode 0700) first if it is missing, but not its
// parents, and makes its name durable. Files are made with mode 0600 whatever the umask says.
// Everything is opened relative to the directory's descriptor, symbolic links are never followed
// below it, and descriptors are close-on-exec.
//
// Errors: ENOTDIR, ENOENT, EACCES, ... naming the path.
//
// Mappings are guarded: where a file is cut short underneath or its medium fails, the kernel would
// send SIGBUS; varve's handler, installed when the first file is mapped, turns that into
// StorageMapping::faulted() and passes every signal that is not its own on to the handler that was
// there before. A host that installs a SIGBUS handler of its own later must pass on what it does not know.
// A thread that blocks SIGBUS cannot be helped so: there the kernel ends the process.
VARVE_EXPORT Result<std::shared_ptr<StorageBackend>> open_file_storage(
    const std::filesystem::path& directory, bool create);

}  // namespace varve::inline v0
