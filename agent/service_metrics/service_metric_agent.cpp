// SPDX-License-Identifier: Apache-2.0
// Glue of the C-SMA. Every change takes one way: table first, then, together with all other changes of this
// turn of the event loop, one message to each C-PS. The store follows in a thread of its own, one transaction for
// all that came while the last one was written, and only then come the answers: a slow disk does not hold up what
// steers packets. What cannot be stored is undone, with all that came after it, and refused; from then on nothing
// new is taken until the store can write again. What was said and not stored because the agent died is corrected by
// the Snapshot of the next life. That begins when its epoch is stored: until then there are no sessions.
#include "agent/service_metrics/service_metric_agent.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

#include "agent/service_metrics/site_api.h"
#include "agent/service_metrics/store.h"
#include "agent/session/session_client.h"
#include "util/endpoint.h"
#include "util/http/server.h"
#include "util/log.h"
#include "util/worker.h"

namespace catsbpf::agent {

namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr milliseconds kRetryStore{1'000};
constexpr std::size_t kMaxBody = 8 << 20;  // a table of 12 000 rows

// Changes that are stored and sent together.
struct Group {
  explicit Group(asio::io_context &io) : stored(io, asio::steady_timer::time_point::max()) {}
  asio::steady_timer stored;  // cancelled when `result` is there
  std::optional<Result<>> result;
  SessionClient::Carried carried;
  std::vector<SessionClient::Answer> answers;
  // To undo it: rows as they were, empty where there was none, and what heartbeats ended.
  std::map<cmas::RowKey, std::optional<cmas::SiteRow>> before;
  std::vector<cmas::LedgerEntry> finished;
};

// Lives on in its coroutines after the agent is gone, with stopped_ set.
class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(asio::io_context &io, ServiceMetricAgentOptions options)
      : io_(io), options_(std::move(options)), lease_(io), retry_(io), worker_(io) {}

  Result<> open() {
    auto store = Store::open(options_.database, options_.site);
    if (!store.ok()) return store.error();
    store_ = std::move(*store);
    auto epoch = store_->load(table_, cmas::Clock::now(), std::chrono::system_clock::now());
    if (!epoch.ok()) return epoch.error();
    epoch_ = *epoch;
    (void)table_.take_dirty();  // the first Snapshot has it all
    index_rows();
    rows_changed_ = false;
    log::info("site table loaded site={} rows={} reservations={} epoch={}", options_.site, table_.rows().size(),
              table_.ledger().size(), epoch_);
    if (auto stored = store_->begin(epoch_, whole_ledger()); !stored.ok())
      wait(stored.error());
    else if (auto begun = begin(); !begun.ok())
      return begun;
    return serve();
  }

  void stop() {
    if (std::exchange(stopped_, true)) return;
    if (group_) unstored_.push_back(std::exchange(group_, nullptr));
    for (const auto &group : std::exchange(unstored_, {})) settle(group, stopping());
    worker_.drain();
    lease_.cancel();
    retry_.cancel();
    on_rows_ = nullptr;
    if (server_) server_->stop();
    for (auto &client : clients_) client->stop();
    store_.reset();
  }

  void on_rows(std::function<void(const std::vector<cmas::SiteRow> &)> callback) {
    on_rows_ = std::move(callback);
    tell_rows();
  }

  void set_undeliverable(std::set<cmas::RowKey> instances) {
    if (stopped_) return;
    undeliverable_ = std::move(instances);
    withhold();
    (void)group();
  }

  const cmas::SiteTable &table() const { return table_; }
  uint64_t epoch() const { return epoch_; }
  std::string endpoint() const { return server_ ? to_text(server_->endpoint()) : ""; }
  std::vector<std::string> warnings() const {
    std::vector<std::string> all;
    if (!begun_)
      all.push_back("unstored: sessions with the path selectors wait until the store can be written: " +
                    refusal_->what);
    else if (refusal_)
      all.push_back("what the site sends is refused, for it cannot be stored: " + refusal_->what);
    std::size_t nowhere = 0;
    std::string first;
    for (const auto &[key, row] : table_.rows())
      if (lacks_contact(row) && nowhere++ == 0) first = cmas::text(key);
    if (nowhere > 0)
      all.push_back(std::to_string(nowhere) + " of the site's rows take no new flows, " + first +
                    " first: neither they nor `instances:` name a contact");
    return all;
  }
  std::vector<v1::SessionStatus> sessions() const {
    std::vector<v1::SessionStatus> all;
    for (const auto &client : clients_) all.push_back(client->status());
    return all;
  }

 private:
  Store::Changes whole_ledger() const {
    Unsaved all;
    for (const auto &[reservation, entry] : table_.ledger()) all.reservations.insert(reservation);
    return Store::collect(table_, all, cmas::Clock::now(), std::chrono::system_clock::now());
  }

  // The epoch is stored.
  Result<> begin() {
    if (auto dialed = dial(); !dialed.ok()) {
      clients_.clear();
      return dialed;
    }
    begun_ = true;
    arm_lease();
    flush();
    return done();
  }

  void wait(const Error &why) {
    if (!refusal_)
      log::error(
          "cannot store that this agent began site={} reason=\"{}\"; its sessions wait until it can, and what the "
          "site sends is refused",
          options_.site, why.what);
    refusal_ = why;
    retry_store();
  }

  void try_to_begin() {
    worker_.run([store = store_.get(), epoch = epoch_, ledger = whole_ledger()] { return store->begin(epoch, ledger); },
                [self = shared_from_this()](Result<> begun) {
                  if (self->stopped_) return;
                  if (begun.ok()) begun = self->begin();
                  if (!begun.ok()) return self->wait(begun.error());
                  log::info("the site table can be stored again site={}", self->options_.site);
                  self->refusal_.reset();
                });
  }

  Result<> dial() {
    for (const auto &selector : options_.path_selectors) {
      SessionClientOptions options;
      options.peer = selector.name;
      options.address = selector.address;
      options.tls = options_.tls;
      options.domain = options_.domain;
      options.name = options_.name;
      options.site = options_.site;
      options.egresses = options_.egresses;
      options.hold_time = options_.hold_time;
      options.function_set = options_.function_set;
      auto client = SessionClient::open(io_, std::move(options), table_, epoch_, ledger(selector.name));
      if (!client.ok()) return client.error();
      clients_.push_back(std::move(*client));
    }
    return done();
  }

  // What C-PS `holder` asks. Granted only when the store has it: a grant that is forgotten would be given twice.
  SessionClient::Ledger ledger(const std::string &holder) {
    SessionClient::Ledger ledger;
    ledger.reserve = [this, holder](uint64_t reservation, const cmas::RowKey &key, uint32_t gas, milliseconds lease,
                                    SessionClient::Answer answer) {
      if (refusal_) return answer(*refusal_);
      const bool fresh = !table_.ledger().contains(reservation);
      auto granted = table_.reserve(reservation, key, gas, lease, cmas::Clock::now(), holder);
      log::debug("reserve reservation={} instance={} gas={} granted={}", reservation, key.csci_id, gas, granted.ok());
      if (!granted.ok()) return answer(std::move(granted));
      answer_when_stored(reservation, fresh, std::move(answer));
    };
    ledger.renew = [this](uint64_t reservation, milliseconds lease, SessionClient::Answer answer) {
      auto renewed = table_.renew(reservation, lease, cmas::Clock::now());
      if (!renewed.ok()) return answer(std::move(renewed));
      answer_when_stored(reservation, false, std::move(answer));
    };
    ledger.release = [this](uint64_t reservation, SessionClient::Answer answer) {
      if (table_.release(reservation)) unsaved_.reservations.insert(reservation);
      if (!unsaved_.reservations.contains(reservation) && !saving_.reservations.contains(reservation))
        return answer(done());
      group()->answers.push_back(std::move(answer));
    };
    ledger.held = [this, holder](const std::set<uint64_t> &held) {
      auto [released, unknown] = table_.reconcile(holder, held);
      if (!released.empty()) {
        log::info("reservations released peer={} count={} reason=\"the path selector does not know them\"", holder,
                  released.size());
        unsaved_.reservations.insert(released.begin(), released.end());
        (void)group();
      }
      return unknown;
    };
    return ledger;
  }

  void answer_when_stored(uint64_t reservation, bool fresh, SessionClient::Answer answer) {
    unsaved_.reservations.insert(reservation);
    group()->answers.push_back([this, reservation, fresh, answer = std::move(answer)](Result<> stored) {
      if (!stored.ok() && fresh && !stopped_) {
        table_.release(reservation);
        unsaved_.reservations.insert(reservation);
      }
      answer(std::move(stored));
    });
  }

  // The group that is sent at the end of this turn of the event loop, and then stored.
  std::shared_ptr<Group> group() {
    if (!group_) {
      group_ = std::make_shared<Group>(io_);
      asio::post(io_, [self = shared_from_this()] { self->flush(); });
    }
    return group_;
  }

  void flush() {
    if (!group_ || stopped_ || !begun_) return;
    const auto group = std::exchange(group_, nullptr);
    const auto dirty = table_.take_dirty();
    unsaved_.rows.insert(dirty.changed.begin(), dirty.changed.end());
    unsaved_.rows.insert(dirty.removed.begin(), dirty.removed.end());
    tell(dirty, *group);
    arm_lease();
    unstored_.push_back(group);
    if (!writing_) store();
  }

  void store() {
    writing_ = true;
    saving_ = std::exchange(unsaved_, {});
    worker_.run([store = store_.get(),
                 changes = Store::collect(table_, saving_, cmas::Clock::now(),
                                          std::chrono::system_clock::now())] { return store->save(changes); },
                [self = shared_from_this(), groups = std::exchange(unstored_, {})](Result<> result) {
                  self->stored(groups, std::move(result));
                });
  }

  void stored(std::vector<std::shared_ptr<Group>> groups, Result<> result) {
    writing_ = false;
    const auto saved = std::exchange(saving_, {});
    if (result.ok() && refusal_) {
      log::info("the site table can be stored again site={}", options_.site);
      refusal_.reset();
    } else if (!result.ok()) {
      if (!refusal_)
        log::error("cannot store the site table site={} reason=\"{}\"; what the site sends is refused until it can be",
                   options_.site, result.error().what);
      refusal_ = result.error();
      unsaved_.rows.insert(saved.rows.begin(), saved.rows.end());
      unsaved_.reservations.insert(saved.reservations.begin(), saved.reservations.end());
      // What came meanwhile stands on what could not be stored.
      groups.insert(groups.end(), unstored_.begin(), unstored_.end());
      unstored_.clear();
      if (group_) groups.push_back(std::exchange(group_, nullptr));
      if (!stopped_) undo(groups);
      if (!stopped_) retry_store();
    }
    for (const auto &group : groups) {
      for (const auto &entry : group->finished)
        if (result.ok() && !stopped_) announce_end(entry.reservation, "service finished");
      settle(group, result);
    }
    if (!unstored_.empty() && !stopped_) store();
  }

  // Rows and ledger as they were before `groups`, oldest first; the C-PSes hear of it like of any change.
  void undo(const std::vector<std::shared_ptr<Group>> &groups) {
    auto rows = table_.rows();
    for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
      for (const auto &[key, row] : (*group)->before) {
        unsaved_.rows.insert(key);
        if (row)
          rows.insert_or_assign(key, *row);
        else
          rows.erase(key);
      }
      for (const auto &entry : (*group)->finished) table_.restore(entry);
    }
    std::vector<cmas::SiteRow> all;
    for (const auto &[key, row] : rows) all.push_back(row);
    if (auto replaced = table_.replace(std::move(all)); !replaced.ok())
      log::error("the site table cannot be put back: {}", replaced.error().what);
    index_rows();
    (void)group();
  }

