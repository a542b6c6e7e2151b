// A logger of the host's own: each event of a log as a line of JSON on standard error.
//   json_logger [DIR]
#include <cstdint>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <variant>

#include <nlohmann/json.hpp>
#include <varve/varve.hpp>

namespace {

class JsonLogger final : public varve::Logger {
 public:
  explicit JsonLogger(varve::LogLevel least) : least_(least) {}

  varve::LogLevel level() const noexcept override { return least_; }

  // Nothing of the event is kept: it is all borrowed.
  void log(const varve::LogEvent& event) override {
    nlohmann::ordered_json line{{"level", varve::to_text(event.level)}, {"event", event.name}};
    for (const varve::LogField& field : event.fields)
      std::visit([&](const auto& value) { line[std::string(field.name)] = value; }, field.value);
    const auto invalid =
        nlohmann::ordered_json::error_handler_t::replace;  // paths may hold anything
    const std::lock_guard lock(mutex_);  // several threads of varve's, and the host's own
    std::cerr << line.dump(-1, ' ', false, invalid) << '\n';
    ++lines_;
  }

  int lines() const { return lines_; }

 private:
  const varve::LogLevel least_;
  std::mutex mutex_;
  int lines_ = 0;
};

int fail(const std::string& message) {
  std::cerr << "json_logger: " << message << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto logger = std::make_shared<JsonLogger>(varve::LogLevel::info);
  varve::Options options;
  options.segment_bytes = 64u << 10;
  options.retention.bytes = 256u << 10;
  options.logger = logger;
  auto log = varve::Log::open(argc > 1 ? argv[1] : "json_logger.varve", options);
  if (!log) return 1;  // the logger has heard why
  for (int i = 0; i < 10'000; ++i) {
    const auto offset =
        log->append({.value = varve::bytes(std::string(100, 'x'))}, {varve::Ack::os});
    if (!offset) return fail(offset.error().message());
  }
  if (const auto closed = log->close(); !closed) return 1;
  return logger->lines() >= 2 ? 0 : fail("nothing was logged");
}
