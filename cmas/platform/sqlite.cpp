// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/sqlite.h"

namespace catsbpf::cmas {

namespace {

constexpr int kBusyMs = 5000;  // how long a writer waits for another one

Error sqlite_error(const std::string &path, sqlite3 *database, int code) {
  std::string hint;
  int number = EIO;
  switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      hint = "restore it from a copy, or move it away: the catalogue is loaded into a new one";
      break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      hint = "another program holds it for long";
      number = EBUSY;
      break;
    case SQLITE_FULL:
      hint = "the disk is full";
      number = ENOSPC;
      break;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      hint = "the folder must exist, and it and the file must be writable for this user";
      number = EACCES;
      break;
    default: break;
  }
  const char *reason = database ? sqlite3_errmsg(database) : sqlite3_errstr(code);
  return Error{"registry " + path + ": " + reason, hint, number};
}

}  // namespace

Error Statement::error() const { return sqlite_error(path_, database_, failed_); }

Statement &Statement::bind(std::int64_t value) {
  if (failed_ == SQLITE_OK) failed_ = sqlite3_bind_int64(statement_.get(), next_++, value);
  return *this;
}

Statement &Statement::bind(const std::string &value) {
  if (failed_ == SQLITE_OK)
    failed_ =
        sqlite3_bind_text(statement_.get(), next_++, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
  return *this;
}

Statement &Statement::bind(const std::optional<std::string> &value) {
  if (value) return bind(*value);
  if (failed_ == SQLITE_OK) failed_ = sqlite3_bind_null(statement_.get(), next_++);
  return *this;
}

Result<bool> Statement::step() {
  if (failed_ != SQLITE_OK) return error();
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  failed_ = code;
  return error();
}

Result<> Statement::run() {
  for (;;) {
    auto more = step();
    if (!more) return more.error();
    if (!*more) return done();
  }
}

std::optional<std::string> Statement::text(int column) const {
  const auto *bytes = reinterpret_cast<const char *>(sqlite3_column_text(statement_.get(), column));
  if (!bytes) return std::nullopt;
  return std::string(bytes, sqlite3_column_bytes(statement_.get(), column));
}

Result<Database> Database::open(const std::string &path) {
  Database database;
  sqlite3 *handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  database.handle_.reset(handle);
  database.path_ = path;
  if (code != SQLITE_OK) return sqlite_error(path, handle, code);
  sqlite3_busy_timeout(handle, kBusyMs);
  sqlite3_extended_result_codes(handle, 1);
  return database;
}

Statement Database::prepare(const std::string &sql) {
  Statement statement;
  statement.database_ = handle_.get();
  statement.path_ = path_;
  sqlite3_stmt *raw = nullptr;
  statement.failed_ = sqlite3_prepare_v2(handle_.get(), sql.c_str(), static_cast<int>(sql.size()), &raw, nullptr);
  statement.statement_.reset(raw);
  return statement;
}

Result<std::int64_t> Database::integer(const std::string &sql) {
  auto statement = prepare(sql);
  auto row = statement.step();
  if (!row) return row.error();
  if (!*row) return Error{"registry " + path_ + ": no answer to " + sql, "", EIO};
  return statement.integer(0);
}

Result<Transaction> Transaction::begin(Database &database, bool write) {
  if (auto ok = database.run(write ? "BEGIN IMMEDIATE" : "BEGIN"); !ok) return ok.error();
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_) (void)database_->run("ROLLBACK");
}

Result<> Transaction::commit() {
  auto ok = database_->run("COMMIT");
  if (ok) database_ = nullptr;
  return ok;
}

}  // namespace catsbpf::cmas
