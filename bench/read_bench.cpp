// Reading back: everything in order, and single records by offset. Logs are in memory, as recently written
// ones are; what varve reads it verifies.
#include <string>
#include <type_traits>
#include <vector>

#include <varve/detail/checksum.hpp>

#include "peers/stores.hpp"

namespace {

using namespace bench;

// Stores that take a microsecond a record get a smaller fixture, or one sample would take seconds.
template <class Store>
std::uint64_t records(std::size_t record_bytes) {
  constexpr bool slow = !std::is_same_v<Store, VarveStore>
#ifdef VARVE_BENCH_PEERS
                        && !std::is_same_v<Store, Lmdb> && !std::is_same_v<Store, LmdbWriteMap>
#endif
      ;
  const std::uint64_t bytes = (quick() ? 200'000'000u : 1'000'000'000u) / (slow ? 10 : 1);
  return bytes / record_bytes / 100 * 100;
}

fs::path varve_fixture(std::size_t record_bytes) {
  return filled(Contender<VarveStore>{"varve"}, record_bytes, records<VarveStore>(record_bytes)) /
         "data";
}

template <class Store>
void scan(Sample& sample, Contender<Store> contender, std::size_t record_bytes) {
  const std::uint64_t count = records<Store>(record_bytes);
  Store store(filled(contender, record_bytes, count) / "data", Safety::process);
  typename Store::Reader reader(store);
  const Payload payload(record_bytes);
  const auto scan_all = [&] {
    std::uint64_t next = 0;
    reader.scan([&](std::uint64_t number, std::string_view value) {
      require(number == next++, "a record is missing");
      require(value.size() == record_bytes, "a record has the wrong size");
      benchmark::DoNotOptimize(value.data());
    });
    require(next == count, "records are missing");
  };
  scan_all();
  sample.time(count, scan_all);
  check_ends_by(reader, payload, count);
}

// varve's own XXH3, which uses the widest vectors that the machine has.
std::uint64_t wide_hash(const std::byte* data, std::size_t bytes) {
  return varve::detail::checksum({data, bytes});
}

// Hashing the same bytes as varve's scan: the files of the log, mapped before, in pieces of that size.
template <auto hash>
void hash_mapped(Sample& sample, std::size_t record_bytes, std::size_t piece_bytes) {
  std::vector<MappedFile> files;
  for (const fs::path& path : segment_files(varve_fixture(record_bytes))) files.emplace_back(path);
  const auto hash_all = [&] {
    std::uint64_t sum = 0;
    for (const MappedFile& file : files)
      for (std::size_t at = 0; at < file.size(); at += piece_bytes)
        sum += hash(file.data() + at, std::min(piece_bytes, file.size() - at));
    benchmark::DoNotOptimize(sum);
  };
  hash_all();
  sample.time(records<VarveStore>(record_bytes), hash_all);
}

// Numbers without a pattern, cheap to make.
class Random {
 public:
  std::uint64_t below(std::uint64_t end) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % end;
  }

 private:
  std::uint64_t state_ = 88172645463325252u;
};

// Latencies of operation(), run often enough before for memory to be mapped and caches to be as they stay.
template <class Operation>
void random_latencies(Sample& sample, std::uint64_t count, Operation&& operation) {
  for (std::uint64_t i = 0; i < count; ++i) operation();
  Latencies latencies(count);
  std::uint64_t last = ticks();
  for (std::uint64_t i = 0; i < count; ++i) {
    operation();
    const std::uint64_t now = ticks();
    latencies.add(now - last);
    last = now;
  }
  sample.set(latencies);
}

template <class Store>
void random_read(Sample& sample, Contender<Store> contender) {
  const std::uint64_t count = records<Store>(100);
  Store store(filled(contender, 100, count) / "data", Safety::process);
  typename Store::Reader reader(store);
  const Payload payload(100);
  Random random;
  random_latencies(sample, scaled(150'000), [&] {
    const std::uint64_t number = random.below(count);
    reader.read(number, [&](std::string_view value) { payload.check(number, value); });
  });
}

void random_pread(Sample& sample) {
  std::vector<RawFile> files;
  for (const fs::path& path : segment_files(varve_fixture(100))) files.emplace_back(path, O_RDONLY);
  // Of equal size but for the last, which may hold next to nothing.
  files.pop_back();
  const std::uint64_t bytes = files.front().size() - 100;
  Random random;
  char record[100];
  random_latencies(sample, scaled(150'000), [&] {
    const std::uint64_t at = random.below(bytes * files.size());
    files[at / bytes].read_at(at % bytes, record, sizeof record);
    benchmark::DoNotOptimize(record);
  });
}

const Registration samples([] {
  for_each_store([]<class Store>(Contender<Store> contender) {
    const std::string name = contender.name;
    for (const std::size_t bytes : {100u, 1024u})
      add("scan/" + name + "/" + std::to_string(bytes),
          [=](Sample& sample) { scan(sample, contender, bytes); });
    add("random/" + name, [=](Sample& sample) { random_read(sample, contender); });
  });
  for (const std::size_t bytes : {100u, 1024u}) {
    const std::string size = std::to_string(bytes);
    add("scan/mapped_frames/" + size,
        [=](Sample& sample) { hash_mapped<plain_hash>(sample, bytes, 4096); });
    add("scan/mapped_records/" + size,
        [=](Sample& sample) { hash_mapped<plain_hash>(sample, bytes, bytes + 6); });
    add("scan/mapped_frames_wide/" + size,
        [=](Sample& sample) { hash_mapped<wide_hash>(sample, bytes, 4096); });
  }
  add("random/pread", random_pread);
});

}  // namespace
