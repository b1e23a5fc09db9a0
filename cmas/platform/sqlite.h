// SPDX-License-Identifier: Apache-2.0
// SQLite with owners: a database and its statements, errors as Result with SQLite's reason.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "util/result.h"

namespace catsbpf::cmas {

class Statement {
 public:
  // Binds the next parameter.
  Statement &bind(std::int64_t value);
  Statement &bind(const std::string &value);
  Statement &bind(const std::optional<std::string> &value);
  // True: there is a row; false: the end. A statement whose preparing or binding failed says so here.
  Result<bool> step();
  // Steps a statement that gives no rows.
  Result<> run();

  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  std::optional<std::string> text(int column) const;  // empty: NULL

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt *statement) const { sqlite3_finalize(statement); }
  };
  Error error() const;

  sqlite3 *database_ = nullptr;
  std::string path_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int next_ = 1;
  int failed_ = SQLITE_OK;
};

class Database {
 public:
  // Opens or makes the file. Whether it is a database at all is seen at the first statement.
  static Result<Database> open(const std::string &path);
  Statement prepare(const std::string &sql);
  Result<> run(const std::string &sql) { return prepare(sql).run(); }
  Result<std::int64_t> integer(const std::string &sql);  // the one value of a query
  int changes() const { return sqlite3_changes(handle_.get()); }
  const std::string &path() const { return path_; }

 private:
  struct Close {
    void operator()(sqlite3 *handle) const { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
  std::string path_;
};

// Rolls back unless committed.
class Transaction {
 public:
  // write: takes the write lock at once, so that nothing read can change before it is written.
  static Result<Transaction> begin(Database &database, bool write);
  Transaction(Transaction &&other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction &operator=(Transaction &&) = delete;
  ~Transaction();
  Result<> commit();

 private:
  explicit Transaction(Database &database) : database_(&database) {}
  Database *database_;
};

}  // namespace catsbpf::cmas
