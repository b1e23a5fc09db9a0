// SPDX-License-Identifier: Apache-2.0
// Listens, accepts, and holds the limits; a Connection does the rest.
#include "util/http/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "util/fd.h"
#include "util/http/connection.h"
#include "util/http/uri.h"
#include "util/log.h"

namespace catsbpf::http {

namespace {

namespace asio = boost::asio;
using Protocol = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Protocol>;
constexpr std::size_t kRefusals = 16;  // connections beyond the limit that are still told so

struct Listener : Shared {
  Listener(asio::io_context &io, ServerOptions from) : Shared(std::move(from)), acceptor(io) {}
  Acceptor acceptor;
  // The UNIX socket's file, as it was made; another one under the same path is not ours.
  std::string socket_file;
  ino_t inode = 0;

  void close() {
    boost::system::error_code ignored;
    acceptor.close(ignored);
    struct stat now {};
    if (!socket_file.empty() && ::stat(socket_file.c_str(), &now) == 0 && now.st_ino == inode)
      ::unlink(socket_file.c_str());
    socket_file.clear();
  }
};

// A socket file that a killed program left is removed; one in use is not.
Result<> clear_socket_file(const std::string &path, const Protocol::endpoint &endpoint) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return done();
  if (!S_ISSOCK(file.st_mode))
    return Error{"listen " + path + ": a file that is no socket is there", "remove it", EEXIST};
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) == 0)
    return Error{"listen " + path + ": another program listens there", "is the same program running already?",
                 EADDRINUSE};
  if (errno != ECONNREFUSED) return system_error("listen " + path, errno);
  ::unlink(path.c_str());
  return done();
}

Result<> listen_on(Listener &listener, const Protocol::endpoint &endpoint, bool unix_socket) {
  const std::string what = "listen " + listener.options.listen;
  boost::system::error_code error;
  listener.acceptor.open(endpoint.protocol(), error);
  if (error) return system_error(what, error.value());
  if (unix_socket) {
    // Never open to others, not even for the moment before chmod.
    ::fchmod(listener.acceptor.native_handle(), listener.options.socket_mode);
  } else {
    listener.acceptor.set_option(asio::socket_base::reuse_address(true), error);
  }
  listener.acceptor.bind(endpoint, error);
  if (!error && unix_socket) {
    struct stat file {};
    const std::string &path = listener.options.listen;
    if (::chmod(path.c_str(), listener.options.socket_mode) != 0 || ::stat(path.c_str(), &file) != 0)
      return system_error(what, errno);
    listener.socket_file = path;
    listener.inode = file.st_ino;
  }
  if (!error) listener.acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) return done();
  const std::string hint = error == asio::error::address_in_use  ? "another program listens there"
                           : error.value() == EADDRNOTAVAIL      ? "the address must be one of this host"
                           : error == asio::error::access_denied ? "ports below 1024 need a capability"
                                                                 : "";
  return system_error(what, error.value(), hint);
}

std::optional<asio::ip::address> source_of(const Protocol::socket &socket) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(const_cast<Protocol::socket &>(socket).native_handle(), reinterpret_cast<sockaddr *>(&peer),
                    &size) != 0)
    return std::nullopt;
  if (peer.ss_family == AF_INET) {
    const auto &v4 = reinterpret_cast<const sockaddr_in &>(peer);
    return asio::ip::address_v4(ntohl(v4.sin_addr.s_addr));
  }
  if (peer.ss_family != AF_INET6) return std::nullopt;
  asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in6 &>(peer).sin6_addr, bytes.size());
  const asio::ip::address_v6 v6(bytes);
  if (v6.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, v6);
  return v6;
}

// The connection that has waited longest for its client, of the source that holds most: who opens many and says
// little, or slowly, makes room first. Null: all are at work.
Connection *least_needed(const Listener &listener) {
  Connection *chosen = nullptr;
  std::size_t most = 0;
  for (Connection *connection : listener.connections) {
    if (!connection->waiting_since()) continue;
    const auto held = connection->source() ? listener.per_source.at(source_key(*connection->source())) : 0;
    if (chosen && (held < most || (held == most && connection->waiting_since() >= chosen->waiting_since()))) continue;
    chosen = connection;
    most = held;
  }
  return chosen;
}

// All places are taken: one that is not in use is given to the newcomer.
void make_room(Listener &listener) {
  if (listener.connections.size() < listener.options.max_connections) return;
  Connection *leaves = least_needed(listener);
  if (!leaves) return;
  ++listener.counts.made_room;
  if (listener.may_log())
    log::info("http: closed a waiting connection for a newcomer listen={} peer={}", listener.options.listen,
              leaves->source() ? leaves->source()->to_string() : "unix");
  leaves->stop();
}

