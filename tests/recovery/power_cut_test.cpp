// The power is cut under a real file system: a journaled ext4 on a loop device, shut down without a last flush of
// its journal while a process appends. What had been acknowledged as durable is there when it is mounted again.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "support/child.hpp"
#include "support/log_tools.hpp"
#include "support/mounts.hpp"
#include "support/temp_dir.hpp"
#include "support/witness.hpp"

namespace varve::test {
namespace {

// Of ext4 and xfs; their headers are the kernel's own.
constexpr unsigned long shutdown_request = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t without_log_flush = 2;

Options options_of_round() {
  Options options;
  options.segment_bytes = 64u << 10;
  return options;
}

int append_until_cut(const std::filesystem::path& directory, std::uint32_t round,
                     const PipeEnd& acks) {
  auto log = Log::open(directory, options_of_round());
  if (!log) return 1;
  std::vector<std::thread> appenders;
  for (std::uint32_t thread = 0; thread < 2; ++thread)
    appenders.emplace_back([&, thread] { append_until_killed(*log, round, thread, acks); });
  for (std::thread& appender : appenders) appender.join();
  return 0;
}

// What went wrong, for the test's own process to tell.
struct Verdict {
  char text[400] = "";
  explicit Verdict(const std::string& what = {}) { what.copy(text, sizeof text - 1); }
};

class PowerCuts {
 public:
  PowerCuts(std::filesystem::path directory, std::uint64_t seed)
      : disk_(directory / "image", directory / "mount"), random_(seed) {}

  // False: not on this machine, or not for this user.
  bool prepare() const {
    return leave_mounts() && disk_.make("48M", "-J size=4") && disk_.mount() && disk_.unmount();
  }

  std::string round(std::uint32_t number) {
    if (!disk_.mount()) return "mounting failed";
    if (std::string what = append_and_cut(number); !what.empty()) return what;
    if (!disk_.unmount() || !disk_.mount()) return "mounting again failed";
    {
      auto log = Log::open(disk_.path() / "log", options_of_round());
      if (!log) return "opening failed: " + log.error().message();
      if (!log->recovery().lost.empty()) return "records are reported as lost";
      if (std::string what = witness_.check(*log); !what.empty()) return what;
    }
    return disk_.unmount() ? "" : "unmounting failed";
  }

  std::uint64_t heard() const noexcept { return witness_.heard(); }

 private:
  std::string append_and_cut(std::uint32_t number) {
    Child writer([&](const PipeEnd& to_parent, const PipeEnd&) {
      return append_until_cut(disk_.path() / "log", number, to_parent);
    });
    // Only what is heard before the cut was acknowledged before it.
    for (std::uint64_t left = random_.between(1, 800); left > 0; --left) {
      const auto message = writer.output().receive<Acknowledged>();
      if (!message) return "the writer stopped before the power was cut";
      if (message->ack == Ack::disk) witness_.hear(*message);
    }
    const int root = ::open(disk_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    std::uint32_t how = without_log_flush;
    const bool cut = ::ioctl(root, shutdown_request, &how) == 0;
    ::close(root);
    writer.kill();
    return cut ? "" : "the file system cannot be shut down";
  }

  Ext4 disk_;
  Random random_;
  Witness witness_;
};

TEST_CASE("power cut: a journaled file system keeps what was acknowledged as durable",
          "[recovery][power]") {
  const std::uint64_t seed = fresh_seed();
  CAPTURE(seed);
  const TempDir directory;
  Child keeper([&](const PipeEnd& to_parent, const PipeEnd&) {
    PowerCuts cuts(directory.path(), seed);
    if (!cuts.prepare()) return cannot_mount;
    for (std::uint32_t round = 0; round < 12; ++round) {
      const std::string what = cuts.round(round);
      if (what.empty()) continue;
      (void)to_parent.send(Verdict("round " + std::to_string(round) + ": " + what));
      return 1;
    }
    return cuts.heard() > 20 ? 0 : 2;
  });
  const auto verdict = keeper.output().receive<Verdict>();
  INFO((verdict ? verdict->text : ""));
  const int status = keeper.wait();
  if (status == cannot_mount) {
    WARN("skipped: this needs root, a loop device and mkfs.ext4");
    return;
  }
  CHECK(status == 0);
}

}  // namespace
}  // namespace varve::test
