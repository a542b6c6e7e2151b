// The storages that varve ships keep the contract; and what only files in a directory can do wrong.

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../support/storage_contract.hpp"
#include "../support/temp_dir.hpp"
#include "varve/faulty_storage.hpp"
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
using test::TempDir;
using test::text_of;
using test::write_text;

constexpr std::size_t page_bytes = test::storage_page_bytes;

std::shared_ptr<StorageBackend> file_storage(const TempDir& directory) {
  return open_file_storage(directory.path() / "log", true).value();
}

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

class Umask {
 public:
  explicit Umask(mode_t mask) : before_(::umask(mask)) {}
  ~Umask() { ::umask(before_); }

 private:
  mode_t before_;
};

// Runs `body` in a child, which must not use the test framework, and returns how it ended.
template <class Body>
int status_of_child(Body body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(body());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

bool exited_with(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }

bool killed_by(int status, int signal) {
  // Sanitizers answer a deadly signal with an exit of their own.
  return (WIFSIGNALED(status) && WTERMSIG(status) == signal) ||
         (WIFEXITED(status) && WEXITSTATUS(status) != 0);
}

TEST_CASE("storage: files keep the contract", "[storage]") {
  const TempDir directory;
  test::check_storage_contract([&] { return file_storage(directory); });
}

TEST_CASE("storage: memory keeps the contract", "[storage]") {
  test::check_storage_contract([] { return make_memory_storage(); });
}

TEST_CASE("storage: the faulty one without faults keeps the contract", "[storage]") {
  const TempDir directory;
  SECTION("over memory") {
    test::check_storage_contract(
        [] { return std::make_shared<FaultyStorage>(make_memory_storage()); });
  }
  SECTION("over files") {
    test::check_storage_contract(
        [&] { return std::make_shared<FaultyStorage>(file_storage(directory)); });
  }
}

TEST_CASE("storage: files are private whatever the umask says", "[storage][file]") {
  const TempDir directory;
  const mode_t mask = GENERATE(as<mode_t>{}, 0, 022, 0777);
  CAPTURE(mask);
  const Umask umask(mask);
  const auto storage = file_storage(directory);
  make_file(*storage, "a", "x");
  CHECK(storage->lock());
  CHECK(mode_of(directory.path() / "log") == 0700);
  CHECK(mode_of(directory.path() / "log" / "a") == 0600);
  CHECK(mode_of(directory.path() / "log" / "LOCK") == 0600);
}

TEST_CASE("storage: descriptors are not inherited by other programs", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = make_file(*storage, "a", "x");
  const auto lock = storage->lock();
  REQUIRE(lock);
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone);
    if (gone || target.string().find(directory.path().string()) != 0) continue;
    CAPTURE(target);
    CHECK((::fcntl(std::stoi(entry.path().filename()), F_GETFD) & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("storage: a directory is created on request only, and found again", "[storage][file]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  CHECK(failed_with(open_file_storage(path, false), std::errc::no_such_file_or_directory));
  CHECK(
      failed_with(open_file_storage(path / "deeper", true), std::errc::no_such_file_or_directory));
  make_file(*open_file_storage(path, true).value(), "a", "kept");
  CHECK(names_of(*open_file_storage(path, true).value()) == std::vector<std::string>{"a"});
  CHECK(names_of(*open_file_storage(path / "", true).value()) == std::vector<std::string>{"a"});
  CHECK(open_file_storage(path / "", false).value()->describe() == path.string());
  CHECK(open_file_storage("/", false).value()->describe() == "/");
  CHECK(failed_with(open_file_storage(path / "a", true), std::errc::not_a_directory));
}

TEST_CASE("storage: symbolic links lead to the directory but not out of it", "[storage][file]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  make_file(*open_file_storage(path, true).value(), "a", "kept");
  std::filesystem::create_directory_symlink(path, directory.path() / "link");
  const auto storage = open_file_storage(directory.path() / "link", false).value();
  CHECK(read_text(*open_file(*storage, "a", OpenMode::read), 0, 9) == "kept");

  std::filesystem::create_symlink(path / "a", path / "inner");
  std::filesystem::create_symlink("/nowhere", path / "dangling");
  std::filesystem::create_symlink(path / "a", path / "LOCK");
  const auto refused = std::errc::too_many_symbolic_link_levels;
  for (const OpenMode mode : {OpenMode::read, OpenMode::write, OpenMode::create}) {
    CHECK(failed_with(storage->open("inner", mode), refused));
    CHECK(failed_with(storage->open("dangling", mode), refused));
  }
  CHECK(failed_with(storage->lock(), refused));
  CHECK(storage->stat("inner")->kind == FileKind::symlink);
  CHECK(storage->remove("inner"));
  CHECK(read_text(*open_file(*storage, "a", OpenMode::read), 0, 9) == "kept");
}

TEST_CASE("storage: what is no regular file is listed but not opened", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto path = directory.path() / "log";
  REQUIRE(::mkfifo((path / "fifo").c_str(), 0600) == 0);
  std::filesystem::create_directory(path / "folder");
  std::filesystem::create_symlink("folder", path / "link");
  make_file(*storage, "plain", "12345");
  for (const OpenMode mode : {OpenMode::read, OpenMode::write, OpenMode::create}) {
    CHECK(failed_with(storage->open("fifo", mode), std::errc::not_supported));
    CHECK(failed_with(storage->open("folder", mode), std::errc::is_a_directory));
  }
  const auto entries = storage->list();
  REQUIRE(entries);
  CHECK(entries->size() == 4);
  for (const FileEntry& entry : *entries) {
    CAPTURE(entry.name);
    const FileKind kind = entry.name == "fifo"     ? FileKind::other
                          : entry.name == "folder" ? FileKind::directory
                          : entry.name == "link"   ? FileKind::symlink
                                                   : FileKind::file;
    CHECK(entry.kind == kind);
    const FileStatus status = storage->stat(entry.name).value();
    CHECK(status.kind == kind);
    CHECK(status.size == (kind == FileKind::file ? 5 : 0));
  }
}

TEST_CASE("storage: allocated room is really there", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = open_file(*storage, "a", OpenMode::create);
  REQUIRE(file->resize(1 << 20));
  REQUIRE(file->allocate(1 << 20));
  struct stat status {};
  REQUIRE(::stat((directory.path() / "log" / "a").c_str(), &status) == 0);
  CHECK(status.st_size == 1 << 20);
  CHECK(status.st_blocks * 512 >= 1 << 20);
}

TEST_CASE("storage: errors name the path and the action", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto missing = storage->open("x.log", OpenMode::read);
  REQUIRE(!missing);
  CHECK(missing.error().context() == (directory.path() / "log" / "x.log").string() + ": open");
  CHECK(missing.error().code() == std::error_code(ENOENT, std::generic_category()));
}

TEST_CASE("storage: a file-size limit is no_space and no signal", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const int status = status_of_child([&] {
    const struct rlimit limit { .rlim_cur = 10'000, .rlim_max = 10'000 };
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    auto file = storage->open("a", OpenMode::create);
    if (!file) return 2;
    const std::string data(6'000, 'x');
    if (!(*file)->write_at({0}, bytes(data))) return 3;
    if (!failed_with((*file)->write_at({6'000}, bytes(data)), Errc::no_space)) return 4;
    if (!failed_with((*file)->allocate(10'001), Errc::no_space)) return 5;
    if (!failed_with((*file)->resize(10'001), Errc::no_space)) return 6;
    if (*(*file)->size() != 6'000) return 7;
    if (!(*file)->allocate(10'000) || !(*file)->write_at({9'999}, bytes("y"))) return 8;
    return 0;
  });
  CAPTURE(status);
  CHECK(exited_with(status, 0));
}

// From here on the kernel answers a system call with an error, as an older one would.
bool refuse_call(unsigned number, unsigned error) {
  constexpr auto load = static_cast<std::uint16_t>(BPF_LD | BPF_W | BPF_ABS);
  constexpr auto jump = static_cast<std::uint16_t>(BPF_JMP | BPF_JEQ | BPF_K);
  constexpr auto answer = static_cast<std::uint16_t>(BPF_RET | BPF_K);
  std::array<sock_filter, 4> filter{{{load, 0, 0, offsetof(seccomp_data, nr)},
                                     {jump, 0, 1, number},
                                     {answer, 0, 0, SECCOMP_RET_ERRNO | error},
                                     {answer, 0, 0, SECCOMP_RET_ALLOW}}};
  const sock_fprog program{filter.size(), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_CASE("storage: room is made without fallocate too", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = make_file(*storage, "a", "kept");
  const int status = status_of_child([&] {
    if (!refuse_call(SYS_fallocate, EOPNOTSUPP)) return 0;
    if (!file->allocate(100'000) || *file->size() != 100'000) return 1;
    if (!file->allocate(50'000) || *file->size() != 100'000) return 2;
    const struct rlimit limit { .rlim_cur = 150'000, .rlim_max = 150'000 };
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 3;
    return failed_with(file->allocate(200'000), Errc::no_space) ? 0 : 4;
  });
  CAPTURE(status);
  CHECK(exited_with(status, 0));
  CHECK(read_text(*file, 0, 6) == std::string("kept\0\0", 6));
}

TEST_CASE("storage: mappings are populated without MADV_POPULATE too", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = make_file(*storage, "a", "kept");
  REQUIRE(file->resize(2 * page_bytes));
  const MapMode mode = GENERATE(MapMode::read, MapMode::read_write);
  const int status = status_of_child([&] {
    const auto mapping = file->map(4 * page_bytes, mode).value();
    if (!refuse_call(SYS_madvise, EINVAL)) return 0;
    if (!mapping->populate({0}, {2 * page_bytes}) || mapping->faulted()) return 1;
    if (text_of(*mapping, 0, 4) != "kept") return 2;
    if (!failed_with(mapping->populate({0}, {3 * page_bytes}), std::errc::io_error)) return 3;
    return mapping->faulted() ? 0 : 4;
  });
  CAPTURE(status);
  CHECK(exited_with(status, 0));
}

TEST_CASE("storage: the medium is read where O_DIRECT is refused too", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = make_file(*storage, "a", std::string(5'000, 'x'));
  REQUIRE(file->sync());
  const int status = status_of_child([&] {
    if (!refuse_call(SYS_openat, EINVAL)) return 0;
    alignas(page_bytes) std::array<std::byte, 2 * page_bytes> out{};
    const auto got = file->read_medium({0}, out);
    return got && *got == 5'000 && out[4'999] == std::byte{'x'} ? 0 : 1;
  });
  CAPTURE(status);
  CHECK(exited_with(status, 0));
}

TEST_CASE("storage: a mapping cut short underneath reports it instead of dying",
          "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = make_file(*storage, "a", std::string(3 * page_bytes, 'x'));
  const auto mapping = file->map(3 * page_bytes, MapMode::read);
  const auto untouched = file->map(3 * page_bytes, MapMode::read);
  REQUIRE(mapping);
  REQUIRE(untouched);
  REQUIRE(file->resize(page_bytes));
  CHECK(text_of(**mapping, 10, 1) == "x");
  CHECK(!(*mapping)->faulted());
  CHECK(text_of(**mapping, 2 * page_bytes + 10, 1) == std::string(1, '\0'));
  CHECK((*mapping)->faulted());
  CHECK(!(*untouched)->faulted());
  CHECK(text_of(**mapping, 10, 1) == "x");
  CHECK(failed_with((*mapping)->populate({0}, {1}), std::errc::io_error));
}

TEST_CASE("storage: stores behind a file's end report it instead of dying", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = make_file(*storage, "a", "x");
  const auto mapping = file->map(2 * page_bytes, MapMode::read_write);
  REQUIRE(mapping);
  store_text(**mapping, page_bytes, "nowhere");
  CHECK((*mapping)->faulted());
  CHECK(size_of(*file) == 1);
}

TEST_CASE("storage: many mappings come and go, each with its own faults", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = make_file(*storage, "a", "x");
  std::vector<std::unique_ptr<StorageMapping>> mappings;
  for (int i = 0; i < 200; ++i) {
    mappings.push_back(file->map(2 * page_bytes, MapMode::read).value());
  }
  for (std::size_t i = 0; i < mappings.size(); i += 2) {
    CHECK(text_of(*mappings[i], page_bytes, 1) == std::string(1, '\0'));
  }
  for (std::size_t i = 0; i < mappings.size(); ++i) CHECK(mappings[i]->faulted() == (i % 2 == 0));
  mappings.clear();
  CHECK(!file->map(2 * page_bytes, MapMode::read).value()->faulted());
}

TEST_CASE("storage: threads may fault, map and unmap at once", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  make_file(*storage, "a", "x");
  std::array<bool, 4> good{};
  std::vector<std::thread> threads;
  for (bool& result : good) {
    threads.emplace_back([&storage, &result] {
      result = true;
      for (int i = 0; i < 100; ++i) {
        const auto file = storage->open("a", OpenMode::read).value();
        const auto mapping = file->map(2 * page_bytes, MapMode::read).value();
        if (mapping->faulted()) result = false;
        if (mapping->data()[page_bytes] != std::byte{0} || !mapping->faulted()) result = false;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(good == std::array<bool, 4>{true, true, true, true});
}

// Maps a page of the storage, so that varve's handler is in place, and then one behind the end of a
// file that varve knows nothing of.
volatile char* map_foreign(StorageBackend& storage, const std::filesystem::path& path) {
  const auto file = storage.open("own", OpenMode::create).value();
  static std::unique_ptr<StorageMapping> kept;
  kept = file->map(page_bytes, MapMode::read).value();
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  void* const address = ::mmap(nullptr, page_bytes, PROT_READ, MAP_SHARED, fd, 0);
  return static_cast<volatile char*>(address);
}

TEST_CASE("storage: a foreign SIGBUS reaches the handler that was there before",
          "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto foreign = directory.path() / "foreign";
  SECTION("one that wants to know the details") {
    CHECK(exited_with(status_of_child([&] {
                        struct sigaction action {};
                        action.sa_flags = SA_SIGINFO;
                        action.sa_sigaction = [](int, siginfo_t* info, void*) {
                          ::_exit(info->si_code == BUS_ADRERR ? 42 : 43);
                        };
                        ::sigaction(SIGBUS, &action, nullptr);
                        return static_cast<int>(*map_foreign(*storage, foreign));
                      }),
                      42));
  }
  SECTION("one that does not") {
    CHECK(exited_with(status_of_child([&] {
                        std::signal(SIGBUS, [](int) { ::_exit(42); });
                        return static_cast<int>(*map_foreign(*storage, foreign));
                      }),
                      42));
  }
  SECTION("the default one") {
    CHECK(killed_by(status_of_child([&] {
                      std::signal(SIGBUS, SIG_DFL);
                      return static_cast<int>(*map_foreign(*storage, foreign));
                    }),
                    SIGBUS));
  }
  SECTION("the default one, when the signal was sent") {
    CHECK(killed_by(status_of_child([&] {
                      std::signal(SIGBUS, SIG_DFL);
                      map_foreign(*storage, foreign);
                      ::raise(SIGBUS);
                      return 0;
                    }),
                    SIGBUS));
  }
  SECTION("none, if it was to be ignored and was sent") {
    CHECK(exited_with(status_of_child([&] {
                        std::signal(SIGBUS, SIG_IGN);
                        map_foreign(*storage, foreign);
                        ::raise(SIGBUS);
                        return 7;
                      }),
                      7));
  }
  SECTION("one that serves once only") {
    CHECK(killed_by(status_of_child([&] {
                      struct sigaction action {};
                      action.sa_flags = static_cast<int>(SA_RESETHAND);
                      action.sa_handler = [](int) {};
                      ::sigaction(SIGBUS, &action, nullptr);
                      return static_cast<int>(*map_foreign(*storage, foreign));
                    }),
                    SIGBUS));
  }
}

// A child that takes the lock, says so, and waits to be killed.
class LockingChild {
 public:
  explicit LockingChild(StorageBackend& storage) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    child_ = ::fork();
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      const auto lock = storage.lock();
      const char locked = lock ? 'y' : 'n';
      if (::write(ends[1], &locked, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ends[1]);
    char locked = '?';
    REQUIRE(::read(ends[0], &locked, 1) == 1);
    ::close(ends[0]);
    locked_ = locked == 'y';
  }
  ~LockingChild() { kill(); }

  bool locked() const { return locked_; }

  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = 0;
  }

 private:
  pid_t child_ = 0;
  bool locked_ = false;
};

TEST_CASE("storage: the lock holds across processes and dies with its own", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  SECTION("a child's lock") {
    LockingChild child(*storage);
    REQUIRE(child.locked());
    const auto refused = storage->lock();
    REQUIRE(failed_with(refused, Errc::locked));
    CHECK(refused.error().context() == (directory.path() / "log" / "LOCK").string());
    child.kill();
    CHECK(storage->lock());
  }
  SECTION("the parent's lock") {
    auto lock = storage->lock();
    REQUIRE(lock);
    CHECK(!LockingChild(*storage).locked());
    (*lock).reset();
    CHECK(LockingChild(*storage).locked());
  }
  SECTION("a lock that was held while a child was forked") {
    auto lock = storage->lock();
    REQUIRE(lock);
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      (*lock).reset();  // the parent still holds it
      const char done = 'd';
      if (::write(ends[1], &done, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char done = '?';
    CHECK(::read(ends[0], &done, 1) == 1);
    CHECK(failed_with(storage->lock(), Errc::locked));
    (*lock).reset();
    CHECK(storage->lock());
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
  }
}

TEST_CASE("storage: stores into a mapping survive kill -9", "[storage][file]") {
  const TempDir directory;
  const auto storage = file_storage(directory);
  const auto file = open_file(*storage, "a", OpenMode::create);
  REQUIRE(file->allocate(page_bytes));
  const int status = status_of_child([&] {
    const auto mapping = file->map(page_bytes, MapMode::read_write).value();
    store_text(*mapping, 100, "stored");
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(read_text(*file, 100, 6) == "stored");
}

TEST_CASE("storage: memory keeps its files as long as somebody does", "[storage][memory]") {
  auto storage = make_memory_storage();
  auto file = make_file(*storage, "a", "kept");
  auto lock = storage->lock();
  REQUIRE(lock);
  storage.reset();
  CHECK(read_text(*file, 0, 9) == "kept");
  auto mapping = file->map(4, MapMode::read);
  REQUIRE(mapping);
  file.reset();
  CHECK(text_of(**mapping, 0, 4) == "kept");
}

TEST_CASE("storage: memory moves no file that is mapped", "[storage][memory]") {
  const auto storage = make_memory_storage();
  const auto file = make_file(*storage, "a", "x");
  const auto mapping = file->map(1, MapMode::read);
  REQUIRE(mapping);
  write_text(*file, 64 << 20, "far");
  write_text(*file, 0, "y");
  CHECK(text_of(**mapping, 0, 1) == "y");
  CHECK(!file->allocate(std::uint64_t{1} << 62));
  CHECK(size_of(*file) == (64 << 20) + 3);
}

}  // namespace
}  // namespace varve
