#include "varve/subscription.hpp"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "subscription_impl.hpp"
#include "varve/detail/guard.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0 {

using namespace detail;

namespace {
// How long a subscriber looks again and again before it sleeps and has to be woken.
constexpr std::chrono::milliseconds awake_for{20};
constexpr std::uint64_t pin_interval = 1024;  // records between two moves of the pin
}  // namespace

Subscription::Impl::Impl(std::shared_ptr<LogCore> of, Reader from, RecordHandler to,
                         const SubscribeOptions& how, std::optional<Pin> kept)
    : next(from.next_offset().value),
      core_(std::move(of)),
      reader_(std::move(from)),
      handler_(std::move(to)),
      options_(how),
      pin_(std::move(kept)) {}

Subscription::Impl::~Impl() {
  if (process_ != process_generation())
    (void)thread_.release();  // the copy that fork() made has no such thread
  else
    stop();
}

Result<void> Subscription::Impl::start() {
  VARVE_TRY_ASSIGN(thread_, ServiceThread::start("varve-subscribe", [this] { run(); }));
  return {};
}

void Subscription::Impl::stop() noexcept {
  stopping_.store(true);
  core_->marks.appended.notify_all();
  core_->marks.synced.notify_all();
  const std::lock_guard lock(stop_mutex_);
  thread_.reset();
}

Result<void> Subscription::Impl::status() const {
  const std::lock_guard lock(mutex_);
  return error_ ? Result<void>(*error_) : Result<void>();
}

void Subscription::Impl::end(const Error& error) noexcept {
  const std::lock_guard lock(mutex_);
  if (!guarded([&] { error_.emplace(error); })) error_.emplace(error.code());
}

void Subscription::Impl::run() noexcept {
  bool going_on = true;
  while (going_on) {
    Result<Step> step = Step::end;
    const bool came_back = guarded([&] {
      step = drain();
      if (step && *step == Step::go_on) step = wait();
    });
    if (!came_back) {
      step = Error(std::make_error_code(std::errc::operation_canceled));
      (void)guarded([&] {
        step = Error(std::make_error_code(std::errc::operation_canceled),
                     "the handler threw at offset " + std::to_string(next.load()));
      });
    }
    if (!step) end(step.error());
    going_on = step && *step == Step::go_on;
  }
  pin_.reset();
  active.store(false);
}

// Hands over all there is.
Result<Subscription::Impl::Step> Subscription::Impl::drain() {
  for (;;) {
    const std::uint64_t before = next.load();
    while (!stopping_.load(std::memory_order_relaxed) && reader_.advance()) {
      const bool more = handler_(reader_.record());
      const std::uint64_t done = reader_.record().offset.value + 1;
      next.store(done, std::memory_order_release);
      if (!more) return Step::end;
      if (pin_ && done % pin_interval == 0) pin_->move_to({done});
    }
    if (stopping_) return Step::end;
    if (next.load() != before) last_record_ = std::chrono::steady_clock::now();
    if (pin_) pin_->move_to({next.load()});
    const auto status = reader_.status();
    if (status) return Step::go_on;
    VARVE_TRY(meet(status.error()));
  }
}

// Passes over what is lost, if that is wanted.
Result<Subscription::Impl::Step> Subscription::Impl::meet(const Error& error) {
  if (!options_.skip_lost) return error;
  if (error == Errc::offset_out_of_range) {
    reader_.seek({core_->marks.start.load(std::memory_order_acquire)});
  } else if (error != Errc::corrupt) {
    return error;
  }
  const std::uint64_t from = next.load();
  const std::uint64_t to = reader_.next_offset().value;
  if (to <= from) return error;  // it does not lead any further
  skipped.fetch_add(to - from, std::memory_order_relaxed);
  next.store(to, std::memory_order_release);
  return Step::go_on;
}

Result<Subscription::Impl::Step> Subscription::Impl::wait() {
  if (!core_->closed.load() && std::chrono::steady_clock::now() - last_record_ < awake_for) {
    std::this_thread::sleep_for(options_.linger);
    return Step::go_on;
  }
  VARVE_TRY_ASSIGN(const bool more, wait_visible(*core_, reader_.next_offset().value,
                                                 options_.visible, std::nullopt, &stopping_));
  return more ? Step::go_on : Step::end;
}

// ---- the handle --------------------------------------------------------------------------------

Subscription::Subscription(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Subscription::Subscription(Subscription&&) noexcept = default;
Subscription& Subscription::operator=(Subscription&&) noexcept = default;
Subscription::~Subscription() = default;

void Subscription::stop() noexcept { impl_->stop(); }

Offset Subscription::next_offset() const noexcept {
  return {impl_->next.load(std::memory_order_acquire)};
}

std::uint64_t Subscription::skipped() const noexcept {
  return impl_->skipped.load(std::memory_order_relaxed);
}

bool Subscription::active() const noexcept { return impl_->active.load(); }

Result<void> Subscription::status() const { return impl_->status(); }

}  // namespace varve::inline v0