  void tell(const cmas::SiteTable::Dirty &dirty, Group &group) {
    // Of several C-PSes the first configured one that is up speaks for all.
    bool reported = false;
    for (auto &client : clients_) {
      const auto carried = client->changed(dirty);
      if (!reported && (client->up() || client == clients_.back())) group.carried = carried;
      reported = reported || client->up();
    }
    if (std::exchange(rows_changed_, false)) tell_rows();
  }

  static void settle(const std::shared_ptr<Group> &group, Result<> result) {
    group->result = result;
    group->stored.cancel();
    for (auto &answer : std::exchange(group->answers, {})) answer(result);
  }

  void retry_store() {
    retry_.expires_after(kRetryStore);
    retry_.async_wait([weak = weak_from_this()](boost::system::error_code cancelled) {
      const auto self = weak.lock();
      if (cancelled || !self || self->stopped_) return;
      if (!self->begun_) return self->try_to_begin();
      (void)self->group();
    });
  }

  void arm_lease() {
    const auto next = table_.next_expiry();
    if (!next) {
      lease_.expires_at(cmas::TimePoint::max());
      return;
    }
    if (*next == lease_.expiry()) return;
    lease_.expires_at(*next);
    lease_.async_wait([weak = weak_from_this()](boost::system::error_code cancelled) {
      const auto self = weak.lock();
      if (!cancelled && self && !self->stopped_) self->end_leases();
    });
  }

