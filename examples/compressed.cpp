// A log of JSON lines, appended in compressed batches: what it saves, and that reading is as ever.
#include <iostream>
#include <string>
#include <vector>

#include <varve/compress/codecs.hpp>
#include <varve/varve.hpp>

int main() {
  varve::Options options;
  options.compression = {varve::compress::zstd()};
  varve::Log log = varve::Log::open("compressed.varve", options).value();

  std::vector<std::string> lines;
  for (int i = 0; i < 1000; ++i)
    lines.push_back(R"({"level":"info","path":"/orders/)" + std::to_string(i) +
                    R"(","status":200})");
  std::vector<varve::Record> batch;
  for (const std::string& line : lines) batch.push_back({.value = varve::bytes(line)});
  const varve::Offset first = log.append(batch).value().begin;  // one frame, on disk

  std::size_t next = 0;
  varve::Reader reader = log.reader(first);
  for (const varve::RecordView& record : reader)
    if (varve::text(*record.value) != lines[next++]) return 1;
  const varve::Metrics metrics = log.metrics();
  std::cout << next << " lines, " << metrics.bytes_before_compression << " bytes stored as "
            << metrics.bytes_after_compression << '\n';
  return reader.status() && next == lines.size() ? 0 : 1;
}
