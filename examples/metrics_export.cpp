// Metrics: one loop over a table exports all of them, here in the text format of Prometheus.
#include <iostream>
#include <string>

#include <varve/varve.hpp>

namespace {

int fail(const varve::Error& error) {
  std::cerr << "metrics_export: " << error.message() << '\n';
  return 1;
}

// Answer a scrape with this. `log_name` tells the logs of a process apart: escape it in earnest.
void export_metrics(const varve::Log& log, const std::string& log_name, std::ostream& out) {
  const varve::Metrics metrics = log.metrics();
  for (const varve::MetricInfo& info : varve::metric_table()) {
    const std::string name = "varve_" + std::string(info.name);
    out << "# HELP " << name << ' ' << info.help << '\n'
        << "# TYPE " << name << (info.gauge ? " gauge\n" : " counter\n") << name << "{log=\""
        << log_name << "\"} " << metrics.*info.field << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto log = varve::Log::open(argc > 1 ? argv[1] : "metrics_export.varve");
  if (!log) return fail(log.error());
  for (int i = 0; i < 100; ++i)
    if (auto offset = log->append({.value = varve::bytes("work")}); !offset)
      return fail(offset.error());

  export_metrics(*log, "example", std::cout);
  if (log->metrics().records_appended != 100) return 1;

  if (auto closed = log->close(); !closed) return fail(closed.error());
  return 0;
}
