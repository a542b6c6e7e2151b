// <base>.idx: any bytes beside good segments. An index is a hint: whatever it says, every record is found, none is
// wrong, and no file is changed or removed because of it.
//
// With the first byte odd the index is made to be of its segment and its check to fit (bugs in a writer, not rot).
// Its entries may then lie about times, which no frame tells, so only what find() answers is asked to make sense.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "fuzz/guarded_storage.hpp"
#include "fuzz/log_image.hpp"
#include "manifest.hpp"
#include "varve/detail/index.hpp"
#include "varve/inspect.hpp"
#include "varve/log.hpp"

namespace varve {
namespace {

using namespace detail;
using fuzz::Buffer;
using fuzz::copy_files;
using fuzz::Files;
using fuzz::must;

// A log closed properly, of one segment that is sealed and one that is not.
struct GoodLog {
  Files files{};
  Manifest manifest{};
  std::vector<std::string> values{};  // "(none)" for those without
  std::vector<std::int64_t> times_ms{};

  GoodLog() {
    const auto storage = make_memory_storage();
    Log log = Log::open(storage, options()).value();
    while (log.segments().size() < 2 || log.end_offset().value % 8 != 0) {
      const test::OwnedRecord owned = test::record_at(1, log.end_offset().value, {600, 600, 25});
      log.append(test::Batch(owned).records(), {Ack::os}).value();
      if (log.end_offset().value % 3 == 0) log.sync().value();
    }
    log.close().value();
    files = copy_files(*storage);
    manifest = decode_manifest(files.at(std::string(manifest_name))).value();
    log = Log::open(storage, options()).value();
    for (const RecordView& record : log.reader({0})) {
      values.push_back(value_of(record));
      times_ms.push_back(record.timestamp.time_since_epoch().count());
    }
    must(values.size() == log.end_offset().value, "a good log is good");
  }

  static std::string value_of(const RecordView& record) {
    return record.value ? std::string(text(*record.value)) : "(none)";
  }

  static Options options() {
    Options options;
    options.segment_bytes = segment_bytes_min;
    options.index_interval_bytes = 1024;
    options.background = Background::manual;
    options.environment = std::make_shared<fuzz::FixedEnvironment>();
    return options;
  }
};

const GoodLog& good() {
  static const GoodLog log;
  return log;
}

// Lookups in the index alone: any entries at all, so that a search ends whatever their order is.
void check_searching(const Files& files, const SegmentMeta& meta) {
  const auto storage = std::make_shared<fuzz::GuardedStorage>();
  write_files(*storage, files);
  const auto index = SealedIndex::load(*storage, index_name({meta.base_offset}),
                                       {good().manifest.log, meta.id, meta.end_position});
  if (!index) return;
  for (std::uint64_t offset = meta.base_offset; offset < meta.end_offset; offset += 5) {
    const auto found = index->find(Offset{offset});
    must(!found || found->offset <= offset, "what is found is not above what was looked for");
  }
  (void)index->find(Offset{std::numeric_limits<std::uint64_t>::max()});
  for (const std::int64_t time_ms : good().times_ms)
    (void)index->find(Timestamp(std::chrono::milliseconds(time_ms)));
}

void check_record(const Log& log, std::uint64_t offset) {
  Reader reader = log.reader({offset});
  const auto record = reader.next();
  must(record && *record && (**record).offset.value == offset, "every record is found");
  must(GoodLog::value_of(**record) == good().values[offset], "and is the right one");
}

void check_times(const Log& log, bool trusted) {
  for (std::size_t i = 0; i < good().times_ms.size(); i += 7) {
    const std::int64_t wanted = good().times_ms[i];
    const auto found = log.find(Timestamp(std::chrono::milliseconds(wanted)));
    must(found && found->value <= good().values.size(), "looking for a time does not fail");
    must(found->value == good().values.size() || good().times_ms[found->value] >= wanted,
         "what is found is of that time or later");
    if (!trusted) continue;
    const auto first = std::find_if(good().times_ms.begin(), good().times_ms.end(),
                                    [&](std::int64_t time_ms) { return time_ms >= wanted; });
    must(found->value == static_cast<std::uint64_t>(first - good().times_ms.begin()),
         "it is the first");
  }
}

void check(const Files& files, bool trusted) {
  const auto storage = std::make_shared<fuzz::GuardedStorage>();
  write_files(*storage, files);
  const std::uint64_t end = good().values.size();
  for (const Access access : {Access::read_only, Access::read_write}) {
    Options options = GoodLog::options();
    options.access = access;
    const auto opened = Log::open(storage, options);
    must(opened.has_value(), "no index blocks opening");
    must(opened->start_offset().value == 0 && opened->end_offset().value == end,
         "no index changes what the log is");
    must(opened->recovery().lost.empty() && opened->recovery().torn.empty(), "no index is damage");
    for (std::uint64_t offset = 0; offset < end; offset += access == Access::read_only ? 3 : 11)
      check_record(*opened, offset);
    check_times(*opened, trusted);
  }
  const auto verified = verify(*storage);
  must(verified && verified->intact() && verified->torn.empty(), "no index is damage");
  for (const auto& [name, content] : copy_files(*storage)) {
    if (name.ends_with(index_suffix) || name == lock_name) continue;
    must(files.contains(name) && files.at(name) == content, "no index changes a file");
  }
  for (const auto& [name, content] : files)
    must(storage->stat(name).has_value(), "no index removes a file");

  auto log = Log::open(storage, GoodLog::options());
  Record record;
  record.value = bytes("appended");
  must(log && log->append(record)->value == end, "the log goes on behind its end");
  check_record(*log, 0);
  check_record(*log, end - 1);
}

}  // namespace

std::map<std::string, Buffer> fuzz::seeds() {
  std::map<std::string, Buffer> seeds;
  unsigned segment = 0;
  for (const SegmentMeta& meta : good().manifest.segments) {
    for (const unsigned reseal : {0u, 1u}) {
      Buffer& seed = seeds["seed-" + std::to_string(segment) + (reseal != 0 ? "-resealed" : "")];
      put_number(seed, static_cast<std::uint8_t>(segment << 1 | reseal));
      put_bytes(seed, good().files.at(index_name({meta.base_offset})));
    }
    ++segment;
  }
  put_number(seeds["seed-empty"], std::uint8_t{1});
  return seeds;
}

}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  fuzz::Input input(fuzz::input_bytes(data, size));
  const auto mode = input.number<std::uint8_t>();
  const bool reseal = mode % 2 != 0;
  const auto& segments = good().manifest.segments;
  const detail::SegmentMeta& meta = segments[mode / 2 % segments.size()];
  const Bytes rest = input.rest();
  Buffer index(rest.begin(), rest.end());
  if (reseal) fuzz::reseal_index(index, {good().manifest.log, meta.id, meta.end_position});
  Files files = good().files;
  files[detail::index_name({meta.base_offset})] = std::move(index);
  check_searching(files, meta);
  check(files, !reseal);
  return 0;
}
