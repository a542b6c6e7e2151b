// From the call of an append until another thread, or another process, has seen the record: by polling, and by
// sleeping until it is woken. Beside it, the same over a word of shared memory.
#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include "peers/stores.hpp"
#include "support/process.hpp"

namespace {

using namespace bench;

constexpr std::uint64_t records_max = 20'000;

// What the writer and the reader share besides the log.
struct Channel {
  std::atomic<bool> log_exists{false};
  std::atomic<bool> reading{false};
  std::atomic<std::uint64_t> seen{0};
  std::uint32_t latency_ns[records_max];

  // For those who have no log.
  std::atomic<std::uint32_t> sent{0};
  std::atomic<std::uint64_t> stamp{0};
};

template <class Condition>
void spin_until(Condition&& condition) {
  const Stopwatch watch;
  for (std::uint64_t i = 0; !condition(); ++i)
    require(i % 4096 != 0 || watch.seconds() < 10, "nothing was seen for too long");
}

// The two ways of passing a stamp on. A writer sends; a follower, which may be in another process,
// receives what is there, or waits for more.

class ThroughLog {
 public:
  class Writer {
   public:
    Writer(const fs::path& directory, Channel&) : store_(directory, Safety::process) {}
    void send(std::uint64_t stamp) {
      std::memcpy(value_.data(), &stamp, sizeof stamp);
      store_.append(value_);
    }
    varve::Log* log() { return &store_.log(); }

   private:
    VarveStore store_;
    std::string value_ = std::string(Payload(100)(0));
  };

  class Follower {
   public:
    // In the writer's process by its log, else by a log that is open for reading only.
    Follower(const fs::path& directory, Channel&, varve::Log* log)
        : own_(
              log != nullptr
                  ? std::nullopt
                  : std::optional(
                        varve::Log::open(directory, {.access = varve::Access::read_only}).value())),
          reader_((own_ ? *own_ : *log).reader({0})) {}

    std::optional<std::uint64_t> receive() {
      if (!reader_.advance()) {
        reader_.status().value();
        return std::nullopt;
      }
      std::uint64_t stamp = 0;
      std::memcpy(&stamp, reader_.record().value->data(), sizeof stamp);
      return stamp;
    }
    void wait() { reader_.wait(std::chrono::seconds(1)).value(); }

   private:
    std::optional<varve::Log> own_;
    varve::Reader reader_;
  };
};

class ThroughWord {
 public:
  class Writer {
   public:
    Writer(const fs::path&, Channel& channel) : channel_(channel) {}
    void send(std::uint64_t stamp) {
      channel_.stamp.store(stamp, std::memory_order_relaxed);
      channel_.sent.fetch_add(1, std::memory_order_release);
      futex_wake(channel_.sent);
    }
    varve::Log* log() { return nullptr; }

   private:
    Channel& channel_;
  };

  class Follower {
   public:
    Follower(const fs::path&, Channel& channel, varve::Log*) : channel_(channel) {}
    std::optional<std::uint64_t> receive() {
      if (channel_.sent.load(std::memory_order_acquire) == received_) return std::nullopt;
      ++received_;
      return channel_.stamp.load(std::memory_order_relaxed);
    }
    void wait() { futex_wait(channel_.sent, received_); }

   private:
    Channel& channel_;
    std::uint32_t received_ = 0;
  };
};

template <class Follower>
void follow(Follower follower, Channel& channel, std::uint64_t records, bool waiting) {
  channel.reading = true;
  for (std::uint64_t number = 0; number < records;) {
    if (const auto stamp = follower.receive()) {
      channel.latency_ns[number] = static_cast<std::uint32_t>(clock_ns() - *stamp);
      channel.seen.store(++number, std::memory_order_release);
    } else if (waiting) {
      follower.wait();
    }
  }
}

template <class Way>
void tail(Sample& sample, bool other_process, bool waiting) {
  const Directory directory;
  const fs::path path = directory / "log";
  const Shared<Channel> channel;
  const std::uint64_t records = scaled(waiting ? 3000 : records_max);
  // Long enough for a reader that waits to be asleep, and for one that polls to have come round.
  const std::uint64_t pause_ns = waiting ? 60'000 : 2'000;

  std::optional<Child> process;
  if (other_process) {
    process.emplace([&] {
      spin_until([&] { return channel->log_exists.load(); });
      follow(typename Way::Follower(path, *channel, nullptr), *channel, records, waiting);
    });
  }
  typename Way::Writer writer(path, *channel);
  channel->log_exists = true;
  std::jthread thread;
  if (!other_process) {
    thread = std::jthread([&] {
      follow(typename Way::Follower(path, *channel, writer.log()), *channel, records, waiting);
    });
  }
  spin_until([&] { return channel->reading.load(); });
  for (std::uint64_t number = 0; number < records; ++number) {
    const std::uint64_t begin = clock_ns();
    while (clock_ns() - begin < pause_ns) {
    }
    writer.send(clock_ns());
    spin_until([&] { return channel->seen.load(std::memory_order_acquire) > number; });
  }
  if (process) require(process->wait() == 0, "the reading process failed");

  Latencies latencies(records);
  for (std::uint64_t number = 0; number < records; ++number)
    latencies.add(static_cast<std::uint64_t>(channel->latency_ns[number] / ns_per_tick()));
  sample.set(latencies);
}

template <class Way>
void add_all(const std::string& name) {
  for (const bool other_process : {false, true})
    for (const bool waiting : {false, true})
      add("tail/" + name + (other_process ? "/process" : "/thread") +
              (waiting ? "/waiting" : "/polling"),
          [=](Sample& sample) { tail<Way>(sample, other_process, waiting); });
}

const Registration samples([] {
  add_all<ThroughLog>("varve");
  add_all<ThroughWord>("word");
});

}  // namespace
