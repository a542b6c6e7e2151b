// A log with a batch of each codec, as they were when this format was new, opens for ever: whatever the libraries write by
// now. What makes the records must never change. To write another one, run the hidden test case "[.regenerate]".
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "support/log_files.hpp"
#include "varve/compress/codecs.hpp"
#include "varve/file_storage.hpp"
#include "varve/inspect.hpp"

namespace varve::test {
namespace {

constexpr std::uint64_t batch_records = 20;

std::filesystem::path golden() {
  return std::filesystem::path(VARVE_TEST_DIR) / "golden" / "v1-compressed";
}

// In the order of their numbers.
std::vector<std::shared_ptr<const Codec>> codecs() {
  return {compress::gzip(), compress::snappy(), compress::lz4(), compress::zstd()};
}

OwnedRecord golden_record(std::uint64_t offset) {
  OwnedRecord record;
  record.key = "key " + std::to_string(offset % 7);
  record.value = R"({"number":)" + std::to_string(offset) + R"(,"text":"golden golden golden"})";
  if (offset % 5 == 0) record.headers = {{"type", "golden"}, {"absent", std::nullopt}};
  if (offset % 6 == 0) record.time_ms = static_cast<std::int64_t>(offset) - 10;
  return record;
}

std::vector<OwnedRecord> golden_records(std::uint64_t begin, std::uint64_t end) {
  std::vector<OwnedRecord> records;
  for (; begin < end; ++begin) records.push_back(golden_record(begin));
  return records;
}

TEST_CASE("golden: a log of each codec reads as it was written", "[compress][golden]") {
  const auto files = open_file_storage(golden(), false);
  REQUIRE(files);
  const auto storage = memory_with(copy_files(**files));
  std::vector<CodecId> found;
  REQUIRE(dump(*storage, [&](const FrameInfo& frame) {
    if (frame.codec) found.push_back(*frame.codec);
    return true;
  }));
  CHECK(found == std::vector<CodecId>{CodecId::gzip, CodecId::snappy, CodecId::lz4, CodecId::zstd});
  CHECK(verify(*storage).value().intact());

  Options options = small_options();
  options.codecs = codecs();
  const Log log = open_log(storage, options);
  CHECK(log.recovery().clean);
  const auto known = golden_records(0, codecs().size() * batch_records);
  const ReadBack read = read_back(log, &known);
  CHECK(read.exact());
  CHECK(read.good == known.size());
}

TEST_CASE("golden: write the compressed log anew", "[.regenerate]") {
  const auto storage = make_memory_storage();
  Options options = small_options();
  options.codecs = codecs();
  Log log = open_log(storage, options);
  for (const auto& codec : codecs()) {
    const Compression how{codec};
    const std::uint64_t begin = log.end_offset().value;
    const auto records = golden_records(begin, begin + batch_records);
    REQUIRE(log.append(Batch(records).records(), {Ack::disk, &how}));
  }
  REQUIRE(log.close());
  std::filesystem::remove_all(golden());
  std::filesystem::create_directories(golden());
  const auto files = open_file_storage(golden(), false);
  REQUIRE(files);
  write_files(**files, copy_files(*storage));
}

}  // namespace
}  // namespace varve::test
