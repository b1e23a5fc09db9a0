// SPDX-License-Identifier: Apache-2.0
#include "agent/session/origin.h"

#include <algorithm>

#include "util/log.h"

namespace catsbpf::agent {

namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kLeastHold{30};
constexpr std::size_t kMaxUnknown = 64;  // lines about egresses of one C-SMA

milliseconds lesser(milliseconds mine, uint32_t theirs_ms) { return std::min(mine, milliseconds{theirs_ms}); }

}  // namespace

Origin::Origin(asio::any_io_executor io, const SessionServerOptions &options, SessionServerOptions::Agent agent,
               cmas::WholeTable &table, const OriginCallbacks &callbacks)
    : options_(options),
      agent_(std::move(agent)),
      table_(table),
      callbacks_(callbacks),
      reservations_(io, options, agent_.name),
      freeze_deadline_(io),
      withdraw_deadline_(io) {}

Result<uint32_t> Origin::admit(const v1::Open &open) const {
  if (auto checked = cmas::check(open); !checked.ok()) return checked.error();
  if (open.name() != agent_.name)
    return Error{"open names '" + open.name() + "', its certificate names '" + agent_.name + "'",
                 "set `node` to the name in the certificate"};
  if (open.site() != agent_.site)
    return Error{
        "'" + agent_.name + "' speaks for site '" + open.site() + "', configured for it is '" + agent_.site + "'",
        "make `site` at the C-SMA and `path_selector: agents:` at the C-PS agree"};
  if (open.function_set() != options_.function_set)
    return Error{"function set '" + open.function_set() + "' is not '" + options_.function_set + "', that of C-PS '" +
                     options_.name + "'",
                 "configure the same normalisation and aggregation functions at both"};
  if (lesser(options_.hold_time, open.hold_time_ms()) < kLeastHold)
    return Error{"hold time of " + std::to_string(open.hold_time_ms()) + " ms is shorter than " +
                 std::to_string(kLeastHold.count()) + " ms"};
  return cmas::agree_version(open);
}

asio::awaitable<void> Origin::serve(std::shared_ptr<Connection> connection, v1::Open open) {
  const auto self = shared_from_this();
  const auto version = admit(open);
  if (!version.ok()) {
    refused(version.error());
    callbacks_.refused(connection->peer(), agent_.name, version.error());
    connection->refuse(version.error());
    while ((co_await connection->read()).ok()) {
    }
    co_return;
  }
  began(connection, open, *version);
  std::string reason;
  for (;;) {
    auto envelope = co_await connection->read();
    if (stopped_ || connection_ != connection) co_return;  // replaced: the newer session speaks
    if (!envelope.ok()) {
      reason = envelope.error().what;
      break;
    }
    record_.heard = connection->heard();
    if (!take(*envelope)) {
      while ((co_await connection->read()).ok()) {
      }
      reason = record_.reason;
      break;
    }
  }
  connection->close(reason);
  if (!stopped_ && connection_ == connection) lost(reason);
}

// Ends with the next Snapshot; an Open or a keep-alive alone says nothing of the rows. Sessions that come and go
// without one are the same silence, its time runs on.
void Origin::silence_began(milliseconds withdraw_after) {
  if (std::exchange(silent_, true)) return;
  if (rows_ == Rows::kInUse)
    freeze_deadline_.set(options_.freeze_after, [self = shared_from_this()] { self->freeze(); });
  if (rows_ == Rows::kInUse || rows_ == Rows::kFrozen)
    withdraw_deadline_.set(withdraw_after, [self = shared_from_this()] { self->withdraw(); });
}

void Origin::silence_ended() {
  silent_ = false;
  freeze_deadline_.lift();
  withdraw_deadline_.lift();
}

