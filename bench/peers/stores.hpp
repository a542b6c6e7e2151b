// The contenders behind one shape. A store has
//
//   Store(directory, Safety)             in its default configuration, but for what Safety needs
//   number append(value)                 one record; from any thread
//   append(payload, first, count)        one atomic batch; from one thread
//   Reader(store)                        each in one thread, while nobody appends
//     scan(visit(number, value))         every record in order, verified where the store can
//     read(number, visit(value))         one record
//
// Templates take it, so that no store pays for a virtual call.
#pragma once

#include "peers/varve.hpp"
#ifdef VARVE_BENCH_PEERS
#include "peers/lmdb.hpp"
#include "peers/lsm.hpp"
#include "peers/sqlite.hpp"
#endif

namespace bench {

template <class Store>
struct Contender {
  using Type = Store;
  const char* name;
};

// Calls visit(Contender) for varve and for each peer that was built in.
template <class Visit>
void for_each_store(Visit&& visit) {
  visit(Contender<VarveStore>{"varve"});
#ifdef VARVE_BENCH_PEERS
  visit(Contender<RocksDb>{"rocksdb"});
  visit(Contender<LevelDb>{"leveldb"});
  visit(Contender<Lmdb>{"lmdb"});
  visit(Contender<LmdbWriteMap>{"lmdb_writemap"});
  visit(Contender<Sqlite>{"sqlite"});
#endif
}

// Fails unless the first and last of `count` records are there.
template <class Reader>
void check_ends_by(Reader& reader, const Payload& payload, std::uint64_t count) {
  for (const std::uint64_t number : {std::uint64_t{0}, count - 1})
    reader.read(number, [&](std::string_view value) { payload.check(number, value); });
}
template <class Store>
void check_ends(Store& store, const Payload& payload, std::uint64_t count) {
  if constexpr (requires { typename Store::Reader; }) {
    typename Store::Reader reader(store);
    check_ends_by(reader, payload, count);
  }
}

// A fixture: a store of `count` records, closed.
template <class Store>
fs::path filled(Contender<Store> contender, std::size_t record_bytes, std::uint64_t count) {
  const std::string name = std::string(contender.name) + "-" + std::to_string(record_bytes);
  return fixture(name, [&](const fs::path& directory) {
    Store store(directory / "data", Safety::process);
    const Payload payload(record_bytes);
    constexpr std::size_t batch = 100;
    for (std::uint64_t number = 0; number < count; number += batch)
      store.append(payload, number, batch);
  });
}

}  // namespace bench
