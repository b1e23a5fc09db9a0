// SPDX-License-Identifier: Apache-2.0
#include "agent/session/connection.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <array>

#include "cmas/delta_session.h"
#include "util/endpoint.h"

namespace catsbpf::agent {

namespace asio = boost::asio;
using boost::system::error_code;
using namespace std::chrono_literals;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kMaxQueued = 65'536;     // messages; a peer that reads nothing is cut off
constexpr std::size_t kJoinBytes = 64 * 1024;  // small messages that leave in one write
constexpr auto kLinger = 1s;                   // for a refused peer to read why

std::string frame(const v1::Envelope &envelope) {
  const auto size = static_cast<uint32_t>(envelope.ByteSizeLong());
  std::string bytes{static_cast<char>(size >> 24), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                    static_cast<char>(size)};
  envelope.AppendToString(&bytes);
  return bytes;
}

uint32_t length_of(const std::array<unsigned char, kLengthBytes> &b) {
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | b[3];
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context)
    : stream_(std::move(socket), *context),
      context_(std::move(context)),
      deadline_(stream_.get_executor()),
      watch_(stream_.get_executor()) {
  error_code ignored;
  const auto remote = stream_.next_layer().remote_endpoint(ignored);
  if (!ignored) peer_ = to_text(remote);
  stream_.next_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
}

asio::awaitable<Result<>> Connection::connect(asio::ip::tcp::endpoint peer) {
  const auto self = shared_from_this();
  peer_ = to_text(peer);
  const auto [failed] = co_await stream_.next_layer().async_connect(peer, kAwait);
  if (failed) co_return Error{"cannot connect to " + peer_ + ": " + ended(failed).what, {}, failed.value()};
  error_code ignored;
  stream_.next_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
  co_return done();
}

asio::awaitable<Result<tls::Identity>> Connection::handshake(Side side, tls::Expected expected) {
  const auto self = shared_from_this();
  const auto [failed] = co_await stream_.async_handshake(side, kAwait);
  if (failed) {
    const Error why = ended(failed);
    // The peer is to read our alert.
    if (!closed_) tls::linger_close(std::move(stream_.next_layer()));
    close(why.what);
    co_return why;
  }
  auto identity = tls::verify_peer(stream_.native_handle(), expected);
  if (!identity.ok()) {
    refuse(identity.error());
    while ((co_await read()).ok()) {
    }
  }
  co_return identity;
}

asio::awaitable<Result<v1::Envelope>> Connection::read() {
  const auto self = shared_from_this();
  for (;;) {
    std::array<unsigned char, kLengthBytes> prefix;
    const auto [no_length, prefix_bytes] = co_await asio::async_read(stream_, asio::buffer(prefix), kAwait);
    if (no_length) co_return ended(no_length);
    const uint32_t length = length_of(prefix);
    // Refused before anything is allocated for it.
    if (length > cmas::kMaxMessageBytes) {
      const Error why{"message of " + std::to_string(length) + " bytes is larger than " +
                      std::to_string(cmas::kMaxMessageBytes)};
      refuse(why);
      for (bool more = true; more;) {
        const auto [failed, bytes] = co_await stream_.async_read_some(asio::buffer(prefix), kAwait);
        more = !failed;
      }
      co_return why;
    }
    body_.resize(length);
    const auto [no_body, body_bytes] = co_await asio::async_read(stream_, asio::buffer(body_), kAwait);
    if (no_body) co_return ended(no_body);
    heard_ = Clock::now();
    silent_told_ = false;
    if (refusing_) continue;
    v1::Envelope envelope;
    if (!envelope.ParseFromString(body_))
      co_return Error{"message of " + std::to_string(length) + " bytes is no envelope"};
    co_return envelope;
  }
}

void Connection::send(const v1::Envelope &envelope) {
  if (closed_ || refusing_ || broken_) return;
  if (queue_.size() >= kMaxQueued) return close("peer does not read: " + std::to_string(kMaxQueued) + " messages wait");
  queue_.push_back(frame(envelope));
  pump();
}

void Connection::pump() {
  if (writing_ || closed_ || broken_) return;
  if (queue_.empty() && source_ && !refusing_) {
    if (const auto envelope = source_()) {
      if (envelope->ByteSizeLong() > cmas::kMaxMessageBytes)
        return close("message to send is larger than " + std::to_string(cmas::kMaxMessageBytes) + " bytes");
      queue_.push_back(frame(*envelope));
    }
  }
  if (queue_.empty()) return;
  current_ = std::move(queue_.front());
  queue_.pop_front();
  while (!queue_.empty() && current_.size() + queue_.front().size() <= kJoinBytes) {
    current_ += queue_.front();
    queue_.pop_front();
  }
  writing_ = true;
  asio::async_write(stream_, asio::buffer(current_),
                    [self = shared_from_this()](error_code failed, std::size_t) { self->written(bool{failed}); });
}

void Connection::written(bool failed) {
  writing_ = false;
  if (closed_) return;
  if (failed) {
    // The reader still gets what the peer said before it went, a Refusal perhaps.
    broken_ = true;
    set_deadline(kLinger, "connection lost while writing");
    return;
  }
  sent_ = Clock::now();
  if (refusing_ && queue_.empty()) {
    error_code ignored;
    stream_.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    return;
  }
  pump();
}

void Connection::set_deadline(std::chrono::milliseconds after, std::string reason) {
  deadline_.set(after, [self = shared_from_this(), reason = std::move(reason)] { self->close(reason); });
}

void Connection::supervise(std::chrono::milliseconds hold, std::function<v1::Envelope()> keep_alive,
                           std::function<void()> silent) {
  hold_ = hold;
  keep_alive_ = std::move(keep_alive);
  silent_ = std::move(silent);
  watch();
}

void Connection::watch() {
  if (closed_ || refusing_) return;
  const auto now = Clock::now();
  if (now >= heard_ + hold_) return close("hold time over: nothing heard for " + std::to_string(hold_.count()) + " ms");
  if (now >= heard_ + hold_ * 2 / 3 && !silent_told_) {
    silent_told_ = true;
    if (silent_) silent_();
  }
  if (now >= sent_ + hold_ / 3) {
    sent_ = now;
    // What is being written shows that we live.
    if (!writing_) send(keep_alive_());
  }
  const auto silence = heard_ + (silent_told_ ? hold_ : hold_ * 2 / 3);
  const auto next = std::min(silence, sent_ + hold_ / 3);
  watch_.set(std::chrono::ceil<std::chrono::milliseconds>(next - now), [self = shared_from_this()] { self->watch(); });
}

void Connection::refuse(const Error &why) {
  if (closed_ || refusing_) return;
  reason_ = why.what;
  v1::Envelope envelope;
  envelope.mutable_refusal()->set_reason(why.what);
  envelope.mutable_refusal()->set_hint(why.hint);
  send(envelope);
  refusing_ = true;
  watch_.lift();
  set_deadline(kLinger, why.what);
}

void Connection::close(const std::string &reason) {
  if (closed_) return;
  closed_ = true;
  if (reason_.empty()) reason_ = reason;
  deadline_.lift();
  watch_.lift();
  error_code ignored;
  stream_.next_layer().close(ignored);
}

Error Connection::ended(const error_code &why) {
  if (!reason_.empty()) return Error{reason_};
  if (why == asio::error::eof || why == asio::ssl::error::stream_truncated) return Error{"peer closed the connection"};
  if (why.category() == asio::error::get_ssl_category()) return tls::handshake_error(why, stream_.native_handle());
  return Error{why.message(), {}, why.value()};
}

}  // namespace catsbpf::agent
