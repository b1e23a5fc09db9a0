// SPDX-License-Identifier: Apache-2.0
#include "util/http/event_stream.h"

#include <cstdio>

#include "util/http/sse.h"

namespace catsbpf::http {

namespace {

std::string chunk(const std::string &bytes) {
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return size + bytes + "\r\n";
}

}  // namespace

boost::asio::awaitable<Result<>> StreamOnTransport::send(std::string event, std::string id, std::string data) {
  return write(format_event(event, id, data));
}

boost::asio::awaitable<Result<>> StreamOnTransport::comment(std::string text) { return write(format_comment(text)); }

boost::asio::awaitable<void> StreamOnTransport::finish() {
  if (!transport_ || !chunked_) co_return;
  transport_->set_deadline(limit_);
  co_await transport_->write("0\r\n\r\n");
}

boost::asio::awaitable<Result<>> StreamOnTransport::write(std::string text) {
  const auto transport = transport_;
  if (!transport) co_return Error{"event stream has ended"};
  transport->set_deadline(limit_);
  if (chunked_) text = chunk(text);
  const auto error = co_await transport->write(std::move(text));
  if (error == boost::asio::error::timed_out) co_return Error{"client is too slow", "", ETIMEDOUT};
  if (error) co_return Error{"client is gone: " + error.message(), "", error.value()};
  transport->clear_deadline();
  co_return done();
}

}  // namespace catsbpf::http
