// SPDX-License-Identifier: Apache-2.0
#include "util/http/transport.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "util/tls/identity.h"

namespace catsbpf::http {

namespace {

namespace asio = boost::asio;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kReadSize = 16384;

}  // namespace

Transport::Transport(Protocol::socket socket, std::shared_ptr<asio::ssl::context> tls)
    : context_(std::move(tls)), socket_(std::move(socket)), timer_(socket_.get_executor()) {
  if (context_) tls_.emplace(socket_, *context_);
}

void Transport::set_deadline(std::chrono::milliseconds limit) {
  deadline_ = std::chrono::steady_clock::now() + limit;
  timer_.expires_at(deadline_);
  timer_.async_wait([weak = weak_from_this()](ErrorCode error) {
    const auto self = weak.lock();
    // The handler may have been on its way when the deadline moved.
    if (error || !self || std::chrono::steady_clock::now() < self->deadline_) return;
    self->timed_out_ = true;
    self->close();
  });
}

void Transport::clear_deadline() {
  deadline_ = std::chrono::steady_clock::time_point::max();
  timer_.cancel();
}

Transport::ErrorCode Transport::verdict(ErrorCode error) const {
  if (error && timed_out_) return asio::error::timed_out;
  if (error == asio::ssl::error::stream_truncated) return asio::error::eof;
  return error;
}

Transport::Status Transport::connect(Protocol::endpoint endpoint) {
  ErrorCode error;
  socket_.close(error);
  auto [failure] = co_await socket_.async_connect(endpoint, kToken);
  error = failure;
  if (!error && endpoint.protocol().family() != AF_UNIX) {
    ErrorCode ignored;
    socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  }
  co_return verdict(error);
}

Transport::Status Transport::handshake(Side side) {
  const auto type = side == Side::kServer ? asio::ssl::stream_base::server : asio::ssl::stream_base::client;
  auto [error] = co_await tls_->async_handshake(type, kToken);
  co_return timed_out_ ? verdict(error) : error;  // a truncated handshake is told as such
}

Transport::Status Transport::read_some(boost::beast::flat_buffer &buffer) {
  const auto space = buffer.prepare(kReadSize);
  ErrorCode error;
  std::size_t size = 0;
  if (tls_) {
    auto [failure, bytes] = co_await tls_->async_read_some(space, kToken);
    error = failure;
    size = bytes;
  } else {
    auto [failure, bytes] = co_await socket_.async_read_some(space, kToken);
    error = failure;
    size = bytes;
  }
  buffer.commit(size);
  co_return verdict(error);
}

Transport::Status Transport::write(std::string bytes) {
  ErrorCode error;
  if (tls_) {
    auto [failure, size] = co_await asio::async_write(*tls_, asio::buffer(bytes), kToken);
    error = failure;
  } else {
    auto [failure, size] = co_await asio::async_write(socket_, asio::buffer(bytes), kToken);
    error = failure;
  }
  co_return verdict(error);
}

Transport::Status Transport::shutdown() {
  if (tls_) {
    set_deadline(std::chrono::seconds(1));
    co_await tls_->async_shutdown(kToken);  // the peer may be gone already
  }
  linger_close();
  co_return ErrorCode{};
}

void Transport::close() {
  ErrorCode ignored;
  timer_.cancel();
  socket_.close(ignored);
}

void Transport::linger_close() {
  timer_.cancel();
  tls::linger_close(std::move(socket_));
}

}  // namespace catsbpf::http
