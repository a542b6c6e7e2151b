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
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {
// How long a subscriber looks again and again before it sleeps and has to be woken.
constexpr milliseconds awake_for{20};
constexpr std::uint64_t pin_interval = 1024;  // records between two moves of the pin
}  // namespace

Subscription::Impl::Impl(std::shared_ptr<LogCore> of, Reader from, RecordHandler to,
                         const SubscribeOptions& how, std::optional<Pin> kept)
    : next(from.next_offset().value),
      core_(std::move(of)),
      reader_(std::move(from)),
      handler_(std::move(to)),
      options_(how),
      pin_(std::move(kept)),
      renew_every_(std::max(core_->options.retention.pin_age / 2, milliseconds(1))) {}

Subscription::Impl::~Impl() { stop(); }

Result<void> Subscription::Impl::start() {
  VARVE_TRY_ASSIGN(thread_, ServiceThread::start("varve-subscribe", [this] { run(); }));
  return {};
}

void Subscription::Impl::stop() noexcept {
  if (!here()) return;  // the copy that fork() made has no such thread
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
  for (;;) {
    Result<Step> step = Step::end;
    const bool came_back = guarded([&] {
      step = drain();
      if (step && *step == Step::go_on) step = wait();
    });
    if (!came_back) step = Error(std::make_error_code(std::errc::not_enough_memory));
    if (!step) end(step.error());
    if (!step || *step == Step::end) break;
  }
  pin_.reset();
  active.store(false);
}

// Hands over all there is.
Result<Subscription::Impl::Step> Subscription::Impl::drain() {
  for (;;) {
    const std::uint64_t before = next.load();
    while (!stopping_.load(std::memory_order_relaxed) && reader_.advance()) {
      bool more = false;
      if (!guarded([&] { more = handler_(reader_.record()); }))
        return Error(std::make_error_code(std::errc::operation_canceled),
                     "the handler threw at offset " + std::to_string(next.load()));
      next.store(reader_.record().offset.value + 1, std::memory_order_release);
      if (!more) return Step::end;
      if (pin_) move_pin_if_due();
    }
    if (stopping_) return Step::end;
    if (next.load() != before) last_record_ = steady_clock::now();
    const auto status = reader_.status();
    if (status) {
      next.store(reader_.next_offset().value, std::memory_order_release);  // behind a gap, too
      return Step::go_on;
    }
    VARVE_TRY(meet(status.error()));
  }
}

// Gives up what was handed over, now and then, and soon enough for the pin to count on.
void Subscription::Impl::move_pin_if_due() noexcept {
  const bool far = next.load(std::memory_order_relaxed) >= pin_->offset().value + pin_interval;
  if (far || steady_clock::now() - renewed_ >= renew_every_) move_pin();
}

void Subscription::Impl::move_pin() noexcept {
  pin_->move_to({next.load(std::memory_order_relaxed)});
  renewed_ = steady_clock::now();
}

// Passes over what is lost, if that is wanted.
Result<void> Subscription::Impl::meet(const Error& error) {
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
  return {};
}

Result<Subscription::Impl::Step> Subscription::Impl::wait() {
  if (pin_) move_pin();
  if (!core_->closed.load() && steady_clock::now() - last_record_ < awake_for) {
    std::this_thread::sleep_for(std::clamp<std::chrono::microseconds>(
        options_.linger, std::chrono::microseconds(10), awake_for));
    return Step::go_on;
  }
  Deadline deadline;
  if (pin_ && core_->options.retention.pin_age.count() > 0) deadline = renewed_ + renew_every_;
  VARVE_TRY(
      wait_visible(*core_, reader_.next_offset().value, options_.visible, deadline, &stopping_));
  return stopping_ ? Step::end : Step::go_on;
}

// ---- the handle --------------------------------------------------------------------------------

Subscription::Subscription(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Subscription::Subscription(Subscription&&) noexcept = default;
Subscription& Subscription::operator=(Subscription&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
Subscription::~Subscription() {
  // In a forked child it is left alone: what the parent's thread was about when it was copied nobody knows.
  if (impl_ && !impl_->here()) (void)impl_.release();
}

void Subscription::stop() noexcept { impl_->stop(); }

Offset Subscription::next_offset() const noexcept {
  return {impl_->next.load(std::memory_order_acquire)};
}

std::uint64_t Subscription::skipped() const noexcept {
  return impl_->skipped.load(std::memory_order_relaxed);
}

bool Subscription::active() const noexcept { return impl_->here() && impl_->active.load(); }

Result<void> Subscription::status() const { return impl_->status(); }

}  // namespace varve::inline v0