void Origin::began(std::shared_ptr<Connection> connection, const v1::Open &open, uint32_t version) {
  if (connection_) {
    log::warn("session replaced peer={} old={} new={}", agent_.name, connection_->peer(), connection->peer());
    connection_->refuse(Error{"replaced by a newer session of '" + agent_.name + "' from " + connection->peer(),
                              "if that is another host, give it a certificate and a name of its own"});
    reservations_.ended(Error{"session of '" + agent_.name + "' was replaced"});
    silence_began(hold_);
  }
  connection_ = std::move(connection);
  receiver_.session_began();
  egresses_.assign(open.egresses().begin(), open.egresses().end());
  hold_ = lesser(options_.hold_time, open.hold_time_ms());
  record_.version = version;
  record_.address = connection_->peer();
  record_.heard = connection_->heard();
  acknowledge_due_ = last_refused_ = false;
  record_.reason.clear();
  v1::Envelope reply;
  reply.mutable_open_reply()->set_version(version);
  reply.mutable_open_reply()->set_name(options_.name);
  reply.mutable_open_reply()->set_hold_time_ms(static_cast<uint32_t>(hold_.count()));
  connection_->clear_deadline();
  connection_->send(reply);
  connection_->set_source([this]() -> std::optional<v1::Envelope> {
    if (!std::exchange(acknowledge_due_, false)) return std::nullopt;
    v1::Envelope envelope;
    envelope.mutable_acknowledge()->set_epoch(receiver_.epoch());
    envelope.mutable_acknowledge()->set_sequence(receiver_.sequence());
    return envelope;
  });
  connection_->supervise(
      hold_,
      [this] {
        v1::Envelope envelope;
        envelope.mutable_keep_alive()->set_epoch(receiver_.epoch());
        envelope.mutable_keep_alive()->set_sequence(receiver_.sequence());
        return envelope;
      },
      [this] { freeze(); });
  reservations_.began(connection_);
  log::info("session up peer={} address={} site={} version={} hold_ms={}", agent_.name, record_.address, agent_.site,
            version, hold_.count());
}

bool Origin::take(const v1::Envelope &envelope) {
  switch (envelope.body_case()) {
    case v1::Envelope::kSnapshot:
    case v1::Envelope::kDelta:
      if (!take_rows(envelope)) return false;
      break;
    case v1::Envelope::kKeepAlive:
      if (receiver_.missing(envelope.keep_alive())) ask_resync("keep-alive names a message that never came");
      break;
    case v1::Envelope::kReserveReply: reservations_.answered(envelope.reserve_reply()); break;
    case v1::Envelope::kReleased: reservations_.released(envelope.released().reservation()); break;
    case v1::Envelope::kFinished:
      if (callbacks_.finished) callbacks_.finished(envelope.finished().reservation(), envelope.finished().reason());
      break;
    case v1::Envelope::kRefusal:
      record_.reason = "peer ended the session: " + envelope.refusal().reason();
      connection_->close(record_.reason);
      return false;
    default: break;  // of a newer version
  }
  // It was silent for a while, its rows are as they were.
  if (rows_ == Rows::kFrozen && receiver_.synced()) thaw();
  return true;
}

bool Origin::take_rows(const v1::Envelope &envelope) {
  const bool snapshot = envelope.has_snapshot();
  if (!snapshot && receiver_.resync()) return true;  // everything before the Snapshot is void
  cmas::WholeTable::Services services;
  const auto put = [&](const std::vector<cmas::Row> &rows) -> Result<> {
    auto touched = table_.put_rows(agent_.name, agent_.site, egresses_, rows);
    if (!touched.ok()) return touched.error();
    services = std::move(*touched);
    name_unknown_egresses(rows);
    return done();
  };
  const auto change = snapshot ? receiver_.take(envelope.snapshot(), put) : receiver_.take(envelope.delta(), put);
  if (!change.ok()) {
    if (!receiver_.resync()) return refuse(change.error());
    ask_resync(change.error().what);
    return true;
  }
  services.merge(table_.remove_rows(agent_.name, change->removed));
  if (snapshot) {
    silence_ended();
    services.merge(table_.thaw(agent_.name));
    rows_ = Rows::kInUse;
    record_.reason.clear();
    log::info("snapshot peer={} rows={} epoch={} sequence={}", agent_.name, receiver_.rows().size(), receiver_.epoch(),
              receiver_.sequence());
  }
  acknowledge_due_ = true;
  touched(services);
  connection_->flush();
  if (snapshot && !std::exchange(synced_, true) && callbacks_.synced) callbacks_.synced();
  return true;
}

// No path leads to their rows. Once for each.
void Origin::name_unknown_egresses(const std::vector<cmas::Row> &rows) {
  if (options_.forwarders.empty()) return;
  for (const auto &row : rows)
    for (const auto &egress : row.egresses.empty() ? egresses_ : row.egresses) {
      if (egress == options_.name || options_.forwarders.contains(egress)) continue;
      if (unknown_egresses_.size() >= kMaxUnknown || !unknown_egresses_.insert(egress).second) continue;
      log::warn("rows name an unknown forwarder egress={} peer={} site={} hint=\"{}\"", egress, agent_.name,
                agent_.site, "add it to `forwarders:` of this node, or correct `egresses` at the C-SMA");
    }
}

