#include "background_thread.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <list>
#include <mutex>
#include <utility>

#include "service_thread.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

using Clock = std::chrono::steady_clock;

struct Job {
  BackgroundThread::Task task;
  bool wanted = false;
  bool running = false;
  bool gone = false;
  Deadline due{};
};

class Worker final : public BackgroundThread {
 public:
  ~Worker() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.reset();
  }

  Result<void> start(const char* name) {
    VARVE_TRY_ASSIGN(thread_, ServiceThread::start(name, [this] { run(); }));
    return {};
  }

  std::unique_ptr<Registration> add(Task task) override;

  void notify(Job& job) noexcept {
    {
      const std::lock_guard lock(mutex_);
      job.wanted = true;
    }
    changed_.notify_one();
  }

  void remove(std::list<Job>::iterator job) {
    std::unique_lock lock(mutex_);
    job->gone = true;
    finished_.wait(lock, [&] { return !job->running; });
    jobs_.erase(job);
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      const auto now = Clock::now();
      const auto ready = std::find_if(jobs_.begin(), jobs_.end(), [&](const Job& job) {
        return !job.gone && (job.wanted || (job.due && *job.due <= now));
      });
      if (ready == jobs_.end()) {
        sleep(lock);
        continue;
      }
      ready->wanted = false;
      ready->running = true;
      lock.unlock();
      const Deadline due = ready->task();
      lock.lock();
      ready->due = due;
      ready->running = false;
      finished_.notify_all();
      jobs_.splice(jobs_.end(), jobs_, ready);  // the others first, next time
    }
  }

  void sleep(std::unique_lock<std::mutex>& lock) {
    Deadline next;
    for (const Job& job : jobs_)
      if (job.due && !job.gone && (!next || *job.due < *next)) next = job.due;
    if (next)
      changed_.wait_until(lock, *next);
    else
      changed_.wait(lock);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable finished_;
  std::list<Job> jobs_;
  bool stopping_ = false;
  std::unique_ptr<ServiceThread> thread_;
};

class Place final : public BackgroundThread::Registration {
 public:
  Place(Worker& worker, std::list<Job>::iterator job) : worker_(&worker), job_(job) {}
  ~Place() override { worker_->remove(job_); }
  void notify() noexcept override { worker_->notify(*job_); }

 private:
  Worker* worker_;
  std::list<Job>::iterator job_;
};

std::unique_ptr<BackgroundThread::Registration> Worker::add(Task task) {
  const std::lock_guard lock(mutex_);
  Job job;
  job.task = std::move(task);
  jobs_.push_back(std::move(job));
  return std::make_unique<Place>(*this, std::prev(jobs_.end()));
}

}  // namespace

Result<std::shared_ptr<BackgroundThread>> BackgroundThread::shared(Kind kind) {
  static std::mutex mutex;
  static constexpr std::array names{"varve-ahead", "varve-record", "varve-compact"};
  static std::array<std::weak_ptr<Worker>, names.size()> running_of;
  const std::lock_guard lock(mutex);
  auto& running = running_of[static_cast<std::size_t>(kind)];
  if (auto worker = running.lock()) return std::shared_ptr<BackgroundThread>(std::move(worker));
  auto worker = std::make_shared<Worker>();
  VARVE_TRY(worker->start(names[static_cast<std::size_t>(kind)]));
  running = worker;
  return std::shared_ptr<BackgroundThread>(std::move(worker));
}

}  // namespace varve::inline v0::detail
