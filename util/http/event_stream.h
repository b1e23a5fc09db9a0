// SPDX-License-Identifier: Apache-2.0
// The EventStream of a connection: formats events and writes them, chunked for HTTP/1.1.
#pragma once

#include <memory>

#include "util/http/server.h"
#include "util/http/transport.h"

namespace catsbpf::http {

class StreamOnTransport : public EventStream {
 public:
  StreamOnTransport(std::shared_ptr<Transport> transport, bool chunked, std::chrono::milliseconds limit)
      : transport_(std::move(transport)), chunked_(chunked), limit_(limit) {}

  boost::asio::awaitable<Result<>> send(std::string event, std::string id, std::string data) override;
  boost::asio::awaitable<Result<>> comment(std::string text) override;
  boost::asio::awaitable<void> finish();  // tells the client that the stream ended well
  void end() { transport_.reset(); }      // whoever still holds the stream can only fail

 private:
  boost::asio::awaitable<Result<>> write(std::string text);

  std::shared_ptr<Transport> transport_;
  bool chunked_;
  std::chrono::milliseconds limit_;
};

}  // namespace catsbpf::http
