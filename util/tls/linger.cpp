// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <chrono>

#include "util/tls/identity.h"

namespace catsbpf::tls {

namespace {

using Socket = boost::asio::generic::stream_protocol::socket;

// Lives in its own handlers until the peer closes or the second is over.
struct Linger : std::enable_shared_from_this<Linger> {
  explicit Linger(Socket from) : socket(std::move(from)), timer(socket.get_executor()) {}

  void begin() {
    boost::system::error_code ignored;
    socket.shutdown(Socket::shutdown_send, ignored);
    timer.expires_after(std::chrono::seconds(1));
    timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
      boost::system::error_code ignored;
      if (!error) self->socket.close(ignored);
    });
    take();
  }
  void take() {
    socket.async_read_some(boost::asio::buffer(sink),
                           [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                             if (error) {
                               self->timer.cancel();
                             } else {
                               self->take();
                             }
                           });
  }

  Socket socket;
  boost::asio::steady_timer timer;
  std::array<char, 16384> sink{};
};

}  // namespace

void linger_close(Socket socket) {
  if (socket.is_open()) std::make_shared<Linger>(std::move(socket))->begin();
}

}  // namespace catsbpf::tls
