#include "background_thread.hpp"

#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace varve::detail {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// A number that can be waited for.
class Gate {
 public:
  void open() {
    ++count_;
    count_.notify_all();
  }
  void wait_for(int count) const {
    for (int seen = count_; seen < count; seen = count_) count_.wait(seen);
  }
  int count() const { return count_; }

 private:
  std::atomic<int> count_{0};
};

TEST_CASE("background thread: runs a task that was notified", "[background][tsan]") {
  const auto background = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  Gate runs;
  const auto registration = background->add([&]() -> Deadline {
    runs.open();
    return {};
  });
  for (int i = 1; i <= 50; ++i) {
    registration->notify();
    runs.wait_for(i);
  }
}

TEST_CASE("background thread: a task that nobody notified does not run", "[background][tsan]") {
  const auto background = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  Gate quiet;
  Gate other;
  const auto silent = background->add([&]() -> Deadline {
    quiet.open();
    return {};
  });
  const auto busy = background->add([&]() -> Deadline {
    other.open();
    return {};
  });
  busy->notify();
  other.wait_for(1);
  CHECK(quiet.count() == 0);
}

TEST_CASE("background thread: calls again at the time the task asked for", "[background][tsan]") {
  const auto background = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  Gate runs;
  const auto registration = background->add([&]() -> Deadline {
    runs.open();
    return Clock::now() + 1ms;
  });
  registration->notify();
  runs.wait_for(5);
}

TEST_CASE("background thread: a notification during the run causes another", "[background][tsan]") {
  const auto background = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  Gate started;
  Gate notified;
  const auto registration = background->add([&]() -> Deadline {
    started.open();
    notified.wait_for(1);
    return {};
  });
  registration->notify();
  started.wait_for(1);
  registration->notify();
  notified.open();
  started.wait_for(2);
}

TEST_CASE("background thread: forgetting a task waits for it to finish", "[background][tsan]") {
  const auto background = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  for (int i = 0; i < 20; ++i) {
    Gate started;
    Gate leave;
    std::atomic<bool> finished{false};
    auto registration = background->add([&]() -> Deadline {
      started.open();
      leave.wait_for(1);
      finished = true;
      return Clock::now();  // would be called again at once
    });
    registration->notify();
    started.wait_for(1);
    std::thread other([&] { leave.open(); });
    registration.reset();
    CHECK(finished);
    other.join();
  }
}

TEST_CASE("background thread: one thread serves many, and none starves", "[background][tsan]") {
  const auto background = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  constexpr int tasks = 10;
  std::vector<Gate> runs(tasks);
  std::vector<std::unique_ptr<BackgroundThread::Registration>> registrations;
  for (Gate& gate : runs) {
    registrations.push_back(background->add([&gate]() -> Deadline {
      gate.open();
      return Clock::now();  // always wants more
    }));
  }
  for (const auto& registration : registrations) registration->notify();
  for (const Gate& gate : runs) gate.wait_for(3);
}

TEST_CASE("background thread: lives as long as somebody has it", "[background][tsan]") {
  auto first = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  auto second = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  CHECK(first == second);
  const std::weak_ptr<BackgroundThread> watched = first;
  first.reset();
  CHECK(!watched.expired());
  second.reset();
  CHECK(watched.expired());
  const auto third = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  Gate runs;
  const auto registration = third->add([&]() -> Deadline {
    runs.open();
    return {};
  });
  registration->notify();
  runs.wait_for(1);
}

TEST_CASE("background thread: leaves the host's signals to the host's threads", "[background]") {
  const auto background = BackgroundThread::shared(BackgroundThread::Kind::recorder).value();
  Gate done;
  sigset_t blocked{};
  const auto registration = background->add([&]() -> Deadline {
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    done.open();
    return {};
  });
  registration->notify();
  done.wait_for(1);
  for (const int one : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM, SIGHUP})
    CHECK(sigismember(&blocked, one) == 1);
  CHECK(sigismember(&blocked, SIGBUS) == 0);
}

}  // namespace
}  // namespace varve::detail
