// How much of what was appended the system keeps in memory for the log.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <vector>

#include "support/log_tools.hpp"
#include "support/temp_dir.hpp"

namespace varve::test {
namespace {

constexpr std::uint32_t segment = 256u << 10;

// How many of the file's bytes are in the page cache.
std::uint64_t cached_bytes(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  const auto size = static_cast<std::size_t>(std::filesystem::file_size(path));
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  REQUIRE(at != MAP_FAILED);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident((size + page - 1) / page);
  REQUIRE(::mincore(at, size, resident.data()) == 0);
  ::munmap(at, size);
  std::uint64_t bytes = 0;
  for (const unsigned char one : resident) bytes += (one & 1) != 0 ? page : 0;
  return bytes;
}

// A tmpfs has no medium below it.
bool has_medium(const std::filesystem::path& path) {
  constexpr long tmpfs = 0x01021994;
  struct statfs info {};
  return ::statfs(path.c_str(), &info) == 0 && static_cast<long>(info.f_type) != tmpfs;
}

struct Filled {
  TempDir directory{};
  std::vector<SegmentInfo> segments{};

  explicit Filled(std::optional<std::uint64_t> keep) {
    Options options;
    options.segment_bytes = segment;
    options.background = Background::manual;
    options.page_cache_bytes = keep;
    Log log = Log::open(directory.path(), options).value();
    const std::vector<std::byte> value(1000);
    for (int i = 0; i < 3000; ++i) {
      log.append({.value = value}, {.ack = Ack::os}).value();
      if (i % 100 == 0) log.tick().value();
    }
    log.tick().value();
    segments = log.segments();
    for (const SegmentInfo& one : segments)
      cached.push_back(cached_bytes(directory.path() / one.file));
    const auto first = log.reader(log.start_offset()).next();
    CHECK((first && *first && (*first)->value->size() == value.size()));
    log.close().value();
  }

  std::vector<std::uint64_t> cached{};  // of each segment's file, while the log was open
};

TEST_CASE("page cache: sealed segments behind what is to be kept are given back", "[log]") {
  const Filled log(2 * segment);
  if (!has_medium(log.directory.path())) {
    WARN("not tested: " << log.directory.path() << " is in memory");
    return;
  }
  REQUIRE(log.segments.size() >= 8);
  const std::size_t last = log.segments.size() - 1;
  for (std::size_t i = 0; i + 3 < log.segments.size(); ++i) CHECK(log.cached[i] == 0);
  for (std::size_t i = last - 1; i <= last; ++i) CHECK(log.cached[i] >= log.segments[i].bytes / 2);
}

TEST_CASE("page cache: nothing is given back unless asked for", "[log]") {
  const Filled log(std::nullopt);
  for (std::size_t i = 0; i < log.segments.size(); ++i)
    CHECK(log.cached[i] >= log.segments[i].bytes / 2);
}

}  // namespace
}  // namespace varve::test
