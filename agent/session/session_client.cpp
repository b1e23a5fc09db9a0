// SPDX-License-Identifier: Apache-2.0
// Dials, opens, sends rows; comes back after every end of the session.
#include "agent/session/session_client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <random>

#include "agent/session/session_record.h"
#include "util/endpoint.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kStable = 10s;  // a session that lived so long makes the next retry fast again
constexpr auto kRepeatLog = 60s;

// Lives on in its coroutines after the client is gone, with stopped_ set.
class Dialer : public std::enable_shared_from_this<Dialer> {
 public:
  Dialer(asio::io_context &io, SessionClientOptions options, const cmas::SiteTable &table, uint64_t epoch,
         SessionClient::Ledger ledger)
      : io_(io),
        options_(std::move(options)),
        table_(table),
        ledger_(std::move(ledger)),
        sender_(table, epoch),
        pause_(io) {
    expected_ = {options_.domain, "path-selector", {options_.peer}};
    record_.address = options_.address;
  }

  Result<> open() {
    const auto endpoint = parse_endpoint(options_.address);
    if (!endpoint.ok()) return endpoint.error();
    endpoint_ = *endpoint;
    auto context = tls::client_context(options_.tls);
    if (!context.ok()) return context.error();
    context_ = *context;
    asio::co_spawn(io_, run(shared_from_this()), asio::detached);
    return done();
  }

  SessionClient::Carried changed(const cmas::SiteTable::Dirty &dirty) {
    sender_.mark(dirty);
    const uint64_t before = sender_.sequence();
    if (!up_ || connection_->writing()) return {sender_.epoch(), before + 1, 0};
    connection_->flush();
    return {sender_.epoch(), sender_.sequence(), sender_.sequence() == before ? 0 : wire_bytes_};
  }

  void finished(uint64_t reservation, const std::string &reason) {
    if (!up_) return;
    v1::Envelope envelope;
    envelope.mutable_finished()->set_reservation(reservation);
    envelope.mutable_finished()->set_reason(reason);
    connection_->send(envelope);
  }

  v1::SessionStatus status() const {
    auto status = record_.status(up_ ? connection_ : nullptr);
    status.set_peer(options_.peer);
    status.set_direction("out");
    status.set_site(options_.site);
    status.set_state(up_ ? "up" : refused_now_ ? "refused" : "connecting");
    status.set_epoch(sender_.epoch());
    status.set_sequence(sender_.sequence());
    status.set_acknowledged(sender_.acknowledged());
    status.set_rows(static_cast<uint32_t>(table_.rows().size()));
    return status;
  }

  void stop() {
    if (std::exchange(stopped_, true)) return;
    pause_.cancel();
    if (up_) {
      connection_->set_source(nullptr);
      connection_->refuse(Error{"C-SMA '" + options_.name + "' is stopping"});
    } else if (connection_) {
      connection_->close("this agent is stopping");
    }
    ledger_ = {};
  }

  bool up() const { return up_; }
  uint64_t acknowledged() const { return sender_.acknowledged(); }

 private:
  static asio::awaitable<void> run(std::shared_ptr<Dialer> self) {
    unsigned failures = 0;
    while (!self->stopped_) {
      const auto began = Connection::Clock::now();
      const auto why = co_await session(self);
      if (self->stopped_) co_return;
      self->ended(why);
      failures = self->was_up_ && Connection::Clock::now() - began >= kStable ? 0 : failures;
      self->pause_.expires_after(self->backoff(failures++));
      co_await self->pause_.async_wait(kAwait);
    }
  }

  // One session from connect to its end; says why it ended.
  static asio::awaitable<Error> session(std::shared_ptr<Dialer> self) {
    self->was_up_ = false;
    const auto connection = self->connection_ =
        std::make_shared<Connection>(asio::ip::tcp::socket(self->io_), self->context_);
    connection->set_deadline(self->options_.handshake_timeout,
                             "no answer within " + std::to_string(self->options_.handshake_timeout.count()) + " ms");
    if (auto connected = co_await connection->connect(self->endpoint_); !connected.ok()) co_return connected.error();
    auto identity = co_await connection->handshake(asio::ssl::stream_base::client, self->expected_);
    if (!identity.ok()) {
      self->refused_now_ = true;
      co_return identity.error();
    }
    connection->send(self->open_message());
    for (;;) {
      auto envelope = co_await connection->read();
      if (self->stopped_) co_return Error{"this agent is stopping"};
      if (!envelope.ok()) {
        // What a server refuses after its part of the handshake comes as an alert.
        if (!self->was_up_) self->refused_now_ = true;
        co_return envelope.error();
      }
      if (envelope->has_refusal()) {
        self->refused_now_ = true;
        connection->close(envelope->refusal().reason());
        co_return Error{"refused by '" + self->options_.peer + "': " + envelope->refusal().reason(),
                        envelope->refusal().hint()};
      }
      if (auto taken = self->take(*envelope); !taken.ok()) {
        connection->refuse(taken.error());
        while ((co_await connection->read()).ok()) {
        }
        co_return taken.error();
      }
    }
  }

