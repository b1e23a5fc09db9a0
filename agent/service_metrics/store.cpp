// SPDX-License-Identifier: Apache-2.0
#include "agent/service_metrics/store.h"

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <nlohmann/json.hpp>

namespace catsbpf::agent {

namespace {

constexpr int kSchema = 2;                  // 2: reservations have a holder
constexpr int kApplicationId = 0x43534d41;  // "CSMA"

constexpr const char *kCreate = R"(
  CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TABLE rows (cs_id INTEGER, csci_id INTEGER, service_id TEXT, offered INTEGER, cost REAL, access_delay_us INTEGER,
                     draining INTEGER, egresses TEXT, contact TEXT, contact6 TEXT, PRIMARY KEY (cs_id, csci_id)) WITHOUT ROWID;
  CREATE TABLE reservations (reservation INTEGER PRIMARY KEY, cs_id INTEGER, csci_id INTEGER, gas INTEGER,
                             expires_ms INTEGER, position INTEGER, holder TEXT NOT NULL DEFAULT '');
)";

// From schema 1. Who holds those reservations is not known: they end by release or with their lease.
constexpr const char *kUpgrade = R"(
  ALTER TABLE reservations ADD COLUMN holder TEXT NOT NULL DEFAULT '';
  PRAGMA user_version=2;
)";

int64_t wall_ms(Store::WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

Store::Changes::Lease lease_of(const cmas::LedgerEntry &entry, cmas::TimePoint now, Store::WallTime wall_now) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(entry.expires - now);
  return {entry, wall_ms(wall_now) + left.count()};
}

std::string text_of(sqlite3_stmt *statement, int column) {
  const auto *text = reinterpret_cast<const char *>(sqlite3_column_text(statement, column));
  return text ? text : "";
}

// Binds arguments in order.
struct Bind {
  sqlite3_stmt *statement;
  int column = 0;
  Bind &operator()(int64_t value) {
    sqlite3_bind_int64(statement, ++column, value);
    return *this;
  }
  Bind &operator()(double value) {
    sqlite3_bind_double(statement, ++column, value);
    return *this;
  }
  // The text outlives the step.
  Bind &operator()(const std::string &value) {
    sqlite3_bind_text(statement, ++column, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
    return *this;
  }
};

}  // namespace

void Store::Closer::operator()(sqlite3 *database) const { sqlite3_close_v2(database); }
void Store::Closer::operator()(sqlite3_stmt *statement) const { sqlite3_finalize(statement); }
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const std::string &path, const std::string &site) {
  sqlite3 *raw = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Store> store(new Store(Database(raw), path));
  if (opened != SQLITE_OK) return store->failure("cannot open");
  if (auto claimed = store->claim(site); !claimed.ok()) return claimed.error();
  if (auto prepared = store->prepare_all(); !prepared.ok()) return prepared.error();
  return store;
}

// Takes the file for this process, makes or checks its schema.
Result<> Store::claim(const std::string &site) {
  // Exclusive: the lock is held until the process ends, however it ends.
  if (auto set =
          run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN IMMEDIATE;");
      !set.ok())
    return set;
  const auto number = [this](const char *pragma) -> Result<int64_t> {
    auto statement = prepare(pragma);
    if (!statement.ok()) return statement.error();
    if (sqlite3_step(statement->get()) != SQLITE_ROW) return failure("cannot read");
    return sqlite3_column_int64(statement->get(), 0);
  };
  const auto application = number("PRAGMA application_id"), version = number("PRAGMA user_version"),
             tables = number("SELECT count(*) FROM sqlite_master");
  for (const auto *read : {&application, &version, &tables})
    if (!read->ok()) return read->error();
  if (*tables == 0) {
    const std::string stamp =
        "PRAGMA application_id=" + std::to_string(kApplicationId) + "; PRAGMA user_version=" + std::to_string(kSchema);
    if (auto created = run(kCreate); !created.ok()) return created;
    if (auto stamped = run(stamp.c_str()); !stamped.ok()) return stamped;
    auto put = prepare("INSERT INTO meta VALUES ('site', ?), ('epoch', 0)");
    if (!put.ok()) return put.error();
    Bind{put->get()}(site);
    return commit(step(put->get()));
  }
  if (*application != kApplicationId)
    return Error{"cannot use " + path_ + ": it is a database of another program",
                 "set `state_directory` to a folder of catsbpfd"};
  if (*version != kSchema && *version != 1) {
    return Error{"cannot use " + path_ + ": schema version " + std::to_string(*version) + ", this program knows " +
                     std::to_string(kSchema),
                 "run the version that wrote it, or move the file away: the site then puts its table again"};
  }
  if (auto whole = check_whole(); !whole.ok()) return whole;
  auto owner = prepare("SELECT value FROM meta WHERE name = 'site'");
  if (!owner.ok()) return owner.error();
  sqlite3_step(owner->get());
  const std::string found = text_of(owner->get(), 0);
  if (found.empty()) return damaged("it names no site");
  if (found != site) {
    return Error{"cannot use " + path_ + ": it holds the rows of site '" + found + "', configured is '" + site + "'",
                 "set `service_metric_agent: site:` back, or move the file away"};
  }
  owner->reset();
  if (*version == 1)
    if (auto upgraded = run(kUpgrade); !upgraded.ok()) return upgraded;
  return run("COMMIT");
}

