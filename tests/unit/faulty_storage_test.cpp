#include "varve/faulty_storage.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../support/storage_contract.hpp"
#include "../support/temp_dir.hpp"
#include "varve/file_storage.hpp"
#include "varve/memory_storage.hpp"

namespace varve {
namespace {

using test::failed_with;
using test::make_file;
using test::names_of;
using test::open_file;
using test::read_text;
using test::size_of;
using test::store_text;
using test::text_of;
using test::write_text;

constexpr std::size_t sector_bytes = 512;
constexpr PowerCut keep_all{.seed = 1, .keep = 1.0};
constexpr PowerCut keep_none{.seed = 1, .keep = 0.0};

struct Rig {
  std::shared_ptr<StorageBackend> inner = make_memory_storage();
  std::shared_ptr<FaultyStorage> storage = std::make_shared<FaultyStorage>(inner);

  // Makes a file that is durable, name and all.
  std::unique_ptr<StorageFile> durable_file(std::string_view name, std::string_view text) const {
    auto file = make_file(*storage, name, text);
    REQUIRE(file->sync());
    REQUIRE(storage->sync_names());
    return file;
  }

  // What the inner storage holds, as a name and its text each.
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> files;
    for (const std::string& name : names_of(*inner)) {
      const auto file = open_file(*inner, name, OpenMode::read);
      files[name] = read_text(*file, 0, size_of(*file));
    }
    return files;
  }
};

using Contents = std::map<std::string, std::string>;

TEST_CASE("faulty storage: each kind of call fails on demand and works again",
          "[storage][faulty]") {
  const Rig rig;
  FaultyStorage& storage = *rig.storage;
  const auto file = make_file(storage, "a", "text");
  const auto mapping = file->map(4, MapMode::read);
  REQUIRE(mapping);
  std::string out(4, '?');
  const auto buffer = std::as_writable_bytes(std::span(out));
  const std::map<StorageOp, std::vector<std::function<bool()>>> calls{
      {StorageOp::open, {[&] { return bool(storage.open("a", OpenMode::write)); }}},
      {StorageOp::read,
       {[&] { return bool(file->read_at({0}, buffer)); }, [&] { return bool(file->size()); },
        [&] { return bool(file->read_medium({0}, buffer)); }}},
      {StorageOp::write, {[&] { return bool(file->write_at({0}, bytes("x"))); }}},
      {StorageOp::allocate, {[&] { return bool(file->allocate(10)); }}},
      {StorageOp::resize, {[&] { return bool(file->resize(20)); }}},
      {StorageOp::sync, {[&] { return bool(file->sync()); }}},
      {StorageOp::map,
       {[&] { return bool(file->map(4, MapMode::read)); },
        [&] { return bool((*mapping)->populate({0}, {4})); }}},
      {StorageOp::rename, {[&] { return bool(storage.rename("a", "a")); }}},
      {StorageOp::remove,
       {[&] { return storage.open("b", OpenMode::create) && storage.remove("b"); }}},
      {StorageOp::sync_names, {[&] { return bool(storage.sync_names()); }}},
      {StorageOp::list,
       {[&] { return bool(storage.list()); }, [&] { return bool(storage.stat("a")); }}},
      {StorageOp::lock, {[&] { return bool(storage.lock()); }}},
  };
  CHECK(calls.size() == 12);
  for (const auto& [op, ways] : calls) {
    CAPTURE(static_cast<int>(op));
    for (const auto& call : ways) {
      CHECK(call());
      storage.inject({.ops = {op}});
      const std::uint64_t before = storage.calls(op);
      CHECK(!call());
      CHECK(storage.calls(op) == before + 1);
      CHECK(call());
      storage.clear_faults();
    }
  }
}

TEST_CASE("faulty storage: a fault has the error, the name and the calls that it was given",
          "[storage][faulty]") {
  const Rig rig;
  FaultyStorage& storage = *rig.storage;
  const auto log = make_file(storage, "0.log", "");
  const auto index = make_file(storage, "0.idx", "");
  SECTION("the error") {
    storage.inject(
        {.ops = {StorageOp::write}, .error = std::make_error_code(std::errc::too_many_files_open)});
    const auto failed = log->write_at({0}, bytes("x"));
    REQUIRE(failed_with(failed, std::errc::too_many_files_open));
    CHECK(failed.error().context().find("0.log") != std::string::npos);
    CHECK(failed.error().context().find("write") != std::string::npos);
  }
  SECTION("a full disk is told as it is elsewhere") {
    storage.inject({.error = std::make_error_code(std::errc::no_space_on_device)});
    CHECK(failed_with(log->allocate(10), Errc::no_space));
  }
  SECTION("an error of varve's own") {
    storage.inject({.error = Errc::corrupt});
    CHECK(failed_with(log->size(), Errc::corrupt));
  }
  SECTION("the name") {
    storage.inject({.name = ".log"});
    CHECK(index->write_at({0}, bytes("x")));
    CHECK(!log->write_at({0}, bytes("x")));
  }
  SECTION("the name that a file has now") {
    REQUIRE(storage.rename("0.log", "1.log"));
    storage.inject({.name = "1.log"});
    CHECK(!log->sync());
    storage.inject({.ops = {StorageOp::rename}, .name = "2.log"});
    CHECK(!storage.rename("1.log", "2.log"));
    CHECK(storage.rename("1.log", "2.log"));
  }
  SECTION("the calls") {
    storage.inject({.ops = {StorageOp::write, StorageOp::sync}, .after = 2, .times = 2});
    CHECK(log->write_at({0}, bytes("x")));
    CHECK(log->size());
    CHECK(log->sync());
    CHECK(!log->write_at({0}, bytes("x")));
    CHECK(!log->sync());
    CHECK(log->sync());
  }
  SECTION("all calls from some on") {
    storage.inject({.after = 1, .times = ~std::uint64_t{0}});
    CHECK(log->size());
    for (int i = 0; i < 10; ++i) CHECK(!log->size());
  }
}

TEST_CASE("faulty storage: a write that fails stores nothing or half", "[storage][faulty]") {
  const Rig rig;
  const bool half_done = GENERATE(false, true);
  const auto file = make_file(*rig.storage, "a", "");
  rig.storage->inject({.ops = {StorageOp::write}, .half_done = half_done});
  CHECK(!file->write_at({0}, bytes("12345678")));
  CHECK(read_text(*file, 0, 9) == (half_done ? "1234" : ""));
}

TEST_CASE("faulty storage: calls are counted and told to the hook", "[storage][faulty]") {
  const Rig rig;
  FaultyStorage& storage = *rig.storage;
  std::vector<std::pair<StorageOp, std::string>> told;
  storage.on_call([&](StorageOp op, std::string_view name) { told.emplace_back(op, name); });
  const auto file = make_file(storage, "a", "x");
  REQUIRE(storage.rename("a", "b"));
  REQUIRE(file->sync());
  REQUIRE(storage.sync_names());
  CHECK(told == std::vector<std::pair<StorageOp, std::string>>{{StorageOp::open, "a"},
                                                               {StorageOp::write, "a"},
                                                               {StorageOp::rename, "a"},
                                                               {StorageOp::sync, "b"},
                                                               {StorageOp::sync_names, ""}});
  CHECK(storage.calls() == 5);
  CHECK(storage.calls(StorageOp::write) == 1);
  CHECK(storage.calls(StorageOp::read) == 0);
}

TEST_CASE("faulty storage: the hook may cut the power", "[storage][faulty]") {
  const Rig rig;
  FaultyStorage& storage = *rig.storage;
  const auto file = rig.durable_file("a", "old");
  int calls_left = 1;
  storage.on_call([&](StorageOp, std::string_view) {
    if (calls_left-- == 0) CHECK(storage.cut_power(keep_all));
  });
  write_text(*file, 0, "new");
  CHECK(failed_with(file->write_at({0}, bytes("too late")), std::errc::io_error));
  CHECK(rig.contents() == Contents{{"a", "new"}});
}

TEST_CASE("faulty storage: synced bytes under synced names survive", "[storage][faulty]") {
  const Rig rig;
  const PowerCut cut = GENERATE(keep_none, keep_all, PowerCut{.seed = 7});
  const auto file = rig.durable_file("a", "durable");
  rig.durable_file("b", std::string(10'000, 'b'));
  REQUIRE(rig.storage->cut_power(cut));
  CHECK(rig.contents() == Contents{{"a", "durable"}, {"b", std::string(10'000, 'b')}});
}

TEST_CASE("faulty storage: files that were there before are durable", "[storage][faulty]") {
  const Rig rig;
  make_file(*rig.inner, "a", "before");
  make_file(*rig.inner, "b", "untouched");
  make_file(*rig.inner, "c", "read only");
  make_file(*rig.inner, "d", "removed");
  make_file(*rig.inner, "e", "renamed");
  const auto file = open_file(*rig.storage, "a", OpenMode::write);
  write_text(*file, 0, "BEFORE and after");
  const auto reader = open_file(*rig.storage, "c", OpenMode::read);
  CHECK(reader->sync());
  REQUIRE(rig.storage->remove("d"));
  REQUIRE(rig.storage->rename("e", "f"));
  REQUIRE(rig.storage->cut_power(keep_none));
  CHECK(rig.contents() == Contents{{"a", "before"},
                                   {"b", "untouched"},
                                   {"c", "read only"},
                                   {"d", "removed"},
                                   {"e", "renamed"}});
}

TEST_CASE("faulty storage: unsynced changes of bytes may be lost or kept", "[storage][faulty]") {
  const Rig rig;
  const bool keep = GENERATE(false, true);
  CAPTURE(keep);
  const auto check = [&](std::string_view before, std::string_view after) {
    REQUIRE(rig.storage->cut_power(keep ? keep_all : keep_none));
    CHECK(rig.contents() == Contents{{"a", std::string(keep ? after : before)}});
  };
  const auto file = rig.durable_file("a", "hello, log");
  SECTION("overwriting") {
    write_text(*file, 7, "dog");
    check("hello, log", "hello, dog");
  }
  SECTION("appending") {
    write_text(*file, 10, "s and dogs");
    check("hello, log", "hello, logs and dogs");
  }
  SECTION("lengthening") {
    REQUIRE(file->allocate(12));
    check("hello, log", std::string_view("hello, log\0\0", 12));
  }
  SECTION("cutting") {
    REQUIRE(file->resize(5));
    check("hello, log", "hello");
  }
  SECTION("cutting and writing anew") {
    REQUIRE(file->resize(0));
    write_text(*file, 0, "bye");
    check("hello, log", "bye");
  }
  SECTION("emptying by creating again") {
    write_text(*open_file(*rig.storage, "a", OpenMode::create), 2, "x");
    check("hello, log", std::string_view("\0\0x", 3));
  }
  SECTION("storing into a mapping") {
    const auto mapping = file->map(10, MapMode::read_write);
    REQUIRE(mapping);
    store_text(**mapping, 7, "dog");
    check("hello, log", "hello, dog");
  }
  SECTION("storing into a mapping that is gone") {
    store_text(*file->map(10, MapMode::read_write).value(), 7, "dog");
    check("hello, log", "hello, dog");
  }
}

TEST_CASE("faulty storage: stores into a mapping are durable once synced", "[storage][faulty]") {
  const Rig rig;
  const auto file = rig.durable_file("a", "");
  REQUIRE(file->allocate(100'000));
  const auto mapping = file->map(200'000, MapMode::read_write);
  REQUIRE(mapping);
  store_text(**mapping, 50'000, "first");
  REQUIRE(file->sync());
  store_text(**mapping, 50'000, "later");
  store_text(**mapping, 90'000, "later");
  REQUIRE(rig.storage->cut_power(keep_none));
  std::string expected(100'000, '\0');
  expected.replace(50'000, 5, "first");
  CHECK(rig.contents() == Contents{{"a", expected}});
}

// Overwrites eight sectors of x with y, cuts the power, and says which survived.
std::string sectors_after(PowerCut cut, bool by_mapping) {
  const Rig rig;
  const auto file = rig.durable_file("a", std::string(8 * sector_bytes, 'x'));
  const std::string change(8 * sector_bytes, 'y');
  if (by_mapping) {
    store_text(*file->map(change.size(), MapMode::read_write).value(), 0, change);
  } else {
    write_text(*file, 0, change);
  }
  REQUIRE(rig.storage->cut_power(cut));
  const std::string left = rig.contents()["a"];
  REQUIRE(left.size() == change.size());
  std::string sectors;
  for (std::size_t at = 0; at < left.size(); at += sector_bytes) {
    CHECK(left.substr(at, sector_bytes) == std::string(sector_bytes, left[at]));
    sectors += left[at];
  }
  return sectors;
}

TEST_CASE("faulty storage: what a power cut tears depends on its seed alone", "[storage][faulty]") {
  std::map<std::string, int> outcomes;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const std::string sectors = sectors_after({.seed = seed}, false);
    CHECK(sectors == sectors_after({.seed = seed}, false));
    CHECK(sectors == sectors_after({.seed = seed}, true));
    ++outcomes[sectors];
  }
  CHECK(outcomes.size() > 30);
  std::size_t kept = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const std::string sectors = sectors_after({.seed = seed, .keep = 0.9}, false);
    kept += static_cast<std::size_t>(std::count(sectors.begin(), sectors.end(), 'y'));
  }
  CHECK(kept > 320);
  CHECK(kept < 400);
}

TEST_CASE("faulty storage: unsynced changes of names may be lost or kept", "[storage][faulty]") {
  const Rig rig;
  FaultyStorage& storage = *rig.storage;
  const bool keep = GENERATE(false, true);
  CAPTURE(keep);
  const auto check = [&](const Contents& before, const Contents& after) {
    REQUIRE(storage.cut_power(keep ? keep_all : keep_none));
    CHECK(rig.contents() == (keep ? after : before));
  };
  rig.durable_file("a", "first");
  SECTION("creating") {
    REQUIRE(make_file(storage, "b", "new")->sync());
    check({{"a", "first"}}, {{"a", "first"}, {"b", "new"}});
  }
  SECTION("removing") {
    REQUIRE(storage.remove("a"));
    check({{"a", "first"}}, {});
  }
  SECTION("renaming") {
    REQUIRE(storage.rename("a", "b"));
    check({{"a", "first"}}, {{"b", "first"}});
  }
  SECTION("renaming over another") {
    rig.durable_file("b", "second");
    REQUIRE(storage.rename("a", "b"));
    check({{"a", "first"}, {"b", "second"}}, {{"b", "first"}});
  }
  SECTION("renaming what is new over what is old") {
    REQUIRE(make_file(storage, "a.new", "second")->sync());
    REQUIRE(storage.rename("a.new", "a"));
    check({{"a", "first"}}, {{"a", "second"}});
  }
  SECTION("removing and creating anew") {
    REQUIRE(storage.remove("a"));
    REQUIRE(make_file(storage, "a", "second")->sync());
    check({{"a", "first"}}, {{"a", "second"}});
  }
  SECTION("writing to a removed file whose name comes back") {
    const auto file = open_file(storage, "a", OpenMode::write);
    REQUIRE(storage.remove("a"));
    write_text(*file, 0, "FIRST");
    REQUIRE(file->sync());
    check({{"a", "FIRST"}}, {});
  }
  SECTION("those that were synced stay changed") {
    REQUIRE(make_file(storage, "b", "new")->sync());
    REQUIRE(storage.remove("a"));
    REQUIRE(storage.sync_names());
    check({{"b", "new"}}, {{"b", "new"}});
  }
  SECTION("those whose sync failed") {
    REQUIRE(storage.remove("a"));
    storage.inject({.ops = {StorageOp::sync_names}});
    REQUIRE(!storage.sync_names());
    check({{"a", "first"}}, {});
  }
}

TEST_CASE("faulty storage: each change of a name has its own fate", "[storage][faulty]") {
  std::map<std::vector<std::string>, int> outcomes;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    std::vector<std::string> names;
    for (int run = 0; run < 2; ++run) {
      const Rig rig;
      rig.durable_file("kept", "");
      for (const std::string name : {"a", "b", "c"})
        REQUIRE(make_file(*rig.storage, name, "")->sync());
      REQUIRE(rig.storage->rename("c", "d"));
      REQUIRE(rig.storage->cut_power({.seed = seed}));
      const auto left = names_of(*rig.inner);
      if (run == 1) CHECK(left == names);
      names = left;
    }
    // However it went, the renamed file has one name at most.
    CHECK(std::count(names.begin(), names.end(), "c") +
              std::count(names.begin(), names.end(), "d") <=
          1);
    CHECK(std::count(names.begin(), names.end(), "kept") == 1);
    ++outcomes[names];
  }
  CHECK(outcomes.size() == 12);
}

TEST_CASE("faulty storage: a failed sync loses for good what it should have written",
          "[storage][faulty]") {
  const Rig rig;
  const auto file = rig.durable_file("a", std::string(4 * sector_bytes, 'x'));
  write_text(*file, 0, std::string(2 * sector_bytes, 'y'));
  rig.storage->inject({.ops = {StorageOp::sync}});
  REQUIRE(!file->sync());
  const std::string x(sector_bytes, 'x');
  const std::string y(sector_bytes, 'y');
  const std::string z(sector_bytes, 'z');
  SECTION("the bytes stay visible") {
    CHECK(read_text(*file, 0, 4 * sector_bytes) == y + y + x + x);
  }
  SECTION("later syncs succeed without writing them") {
    REQUIRE(file->sync());
    REQUIRE(file->sync());
    REQUIRE(rig.storage->cut_power(keep_all));
    CHECK(rig.contents() == Contents{{"a", x + x + x + x}});
  }
  SECTION("even the luckiest power cut has lost them") {
    REQUIRE(rig.storage->cut_power(keep_all));
    CHECK(rig.contents() == Contents{{"a", x + x + x + x}});
  }
  SECTION("what is written again is synced again") {
    write_text(*file, 0, y);
    write_text(*file, 2 * sector_bytes, z);
    REQUIRE(file->sync());
    REQUIRE(rig.storage->cut_power(keep_none));
    CHECK(rig.contents() == Contents{{"a", y + x + z + x}});
  }
  SECTION("what is stored into a mapping is synced again") {
    const auto mapping = file->map(4 * sector_bytes, MapMode::read_write);
    REQUIRE(mapping);
    store_text(**mapping, sector_bytes, z);
    REQUIRE(file->sync());
    REQUIRE(rig.storage->cut_power(keep_none));
    CHECK(rig.contents() == Contents{{"a", x + z + x + x}});
  }
  SECTION("what is cut off and lengthened is zero, not lost") {
    REQUIRE(file->resize(0));
    REQUIRE(file->resize(2 * sector_bytes));
    REQUIRE(file->sync());
    REQUIRE(rig.storage->cut_power(keep_none));
    CHECK(rig.contents() == Contents{{"a", std::string(2 * sector_bytes, '\0')}});
  }
}

TEST_CASE("faulty storage: what was opened before a power cut is dead", "[storage][faulty]") {
  const Rig rig;
  FaultyStorage& storage = *rig.storage;
  const auto file = rig.durable_file("a", "durable");
  const auto mapping = file->map(7, MapMode::read_write);
  REQUIRE(mapping);
  auto lock = storage.lock();
  REQUIRE(lock);
  REQUIRE(storage.cut_power(keep_none));

  const auto dead = std::errc::io_error;
  std::string out(4, '?');
  CHECK(failed_with(file->read_at({0}, std::as_writable_bytes(std::span(out))), dead));
  CHECK(failed_with(file->write_at({0}, bytes("x")), dead));
  CHECK(failed_with(file->size(), dead));
  CHECK(failed_with(file->allocate(10), dead));
  CHECK(failed_with(file->resize(10), dead));
  CHECK(failed_with(file->sync(), dead));
  CHECK(failed_with(file->map(7, MapMode::read), dead));
  CHECK(failed_with((*mapping)->populate({0}, {7}), dead));
  CHECK((*mapping)->faulted());
  store_text(**mapping, 0, "nowhere");
  CHECK(rig.contents() == Contents{{"a", "durable"}});

  SECTION("nothing is changed until somebody takes the lock, which is free") {
    CHECK(failed_with(storage.open("b", OpenMode::create), dead));
    CHECK(failed_with(storage.open("a", OpenMode::write), dead));
    CHECK(failed_with(storage.rename("a", "b"), dead));
    CHECK(failed_with(storage.remove("a"), dead));
    CHECK(failed_with(storage.sync_names(), dead));
    CHECK(read_text(*open_file(storage, "a", OpenMode::read), 0, 9) == "durable");
    const auto next = storage.lock();
    REQUIRE(next);
    (*lock).reset();
    CHECK(failed_with(storage.lock(), Errc::locked));
    write_text(*open_file(storage, "a", OpenMode::write), 0, "revived");
    CHECK(rig.contents() == Contents{{"a", "revived"}});
  }
  SECTION("the next life is remembered like the first") {
    const auto next = storage.lock();
    const auto revived = open_file(storage, "a", OpenMode::write);
    write_text(*revived, 0, "DUR");
    REQUIRE(revived->sync());
    write_text(*revived, 3, "ABLE");
    REQUIRE(storage.remove("a"));
    REQUIRE(storage.cut_power(keep_none));
    CHECK(rig.contents() == Contents{{"a", "DURable"}});
  }
}

TEST_CASE("faulty storage: power is cut over files too", "[storage][faulty]") {
  const test::TempDir directory;
  const Rig rig{.inner = open_file_storage(directory.path(), false).value()};
  const auto file = rig.durable_file("a", "durable");
  REQUIRE(file->allocate(100'000));
  const auto mapping = file->map(200'000, MapMode::read_write);
  REQUIRE(mapping);
  store_text(**mapping, 50'000, "stored");
  REQUIRE(file->sync());
  store_text(**mapping, 0, "DURABLE");
  make_file(*rig.storage, "b", "new");
  REQUIRE(rig.storage->cut_power(keep_none));
  store_text(**mapping, 60'000, "nowhere");
  std::string expected(100'000, '\0');
  expected.replace(0, 7, "durable");
  expected.replace(50'000, 6, "stored");
  CHECK(rig.contents() == Contents{{"a", expected}});
}

TEST_CASE("faulty storage: a flipped bit is flipped in the cache and on the medium",
          "[storage][faulty]") {
  const Rig rig;
  const auto file = rig.durable_file("a", "aaaa");
  const auto mapping = file->map(4, MapMode::read);
  REQUIRE(mapping);
  REQUIRE(rig.storage->flip_bit("a", 8));
  CHECK(read_text(*file, 0, 9) == "a`aa");
  CHECK(text_of(**mapping, 0, 4) == "a`aa");
  CHECK(failed_with(rig.storage->flip_bit("a", 32), Errc::invalid_argument));
  CHECK(failed_with(rig.storage->flip_bit("b", 0), std::errc::no_such_file_or_directory));
  SECTION("durable bytes") {
    REQUIRE(rig.storage->cut_power(keep_none));
    CHECK(rig.contents() == Contents{{"a", "a`aa"}});
  }
  SECTION("bytes that are not durable yet") {
    write_text(*file, 4, "aaaa");
    REQUIRE(rig.storage->flip_bit("a", 40));
    REQUIRE(file->sync());
    REQUIRE(rig.storage->cut_power(keep_none));
    CHECK(rig.contents() == Contents{{"a", "a`aaa`aa"}});
  }
  SECTION("bytes whose sync failed") {
    write_text(*file, 0, "A");
    rig.storage->inject({.ops = {StorageOp::sync}});
    REQUIRE(!file->sync());
    REQUIRE(rig.storage->flip_bit("a", 16));
    REQUIRE(file->sync());
    REQUIRE(rig.storage->cut_power(keep_all));
    CHECK(rig.contents() == Contents{{"a", "a``a"}});
  }
}

TEST_CASE("faulty storage: one thread may sync while others store and write", "[storage][faulty]") {
  const Rig rig;
  const auto file = rig.durable_file("a", "");
  REQUIRE(file->allocate(1 << 16));
  auto mapping = file->map(1 << 16, MapMode::read_write);
  REQUIRE(mapping);
  const auto other = make_file(*rig.storage, "b", "");
  std::atomic<bool> stop{false};
  std::thread storing([&] {
    for (std::size_t i = 0; !stop; i = (i + 8) % (1 << 16)) store_text(**mapping, i, "12345678");
  });
  bool wrote = true;
  std::thread writing([&] {
    for (std::uint64_t i = 0; !stop; ++i)
      wrote = wrote && other->write_at({i % 10'000}, bytes("x"));
  });
  for (int i = 0; i < 50; ++i) CHECK(file->sync());
  CHECK(rig.storage->sync_names());
  stop = true;
  storing.join();
  writing.join();
  CHECK(wrote);
  REQUIRE(rig.storage->cut_power({.seed = 3}));
  CHECK(names_of(*rig.inner) == std::vector<std::string>{"a", "b"});
}

TEST_CASE("faulty storage: what a loss of power would leave is what one leaves",
          "[storage][faulty]") {
  const Rig rig;
  REQUIRE(make_file(*rig.inner, "untouched", "from before")->sync());
  REQUIRE(rig.inner->sync_names());
  auto kept = rig.durable_file("a", std::string(5000, 'a'));
  write_text(*kept, 100, std::string(3000, 'b'));
  auto added = make_file(*rig.storage, "new", std::string(2000, 'n'));
  rig.durable_file("old", "to be renamed");
  REQUIRE(rig.storage->rename("old", "renamed"));

  const Contents before = rig.contents();
  const double keep = GENERATE(0.0, 0.3, 0.7, 1.0);
  const PowerCut cut{.seed = 7, .keep = keep};
  Rig copy;
  REQUIRE(rig.storage->copy_medium(cut, *copy.inner));
  CHECK(rig.contents() == before);  // nothing has happened here
  write_text(*kept, 0, "alive");
  write_text(*kept, 0, std::string(5, 'a'));
  REQUIRE(rig.storage->cut_power(cut));
  CHECK(copy.contents() == rig.contents());
}

}  // namespace
}  // namespace varve