  void end_leases() {
    for (const auto &entry : table_.expire(cmas::Clock::now())) ended(entry.reservation, "lease over");
    // Also when none had run out: another one is the next.
    lease_.expires_at(cmas::TimePoint::max());
    (void)group();
  }

  void ended(uint64_t reservation, const std::string &reason) {
    unsaved_.reservations.insert(reservation);
    announce_end(reservation, reason);
  }

  void announce_end(uint64_t reservation, const std::string &reason) {
    log::info("reservation ended reservation={} reason=\"{}\"", reservation, reason);
    for (auto &client : clients_) client->finished(reservation, reason);
  }

  // Rows came or went; the egress hears of it with the flush.
  void index_rows() {
    rows_changed_ = true;
    keys_.clear();
    for (const auto &[key, row] : table_.rows()) keys_.emplace(key.csci_id, key);
    withhold();
  }

  // A row of other egresses than this one is their business.
  bool delivered_here(const cmas::SiteRow &row) const {
    const auto &egresses = row.row.egresses.empty() ? options_.egresses : row.row.egresses;
    return options_.egress && std::ranges::find(egresses, options_.name) != egresses.end();
  }

  bool lacks_contact(const cmas::SiteRow &row) const {
    return delivered_here(row) && row.contact.empty() && !options_.egress->configured.contains(row.row.key);
  }