Result<> Store::check_whole() {
  auto check = prepare("PRAGMA integrity_check(1)");
  if (!check.ok()) return check.error();
  if (sqlite3_step(check->get()) != SQLITE_ROW) return failure("cannot read");
  const std::string verdict = text_of(check->get(), 0);
  return verdict == "ok" ? done() : Result<>{damaged(verdict)};
}

Result<> Store::prepare_all() {
  const std::pair<Statement *, const char *> all[] = {
      {&put_row_, "INSERT OR REPLACE INTO rows VALUES (?,?,?,?,?,?,?,?,?,?)"},
      {&remove_row_, "DELETE FROM rows WHERE cs_id = ? AND csci_id = ?"},
      {&put_reservation_, "INSERT OR REPLACE INTO reservations VALUES (?,?,?,?,?,?,?)"},
      {&remove_reservation_, "DELETE FROM reservations WHERE reservation = ?"}};
  for (const auto &[statement, sql] : all) {
    auto prepared = prepare(sql);
    if (!prepared.ok()) return prepared.error();
    *statement = std::move(*prepared);
  }
  return done();
}

Result<uint64_t> Store::load(cmas::SiteTable &table, cmas::TimePoint now, WallTime wall_now) {
  if (auto rows = load_rows(table); !rows.ok()) return rows.error();
  if (auto reservations = load_reservations(table, now, wall_now); !reservations.ok()) return reservations.error();

  auto read = prepare("SELECT value FROM meta WHERE name = 'epoch'");
  if (!read.ok()) return read.error();
  sqlite3_step(read->get());
  const auto epoch = std::max<int64_t>(sqlite3_column_int64(read->get(), 0) + 1, wall_ms(wall_now) / 1000);
  return static_cast<uint64_t>(epoch);
}

Result<> Store::load_rows(cmas::SiteTable &table) {
  auto select = prepare(
      "SELECT cs_id, csci_id, service_id, offered, cost, access_delay_us, draining, egresses, contact, contact6 FROM "
      "rows");
  if (!select.ok()) return select.error();
  std::vector<cmas::SiteRow> rows;
  sqlite3_stmt *at = select->get();
  int state = SQLITE_ROW;
  while ((state = sqlite3_step(at)) == SQLITE_ROW) {
    cmas::SiteRow site_row;
    auto &row = site_row.row;
    row.key = {static_cast<uint32_t>(sqlite3_column_int64(at, 0)), static_cast<uint32_t>(sqlite3_column_int64(at, 1))};
    site_row.service_id = text_of(at, 2);
    row.offered = static_cast<uint32_t>(sqlite3_column_int64(at, 3));
    row.cost = sqlite3_column_double(at, 4);
    row.access_delay = cmas::Micros(sqlite3_column_int64(at, 5));
    row.draining = sqlite3_column_int(at, 6) != 0;
    const auto egresses = nlohmann::json::parse(text_of(at, 7), nullptr, false);
    if (!egresses.is_array()) return damaged("the egresses of " + cmas::text(row.key) + " are no list");
    for (const auto &egress : egresses)
      if (egress.is_string()) row.egresses.push_back(egress.get<std::string>());
    site_row.contact = text_of(at, 8);
    site_row.contact6 = text_of(at, 9);
    rows.push_back(std::move(site_row));
  }
  if (state != SQLITE_DONE) return failure("cannot read");
  const auto taken = table.replace(std::move(rows));
  return taken.ok() ? taken : Result<>{damaged(taken.error().what)};
}

Result<> Store::load_reservations(cmas::SiteTable &table, cmas::TimePoint now, WallTime wall_now) {
  auto select =
      prepare("SELECT reservation, cs_id, csci_id, gas, expires_ms, holder FROM reservations ORDER BY position");
  if (!select.ok()) return select.error();
  sqlite3_stmt *at = select->get();
  int state = SQLITE_ROW;
  while ((state = sqlite3_step(at)) == SQLITE_ROW) {
    cmas::LedgerEntry entry;
    entry.reservation = static_cast<uint64_t>(sqlite3_column_int64(at, 0));
    entry.key = {static_cast<uint32_t>(sqlite3_column_int64(at, 1)),
                 static_cast<uint32_t>(sqlite3_column_int64(at, 2))};
    entry.gas = static_cast<uint32_t>(sqlite3_column_int64(at, 3));
    entry.expires = now + std::chrono::milliseconds(sqlite3_column_int64(at, 4) - wall_ms(wall_now));
    entry.holder = text_of(at, 5);
    table.restore(entry);
  }
  return state == SQLITE_DONE ? done() : Result<>{failure("cannot read")};
}

