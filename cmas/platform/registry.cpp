// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/registry.h"

#include <google/protobuf/util/message_differencer.h>

#include "cmas/platform/row.h"
#include "cmas/platform/service_check.h"

namespace catsbpf::cmas {

namespace {

constexpr std::int64_t kApplication = 0x43415453;  // "CATS", in the file's header
constexpr std::int64_t kSchema = 1;
constexpr int kRemovalsKept = 1000;

Error stale(const std::string &id, std::uint64_t expected, const v1::Service *now) {
  return Error{"service " + id + (now ? " is at revision " + std::to_string(now->revision()) : " does not exist") +
                   ", not at " + std::to_string(expected),
               "someone changed it: get it again", ESTALE};
}

}  // namespace

Result<std::unique_ptr<Registry>> Registry::open(const std::string &path) {
  auto database = Database::open(path);
  if (!database) return database.error();
  std::unique_ptr<Registry> registry(new Registry(*std::move(database)));
  if (auto ok = registry->prepare_schema(); !ok) return ok.error();
  return registry;
}

Result<> Registry::prepare_schema() {
  const std::string what = "registry " + database_.path() + ": ";
  auto journal = database_.prepare("PRAGMA journal_mode = WAL");
  if (auto ok = journal.run(); !ok) return ok;
  if (auto ok = database_.run("PRAGMA synchronous = FULL"); !ok) return ok;

  auto transaction = Transaction::begin(database_, true);
  if (!transaction) return transaction.error();
  const auto application = database_.integer("PRAGMA application_id");
  const auto schema = database_.integer("PRAGMA user_version");
  const auto tables = database_.integer("SELECT count(*) FROM sqlite_master");
  for (const auto *value : {&application, &schema, &tables})
    if (!*value) return value->error();
  if (*tables == 0) {
    for (const std::string &sql :
         {std::string("CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT"),
          create_services_table(),
          std::string("CREATE TABLE removals (revision INTEGER PRIMARY KEY, service_id TEXT NOT NULL) STRICT"),
          std::string("INSERT INTO counters VALUES ('revision', 0), ('forgotten', 0)"),
          "PRAGMA application_id = " + std::to_string(kApplication),
          "PRAGMA user_version = " + std::to_string(kSchema)})
      if (auto ok = database_.run(sql); !ok) return ok;
    return transaction->commit();
  }
  if (*application != kApplication) return Error{what + "is a database of another program", "name another file"};
  if (*schema != kSchema)
    return Error{what + "has schema version " + std::to_string(*schema) + ", this program knows version " +
                     std::to_string(kSchema),
                 "use the cats-platformd that wrote it, or export it there (GET /v1/services) and --import it here"};
  auto check = database_.prepare("PRAGMA quick_check(1)");
  auto row = check.step();
  if (!row) return row.error();
  if (const auto verdict = check.text(0); !*row || verdict != "ok")
    return Error{what + "is damaged: " + verdict.value_or("?"),
                 "restore it from a copy, or move it away: the catalogue is loaded into a new one"};
  return done();
}

Result<Registry::Services> Registry::load() {
  Services services;
  auto rows = database_.prepare(select_services());
  for (;;) {
    auto more = rows.step();
    if (!more) return more.error();
    if (!*more) return services;
    auto service = read_row(rows);
    if (!service) return Error{"registry " + database_.path() + ": " + service.error().what, "", EIO};
    services.emplace(service->service_id(), *std::move(service));
  }
}

Result<v1::ServiceCatalogue> Registry::list(const std::string &search) {
  auto transaction = Transaction::begin(database_, false);
  if (!transaction) return transaction.error();
  const auto now = revision();
  if (!now) return now.error();
  auto services = load();
  if (!services) return services.error();
  std::map<std::uint32_t, v1::Service *> by_number;
  for (auto &[id, service] : *services)
    if (matches(service, search)) by_number[service.cs_id()] = &service;
  v1::ServiceCatalogue catalogue;
  catalogue.set_revision(*now);
  for (auto &[cs_id, service] : by_number) *catalogue.add_services() = std::move(*service);
  return catalogue;
}

Result<std::optional<v1::Service>> Registry::get(const std::string &id) {
  const bool number = !id.empty() && id.find_first_not_of("0123456789") == std::string::npos && id.size() <= 10;
  auto rows = database_.prepare(select_services() + (number ? " WHERE cs_id = ?" : " WHERE service_id = ?"));
  if (number) {
    rows.bind(static_cast<std::int64_t>(std::stoll(id)));
  } else {
    rows.bind(id);
  }
  auto found = rows.step();
  if (!found) return found.error();
  if (!*found) return std::optional<v1::Service>{};
  auto service = read_row(rows);
  if (!service) return Error{"registry " + database_.path() + ": " + service.error().what, "", EIO};
  return std::optional<v1::Service>(*std::move(service));
}

Result<Registry::Put> Registry::put_among(Services &services, const v1::Service &wanted,
                                          std::optional<std::uint64_t> expected_revision) {
  const std::string &id = wanted.service_id();
  const auto present = services.find(id);
  const v1::Service *before = present == services.end() ? nullptr : &present->second;
  if (expected_revision && (!before || before->revision() != *expected_revision))
    return stale(id, *expected_revision, before);

  auto problems = check(wanted);
  const bool good_alone = problems.empty();
  for (const auto &[other_id, other] : services) {
    if (other_id == id) continue;
    if (other.cs_id() == wanted.cs_id())
      problems.push_back({"cs_id", std::to_string(wanted.cs_id()) + " belongs to service " + other_id,
                          "each service has a number of its own"});
    if (const auto claimed = conflict(wanted, other))
      problems.push_back({"locators", *claimed + " is claimed by service " + other_id,
                          "one address, protocol and port leads to one service"});
  }
  if (!problems.empty()) {
    Error refused = refusal(id, problems);
    if (good_alone) refused.code = EEXIST;
    return refused;
  }

  Put result{wanted, before == nullptr, true};
  result.service.set_revision(before ? before->revision() : 0);
  if (before && google::protobuf::util::MessageDifferencer::Equals(*before, result.service)) {
    result.changed = false;
    return result;
  }
  auto revision = next_revision();
  if (!revision) return revision.error();
  result.service.set_revision(*revision);
  if (auto ok = write_row(database_, result.service); !ok) return ok.error();
  services[id] = result.service;
  return result;
}

Result<Registry::Put> Registry::put(const v1::Service &service, std::optional<std::uint64_t> expected_revision) {
  auto transaction = Transaction::begin(database_, true);
  if (!transaction) return transaction.error();
  auto services = load();
  if (!services) return services.error();
  auto result = put_among(*services, service, expected_revision);
  if (!result) return result;
  if (auto ok = transaction->commit(); !ok) return ok.error();
  return result;
}

Result<Registry::Import> Registry::import(const std::vector<v1::Service> &wanted) {
  auto transaction = Transaction::begin(database_, true);
  if (!transaction) return transaction.error();
  auto services = load();
  if (!services) return services.error();
  Import result;
  for (const auto &service : wanted) {
    const auto put = put_among(*services, service, {});
    if (!put) return put.error();
    ++(put->created ? result.created : put->changed ? result.changed : result.unchanged);
  }
  if (auto ok = transaction->commit(); !ok) return ok.error();
  return result;
}

Result<> Registry::remove(const std::string &service_id, std::optional<std::uint64_t> expected_revision) {
  auto transaction = Transaction::begin(database_, true);
  if (!transaction) return transaction.error();
  const auto present = get(service_id);
  if (!present) return present.error();
  if (!*present) return Error{"no service " + service_id, "GET /v1/services lists them", ENOENT};
  const v1::Service &service = **present;
  if (expected_revision && service.revision() != *expected_revision)
    return stale(service_id, *expected_revision, &service);
  auto revision = next_revision();
  if (!revision) return revision.error();
  auto removal = database_.prepare("DELETE FROM services WHERE service_id = ?");
  if (auto ok = removal.bind(service.service_id()).run(); !ok) return ok;
  auto note = database_.prepare("INSERT INTO removals VALUES (?, ?)");
  if (auto ok = note.bind(static_cast<std::int64_t>(*revision)).bind(service.service_id()).run(); !ok) return ok;
  if (auto ok = forget_old_removals(); !ok) return ok;
  return transaction->commit();
}

Result<> Registry::forget_old_removals() {
  const std::string old =
      "(SELECT revision FROM removals ORDER BY revision DESC LIMIT 1 OFFSET " + std::to_string(kRemovalsKept) + ")";
  if (auto ok =
          database_.run("UPDATE counters SET value = max(value, coalesce(" + old + ", 0)) WHERE name = 'forgotten'");
      !ok)
    return ok;
  return database_.run("DELETE FROM removals WHERE revision <= (SELECT value FROM counters WHERE name = 'forgotten')");
}

Result<std::uint64_t> Registry::next_revision() {
  if (auto ok = database_.run("UPDATE counters SET value = value + 1 WHERE name = 'revision'"); !ok) return ok.error();
  return revision();
}

Result<std::uint64_t> Registry::revision() {
  auto value = database_.integer("SELECT value FROM counters WHERE name = 'revision'");
  if (!value) return value.error();
  return static_cast<std::uint64_t>(*value);
}

Result<Registry::Changes> Registry::changes_after(std::uint64_t since, unsigned limit) {
  auto transaction = Transaction::begin(database_, false);
  if (!transaction) return transaction.error();
  const auto now = revision();
  if (!now) return now.error();
  const auto forgotten = database_.integer("SELECT value FROM counters WHERE name = 'forgotten'");
  if (!forgotten) return forgotten.error();
  Changes result;
  result.known = since <= *now && since >= static_cast<std::uint64_t>(*forgotten);
  if (!result.known) return result;

  std::map<std::uint64_t, v1::ServiceChange> ordered;
  const auto bounded = [&](const std::string &sql) {
    auto statement = database_.prepare(sql + " WHERE revision > ? ORDER BY revision LIMIT ?");
    statement.bind(static_cast<std::int64_t>(since)).bind(static_cast<std::int64_t>(limit));
    return statement;
  };
  auto puts = bounded(select_services());
  for (;;) {
    auto more = puts.step();
    if (!more) return more.error();
    if (!*more) break;
    auto service = read_row(puts);
    if (!service) return Error{"registry " + database_.path() + ": " + service.error().what, "", EIO};
    const auto revision = service->revision();
    *ordered[revision].mutable_put() = *std::move(service);
  }
  auto removals = bounded("SELECT revision, service_id FROM removals");
  for (;;) {
    auto more = removals.step();
    if (!more) return more.error();
    if (!*more) break;
    ordered[static_cast<std::uint64_t>(removals.integer(0))].set_removed(removals.text(1).value_or(""));
  }
  for (auto &[revision, change] : ordered) {
    if (result.changes.size() == limit) break;
    change.set_revision(revision);
    result.changes.push_back(std::move(change));
  }
  return result;
}

}  // namespace catsbpf::cmas