  void withhold() {
    std::set<cmas::RowKey> keys;
    for (const auto &[key, row] : table_.rows()) {
      if (lacks_contact(row) || (delivered_here(row) && undeliverable_.contains(key))) keys.insert(key);
      const bool now = keys.contains(key);
      if (now && !table_.withheld(key))
        log::warn("instance takes no new flows cs_id={} csci_id={} contact={} reason=\"{}\"", key.cs_id, key.csci_id,
                  row.contact,
                  lacks_contact(row) ? "neither its row nor `instances:` of this egress names a contact"
                                     : "this egress cannot deliver to it");
      else if (!now && table_.withheld(key))
        log::info("instance takes new flows again cs_id={} csci_id={} contact={}", key.cs_id, key.csci_id, row.contact);
    }
    table_.withhold(std::move(keys));
  }

  void tell_rows() {
    if (!on_rows_) return;
    std::vector<cmas::SiteRow> rows;
    for (const auto &[key, row] : table_.rows()) rows.push_back(row);
    on_rows_(rows);
  }

  // ---- the site's API ----

  Result<> serve() {
    auto context = tls::server_context(options_.tls, tls::PeerCertificate::kRequired);
    if (!context.ok()) return context.error();
    http::ServerOptions options;
    options.listen = options_.listen;
    options.tls = *context;
    auto names = options_.site_clients.empty() ? std::vector{options_.site} : options_.site_clients;
    options.client = tls::Expected{options_.domain, "site", std::move(names)};
    options.max_body = kMaxBody;
    auto server = http::Server::open(io_, std::move(options));
    if (!server.ok()) return server.error();
    server_ = std::move(*server);
    using Action = asio::awaitable<http::Response> (*)(std::shared_ptr<Core>, http::Request);
    const auto route = [this](const char *method, const char *path, Action action) {
      server_->route(method, path,
                     [weak = weak_from_this(), action](http::Request request) -> asio::awaitable<http::Response> {
                       const auto self = weak.lock();
                       if (!self || self->stopped_) co_return http::failure(503, stopping());
                       co_return co_await action(self, std::move(request));
                     });
    };
    route("GET", "/v1/table", &Core::get_table);
    route("PUT", "/v1/table", &Core::put_table);
    route("POST", "/v1/deltas", &Core::post_deltas);
    route("POST", "/v1/finished", &Core::post_finished);
    return done();
  }