Store::Changes Store::collect(const cmas::SiteTable &table, const Unsaved &unsaved, cmas::TimePoint now,
                              WallTime wall_now) {
  Changes changes;
  for (const auto &key : unsaved.rows) {
    if (const auto row = table.rows().find(key); row != table.rows().end())
      changes.rows.push_back(row->second);
    else
      changes.removed.push_back(key);
  }
  for (const uint64_t reservation : unsaved.reservations) {
    if (const auto entry = table.ledger().find(reservation); entry != table.ledger().end())
      changes.leases.push_back(lease_of(entry->second, now, wall_now));
    else
      changes.ended.push_back(reservation);
  }
  return changes;
}

Result<> Store::begin(uint64_t epoch, const Changes &ledger) {
  auto bump = prepare("UPDATE meta SET value = ? WHERE name = 'epoch'");
  if (!bump.ok()) return bump.error();
  if (auto began = run("BEGIN IMMEDIATE"); !began.ok()) return began;
  Bind{bump->get()}(static_cast<int64_t>(epoch));
  auto written = step(bump->get());
  return commit(written.ok() ? write(ledger) : written);
}

Result<> Store::save(const Changes &changes) {
  if (changes.empty()) return done();
  if (auto began = run("BEGIN IMMEDIATE"); !began.ok()) return began;
  return commit(write(changes));
}

Result<> Store::write(const Changes &changes) {
  Result<> written = done();
  for (const auto &row : changes.rows)
    if (written.ok()) written = put_row(row);
  for (const auto &key : changes.removed) {
    if (!written.ok()) break;
    Bind{remove_row_.get()}(int64_t{key.cs_id})(int64_t{key.csci_id});
    written = step(remove_row_.get());
  }
  for (const auto &lease : changes.leases)
    if (written.ok()) written = put_lease(lease);
  for (const uint64_t reservation : changes.ended) {
    if (!written.ok()) break;
    Bind{remove_reservation_.get()}(static_cast<int64_t>(reservation));
    written = step(remove_reservation_.get());
  }
  return written;
}

Result<> Store::put_row(const cmas::SiteRow &site_row) {
  const auto &row = site_row.row;
  const std::string egresses =
      nlohmann::json(row.egresses).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  Bind{put_row_.get()}(int64_t{row.key.cs_id})(int64_t{row.key.csci_id})(site_row.service_id)(int64_t{row.offered})(
      row.cost)(int64_t{row.access_delay.count()})(int64_t{row.draining})(egresses)(site_row.contact)(
      site_row.contact6);
  return step(put_row_.get());
}

Result<> Store::put_lease(const Changes::Lease &lease) {
  const auto &entry = lease.entry;
  Bind{put_reservation_.get()}(static_cast<int64_t>(entry.reservation))(int64_t{entry.key.cs_id})(int64_t{
      entry.key.csci_id})(int64_t{entry.gas})(lease.expires_unix_ms)(static_cast<int64_t>(entry.order))(entry.holder);
  return step(put_reservation_.get());
}

Result<> Store::commit(Result<> written) {
  if (written.ok() && sqlite3_exec(database_.get(), "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK)
    written = failure("cannot write to");
  if (!written.ok()) sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  return written;
}

Result<> Store::run(const char *sql) {
  return sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK ? done()
                                                                                    : Result<>{failure("cannot use")};
}

Result<Store::Statement> Store::prepare(const char *sql) {
  sqlite3_stmt *statement = nullptr;
  if (sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr) != SQLITE_OK) return failure("cannot use");
  return Statement(statement);
}

Result<> Store::step(sqlite3_stmt *statement) {
  const int state = sqlite3_step(statement);
  Result<> result = state == SQLITE_DONE ? done() : Result<>{failure("cannot write to")};
  sqlite3_reset(statement);
  return result;
}

Error Store::damaged(const std::string &how) const {
  return Error{
      path_ + " is damaged: " + how,
      "move it away and start again; the site then puts its table anew. What is lost are the reservations in it: "
      "their slots count as free"};
}

Error Store::failure(const std::string &what) const {
  const int code = sqlite3_errcode(database_.get());
  if (code == SQLITE_CORRUPT) return damaged(sqlite3_errmsg(database_.get()));
  // SQLite has a code of its own for a full disk, and says little of others.
  const int system = code == SQLITE_FULL ? ENOSPC : code == SQLITE_IOERR ? sqlite3_system_errno(database_.get()) : 0;
  Error error{what + " " + path_ + ": " + (system ? std::strerror(system) : sqlite3_errmsg(database_.get())), "",
              system};
  if (code == SQLITE_FULL) error.hint = "make room on its file system, then try again";
  if (code == SQLITE_BUSY)
    error.hint = "another agent uses this file; stop it, or give this one a state_directory of its own";
  if (code == SQLITE_CANTOPEN) error.hint = "the folder must exist and be writable for catsbpfd";
  if (code == SQLITE_NOTADB) error.hint = "move the file away: the site then puts its table again";
  return error;
}

}  // namespace catsbpf::agent
