// SQLite: a table by record number, write-ahead logging, one connection that threads take turns with.
// `synchronous` is OFF where an append has to survive no more than the process, else FULL.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "support/payload.hpp"
#include "support/raw_logs.hpp"

namespace bench {

class Sqlite {
 public:
  Sqlite(const fs::path& directory, Safety safety) {
    fs::create_directories(directory);
    sqlite3* connection = nullptr;
    const int opened = sqlite3_open((directory / "log.db").c_str(), &connection);
    connection_.reset(connection);
    check(opened);
    run("PRAGMA journal_mode = WAL");
    run(safety == Safety::power ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = OFF");
    run("CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, value BLOB)");
    insert_ = prepare("INSERT INTO log VALUES (?, ?)");
  }

  std::uint64_t append(std::string_view value) {
    const std::lock_guard lock(mutex_);
    insert(next_, value);
    return next_++;
  }
  void append(const Payload& payload, std::uint64_t first, std::size_t count) {
    run("BEGIN");
    for (std::size_t i = 0; i < count; ++i) insert(first + i, payload(first + i));
    run("COMMIT");
    next_ = first + count;
  }

 private:
  struct Delete {
    void operator()(sqlite3* connection) const { sqlite3_close(connection); }
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Delete>;

 public:
  class Reader {
   public:
    explicit Reader(Sqlite& store)
        : store_(store),
          all_(store.prepare("SELECT number, value FROM log ORDER BY number")),
          one_(store.prepare("SELECT value FROM log WHERE number = ?")) {}

    template <class Visit>
    void scan(Visit&& visit) {
      while (store_.step(all_))
        visit(static_cast<std::uint64_t>(sqlite3_column_int64(all_.get(), 0)), blob(all_, 1));
      sqlite3_reset(all_.get());
    }
    template <class Visit>
    void read(std::uint64_t number, Visit&& visit) {
      store_.check(sqlite3_bind_int64(one_.get(), 1, static_cast<sqlite3_int64>(number)));
      require(store_.step(one_), "a record is missing");
      visit(blob(one_, 0));
      sqlite3_reset(one_.get());
    }

   private:
    static std::string_view blob(const Statement& statement, int column) {
      const void* data = sqlite3_column_blob(statement.get(), column);
      return {static_cast<const char*>(data),
              static_cast<std::size_t>(sqlite3_column_bytes(statement.get(), column))};
    }

    Sqlite& store_;
    Statement all_;
    Statement one_;
  };

 private:
  void check(int status) const {
    if (status != SQLITE_OK && status != SQLITE_DONE && status != SQLITE_ROW) [[unlikely]]
      fail(sqlite3_errmsg(connection_.get()));
  }
  void run(const char* sql) {
    check(sqlite3_exec(connection_.get(), sql, nullptr, nullptr, nullptr));
  }
  Statement prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v2(connection_.get(), sql, -1, &statement, nullptr));
    return Statement(statement);
  }
  bool step(const Statement& statement) {
    const int status = sqlite3_step(statement.get());
    check(status);
    return status == SQLITE_ROW;
  }
  void insert(std::uint64_t number, std::string_view value) {
    check(sqlite3_bind_int64(insert_.get(), 1, static_cast<sqlite3_int64>(number)));
    check(sqlite3_bind_blob(insert_.get(), 2, value.data(), static_cast<int>(value.size()),
                            SQLITE_STATIC));
    step(insert_);
    check(sqlite3_reset(insert_.get()));
  }

  std::mutex mutex_;
  std::unique_ptr<sqlite3, Delete> connection_;
  Statement insert_;
  std::uint64_t next_ = 0;
};

}  // namespace bench
