// The smallest program: open a log, append a record, read them all. Run it again to see it grow.
#include <iostream>

#include <varve/varve.hpp>

int main(int argc, char** argv) {
  // value() takes what is in a Result, or throws. The other examples ask instead.
  varve::Log log = varve::Log::open(argc > 1 ? argv[1] : "hello.varve").value();

  // The record is on disk when append returns.
  log.append({.value = varve::bytes("hello, log")}).value();

  varve::Reader reader = log.reader(log.start_offset());
  for (const varve::RecordView& record : reader)
    std::cout << record.offset.value << ' ' << varve::text(*record.value) << '\n';

  // The loop ended: because all was read, or because of an error?
  reader.status().value();
  log.close().value();
  return 0;
}
