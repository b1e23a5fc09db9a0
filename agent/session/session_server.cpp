// SPDX-License-Identifier: Apache-2.0
// Accepts connections, admits them by certificate, and hands each to the Origin of its C-SMA.
#include "agent/session/session_server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

#include "agent/session/connection.h"
#include "agent/session/log_limit.h"
#include "agent/session/origin.h"
#include "agent/session/strangers.h"
#include "util/endpoint.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// Lives on in its coroutines after the server is gone, with stopped_ set.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(asio::io_context &io, SessionServerOptions options, cmas::WholeTable &table)
      : io_(io),
        options_(std::move(options)),
        acceptor_(io),
        strangers_(options_.max_unauthenticated, options_.max_unauthenticated_per_source) {
    callbacks_.synced = [this] { origin_synced(); };
    callbacks_.refused = [this](const std::string &peer, const std::string &name, const Error &why) {
      refused(peer, name, why);
    };
    for (const auto &agent : options_.agents) {
      expected_.names.push_back(agent.name);
      origins_[agent.name] = std::make_shared<Origin>(io.get_executor(), options_, agent, table, callbacks_);
    }
    expected_.domain = options_.domain;
    expected_.role = "service-metric-agent";
  }

  Result<> open() {
    const auto endpoint = parse_endpoint(options_.listen);
    if (!endpoint.ok()) return endpoint.error();
    auto context = tls::server_context(options_.tls, tls::PeerCertificate::kRequired);
    if (!context.ok()) return context.error();
    context_ = *context;
    error_code failed;
    acceptor_.open(endpoint->protocol(), failed);
    if (!failed) acceptor_.set_option(tcp::acceptor::reuse_address(true), failed);
    if (!failed) acceptor_.bind(*endpoint, failed);
    if (!failed) acceptor_.listen(asio::socket_base::max_listen_connections, failed);
    if (failed) {
      return Error{"cannot listen for sessions on " + options_.listen + ": " + failed.message(),
                   "set `path_selector: listen:` to a free port of an address of this host", failed.value()};
    }
    asio::co_spawn(io_, accept(shared_from_this()), asio::detached);
    return done();
  }

  void stop() {
    stopped_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    for (auto &[name, origin] : origins_) origin->stop();
    callbacks_ = {};
    strangers_.each([](const auto &connection) { connection->close("this agent is stopping"); });
  }

  Origin *origin(const std::string &name) {
    const auto found = origins_.find(name);
    return found == origins_.end() ? nullptr : found->second.get();
  }

  std::vector<std::string> unsynced() const {
    std::vector<std::string> names;
    for (const auto &[name, origin] : origins_)
      if (!origin->synced()) names.push_back(name);
    return names;
  }

  void on_synced(std::function<void()> callback) {
    all_synced_ = std::move(callback);
    if (unsynced().empty()) asio::post(io_, [self = shared_from_this()] { self->origin_synced(); });
  }

  OriginCallbacks callbacks_;
  uint64_t refused_ = 0;

  std::string endpoint() const {
    error_code failed;
    return to_text(acceptor_.local_endpoint(failed));
  }
  std::vector<v1::SessionStatus> sessions() const {
    std::vector<v1::SessionStatus> all;
    for (const auto &agent : options_.agents) all.push_back(origins_.at(agent.name)->status());
    return all;
  }

 private:
  static asio::awaitable<void> accept(std::shared_ptr<Listener> self) {
    for (;;) {
      auto [failed, socket] = co_await self->acceptor_.async_accept(kAwait);
      if (self->stopped_) co_return;
      if (failed) {
        // Out of descriptors, or the peer went again.
        if (self->limit_.allow(Connection::Clock::now()))
          log::warn("cannot accept a session reason=\"{}\"", failed.message());
        asio::steady_timer pause(self->io_, 50ms);
        co_await pause.async_wait(kAwait);
        if (self->stopped_) co_return;
        continue;
      }
      const auto remote = socket.remote_endpoint(failed);
      if (failed) continue;  // gone again
      auto connection = std::make_shared<Connection>(std::move(socket), self->context_);
      const auto leaves = self->strangers_.admit(connection, Strangers::source_of(remote.address()));
      // Its own welcome counts and logs it.
      if (leaves) leaves->close("too many connections that have not opened a session yet");
      asio::co_spawn(self->io_, welcome(self, std::move(connection)), asio::detached);
    }
  }

  // From accept to Open; then the origin serves it.
  static asio::awaitable<void> welcome(std::shared_ptr<Listener> self, std::shared_ptr<Connection> connection) {
    connection->set_deadline(
        self->options_.handshake_timeout,
        "no session opened within " + std::to_string(self->options_.handshake_timeout.count()) + " ms");
    auto identity = co_await connection->handshake(asio::ssl::stream_base::server, self->expected_);
    if (self->stopped_) co_return;
    if (!identity.ok()) {
      self->strangers_.forget(connection);
      self->refused(connection->peer(), "", identity.error());
      co_return;
    }
    self->strangers_.proved(connection, identity->name);
    auto open = co_await connection->read();
    self->strangers_.forget(connection);
    if (self->stopped_) co_return connection->close("this agent is stopping");
    const auto origin = self->origins_.at(identity->name);
    if (open.ok() && open->has_open()) co_return co_await origin->serve(connection, std::move(*open->mutable_open()));
    const Error why = !open.ok() ? open.error()
                      : open->has_refusal()
                          ? Error{"peer refuses us: " + open->refusal().reason(), open->refusal().hint()}
                          : Error{"first message is not an open"};
    origin->refused(why);
    self->refused(connection->peer(), identity->name, why);
    connection->refuse(why);
    while ((co_await connection->read()).ok()) {
    }
  }

  void refused(const std::string &peer, const std::string &name, const Error &why) {
    ++refused_;
    if (!limit_.allow(Connection::Clock::now())) return;
    if (const uint64_t withheld = limit_.take_withheld())
      log::warn("sessions refused count={} (lines withheld)", withheld);
    log::warn("session refused peer={} name={} reason=\"{}\" hint=\"{}\"", peer, name.empty() ? "unknown" : name,
              why.what, why.hint);
  }

  void origin_synced() {
    if (!unsynced().empty()) return;
    if (const auto callback = std::exchange(all_synced_, nullptr); callback && !stopped_) callback();
  }

  asio::io_context &io_;
  SessionServerOptions options_;
  tcp::acceptor acceptor_;
  std::shared_ptr<asio::ssl::context> context_;
  tls::Expected expected_;
  std::map<std::string, std::shared_ptr<Origin>> origins_;
  Strangers strangers_;
  std::function<void()> all_synced_;
  LogLimit limit_{20, 10s};
  bool stopped_ = false;
};

