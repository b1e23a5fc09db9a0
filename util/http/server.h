// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server on Boost.Beast: JSON APIs and server-sent events, over TCP, TLS 1.3 or a UNIX
// socket. Runs on the caller's io_context; handlers are coroutines on it.
#pragma once

#include <google/protobuf/message.h>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "util/result.h"
#include "util/tls/identity.h"

namespace catsbpf::http {

struct Request {
  std::string method;                          // "GET"
  std::string path;                            // "/v1/services/AR1", percent-decoded, without query
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::optional<boost::asio::ip::address> source{};  // empty on a UNIX socket
  std::optional<tls::Identity> identity;             // of the client certificate, where one was verified
  // Value of the `:name` part of the route's pattern, "" when there is none.
  std::map<std::string, std::string> parameters;
};

// Sends server-sent events until the client goes away. `send` fails when it has, or when it did not take
// the bytes within the idle time-out: nothing is buffered for a slow client. While it is silent for `kKeepAlive`
// the handler sends a comment. One send at a time.
constexpr std::chrono::seconds kKeepAlive{15};
class EventStream {
 public:
  virtual ~EventStream() = default;
  virtual boost::asio::awaitable<Result<>> send(std::string event, std::string id, std::string data) = 0;
  virtual boost::asio::awaitable<Result<>> comment(std::string text) = 0;  // keep-alive
};

struct Response {
  int status = 200;
  std::string body{};
  std::string content_type = "application/json";
  std::map<std::string, std::string> headers{};
  // When set, the answer is an event stream that lives as long as this coroutine. When the client goes
  // or the server stops, the coroutine is cancelled at its co_await.
  std::function<boost::asio::awaitable<void>(std::shared_ptr<EventStream>)> stream{};
};

// 200 (or `status`) with the message as JSON (cmas/proto JSON mapping, 64-bit integers as numbers).
Response json(const google::protobuf::Message &message, int status = 200);
// {"error": what, "hint": hint}
Response failure(int status, const Error &error);
// The request's body as that message; unknown fields and wrong types are errors that name the field.
Result<> parse(const Request &request, google::protobuf::Message &message);

using Handler = std::function<boost::asio::awaitable<Response>(Request)>;

struct ServerOptions {
  std::string listen;                                // "10.0.0.1:8443", "[::1]:80", or "/run/x.sock"
  std::shared_ptr<boost::asio::ssl::context> tls{};  // null: plain
  std::optional<tls::Expected> client{};             // with tls: client certificates are required and must be this
  std::size_t max_body = 1 << 20;
  // Beyond it the connection that waits longest for its client is closed for the newcomer; are all at work, the
  // newcomer is answered 503.
  std::size_t max_connections = 256;
  std::size_t max_connections_per_source = 32;  // TCP only; beyond it: 429
  std::chrono::milliseconds idle{30000};        // between requests, for a body to come, for an answer to be taken
  std::chrono::milliseconds header{10000};      // for the handshake, and for a request's header from its first byte
  unsigned socket_mode = 0660;                  // of a UNIX socket
};

struct ServerCounts {
  std::uint64_t connections = 0, requests = 0;
  std::uint64_t refused_handshakes = 0;  // TLS failed: version, certificate, no TLS at all
  std::uint64_t refused_identities = 0;  // a good certificate, but not who was expected: 403
  std::uint64_t refused_limits = 0;      // 429, 503
  std::uint64_t made_room = 0;           // waiting connections closed for newcomers
};

class Server {
 public:
  // Fails naming the address and the reason (in use, cannot assign).
  static Result<std::unique_ptr<Server>> open(boost::asio::io_context &io, ServerOptions options);
  virtual ~Server() = default;
  // Pattern: "/v1/services/:id". Unknown paths answer 404, known paths with another method 405.
  virtual void route(std::string method, std::string pattern, Handler handler) = 0;
  virtual boost::asio::ip::tcp::endpoint endpoint() const = 0;  // where it listens (port 0: which)
  virtual const ServerCounts &counts() const = 0;
  // Closes the listener and all connections and cancels the handlers that wait. The destructor does it too.
  virtual void stop() = 0;
};

}  // namespace catsbpf::http
