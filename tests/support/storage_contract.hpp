// What every StorageBackend does, as one suite to run on any of them:
//
//   TEST_CASE("storage: mine keeps the contract", "[storage]") {
//     varve::test::check_storage_contract([] { return make_my_storage(); });
//   }
//
// The function returns a fresh, empty storage as shared_ptr<StorageBackend>, and is called once for
// each section. What one storage keeps, the next must not find.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "catch.hpp"
#include "varve/memory_storage.hpp"
#include "varve/storage.hpp"

namespace varve::test {

inline constexpr std::size_t storage_page_bytes = 4096;

// The text at `position`, at most `size` bytes of it.
inline std::string read_text(const StorageFile& file, std::uint64_t position, std::size_t size) {
  std::string out(size, '?');
  const auto got = file.read_at({position}, std::as_writable_bytes(std::span(out)));
  REQUIRE(got);
  REQUIRE(*got <= size);
  out.resize(*got);
  return out;
}

inline void write_text(StorageFile& file, std::uint64_t position, std::string_view text) {
  REQUIRE(file.write_at({position}, bytes(text)));
}

inline std::unique_ptr<StorageFile> open_file(StorageBackend& storage, std::string_view name,
                                              OpenMode mode) {
  auto file = storage.open(name, mode);
  INFO((file ? std::string() : file.error().message()));
  REQUIRE(file);
  return *std::move(file);
}

// Makes a file that holds `text`.
inline std::unique_ptr<StorageFile> make_file(StorageBackend& storage, std::string_view name,
                                              std::string_view text) {
  auto file = open_file(storage, name, OpenMode::create);
  write_text(*file, 0, text);
  return file;
}

inline std::uint64_t size_of(const StorageFile& file) {
  const auto size = file.size();
  REQUIRE(size);
  return *size;
}

inline std::vector<std::string> names_of(const StorageBackend& storage) {
  const auto entries = storage.list();
  REQUIRE(entries);
  std::vector<std::string> names;
  for (const FileEntry& entry : *entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

inline std::string text_of(StorageMapping& mapping, std::size_t position, std::size_t size) {
  return std::string(text(Bytes(mapping.data() + position, size)));
}

inline void store_text(StorageMapping& mapping, std::size_t position, std::string_view text) {
  std::memcpy(mapping.data() + position, text.data(), text.size());
}

// Whether an operation failed with this errno, and said where.
template <class T>
bool failed_with(const Result<T>& result, std::errc code) {
  return !result && result.error().code() == code && !result.error().context().empty();
}

template <class T>
bool failed_with(const Result<T>& result, Errc code) {
  return !result && result.error() == code && !result.error().context().empty();
}

namespace contract {

inline void check_bytes(StorageBackend& storage) {
  SECTION("a new file is empty") {
    const auto file = open_file(storage, "a", OpenMode::create);
    CHECK(size_of(*file) == 0);
    CHECK(read_text(*file, 0, 10).empty());
  }
  SECTION("what was written is read back, at any position") {
    const auto file = make_file(storage, "a", "hello, log");
    CHECK(read_text(*file, 0, 10) == "hello, log");
    CHECK(read_text(*file, 7, 3) == "log");
    write_text(*file, 7, "dog and cat");
    CHECK(read_text(*file, 0, 18) == "hello, dog and cat");
    CHECK(size_of(*file) == 18);
  }
  SECTION("a read is short only where the file ends") {
    const auto file = make_file(storage, "a", "hello");
    CHECK(read_text(*file, 3, 100) == "lo");
    CHECK(read_text(*file, 5, 100).empty());
    CHECK(read_text(*file, 1'000'000, 100).empty());
    CHECK(read_text(*file, 0, 0).empty());
  }
  SECTION("a write behind the end leaves zeros between") {
    const auto file = make_file(storage, "a", "x");
    write_text(*file, 3, "y");
    CHECK(read_text(*file, 0, 10) == std::string("x\0\0y", 4));
  }
  SECTION("writing nothing changes nothing") {
    const auto file = make_file(storage, "a", "x");
    CHECK(file->write_at({100}, {}));
    CHECK(size_of(*file) == 1);
  }
  SECTION("allocate lengthens with zeros and never shortens") {
    const auto file = make_file(storage, "a", "x");
    REQUIRE(file->allocate(10'000));
    CHECK(size_of(*file) == 10'000);
    CHECK(read_text(*file, 0, 3) == std::string("x\0\0", 3));
    CHECK(read_text(*file, 9'999, 3) == std::string("\0", 1));
    write_text(*file, 9'000, "kept");
    REQUIRE(file->allocate(5'000));
    REQUIRE(file->allocate(0));
    REQUIRE(file->allocate(10'000));
    CHECK(size_of(*file) == 10'000);
    CHECK(read_text(*file, 9'000, 4) == "kept");
  }
  SECTION("resize cuts and lengthens, and what it lengthens is zero") {
    const auto file = make_file(storage, "a", "hello, log");
    REQUIRE(file->resize(5));
    CHECK(read_text(*file, 0, 100) == "hello");
    REQUIRE(file->resize(8));
    CHECK(read_text(*file, 0, 100) == std::string("hello\0\0\0", 8));
    write_text(*file, 20'000, "far");
    REQUIRE(file->resize(0));
    REQUIRE(file->resize(20'003));
    CHECK(read_text(*file, 20'000, 3) == std::string(3, '\0'));
  }
  SECTION("the medium holds what was synced") {
    const auto file = make_file(storage, "a", std::string(9'000, 'x'));
    REQUIRE(file->sync());
    alignas(storage_page_bytes) std::array<std::byte, 3 * storage_page_bytes> out{};
    auto got = file->read_medium({0}, out);
    REQUIRE(got);
    CHECK(*got == 9'000);
    CHECK(text(Bytes(out).first(9'000)) == std::string(9'000, 'x'));
    got = file->read_medium({2 * storage_page_bytes}, std::span(out).first(storage_page_bytes));
    REQUIRE(got);
    CHECK(*got == 9'000 - 2 * storage_page_bytes);
    got = file->read_medium({3 * storage_page_bytes}, std::span(out).first(storage_page_bytes));
    REQUIRE(got);
    CHECK(*got == 0);
  }
}

inline void check_modes(StorageBackend& storage) {
  SECTION("to read and to write, a file must exist") {
    CHECK(failed_with(storage.open("a", OpenMode::read), std::errc::no_such_file_or_directory));
    CHECK(failed_with(storage.open("a", OpenMode::write), std::errc::no_such_file_or_directory));
    CHECK(names_of(storage).empty());
  }
  SECTION("to create empties what exists, to write does not") {
    make_file(storage, "a", "old");
    CHECK(read_text(*open_file(storage, "a", OpenMode::write), 0, 9) == "old");
    CHECK(size_of(*open_file(storage, "a", OpenMode::create)) == 0);
  }
  SECTION("several open files of one name see the same bytes") {
    const auto writer = make_file(storage, "a", "one");
    const auto reader = open_file(storage, "a", OpenMode::read);
    write_text(*writer, 3, "two");
    CHECK(read_text(*reader, 0, 9) == "onetwo");
  }
  SECTION("a file opened for reading refuses all else") {
    make_file(storage, "a", "old");
    const auto file = open_file(storage, "a", OpenMode::read);
    CHECK(failed_with(file->write_at({0}, bytes("new")), std::errc::bad_file_descriptor));
    CHECK(failed_with(file->allocate(100), std::errc::bad_file_descriptor));
    CHECK(failed_with(file->resize(1), std::errc::bad_file_descriptor));
    CHECK(failed_with(file->map(3, MapMode::read_write), std::errc::permission_denied));
    CHECK(read_text(*file, 0, 9) == "old");
  }
  SECTION("names that lead elsewhere are refused") {
    for (const std::string_view name :
         {std::string_view(), std::string_view("."), std::string_view(".."),
          std::string_view("a/b"), std::string_view("/a"), std::string_view("a\0b", 3)}) {
      CAPTURE(name);
      const Errc refused = Errc::invalid_argument;
      CHECK(failed_with(storage.open(name, OpenMode::create), refused));
      CHECK(failed_with(storage.stat(name), refused));
      CHECK(failed_with(storage.remove(name), refused));
      CHECK(failed_with(storage.rename(name, "b"), refused));
      CHECK(failed_with(storage.rename("b", name), refused));
    }
  }
}

inline void check_mappings(StorageBackend& storage) {
  const auto file = make_file(storage, "a", "hello, log");
  REQUIRE(file->allocate(2 * storage_page_bytes));
  SECTION("stores are read, and writes are seen in the mapping") {
    const auto mapping = file->map(2 * storage_page_bytes, MapMode::read_write);
    REQUIRE(mapping);
    CHECK((*mapping)->size() == 2 * storage_page_bytes);
    CHECK(text_of(**mapping, 0, 10) == "hello, log");
    store_text(**mapping, 7, "dog");
    CHECK(read_text(*file, 0, 10) == "hello, dog");
    write_text(*file, 5'000, "written");
    CHECK(text_of(**mapping, 5'000, 7) == "written");
    CHECK(!(*mapping)->faulted());
  }
  SECTION("mappings of other open files show the same bytes") {
    const auto writing = file->map(2 * storage_page_bytes, MapMode::read_write);
    const auto reader = open_file(storage, "a", OpenMode::read);
    const auto reading = reader->map(storage_page_bytes, MapMode::read);
    REQUIRE(writing);
    REQUIRE(reading);
    store_text(**writing, 100, "stored");
    CHECK(text_of(**reading, 100, 6) == "stored");
  }
  SECTION("a mapping outlives its file object, and its stores stay") {
    auto other = open_file(storage, "a", OpenMode::write);
    auto mapping = other->map(100, MapMode::read_write);
    REQUIRE(mapping);
    CHECK((*mapping)->size() == 100);
    other.reset();
    store_text(**mapping, 50, "stored");
    (*mapping).reset();
    CHECK(read_text(*file, 50, 6) == "stored");
  }
  SECTION("a mapping may be longer than its file, and shows what the file grows into") {
    const auto mapping = file->map(10 * storage_page_bytes, MapMode::read_write);
    REQUIRE(mapping);
    CHECK((*mapping)->size() == 10 * storage_page_bytes);
    CHECK(size_of(*file) == 2 * storage_page_bytes);
    REQUIRE(file->allocate(10 * storage_page_bytes));
    write_text(*file, 9 * storage_page_bytes, "grown");
    CHECK(text_of(**mapping, 9 * storage_page_bytes, 5) == "grown");
    store_text(**mapping, 9 * storage_page_bytes, "blown");
    CHECK(read_text(*file, 9 * storage_page_bytes, 5) == "blown");
  }
  SECTION("populate changes no byte and fails where the file has none") {
    const auto mapping = file->map(4 * storage_page_bytes, MapMode::read_write);
    REQUIRE(mapping);
    CHECK((*mapping)->populate({0}, {2 * storage_page_bytes}));
    CHECK((*mapping)->populate({5}, {6}));
    CHECK((*mapping)->populate({7}, {7}));
    CHECK(text_of(**mapping, 0, 10) == "hello, log");
    CHECK(failed_with((*mapping)->populate({0}, {3 * storage_page_bytes}), std::errc::io_error));
    CHECK(failed_with((*mapping)->populate({0}, {5 * storage_page_bytes}), Errc::invalid_argument));
    CHECK(failed_with((*mapping)->populate({2}, {1}), Errc::invalid_argument));
    const auto reading = file->map(4 * storage_page_bytes, MapMode::read);
    REQUIRE(reading);
    CHECK((*reading)->populate({0}, {2 * storage_page_bytes}));
    CHECK(failed_with((*reading)->populate({0}, {3 * storage_page_bytes}), std::errc::io_error));
    CHECK(size_of(*file) == 2 * storage_page_bytes);
    CHECK(!(*mapping)->faulted());
  }
  SECTION("finishing loses nothing that was stored, and shows what is stored elsewhere") {
    const auto mapping = file->map(2 * storage_page_bytes, MapMode::read_write);
    REQUIRE(mapping);
    store_text(**mapping, storage_page_bytes, "stored");
    (*mapping)->finish();
    CHECK(text_of(**mapping, storage_page_bytes, 6) == "stored");
    CHECK(read_text(*file, storage_page_bytes, 6) == "stored");
    REQUIRE(file->sync());
    alignas(storage_page_bytes) std::array<std::byte, storage_page_bytes> out{};
    REQUIRE(file->read_medium({storage_page_bytes}, out));
    CHECK(text(Bytes(out).first(6)) == "stored");
    write_text(*file, 0, "later");
    CHECK(text_of(**mapping, 0, 5) == "later");
  }
  SECTION("an empty mapping is refused") {
    CHECK(failed_with(file->map(0, MapMode::read), Errc::invalid_argument));
  }
  SECTION("syncing covers stores, and the medium holds them") {
    const auto mapping = file->map(2 * storage_page_bytes, MapMode::read_write);
    REQUIRE(mapping);
    store_text(**mapping, storage_page_bytes, "stored");
    REQUIRE(file->sync());
    alignas(storage_page_bytes) std::array<std::byte, storage_page_bytes> out{};
    const auto got = file->read_medium({storage_page_bytes}, out);
    REQUIRE(got);
    CHECK(text(Bytes(out).first(6)) == "stored");
  }
}

inline void check_names(StorageBackend& storage) {
  SECTION("list and stat tell names, kinds and sizes") {
    CHECK(names_of(storage).empty());
    make_file(storage, "b", "12345");
    make_file(storage, "a", "");
    CHECK(names_of(storage) == std::vector<std::string>{"a", "b"});
    const auto entry = storage.stat("b");
    REQUIRE(entry);
    CHECK(entry->kind == FileKind::file);
    CHECK(entry->size == 5);
    const auto entries = storage.list();
    REQUIRE(entries);
    for (const FileEntry& listed : *entries) CHECK(listed.kind == FileKind::file);
    CHECK(storage.stat("a").value().size == 0);
  }
  SECTION("what is shared is the same file, or the storage says that it cannot be") {
    make_file(storage, "b", "12345");
    CHECK(!storage.share("b", storage));  // the name is taken
    CHECK(read_text(*open_file(storage, "b", OpenMode::read), 0, 9) == "12345");
    const auto to = make_memory_storage();
    if (storage.share("b", *to)) {
      CHECK(read_text(*open_file(*to, "b", OpenMode::read), 0, 9) == "12345");
    } else {
      CHECK(failed_with(storage.share("b", *to), std::errc::operation_not_supported));
      CHECK(names_of(*to).empty());
    }
  }
  SECTION("rename replaces what had the name") {
    const auto moved = make_file(storage, "a", "new");
    const auto replaced = make_file(storage, "b", "old");
    REQUIRE(storage.rename("a", "b"));
    REQUIRE(storage.sync_names());
    CHECK(names_of(storage) == std::vector<std::string>{"b"});
    CHECK(read_text(*open_file(storage, "b", OpenMode::read), 0, 9) == "new");
    write_text(*moved, 3, "er");
    CHECK(read_text(*open_file(storage, "b", OpenMode::read), 0, 9) == "newer");
    CHECK(read_text(*replaced, 0, 9) == "old");
    REQUIRE(storage.rename("b", "b"));
    CHECK(names_of(storage) == std::vector<std::string>{"b"});
  }
  SECTION("remove takes the name and leaves open files and mappings usable") {
    const auto file = make_file(storage, "a", "hello");
    const auto mapping = file->map(5, MapMode::read_write);
    REQUIRE(mapping);
    REQUIRE(storage.remove("a"));
    REQUIRE(storage.sync_names());
    CHECK(names_of(storage).empty());
    store_text(**mapping, 0, "j");
    write_text(*file, 5, "!");
    CHECK(read_text(*file, 0, 9) == "jello!");
    const auto fresh = open_file(storage, "a", OpenMode::create);
    CHECK(size_of(*fresh) == 0);
    CHECK(read_text(*file, 0, 9) == "jello!");
  }
  SECTION("what is not there cannot be found, removed or renamed") {
    CHECK(failed_with(storage.stat("a"), std::errc::no_such_file_or_directory));
    CHECK(failed_with(storage.remove("a"), std::errc::no_such_file_or_directory));
    CHECK(failed_with(storage.rename("a", "b"), std::errc::no_such_file_or_directory));
  }
  SECTION("it has a description, and errors name the file") {
    CHECK(!storage.describe().empty());
    const auto missing = storage.open("missing.log", OpenMode::read);
    REQUIRE(!missing);
    CHECK(missing.error().message().find(storage.describe()) != std::string::npos);
    CHECK(missing.error().message().find("missing.log") != std::string::npos);
  }
}

inline void check_lock(StorageBackend& storage) {
  auto held = storage.lock();
  REQUIRE(held);
  SECTION("there is one lock, free again when it is destroyed") {
    CHECK(failed_with(storage.lock(), Errc::locked));
    (*held).reset();
    CHECK(storage.lock());
    CHECK(storage.lock());
  }
  SECTION("files need no lock") {
    make_file(storage, "a", "x");
    CHECK(failed_with(storage.lock(), Errc::locked));
  }
}

}  // namespace contract

template <class MakeStorage>
void check_storage_contract(MakeStorage make_storage) {
  const std::shared_ptr<StorageBackend> storage = make_storage();
  REQUIRE(storage != nullptr);
  SECTION("bytes") { contract::check_bytes(*storage); }
  SECTION("modes") { contract::check_modes(*storage); }
  SECTION("mappings") { contract::check_mappings(*storage); }
  SECTION("names") { contract::check_names(*storage); }
  SECTION("lock") { contract::check_lock(*storage); }
}

}  // namespace varve::test
