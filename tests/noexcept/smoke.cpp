// What a program built without exceptions needs of a log: append, read, and errors as values.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "varve/varve.hpp"

namespace {

void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

}  // namespace

int main() {
  const auto storage = varve::make_memory_storage();
  {
    auto log = varve::Log::open(storage);
    check(log.has_value(), "a new log opens");

    const auto first = log->append({.key = varve::bytes("k"), .value = varve::bytes("one")});
    check(first && *first == varve::Offset{0}, "the first record gets offset 0");

    const std::array<varve::Record, 2> batch{{{.value = varve::bytes("two")}, {}}};
    const auto offsets = log->append(batch);
    check(offsets && offsets->end == varve::Offset{3}, "a batch gets the offsets that follow");

    const std::string big(8u << 20, 'x');
    const auto refused = log->append({.value = varve::bytes(big)});
    check(!refused && refused.error() == varve::Errc::batch_too_large, "a large record is refused");

    check(log->close().has_value(), "the log closes");
    const auto late = log->append({.value = varve::bytes("late")});
    check(!late && late.error() == varve::Errc::closed, "a closed log takes nothing");
  }

  auto log = varve::Log::open(storage);
  check(log.has_value(), "the log opens again");
  std::vector<std::string> values;
  varve::Reader reader = log->reader(log->start_offset());
  for (const varve::RecordView& record : reader)
    values.emplace_back(record.value ? varve::text(*record.value) : "nothing");
  check(reader.status().has_value(), "reading ends well");
  check(values == std::vector<std::string>{"one", "two", "nothing"}, "what was written is read");

  varve::Reader outside = log->reader(varve::Offset{99});
  const auto none = outside.next();
  check(!none && none.error() == varve::Errc::offset_out_of_range, "an offset beyond is an error");
  return 0;
}
