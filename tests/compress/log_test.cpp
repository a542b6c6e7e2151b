// Logs that are compressed by what varve::compress brings.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "support/child.hpp"
#include "support/log_files.hpp"
#include "support/temp_dir.hpp"
#include "varve/compress/codecs.hpp"
#include "varve/inspect.hpp"

namespace varve::test {
namespace {

Options with_codecs(Options options = small_options()) {
  options.codecs = compress::all_codecs();
  return options;
}

TEST_CASE("compressed log: each codec and level reads back, one beside the other", "[compress]") {
  const auto storage = make_memory_storage();
  std::uint64_t end = 0;
  {
    Log log = open_log(storage, with_codecs());
    for (const auto& codec : compress::all_codecs()) {
      for (int level = codec->levels().least; level <= codec->levels().greatest; ++level) {
        const Compression how{codec, level};
        std::vector<OwnedRecord> owned;
        for (int i = 0; i < 30; ++i) owned.push_back(known_record(end++));
        REQUIRE(log.append(Batch(owned).records(), {Ack::os, &how}));
        REQUIRE(log.append(Batch(known_record(end++)).front(), os_ack));
      }
    }
    CHECK(read_back(log).good == end);
    REQUIRE(log.close());
  }
  std::vector<std::uint64_t> frames(8);
  REQUIRE(dump(*storage, [&](const FrameInfo& frame) {
    if (frame.codec) ++frames[static_cast<std::size_t>(*frame.codec)];
    return true;
  }));
  for (const auto& codec : compress::all_codecs()) {
    const auto [least, greatest, usual] = codec->levels();
    CHECK(frames[static_cast<std::size_t>(codec->id())] ==
          static_cast<std::uint64_t>(greatest - least + 1));
  }
  const ReadBack read = read_back(open_log(storage, read_only(with_codecs())));
  CHECK(read.exact());
  CHECK(read.good == end);
}

TEST_CASE("compressed log: only the codecs that it was given are needed", "[compress]") {
  const auto storage = make_memory_storage();
  Options options = small_options();
  options.compression.codec = compress::zstd();
  {
    Log log = open_log(storage, options);
    append_known(log, 60, Ack::os, 30);
    REQUIRE(log.close());
  }
  options.compression = {};
  options.codecs = {compress::lz4()};
  const Log log = open_log(storage, options);
  Reader reader = log.reader({0});
  CHECK(fails_with(reader.next(), Errc::unsupported_format, {"zstd", "[0, 30)"}));
}

TEST_CASE("compressed log: a killed process loses nothing that it had acknowledged",
          "[compress][kill]") {
  const TempDir directory;
  const auto path = directory.path() / "log";
  std::uint64_t end = 0;
  for (int round = 0; round < 6; ++round) {
    CAPTURE(round);
    Child child([&](const PipeEnd& to_parent, const PipeEnd&) {
      Options options = with_codecs({});
      options.segment_bytes = 64u << 10;
      options.compression.codec = compress::all_codecs()[static_cast<std::size_t>(round) % 4];
      auto log = Log::open(path, options);
      if (!log) return 1;
      for (std::uint64_t next = log->end_offset().value;;) {
        std::vector<OwnedRecord> owned;
        for (int i = 0; i < 40; ++i) owned.push_back(known_record(next++));
        const auto range = log->append(Batch(owned).records(), os_ack);
        if (!range || range->end.value != next || !to_parent.send(next)) return 2;
      }
    });
    for (int acknowledged = 0; acknowledged < 20 + round; ++acknowledged) {
      const auto told = child.output().receive<std::uint64_t>();
      REQUIRE(told);
      end = *told;
    }
    child.kill();
    while (const auto told = child.output().receive<std::uint64_t>()) end = *told;
    const Log log = open_log(path, read_only(with_codecs()));
    CHECK(log.recovery().lost.empty());
    CHECK(log.end_offset().value >= end);
    CHECK(log.end_offset().value % 40 == 0);
    const ReadBack read = read_back(log);
    CHECK(read.exact());
    CHECK(read.good == log.end_offset().value);
  }
}

}  // namespace
}  // namespace varve::test
