// Subscribers: analytics, an alert, a copy of the records in another log, and metrics, all fed by one log of orders, each
// on a thread of its own and at its own pace. None of them slows the appends.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <map>
#include <string>
#include <thread>

#include <varve/varve.hpp>

namespace {

int fail(const varve::Error& error) {
  std::cerr << "subscribers: " << error.message() << '\n';
  return 1;
}

std::uint64_t amount_of(const varve::RecordView& order) {
  return std::stoull(std::string(varve::text(*order.value)));
}

// Analytics: turnover by customer.
struct Turnover {
  std::map<std::string, std::uint64_t> by_customer{};

  bool operator()(const varve::RecordView& order) {
    by_customer[std::string(varve::text(*order.key))] += amount_of(order);
    return true;
  }
};

// An alert for each order that somebody should look at.
struct Alert {
  std::uint64_t raised = 0;

  bool operator()(const varve::RecordView& order) {
    if (amount_of(order) > 990) ++raised;
    return true;
  }
};

// A copy in another log, of what is durable: so where it ends is where it goes on, and nothing else has to be remembered.
struct Copy {
  varve::Log& to;

  bool operator()(const varve::RecordView& order) {
    varve::Record record{.key = order.key, .value = order.value, .timestamp = order.timestamp};
    return to.append(record, {varve::Ack::os}).value_or(varve::Offset{}) == order.offset;
  }
};

bool caught_up(const varve::Subscription& subscription, varve::Offset end) {
  while (subscription.next_offset() < end) {
    if (!subscription.active()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string directory = argc > 1 ? argv[1] : "subscribers.varve";
  auto orders = varve::Log::open(directory);
  if (!orders) return fail(orders.error());
  auto copied = varve::Log::open(directory + ".copy");
  if (!copied) return fail(copied.error());

  Turnover turnover;
  Alert alert;
  Copy copy{*copied};
  std::atomic<std::uint64_t> seen{0};
  const varve::Offset begin = orders->end_offset();
  auto analytics = orders->subscribe(begin, std::ref(turnover));
  auto alerting = orders->subscribe(begin, std::ref(alert));
  auto backup =
      orders->subscribe(copied->end_offset(), std::ref(copy), {.visible = varve::Visible::durable});
  auto metrics = orders->subscribe(begin, [&](const varve::RecordView&) {
    seen.fetch_add(1, std::memory_order_relaxed);  // an exporter reads it whenever it is asked
    return true;
  });
  for (const auto* one : {&analytics, &alerting, &backup, &metrics})
    if (!*one) return fail(one->error());

  constexpr std::uint64_t count = 20'000;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string customer = "customer " + std::to_string(i % 7);
    const std::string amount = std::to_string(i * 7919 % 1000);
    varve::Record order{.key = varve::bytes(customer), .value = varve::bytes(amount)};
    if (auto offset = orders->append(order, {varve::Ack::os}); !offset) return fail(offset.error());
  }
  if (auto synced = orders->sync(); !synced) return fail(synced.error());
  const varve::Offset end = orders->end_offset();
  for (const auto* one : {&analytics, &alerting, &backup, &metrics}) {
    if (caught_up(**one, end)) continue;
    const auto status = (*one)->status();
    return status ? 1 : fail(status.error());
  }
  for (const auto& [customer, total] : turnover.by_customer)
    std::cout << customer << ": " << total << '\n';
  std::cout << alert.raised << " alerts, " << seen << " orders seen, the copy ends at "
            << copied->end_offset().value << '\n';
  if (alert.raised != count / 1000 * 9 || seen != count || copied->end_offset() != end) return 1;

  analytics->stop();
  alerting->stop();
  backup->stop();
  metrics->stop();
  if (auto closed = orders->close(); !closed) return fail(closed.error());
  if (auto closed = copied->close(); !closed) return fail(closed.error());
  return 0;
}