class Server final : public SessionServer {
 public:
  explicit Server(std::shared_ptr<Listener> listener) : listener_(std::move(listener)) {}
  ~Server() override { stop(); }

  void on_touched(Touched callback) override { listener_->callbacks_.touched = std::move(callback); }
  void on_finished(std::function<void(uint64_t, const std::string &)> callback) override {
    listener_->callbacks_.finished = std::move(callback);
  }
  asio::awaitable<Result<>> reserve(std::string origin, cmas::RowKey key, uint64_t reservation, uint32_t gas,
                                    milliseconds lease) override {
    Origin *owner = listener_->origin(origin);
    if (!owner) co_return unknown(origin);
    co_return co_await owner->reserve(key, reservation, gas, lease);
  }
  asio::awaitable<Result<>> renew(std::string origin, uint64_t reservation, milliseconds lease) override {
    Origin *owner = listener_->origin(origin);
    if (!owner) co_return unknown(origin);
    co_return co_await owner->renew(reservation, lease);
  }
  void release(const std::string &origin, uint64_t reservation) override {
    if (Origin *owner = listener_->origin(origin)) owner->release(reservation);
  }
  bool all_synced() const override { return listener_->unsynced().empty(); }
  std::vector<std::string> unsynced() const override { return listener_->unsynced(); }
  void on_synced(std::function<void()> callback) override { listener_->on_synced(std::move(callback)); }
  std::vector<v1::SessionStatus> sessions() const override { return listener_->sessions(); }
  uint64_t refused() const override { return listener_->refused_; }
  std::string endpoint() const override { return listener_->endpoint(); }
  void stop() override { listener_->stop(); }

 private:
  static Error unknown(const std::string &origin) { return Error{"'" + origin + "' is not a configured C-SMA"}; }
  std::shared_ptr<Listener> listener_;
};

}  // namespace

Result<std::unique_ptr<SessionServer>> SessionServer::open(asio::io_context &io, SessionServerOptions options,
                                                           cmas::WholeTable &table) {
  auto listener = std::make_shared<Listener>(io, std::move(options), table);
  if (auto opened = listener->open(); !opened.ok()) return opened.error();
  return std::unique_ptr<SessionServer>(std::make_unique<Server>(std::move(listener)));
}

}  // namespace catsbpf::agent
