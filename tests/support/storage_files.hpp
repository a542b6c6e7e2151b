// All files of a storage as values. An error in it is thrown, which fails a test as it should.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "varve/storage.hpp"

namespace varve::test {

// The files of a folder: name and bytes.
using Files = std::map<std::string, std::vector<std::byte>>;

inline Files copy_files(StorageBackend& storage) {
  Files files;
  const std::vector<FileEntry> entries = storage.list().value();
  for (const FileEntry& entry : entries) {
    if (entry.kind != FileKind::file) continue;
    const auto file = storage.open(entry.name, OpenMode::read).value();
    std::vector<std::byte>& to = files[entry.name];
    to.resize(static_cast<std::size_t>(file->size().value()));
    to.resize(file->read_at({0}, to).value());
  }
  return files;
}

inline void write_file(StorageBackend& storage, const std::string& name, Bytes content) {
  const auto file = storage.open(name, OpenMode::create).value();
  file->write_at({0}, content).value();
  file->sync().value();
}

inline void write_files(StorageBackend& storage, const Files& files) {
  for (const auto& [name, content] : files) write_file(storage, name, content);
  storage.sync_names().value();
}

}  // namespace varve::test
