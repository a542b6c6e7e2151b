// LMDB: a transaction an append. NOSYNC where an append has to survive no more than the process, with or
// without WRITEMAP. It has no checksums to verify.
#pragma once

#include <lmdb.h>

#include <memory>
#include <string_view>

#include "support/payload.hpp"
#include "support/raw_logs.hpp"

namespace bench {

template <unsigned mode>
class LmdbStore {
 public:
  LmdbStore(const fs::path& directory, Safety safety) {
    fs::create_directories(directory);
    MDB_env* environment = nullptr;
    check(mdb_env_create(&environment));
    environment_.reset(environment);
    check(mdb_env_set_mapsize(environment, std::size_t{8} << 30));
    const unsigned flags = mode | (safety == Safety::process ? MDB_NOSYNC : 0u);
    check(mdb_env_open(environment, directory.c_str(), flags, 0600));
    write([this](MDB_txn* transaction) {
      check(mdb_dbi_open(transaction, nullptr, MDB_INTEGERKEY, &table_));
    });
  }

  std::uint64_t append(std::string_view value) {
    std::uint64_t number = 0;
    write([&](MDB_txn* transaction) {
      number = next_++;  // one transaction at a time
      put(transaction, number, value);
    });
    return number;
  }
  void append(const Payload& payload, std::uint64_t first, std::size_t count) {
    write([&](MDB_txn* transaction) {
      for (std::size_t i = 0; i < count; ++i) put(transaction, first + i, payload(first + i));
      next_ = first + count;
    });
  }

  class Reader {
   public:
    explicit Reader(LmdbStore& store) : table_(store.table_) {
      MDB_txn* transaction = nullptr;
      check(mdb_txn_begin(store.environment_.get(), nullptr, MDB_RDONLY, &transaction));
      transaction_.reset(transaction);
    }

    template <class Visit>
    void scan(Visit&& visit) {
      MDB_cursor* cursor = nullptr;
      check(mdb_cursor_open(transaction_.get(), table_, &cursor));
      const std::unique_ptr<MDB_cursor, Delete<mdb_cursor_close>> owner(cursor);
      MDB_val key{};
      MDB_val value{};
      int status = 0;
      while ((status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS)
        visit(*static_cast<const std::uint64_t*>(key.mv_data), text(value));
      if (status != MDB_NOTFOUND) check(status);
    }
    template <class Visit>
    void read(std::uint64_t number, Visit&& visit) {
      MDB_val key{sizeof number, &number};
      MDB_val value{};
      check(mdb_get(transaction_.get(), table_, &key, &value));
      visit(text(value));
    }

   private:
    static std::string_view text(const MDB_val& value) {
      return {static_cast<const char*>(value.mv_data), value.mv_size};
    }

    template <auto function>
    struct Delete {
      template <class T>
      void operator()(T* object) const {
        function(object);
      }
    };

    MDB_dbi table_;
    std::unique_ptr<MDB_txn, Delete<mdb_txn_abort>> transaction_;
  };

 private:
  struct Close {
    void operator()(MDB_env* environment) const { mdb_env_close(environment); }
  };

  static void check(int status) {
    if (status != MDB_SUCCESS) [[unlikely]]
      fail(mdb_strerror(status));
  }

  template <class Work>
  void write(Work&& work) {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_.get(), nullptr, 0, &transaction));
    work(transaction);
    check(mdb_txn_commit(transaction));
  }
  void put(MDB_txn* transaction, std::uint64_t number, std::string_view value) {
    MDB_val key{sizeof number, &number};
    MDB_val data{value.size(), const_cast<char*>(value.data())};
    check(mdb_put(transaction, table_, &key, &data, MDB_APPEND));
  }

  std::unique_ptr<MDB_env, Close> environment_;
  MDB_dbi table_ = 0;
  std::uint64_t next_ = 0;
};

using Lmdb = LmdbStore<0>;
using LmdbWriteMap = LmdbStore<MDB_WRITEMAP>;

}  // namespace bench