  v1::Envelope open_message() const {
    v1::Envelope envelope;
    auto &open = *envelope.mutable_open();
    open.set_version(cmas::kProtocolVersion);
    open.set_oldest_version(cmas::kOldestProtocolVersion);
    open.set_name(options_.name);
    open.set_site(options_.site);
    for (const auto &egress : options_.egresses) open.add_egresses(egress);
    open.set_function_set(options_.function_set);
    open.set_hold_time_ms(static_cast<uint32_t>(options_.hold_time.count()));
    return envelope;
  }

  Result<> take(const v1::Envelope &envelope) {
    if (!up_) return envelope.has_open_reply() ? began(envelope.open_reply()) : done();
    switch (envelope.body_case()) {
      case v1::Envelope::kAcknowledge:
        if (envelope.acknowledge().epoch() == sender_.epoch()) sender_.acknowledged(envelope.acknowledge().sequence());
        break;
      case v1::Envelope::kResync:
        ++record_.resyncs;
        log::warn("resync asked peer={} reason=\"{}\"", options_.peer, envelope.resync().reason());
        sender_.restart();
        connection_->flush();
        break;
      case v1::Envelope::kReserve: reserve(envelope.reserve()); break;
      case v1::Envelope::kRenew:
        ledger_.renew(envelope.renew().reservation(), milliseconds{envelope.renew().lease_ms()},
                      reply_to(envelope.renew().reservation()));
        break;
      case v1::Envelope::kRelease:
        ledger_.release(envelope.release().reservation(), released_to(envelope.release().reservation()));
        break;
      case v1::Envelope::kHeld: held(envelope.held()); break;
      default: break;  // keep-alives, and what a newer version says
    }
    return done();
  }

  Result<> began(const v1::OpenReply &reply) {
    if (reply.name() != options_.peer)
      return Error{"open reply names '" + reply.name() + "', its certificate names '" + options_.peer + "'"};
    if (reply.version() < cmas::kOldestProtocolVersion || reply.version() > cmas::kProtocolVersion)
      return Error{"'" + options_.peer + "' answers with protocol version " + std::to_string(reply.version())};
    const milliseconds hold{reply.hold_time_ms()};
    if (hold <= 0ms || hold > options_.hold_time)
      return Error{"'" + options_.peer + "' answers with a hold time of " + std::to_string(hold.count()) + " ms"};
    record_.version = reply.version();
    up_ = was_up_ = true;
    refused_now_ = false;
    record_.reason.clear();
    log::info("session up peer={} address={} version={} hold_ms={}", options_.peer, options_.address, record_.version,
              hold.count());
    connection_->clear_deadline();
    sender_.restart();
    connection_->set_source([this] {
      auto message = sender_.next();
      if (message) wire_bytes_ = static_cast<uint32_t>(4 + message->ByteSizeLong());
      return message;
    });
    connection_->supervise(
        hold,
        [this] {
          v1::Envelope envelope;
          envelope.mutable_keep_alive()->set_epoch(sender_.epoch());
          envelope.mutable_keep_alive()->set_sequence(sender_.sequence());
          return envelope;
        },
        nullptr);
    connection_->flush();
    return done();
  }

  void reserve(const v1::Reserve &ask) {
    auto answer = reply_to(ask.reservation());
    const auto key = sender_.row_of(ask.handle());
    if (!key) return answer(Error{"no row has handle " + std::to_string(ask.handle())});
    ledger_.reserve(ask.reservation(), *key, ask.gas(), milliseconds{ask.lease_ms()}, std::move(answer));
  }

