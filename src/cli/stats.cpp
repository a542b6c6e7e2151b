// varve stats: a log's metrics.
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "codecs.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "varve/log.hpp"
#include "varve/prometheus.hpp"

namespace varve::cli {
namespace {

// What can be known from outside of the process that writes: how the log is, not how it came to be so.
template <class Print>
void each_gauge(const Metrics& metrics, Print print) {
  for (const MetricInfo& info : metric_table())
    if (info.gauge) print(info, metrics.*info.field);
}

void print_text(const Metrics& metrics, Output& output) {
  each_gauge(metrics, [&](const MetricInfo& info, std::uint64_t value) {
    output.line(fmt::format("{:<16}{:>20}  {}", info.name, value, info.help));
  });
}

void print_json(const Metrics& metrics, Output& output) {
  Json json;
  each_gauge(metrics, [&](const MetricInfo& info, std::uint64_t value) {
    json[std::string(info.name)] = value;
  });
  output.line(json.dump());
}

void print_prometheus(const Metrics& metrics, const std::string& directory, Output& output) {
  std::string text =
      prometheus_text(std::vector<LogMetrics>{{directory, metrics}}, MetricKinds::gauges);
  text.pop_back();  // the line's end
  output.line(text);
}

}  // namespace

Exit run(const StatsCommand& command) {
  const Result<Log> log = Log::open(command.directory, looking());
  if (!log) return fail(log.error());
  const Metrics metrics = log->metrics();
  Output output;
  if (command.prometheus)
    print_prometheus(metrics, command.directory.string(), output);
  else if (command.json)
    print_json(metrics, output);
  else
    print_text(metrics, output);
  return output.finish(log->recovery().lost.empty() ? Exit::ok : Exit::corrupt);
}

}  // namespace varve::cli