// The answer for a connection over a limit; empty: within all of them. `drop`: too many to be told.
std::optional<Response> over_limit(Listener &listener, const std::optional<asio::ip::address> &source, bool &drop) {
  const auto &options = listener.options;
  const std::size_t all = listener.connections.size();
  const auto count = source ? listener.per_source.find(source_key(*source)) : listener.per_source.end();
  const std::size_t own = count == listener.per_source.end() ? 0 : count->second;
  drop = all >= options.max_connections + kRefusals || own >= options.max_connections_per_source + kRefusals / 4;
  Response response;
  if (own >= options.max_connections_per_source) {
    response = failure(429, Error{"too many connections from " + source->to_string(),
                                  "at most " + std::to_string(options.max_connections_per_source) + " at a time"});
  } else if (all >= options.max_connections) {
    response = failure(503, Error{"too many connections", "try again in a moment"});
  } else {
    return std::nullopt;
  }
  response.headers["Retry-After"] = "1";
  return response;
}

asio::awaitable<void> accept_loop(std::shared_ptr<Listener> listener) {
  asio::steady_timer pause(listener->acceptor.get_executor());
  while (!listener->stopped) {
    auto [error, socket] = co_await listener->acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
    if (listener->stopped) co_return;
    if (error) {
      if (listener->may_log())
        log::error("http: accept failed listen={} reason=\"{}\"", listener->options.listen, error.message());
      pause.expires_after(std::chrono::milliseconds(100));  // out of descriptors: give others time to close
      co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
      continue;
    }
    const auto source = source_of(socket);
    bool drop = false;
    make_room(*listener);
    auto refusal = over_limit(*listener, source, drop);
    ++listener->counts.connections;
    if (refusal) ++listener->counts.refused_limits;
    if (drop) continue;
    if (source) {
      boost::system::error_code ignored;
      socket.set_option(asio::ip::tcp::no_delay(true), ignored);
    }
    std::make_shared<Connection>(listener, std::move(socket), source, std::move(refusal))->start();
  }
}

class RealServer : public Server {
 public:
  explicit RealServer(std::shared_ptr<Listener> listener) : listener_(std::move(listener)) {}
  ~RealServer() override { stop(); }

  void route(std::string method, std::string pattern, Handler handler) override {
    listener_->router.add(std::move(method), pattern, std::move(handler));
  }
  asio::ip::tcp::endpoint endpoint() const override {
    boost::system::error_code error;
    const auto local = listener_->acceptor.local_endpoint(error);
    asio::ip::tcp::endpoint result;
    if (!error && local.protocol().family() != AF_UNIX && local.size() <= result.capacity()) {
      std::memcpy(result.data(), local.data(), local.size());
      result.resize(local.size());
    }
    return result;
  }
  const ServerCounts &counts() const override { return listener_->counts; }
  void stop() override {
    if (std::exchange(listener_->stopped, true)) return;
    listener_->close();
    std::vector<std::shared_ptr<Connection>> open;
    for (Connection *connection : listener_->connections)
      if (auto alive = connection->weak_from_this().lock()) open.push_back(std::move(alive));
    for (const auto &connection : open) connection->stop();
  }

 private:
  std::shared_ptr<Listener> listener_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::open(asio::io_context &io, ServerOptions options) {
  if (options.client && !options.tls)
    return Error{"listen " + options.listen + ": clients can be checked only with tls"};
  if (options.client) {
    // A context that does not ask for certificates would let everyone fail later, and say less.
    const int mode = SSL_CTX_get_verify_mode(options.tls->native_handle());
    if (!(mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT))
      return Error{"listen " + options.listen + ": the tls context does not require certificates of clients"};
  }
  Protocol::endpoint endpoint;
  const bool unix_socket = options.listen.starts_with("/") || options.listen.starts_with("unix:");
  if (unix_socket) {
    auto url = parse_url(options.listen);
    if (!url) return url.error();
    options.listen = url->path;
    endpoint = asio::local::stream_protocol::endpoint(url->path);
    if (auto clear = clear_socket_file(url->path, endpoint); !clear) return clear.error();
  } else {
    auto address = parse_endpoint(options.listen);
    if (!address) return Error{"listen " + address.error().what, address.error().hint};
    endpoint = *address;
  }
  auto listener = std::make_shared<Listener>(io, std::move(options));
  if (auto ok = listen_on(*listener, endpoint, unix_socket); !ok) return ok.error();
  asio::co_spawn(io, accept_loop(listener), asio::detached);
  return std::unique_ptr<Server>(std::make_unique<RealServer>(std::move(listener)));
}

}  // namespace catsbpf::http
