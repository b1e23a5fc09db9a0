// SPDX-License-Identifier: Apache-2.0
// One TLS connection that carries envelopes, as both ends of a delta session use it: framing, one message
// being written at a time, keep-alives, hold time, refusal with its reason. Knows no rows.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/session/deadline.h"
#include "cmas/proto/session.pb.h"
#include "util/result.h"
#include "util/tls/identity.h"

namespace catsbpf::agent {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;
  using Side = boost::asio::ssl::stream_base::handshake_type;

  Connection(boost::asio::ip::tcp::socket socket, std::shared_ptr<boost::asio::ssl::context> context);

  // ---- setting up: each fails with the reason in words, the peer has been told where that is possible ----
  boost::asio::awaitable<Result<>> connect(boost::asio::ip::tcp::endpoint peer);
  // Handshake, then the peer's identity. A peer of the wrong identity gets a Refusal.
  boost::asio::awaitable<Result<tls::Identity>> handshake(Side side, tls::Expected expected);

  // The next message. Error: the connection is over, and why; or the peer broke the framing.
  boost::asio::awaitable<Result<v1::Envelope>> read();

  // ---- writing ----
  void send(const v1::Envelope &envelope);
  // Asked for a message whenever nothing else is to be written; `flush` asks at once, unless a message
  // is being written (it is then asked afterwards).
  void set_source(std::function<std::optional<v1::Envelope>()> source) { source_ = std::move(source); }
  void flush() { pump(); }
  bool writing() const { return writing_; }

  // ---- time ----
  // Closes with `reason` when it is still set then.
  void set_deadline(std::chrono::milliseconds after, std::string reason);
  void clear_deadline() { deadline_.lift(); }
  // Sends `keep_alive()` after a third of `hold` without a message of ours, calls `silent` after two
  // thirds without one of the peer's, closes after the whole.
  void supervise(std::chrono::milliseconds hold, std::function<v1::Envelope()> keep_alive,
                 std::function<void()> silent);
  Clock::time_point heard() const { return heard_; }

  // ---- ending ----
  // Sends a Refusal, then closes; what is still received is thrown away. read() fails from now on.
  void refuse(const Error &why);
  // At once. None of the callbacks is called any more.
  void close(const std::string &reason);
  bool closed() const { return closed_; }
  const std::string &peer() const { return peer_; }  // "ADDRESS:PORT"

 private:
  void pump();
  void written(bool failed);
  void watch();
  Error ended(const boost::system::error_code &why);

  boost::asio::ssl::stream<boost::asio::ip::tcp::socket> stream_;
  std::shared_ptr<boost::asio::ssl::context> context_;  // outlives the stream's use of it
  Deadline deadline_, watch_;
  std::string peer_;
  std::string reason_;  // why we end it
  std::deque<std::string> queue_;
  std::string current_;  // being written
  std::string body_;     // being read
  std::function<std::optional<v1::Envelope>()> source_;
  std::function<v1::Envelope()> keep_alive_;
  std::function<void()> silent_;
  std::chrono::milliseconds hold_{0};
  Clock::time_point heard_ = Clock::now(), sent_ = heard_;
  bool writing_ = false, broken_ = false, refusing_ = false, closed_ = false, silent_told_ = false;
};

}  // namespace catsbpf::agent
