// SPDX-License-Identifier: Apache-2.0
// One byte stream with deadlines, whatever it runs on: TCP or a UNIX socket, plain or TLS. Server and client both
// stand on it, so that HTTP is compiled once. At most one read and one write at a time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace catsbpf::http {

class Transport : public std::enable_shared_from_this<Transport> {
 public:
  using Protocol = boost::asio::generic::stream_protocol;
  using ErrorCode = boost::system::error_code;
  using Status = boost::asio::awaitable<ErrorCode>;
  enum class Side { kServer, kClient };

  // tls: null for a plain stream.
  Transport(Protocol::socket socket, std::shared_ptr<boost::asio::ssl::context> tls);

  // From now on: what is not done within `limit` fails with timed_out, and the connection is closed.
  void set_deadline(std::chrono::milliseconds limit);
  void clear_deadline();

  Status connect(Protocol::endpoint endpoint);
  Status handshake(Side side);
  // Appends at least one byte; eof when the peer has closed (for TLS also without close_notify).
  Status read_some(boost::beast::flat_buffer &buffer);
  Status write(std::string bytes);
  // Says goodbye (TLS close_notify, end of stream) and closes.
  Status shutdown();
  void close();
  // Closes after a refusal so that the peer can read why.
  void linger_close();

  SSL *ssl() { return tls_ ? tls_->native_handle() : nullptr; }
  boost::asio::any_io_executor executor() { return socket_.get_executor(); }

 private:
  ErrorCode verdict(ErrorCode error) const;  // what the deadline closed, timed out

  std::shared_ptr<boost::asio::ssl::context> context_;
  Protocol::socket socket_;
  std::optional<boost::asio::ssl::stream<Protocol::socket &>> tls_;
  boost::asio::steady_timer timer_;
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
  bool timed_out_ = false;
};

}  // namespace catsbpf::http
