// RocksDB and LevelDB, whose interfaces are nearly one. Default options; `sync` where an append is to
// survive a loss of power. Keys are record numbers, most significant byte first. Scans verify checksums.
#pragma once

#include <leveldb/db.h>
#include <leveldb/write_batch.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include "support/payload.hpp"
#include "support/raw_logs.hpp"

namespace bench {

struct RocksApi {
  using Database = rocksdb::DB;
  using Options = rocksdb::Options;
  using WriteOptions = rocksdb::WriteOptions;
  using ReadOptions = rocksdb::ReadOptions;
  using WriteBatch = rocksdb::WriteBatch;
  using Slice = rocksdb::Slice;
};

struct LevelApi {
  using Database = leveldb::DB;
  using Options = leveldb::Options;
  using WriteOptions = leveldb::WriteOptions;
  using ReadOptions = leveldb::ReadOptions;
  using WriteBatch = leveldb::WriteBatch;
  using Slice = leveldb::Slice;
};

template <class Api>
class LsmStore {
  using Slice = typename Api::Slice;

 public:
  LsmStore(const fs::path& directory, Safety safety) {
    typename Api::Options options;
    options.create_if_missing = true;
    typename Api::Database* database = nullptr;
    check(Api::Database::Open(options, directory.string(), &database));
    database_.reset(database);
    write_.sync = safety == Safety::power;
  }

  std::uint64_t append(std::string_view value) {
    const std::uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
    check(database_->Put(write_, Key(number).slice(), slice(value)));
    return number;
  }
  void append(const Payload& payload, std::uint64_t first, std::size_t count) {
    typename Api::WriteBatch batch;
    for (std::size_t i = 0; i < count; ++i)
      batch.Put(Key(first + i).slice(), slice(payload(first + i)));
    check(database_->Write(write_, &batch));
    next_ += count;
  }

  class Reader {
   public:
    explicit Reader(LsmStore& store) : database_(*store.database_) {
      options_.verify_checksums = true;
    }

    template <class Visit>
    void scan(Visit&& visit) {
      using Cursor = std::remove_pointer_t<decltype(database_.NewIterator(options_))>;
      const std::unique_ptr<Cursor> cursor(database_.NewIterator(options_));
      for (cursor->SeekToFirst(); cursor->Valid(); cursor->Next())
        visit(number(cursor->key()),
              std::string_view(cursor->value().data(), cursor->value().size()));
      check(cursor->status());
    }
    template <class Visit>
    void read(std::uint64_t number, Visit&& visit) {
      check(database_.Get(options_, Key(number).slice(), &value_));
      visit(std::string_view(value_));
    }

   private:
    static std::uint64_t number(Slice key) {
      std::uint64_t swapped = 0;
      require(key.size() == sizeof swapped, "a key is not a number");
      std::memcpy(&swapped, key.data(), sizeof swapped);
      return __builtin_bswap64(swapped);
    }

    typename Api::Database& database_;
    typename Api::ReadOptions options_;
    std::string value_;
  };

 private:
  class Key {
   public:
    explicit Key(std::uint64_t number)
        : bytes_(std::bit_cast<std::array<char, 8>>(__builtin_bswap64(number))) {}
    Slice slice() const { return {bytes_.data(), bytes_.size()}; }

   private:
    std::array<char, 8> bytes_;
  };

  static Slice slice(std::string_view value) { return {value.data(), value.size()}; }
  template <class Status>
  static void check(const Status& status) {
    if (!status.ok()) fail(status.ToString());
  }

  std::unique_ptr<typename Api::Database> database_;
  typename Api::WriteOptions write_;
  std::atomic<std::uint64_t> next_{0};
};

using RocksDb = LsmStore<RocksApi>;
using LevelDb = LsmStore<LevelApi>;

}  // namespace bench