  static asio::awaitable<http::Response> get_table(std::shared_ptr<Core> self, http::Request) {
    v1::SiteTable table;
    table.set_site(self->options_.site);
    for (const auto &[key, row] : self->table_.rows()) *table.add_rows() = to_api(row);
    table.set_epoch(self->epoch_);
    if (!self->clients_.empty()) table.set_sequence(self->clients_.front()->status().sequence());
    co_return http::json(table);
  }

  static asio::awaitable<http::Response> put_table(std::shared_ptr<Core> self, http::Request request) {
    v1::SiteTable table;
    if (auto parsed = http::parse(request, table); !parsed.ok()) co_return http::failure(400, parsed.error());
    if (auto whole = check_complete(request.body, table); !whole.ok()) co_return http::failure(400, whole.error());
    auto rows = rows_of(table, self->options_.site, self->options_.resolve_service);
    if (!rows.ok()) co_return http::failure(400, rows.error());
    if (auto checked = self->check_contacts(*rows); !checked.ok()) co_return http::failure(400, checked.error());
    std::set<cmas::RowKey> keys;
    for (const auto &row : *rows) keys.insert(row.row.key);
    if (self->refusal_) co_return not_stored(*self->refusal_);
    auto before = self->table_.rows();
    if (auto replaced = self->table_.replace(std::move(*rows)); !replaced.ok())
      co_return http::failure(400, replaced.error());
    auto &undo = self->group()->before;
    for (const auto &key : keys)
      if (!before.contains(key)) undo.try_emplace(key, std::nullopt);
    for (auto &[key, row] : before) undo.try_emplace(key, std::move(row));
    self->index_rows();
    log::info("table put site={} rows={}", self->options_.site, keys.size());
    co_return co_await answer(self, std::move(keys));
  }

