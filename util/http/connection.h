// SPDX-License-Identifier: Apache-2.0
// One connection of the HTTP server. In: an accepted socket. Out: answered requests, and its count given back.
#pragma once

#include <boost/asio/cancellation_signal.hpp>

#include <map>
#include <memory>
#include <set>

#include "util/http/message.h"
#include "util/http/router.h"
#include "util/http/server.h"

namespace catsbpf::http {

class Connection;

// What the server and its connections share; it lives as long as the last of them.
struct Shared {
  explicit Shared(ServerOptions from) : options(std::move(from)) {}
  // At most a few lines per second for what strangers can cause at will; the counts are exact.
  bool may_log();

  ServerOptions options;
  Router router;
  ServerCounts counts;
  bool stopped = false;
  std::set<Connection *> connections;
  std::map<boost::asio::ip::address, std::size_t> per_source;

 private:
  std::chrono::steady_clock::time_point log_second_{};
  unsigned logged_ = 0;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Source = std::optional<boost::asio::ip::address>;
  // refusal: the answer to whatever comes (over a limit), then the end.
  Connection(std::shared_ptr<Shared> shared, Transport::Protocol::socket socket, Source source,
             std::optional<Response> refusal);
  ~Connection();
  Connection(const Connection &) = delete;
  Connection &operator=(const Connection &) = delete;

  void start();
  void stop();  // its place is free at once

  const Source &source() const { return source_; }
  // Since when we wait for the client: its handshake, a request, an answer to be taken. Empty: at work for it.
  std::optional<std::chrono::steady_clock::time_point> waiting_since() const { return waiting_since_; }

 private:
  using ErrorCode = Transport::ErrorCode;
  void leave();
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<bool> handshake();
  boost::asio::awaitable<bool> serve_one(bool first);
  boost::asio::awaitable<Response> handle(Request request, std::vector<std::string> segments);
  boost::asio::awaitable<void> answer(Response response, bool keep_alive, bool head);
  boost::asio::awaitable<void> answer_broken(ErrorCode error);
  boost::asio::awaitable<void> stream(Response response, bool chunked);
  boost::asio::awaitable<void> watch_for_close();
  std::string peer() const;

  std::shared_ptr<Shared> shared_;
  std::shared_ptr<Transport> transport_;
  Source source_;
  std::optional<Response> refusal_;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_;
  std::optional<tls::Identity> identity_;
  boost::beast::flat_buffer buffer_;
  boost::asio::cancellation_signal cancel_;
};

// Sources are counted by address, IPv6 ones by their /64.
boost::asio::ip::address source_key(const boost::asio::ip::address &address);

}  // namespace catsbpf::http