  void held(const v1::Held &held) {
    const auto &named = held.reservations();
    const auto unknown = ledger_.held({named.begin(), named.end()});
    if (!unknown.empty())
      log::info("reservations told to be over peer={} count={} reason=\"the ledger does not have them\"", options_.peer,
                unknown.size());
    for (const uint64_t reservation : unknown) finished(reservation, "its owner does not hold it any more");
  }

  // Answers on the session that asked, if it is still there.
  SessionClient::Answer reply_to(uint64_t reservation) {
    return [weak = std::weak_ptr<Connection>(connection_), reservation](Result<> result) {
      const auto connection = weak.lock();
      if (!connection) return;
      v1::Envelope envelope;
      auto &reply = *envelope.mutable_reserve_reply();
      reply.set_reservation(reservation);
      reply.set_granted(result.ok());
      if (!result.ok()) reply.set_reason(result.error().what);
      connection->send(envelope);
    };
  }

  // What is not stored stays unsaid: the C-PS then says it again.
  SessionClient::Answer released_to(uint64_t reservation) {
    return [weak = std::weak_ptr<Connection>(connection_), reservation](Result<> stored) {
      const auto connection = weak.lock();
      if (!connection || !stored.ok()) return;
      v1::Envelope envelope;
      envelope.mutable_released()->set_reservation(reservation);
      connection->send(envelope);
    };
  }

  void ended(const Error &why) {
    record_.heard = was_up_ ? connection_->heard() : record_.heard;
    connection_->close(why.what);
    connection_.reset();
    up_ = false;
    if (refused_now_) ++record_.refusals;
    const auto now = Connection::Clock::now();
    // The same reason again and again is one line a minute.
    if (was_up_ || why.what != record_.reason || now - logged_ >= kRepeatLog) {
      logged_ = now;
      log::warn("session {} peer={} address={} reason=\"{}\" hint=\"{}\"", was_up_ ? "lost" : "not up", options_.peer,
                options_.address, why.what, why.hint);
    }
    record_.reason = why.what;
  }

  milliseconds backoff(unsigned failures) {
    const auto exponent = std::min(failures, 16u);
    const milliseconds base = std::min(options_.last_retry, options_.first_retry * (1 << exponent));
    return milliseconds(
        std::uniform_int_distribution<milliseconds::rep>(base.count() * 3 / 4, base.count() * 5 / 4)(random_));
  }

  asio::io_context &io_;
  SessionClientOptions options_;
  const cmas::SiteTable &table_;
  SessionClient::Ledger ledger_;
  cmas::DeltaSender sender_;
  asio::steady_timer pause_;
  asio::ip::tcp::endpoint endpoint_;
  std::shared_ptr<asio::ssl::context> context_;
  tls::Expected expected_;
  std::shared_ptr<Connection> connection_;
  std::minstd_rand random_{std::random_device{}()};
  uint32_t wire_bytes_ = 0;
  bool up_ = false, was_up_ = false, refused_now_ = false, stopped_ = false;
  SessionRecord record_;
  Connection::Clock::time_point logged_{};
};

class Client final : public SessionClient {
 public:
  explicit Client(std::shared_ptr<Dialer> dialer) : dialer_(std::move(dialer)) {}
  ~Client() override { stop(); }

  Carried changed(const cmas::SiteTable::Dirty &dirty) override { return dialer_->changed(dirty); }
  uint64_t acknowledged() const override { return dialer_->acknowledged(); }
  void finished(uint64_t reservation, const std::string &reason) override { dialer_->finished(reservation, reason); }
  bool up() const override { return dialer_->up(); }
  v1::SessionStatus status() const override { return dialer_->status(); }
  void stop() override { dialer_->stop(); }

 private:
  std::shared_ptr<Dialer> dialer_;
};

}  // namespace

Result<std::unique_ptr<SessionClient>> SessionClient::open(asio::io_context &io, SessionClientOptions options,
                                                           const cmas::SiteTable &table, uint64_t epoch,
                                                           Ledger ledger) {
  auto dialer = std::make_shared<Dialer>(io, std::move(options), table, epoch, std::move(ledger));
  if (auto opened = dialer->open(); !opened.ok()) return opened.error();
  return std::unique_ptr<SessionClient>(std::make_unique<Client>(std::move(dialer)));
}

}  // namespace catsbpf::agent
