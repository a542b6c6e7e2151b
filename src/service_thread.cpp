#include "service_thread.hpp"

#include <pthread.h>

#include <csignal>
#include <string>
#include <utility>

#include "system_error.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

class PosixThread final : public ServiceThread {
 public:
  explicit PosixThread(std::function<void()> work) : work_(std::move(work)) {}
  ~PosixThread() override {
    if (started_) pthread_join(thread_, nullptr);
  }

  Result<void> run(const char* name) {
    sigset_t all{};
    sigset_t before{};
    sigfillset(&all);
    for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&thread_, nullptr, &PosixThread::main, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) return system_error(error, "starting the thread " + std::string(name));
    pthread_setname_np(thread_, name);
    started_ = true;
    return {};
  }

 private:
  static void* main(void* self) {
    static_cast<PosixThread*>(self)->work_();
    return nullptr;
  }

  std::function<void()> work_;
  bool started_ = false;
  pthread_t thread_{};
};

}  // namespace

Result<std::unique_ptr<ServiceThread>> ServiceThread::start(const char* name,
                                                            std::function<void()> work) {
  auto thread = std::make_unique<PosixThread>(std::move(work));
  VARVE_TRY(thread->run(name));
  return std::unique_ptr<ServiceThread>(std::move(thread));
}

}  // namespace varve::inline v0::detail
