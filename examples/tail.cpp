// Tailing across processes: one process appends, another one reads each record as it comes.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <string>
#include <thread>

#include <varve/varve.hpp>

namespace {

constexpr std::uint64_t count = 20;

int fail(const char* who, const varve::Error& error) {
  std::cerr << who << ": " << error.message() << '\n';
  return 1;
}

// Tells where its records begin as soon as the log is there, then appends at its own pace.
int write_records(const char* directory, int tell) {
  auto log = varve::Log::open(directory);
  if (!log) return fail("writer", log.error());
  const std::uint64_t begin = log->end_offset().value;
  if (write(tell, &begin, sizeof begin) != sizeof begin) return 1;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string text = "tick " + std::to_string(i);
    if (auto offset = log->append({.value = varve::bytes(text)}); !offset)
      return fail("writer", offset.error());
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (auto closed = log->close(); !closed) return fail("writer", closed.error());
  return 0;
}

// Any number of processes may open a log read-only beside its writer.
int follow(const char* directory, varve::Offset from) {
  auto log = varve::Log::open(directory, {.access = varve::Access::read_only});
  if (!log) return fail("reader", log.error());

  varve::Reader reader = log->reader(from);
  std::uint64_t seen = 0;
  while (seen < count) {
    // The loop ends when it has caught up. It is not finished: it goes on where it stopped.
    for (const varve::RecordView& record : reader) {
      std::cout << record.offset.value << ' ' << varve::text(*record.value) << std::endl;
      ++seen;
    }
    if (auto status = reader.status(); !status) return fail("reader", status.error());
    if (seen == count) break;
    const auto more = reader.wait(std::chrono::seconds(10));
    if (!more) return fail("reader", more.error());
    if (!*more) {
      std::cerr << "reader: nothing came for ten seconds\n";
      return 1;
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* directory = argc > 1 ? argv[1] : "tail.varve";
  int channel[2];
  if (pipe(channel) != 0) return 1;

  // Fork before varve is used: its background thread would not be in the child.
  const pid_t writer = fork();
  if (writer < 0) return 1;
  if (writer == 0) {
    close(channel[0]);
    _exit(write_records(directory, channel[1]));
  }
  close(channel[1]);

  std::uint64_t begin = 0;
  int result = 1;  // unless the writer comes so far as to tell where it begins
  if (read(channel[0], &begin, sizeof begin) == sizeof begin) result = follow(directory, {begin});

  int status = 0;
  if (waitpid(writer, &status, 0) != writer || status != 0) return 1;
  return result;
}
