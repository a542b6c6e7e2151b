// A small event-sourced service: bank accounts. A command is checked against the state and becomes
// events; events are appended to the log, and only then applied. The state itself is never stored:
// it is what comes out of applying all events again. Run it twice to see it go on where it was.
#include <charconv>
#include <cstdint>
#include <iostream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <varve/varve.hpp>

namespace {

using Cents = std::int64_t;

// What happened. In the log: key = account, value = cents in decimal, header "event" = what.
struct Event {
  enum class What { opened, deposited, withdrawn };

  What what;
  std::string account;
  Cents cents = 0;
};

constexpr std::string_view name_of(Event::What what) {
  switch (what) {
    case Event::What::opened:
      return "opened";
    case Event::What::deposited:
      return "deposited";
    case Event::What::withdrawn:
      return "withdrawn";
  }
  return "";
}

// Understands a record, or says why not: a log may hold what this version of the service never
// wrote.
varve::Result<Event> decode(const varve::RecordView& record) {
  const auto header = record.headers.find("event");
  if (header && header->value && record.key && record.value) {
    for (const auto what : {Event::What::opened, Event::What::deposited, Event::What::withdrawn}) {
      if (varve::text(*header->value) != name_of(what)) continue;
      Event event{what, std::string(varve::text(*record.key)), 0};
      const std::string_view digits = varve::text(*record.value);
      const auto [end, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), event.cents);
      if (error == std::errc() && end == digits.data() + digits.size()) return event;
    }
  }
  return varve::Error(varve::Errc::invalid_argument,
                      "no event of a bank at offset " + std::to_string(record.offset.value));
}

class Bank {
 public:
  static varve::Result<Bank> open(const char* directory) {
    auto log = varve::Log::open(directory);
    if (!log) return log.error();
    Bank bank(*std::move(log));
    auto accounts = replay(bank.log_);
    if (!accounts) return accounts.error();
    bank.accounts_ = *std::move(accounts);
    return bank;
  }

  // Commands. False: refused, nothing happened.
  varve::Result<bool> open_account(const std::string& account) {
    if (accounts_.contains(account)) return false;
    return commit({{Event::What::opened, account}});
  }
  varve::Result<bool> deposit(const std::string& account, Cents cents) {
    if (!accounts_.contains(account) || cents <= 0) return false;
    return commit({{Event::What::deposited, account, cents}});
  }
  varve::Result<bool> transfer(const std::string& from, const std::string& to, Cents cents) {
    if (!accounts_.contains(from) || !accounts_.contains(to) || cents <= 0) return false;
    if (accounts_.at(from) < cents) return false;
    // One batch: a crash leaves both events or neither, so no money is lost on the way.
    return commit({{Event::What::withdrawn, from, cents}, {Event::What::deposited, to, cents}});
  }

  // Whether the state is what the log says, as a service would check in its tests.
  varve::Result<bool> agrees_with_log() const {
    return replay(log_).transform([&](const auto& accounts) { return accounts == accounts_; });
  }

  const std::map<std::string, Cents>& accounts() const { return accounts_; }
  std::uint64_t events() const { return log_.end_offset() - log_.start_offset(); }
  varve::Result<void> close() { return log_.close(); }

 private:
  using Accounts = std::map<std::string, Cents>;

  explicit Bank(varve::Log log) : log_(std::move(log)) {}

  static varve::Result<Accounts> replay(const varve::Log& log) {
    Accounts accounts;
    varve::Reader reader = log.reader(log.start_offset());
    for (const varve::RecordView& record : reader) {
      const auto event = decode(record);
      if (!event) return event.error();
      apply(accounts, *event);
    }
    if (auto status = reader.status(); !status) return status.error();
    return accounts;
  }

  // The one place where events change the state: now and at every replay.
  static void apply(Accounts& accounts, const Event& event) {
    accounts[event.account] += event.what == Event::What::withdrawn ? -event.cents : event.cents;
  }

  // First durable, then visible.
  varve::Result<bool> commit(const std::vector<Event>& events) {
    std::vector<std::string> amounts;
    std::vector<varve::Header> headers;
    for (const Event& event : events) {
      amounts.push_back(std::to_string(event.cents));
      headers.push_back({.name = "event", .value = varve::bytes(name_of(event.what))});
    }
    std::vector<varve::Record> records;  // borrow from all of the above until append returns
    for (std::size_t i = 0; i < events.size(); ++i)
      records.push_back({.key = varve::bytes(events[i].account),
                         .value = varve::bytes(amounts[i]),
                         .headers = std::span(headers).subspan(i, 1)});
    if (auto offsets = log_.append(records); !offsets) return offsets.error();
    for (const Event& event : events) apply(accounts_, event);
    return true;
  }

  varve::Log log_;
  Accounts accounts_;
};

int fail(const varve::Error& error) {
  std::cerr << "event_sourced: " << error.message() << '\n';
  return 1;
}

// A day at the bank.
varve::Result<void> work(Bank& bank) {
  for (const char* account : {"ada", "grace"})
    if (auto opened = bank.open_account(account); !opened) return opened.error();
  if (auto deposited = bank.deposit("ada", 10000); !deposited) return deposited.error();
  if (auto moved = bank.transfer("ada", "grace", 2500); !moved) return moved.error();
  const auto overdrawn = bank.transfer("grace", "ada", 1000000000);
  if (!overdrawn) return overdrawn.error();
  std::cout << "too large a transfer is " << (*overdrawn ? "made?!" : "refused") << '\n';
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  auto bank = Bank::open(argc > 1 ? argv[1] : "event_sourced.varve");
  if (!bank) return fail(bank.error());
  std::cout << "rebuilt " << bank->accounts().size() << " accounts from " << bank->events()
            << " events\n";

  if (auto worked = work(*bank); !worked) return fail(worked.error());
  for (const auto& [account, cents] : bank->accounts())
    std::cout << account << " has " << cents / 100 << '.' << cents % 100 / 10 << cents % 10 << '\n';

  const auto agrees = bank->agrees_with_log();
  if (!agrees) return fail(agrees.error());
  if (!*agrees) return 1;
  if (auto closed = bank->close(); !closed) return fail(closed.error());
  return 0;
}
