// Without exceptions: this file is compiled with -fno-exceptions. Every function of varve that can
// fail returns a Result, which the compiler does not let you ignore.
#include <cstdio>
#include <string>

#include <varve/varve.hpp>

namespace {

// Code that hands errors on to its caller looks like this.
varve::Result<varve::Offset> record_visit(varve::Log& log, std::string_view who) {
  const varve::Header header{.name = "kind", .value = varve::bytes("visit")};
  return log.append(
      {.key = varve::bytes(who), .value = varve::bytes("was here"), .headers = {&header, 1}});
}

varve::Result<int> count_visits(const varve::Log& log, std::string_view who) {
  int visits = 0;
  varve::Reader reader = log.reader(log.start_offset());
  while (true) {
    const varve::Result<std::optional<varve::RecordView>> next = reader.next();
    if (!next) return next.error();
    if (!*next) return visits;  // caught up
    const varve::RecordView& record = **next;
    if (record.key && varve::text(*record.key) == who) ++visits;
  }
}

int fail(const varve::Error& error) {
  std::fprintf(stderr, "no_exceptions: %s\n", error.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  varve::Result<varve::Log> log = varve::Log::open(argc > 1 ? argv[1] : "no_exceptions.varve");
  if (!log) return fail(log.error());

  const varve::Result<varve::Offset> offset = record_visit(*log, "ada");
  if (!offset) return fail(offset.error());

  // Errors can be told apart by code, and steps can be chained.
  const varve::Result<std::string> answer = count_visits(*log, "ada").transform([](int visits) {
    return "ada was here " + std::to_string(visits) + " times";
  });
  if (!answer) return fail(answer.error());
  std::puts(answer->c_str());

  const varve::Result<void> beyond = log->truncate_prefix(log->end_offset() + 1);
  if (beyond || beyond.error() != varve::Errc::offset_out_of_range) return 1;
  std::printf("as expected: %s\n", beyond.error().message().c_str());

  if (const varve::Result<void> closed = log->close(); !closed) return fail(closed.error());
  return 0;
}
