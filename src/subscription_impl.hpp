// Subscription::Impl: a reader and the thread that it is read on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "log_core.hpp"
#include "process.hpp"
#include "service_thread.hpp"
#include "varve/error.hpp"
#include "varve/pin.hpp"
#include "varve/reader.hpp"
#include "varve/subscription.hpp"

namespace varve::inline v0 {

struct Subscription::Impl {
  Impl(std::shared_ptr<detail::LogCore> of, Reader from, RecordHandler to,
       const SubscribeOptions& how, std::optional<Pin> kept);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  Result<void> start();
  void stop() noexcept;
  bool here() const noexcept { return process_ == detail::process_generation(); }

  std::atomic<std::uint64_t> next;
  std::atomic<std::uint64_t> skipped{0};
  std::atomic<bool> active{true};

  Result<void> status() const;

 private:
  enum class Step : std::uint8_t { go_on, end };

  void run() noexcept;
  Result<Step> drain();
  Result<void> meet(const Error& error);
  Result<Step> wait();
  void move_pin_if_due() noexcept;
  void move_pin() noexcept;
  void end(const Error& error) noexcept;

  std::shared_ptr<detail::LogCore> core_;
  Reader reader_;
  RecordHandler handler_;
  SubscribeOptions options_;
  std::optional<Pin> pin_;
  const std::chrono::milliseconds renew_every_;  // before it counts no more
  std::chrono::steady_clock::time_point renewed_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_record_ = std::chrono::steady_clock::now();
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::optional<Error> error_{};
  std::mutex stop_mutex_;
  std::uint32_t process_ = detail::process_generation();
  std::unique_ptr<detail::ServiceThread> thread_{};  // ends before all of the above
};

}  // namespace varve::inline v0