bool Origin::refuse(const Error &why) {
  refused(why);
  callbacks_.refused(record_.address, agent_.name, why);
  connection_->refuse(why);
  return false;
}

void Origin::refused(const Error &why) {
  ++record_.refusals;
  last_refused_ = true;
  record_.reason = why.what;
}

void Origin::ask_resync(const std::string &reason) {
  ++record_.resyncs;
  log::warn("resync peer={} reason=\"{}\"", agent_.name, reason);
  v1::Envelope envelope;
  envelope.mutable_resync()->set_reason(reason);
  connection_->send(envelope);
  record_.reason = "resync asked for: " + reason;
  silence_began(hold_);
}

void Origin::lost(const std::string &reason) {
  // Silence that the hold time has ended began with the last word heard.
  const auto silent = std::chrono::duration_cast<milliseconds>(Connection::Clock::now() - record_.heard);
  connection_.reset();
  record_.reason = reason;
  reservations_.ended(Error{"session with '" + agent_.name + "' was lost: " + reason});
  log::warn("session lost peer={} reason=\"{}\" freeze_after_ms={} hold_ms={}", agent_.name, reason,
            options_.freeze_after.count(), hold_.count());
  silence_began(silent >= hold_ ? milliseconds{0} : hold_);
}

void Origin::freeze() {
  if (rows_ != Rows::kInUse) return;
  rows_ = Rows::kFrozen;
  log::warn("rows frozen peer={} site={} rows={}", agent_.name, agent_.site, receiver_.rows().size());
  touched(table_.freeze(agent_.name));
}

void Origin::thaw() {
  rows_ = Rows::kInUse;
  log::info("rows thawed peer={} site={}", agent_.name, agent_.site);
  touched(table_.thaw(agent_.name));
}

void Origin::withdraw() {
  freeze_deadline_.lift();
  rows_ = Rows::kWithdrawn;
  log::warn("rows withdrawn peer={} site={} rows={}", agent_.name, agent_.site, receiver_.rows().size());
  touched(table_.withdraw(agent_.name));
}

void Origin::touched(const cmas::WholeTable::Services &services) {
  if (callbacks_.touched) callbacks_.touched(services, agent_.name, receiver_.epoch(), receiver_.sequence());
}

asio::awaitable<Result<>> Origin::reserve(cmas::RowKey key, uint64_t reservation, uint32_t gas, milliseconds lease) {
  const auto self = shared_from_this();
  // Handles are those of the last Snapshot.
  if (connection_ && !receiver_.synced()) co_return Error{"'" + agent_.name + "' has not sent its rows yet"};
  const auto handle = receiver_.handle_of(key);
  if (!handle) {
    co_return Error{"'" + agent_.name + "' has no row of service " + std::to_string(key.cs_id) + " instance " +
                    std::to_string(key.csci_id)};
  }
  co_return co_await reservations_.reserve(*handle, reservation, gas, lease);
}

asio::awaitable<Result<>> Origin::renew(uint64_t reservation, milliseconds lease) {
  const auto self = shared_from_this();
  co_return co_await reservations_.renew(reservation, lease);
}

v1::SessionStatus Origin::status() const {
  auto status = record_.status(connection_);
  status.set_peer(agent_.name);
  status.set_direction("in");
  status.set_site(agent_.site);
  const bool live = connection_ && receiver_.synced();
  status.set_state(rows_ == Rows::kWithdrawn ? "withdrawn"
                   : rows_ == Rows::kFrozen  ? "frozen"
                   : live                    ? "up"
                   : last_refused_           ? "refused"
                                             : "connecting");
  status.set_epoch(receiver_.epoch());
  status.set_sequence(receiver_.sequence());
  status.set_acknowledged(receiver_.sequence());
  status.set_rows(static_cast<uint32_t>(receiver_.rows().size()));
  return status;
}

void Origin::stop() {
  stopped_ = true;
  freeze_deadline_.lift();
  withdraw_deadline_.lift();
  reservations_.stop();
  if (connection_) {
    connection_->set_source(nullptr);
    connection_->refuse(Error{"C-PS '" + options_.name + "' is stopping"});
  }
}

}  // namespace catsbpf::agent