  Result<> check_contacts(const std::vector<cmas::SiteRow> &rows) const {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto &row = rows[i];
      const std::string place = "rows[" + std::to_string(i) + "].contact: ";
      if (lacks_contact(row))
        return Error{place + "is missing, and `instances:` of this egress names none for " + cmas::text(row.row.key),
                     "give the instance's address on the site's network, an IPv6 one where it has no other"};
      if (row.contact.empty() || !delivered_here(row)) continue;
      if (auto checked = options_.egress->check_contact(row.contact); !checked.ok())
        return Error{place + checked.error().what, checked.error().hint};
    }
    return done();
  }

  static asio::awaitable<http::Response> post_deltas(std::shared_ptr<Core> self, http::Request request) {
    v1::SiteDeltas deltas;
    if (auto parsed = http::parse(request, deltas); !parsed.ok()) co_return http::failure(400, parsed.error());
    const auto changes = changes_of(deltas, self->table_, self->keys_);
    if (!changes.ok()) co_return http::failure(400, changes.error());
    if (self->refusal_) co_return not_stored(*self->refusal_);
    std::set<cmas::RowKey> keys;
    bool removed = false;
    for (const auto &[key, change] : *changes) {
      self->group()->before.try_emplace(key, self->table_.rows().at(key));
      if (auto applied = self->table_.apply(key, change); !applied.ok()) co_return http::failure(500, applied.error());
      removed = removed || change.remove;
      keys.insert(key);
    }
    if (removed) self->index_rows();
    co_return co_await answer(self, std::move(keys));
  }

  static asio::awaitable<http::Response> post_finished(std::shared_ptr<Core> self, http::Request request) {
    v1::ServiceFinished finished;
    if (auto parsed = http::parse(request, finished); !parsed.ok()) co_return http::failure(400, parsed.error());
    if (auto named = check_named(finished); !named.ok()) co_return http::failure(400, named.error());
    const auto reservation = reservation_of(finished, self->table_);
    if (!reservation.ok()) co_return http::failure(404, reservation.error());
    if (self->refusal_) co_return not_stored(*self->refusal_);
    const auto entry = self->table_.ledger().at(*reservation);
    self->table_.release(*reservation);
    self->unsaved_.reservations.insert(*reservation);
    self->group()->finished.push_back(entry);
    std::set<cmas::RowKey> keys;
    keys.insert(entry.key);
    co_return co_await answer(self, std::move(keys));
  }

  static Error stopping() {
    return Error{"this agent is stopping, and may not have stored the change",
                 "GET /v1/table when it is back shows what holds"};
  }

  static http::Response not_stored(const Error &why) {
    return http::failure(503, Error{"the change is not in force: " + why.what, why.hint});
  }

  // Waits for the store, then says which message carries the change.
  static asio::awaitable<http::Response> answer(std::shared_ptr<Core> self, std::set<cmas::RowKey> keys) {
    const auto group = self->group();
    if (!group->result) co_await group->stored.async_wait(kAwait);
    if (!group->result) co_return http::failure(503, stopping());
    if (!group->result->ok()) co_return not_stored(group->result->error());
    v1::SiteDeltaResult result;
    result.set_epoch(self->epoch_);
    result.set_sequence(group->carried.sequence);
    result.set_wire_bytes(group->carried.wire_bytes);
    for (const auto &key : keys)
      if (const auto row = self->table_.rows().find(key); row != self->table_.rows().end())
        *result.add_rows() = to_api(row->second);
    co_return http::json(result);
  }

  asio::io_context &io_;
  ServiceMetricAgentOptions options_;
  cmas::SiteTable table_;
  std::unique_ptr<Store> store_;
  std::vector<std::unique_ptr<SessionClient>> clients_;
  std::unique_ptr<http::Server> server_;
  asio::steady_timer lease_, retry_;
  std::shared_ptr<Group> group_;
  std::vector<std::shared_ptr<Group>> unstored_;  // sent, not being written yet
  Unsaved unsaved_, saving_;                      // saving_: being written
  Worker worker_;
  std::optional<Error> refusal_;  // why the store cannot write
  KeysByInstance keys_;
  std::set<cmas::RowKey> undeliverable_;  // as the egress of this agent says
  std::function<void(const std::vector<cmas::SiteRow> &)> on_rows_;
  uint64_t epoch_ = 0;
  bool begun_ = false, rows_changed_ = false, writing_ = false, stopped_ = false;
};

class Agent final : public ServiceMetricAgent {
 public:
  explicit Agent(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~Agent() override { stop(); }

  void on_rows(std::function<void(const std::vector<cmas::SiteRow> &)> callback) override {
    core_->on_rows(std::move(callback));
  }
  void set_undeliverable(std::set<cmas::RowKey> instances) override { core_->set_undeliverable(std::move(instances)); }
  const cmas::SiteTable &table() const override { return core_->table(); }
  uint64_t epoch() const override { return core_->epoch(); }
  std::vector<v1::SessionStatus> sessions() const override { return core_->sessions(); }
  std::string endpoint() const override { return core_->endpoint(); }
  std::vector<std::string> warnings() const override { return core_->warnings(); }
  void stop() override { core_->stop(); }

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace

Result<std::unique_ptr<ServiceMetricAgent>> ServiceMetricAgent::open(asio::io_context &io,
                                                                     ServiceMetricAgentOptions options) {
  auto core = std::make_shared<Core>(io, std::move(options));
  if (auto opened = core->open(); !opened.ok()) {
    core->stop();
    return opened.error();
  }
  return std::unique_ptr<ServiceMetricAgent>(std::make_unique<Agent>(std::move(core)));
}

}  // namespace catsbpf::agent
