// SPDX-License-Identifier: Apache-2.0
// The C-SMA's memory on disk: rows, reservations and the epoch counter in one SQLite file (WAL,
// synchronous=FULL: what is committed survives the death of the process and of the machine at any moment).
// One agent per file: a second one is refused.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cmas/site_table.h"
#include "util/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace catsbpf::agent {

// What differs from what is stored: everything else stays.
struct Unsaved {
  std::set<cmas::RowKey> rows;      // changed or removed
  std::set<uint64_t> reservations;  // granted, renewed or ended
  bool empty() const { return rows.empty() && reservations.empty(); }
};

class Store {
 public:
  using WallTime = std::chrono::system_clock::time_point;

  // Fails naming the file: not writable, in use, damaged, not ours, of another schema version or another site.
  static Result<std::unique_ptr<Store>> open(const std::string &path, const std::string &site);
  ~Store();
  Store(const Store &) = delete;
  Store &operator=(const Store &) = delete;

  // Fills the empty `table`; leases that ran out meanwhile are in it too (expire() ends them). Writes nothing. Returns
  // the epoch of this life, greater than all before: also after the file was lost, by the wall clock. It may be used
  // once begin() has stored it.
  Result<uint64_t> load(cmas::SiteTable &table, cmas::TimePoint now, WallTime wall_now);

  // A copy of what is to be written, so that the table may change while it is.
  struct Changes {
    struct Lease {
      cmas::LedgerEntry entry;
      int64_t expires_unix_ms = 0;
    };
    std::vector<cmas::SiteRow> rows;
    std::vector<cmas::RowKey> removed;
    std::vector<Lease> leases;
    std::vector<uint64_t> ended;
    bool empty() const { return rows.empty() && removed.empty() && leases.empty() && ended.empty(); }
  };
  static Changes collect(const cmas::SiteTable &table, const Unsaved &unsaved, cmas::TimePoint now, WallTime wall_now);
  // `ledger`: all reservations, whose positions count from 1 in each life.
  Result<> begin(uint64_t epoch, const Changes &ledger);
  // One transaction: all or nothing. Waits for the disk.
  Result<> save(const Changes &changes);

 private:
  struct Closer {
    void operator()(sqlite3 *database) const;
    void operator()(sqlite3_stmt *statement) const;
  };
  using Database = std::unique_ptr<sqlite3, Closer>;
  using Statement = std::unique_ptr<sqlite3_stmt, Closer>;

  Store(Database database, std::string path) : database_(std::move(database)), path_(std::move(path)) {}
  Result<> run(const char *sql);
  Result<Statement> prepare(const char *sql);
  Result<> step(sqlite3_stmt *statement);
  Result<> claim(const std::string &site);
  Result<> check_whole();
  Result<> prepare_all();
  Result<> load_rows(cmas::SiteTable &table);
  Result<> load_reservations(cmas::SiteTable &table, cmas::TimePoint now, WallTime wall_now);
  Result<> write(const Changes &changes);
  Result<> put_row(const cmas::SiteRow &row);
  Result<> put_lease(const Changes::Lease &lease);
  Result<> commit(Result<> written);
  Error damaged(const std::string &how) const;
  Error failure(const std::string &what) const;

  Database database_;
  std::string path_;
  Statement put_row_, remove_row_, put_reservation_, remove_reservation_;
};

}  // namespace catsbpf::agent
