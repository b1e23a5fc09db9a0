// SPDX-License-Identifier: Apache-2.0
// One thing to be done later, unless it is lifted or set anew before. A timer that has expired cannot be
// cancelled any more, its handler is on its way: such a handler does nothing here.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

namespace catsbpf::agent {

class Deadline {
 public:
  explicit Deadline(boost::asio::any_io_executor io) : timer_(std::move(io)) {}
  ~Deadline() { lift(); }
  Deadline(const Deadline &) = delete;
  Deadline &operator=(const Deadline &) = delete;

  void set(std::chrono::milliseconds after, std::function<void()> action) {
    lift();
    holds_ = std::make_shared<bool>(true);
    timer_.expires_after(after);
    timer_.async_wait([holds = holds_, action = std::move(action)](boost::system::error_code) {
      if (std::exchange(*holds, false)) action();
    });
  }
  void lift() {
    if (holds_) *holds_ = false;
    timer_.cancel();
  }

 private:
  boost::asio::steady_timer timer_;
  std::shared_ptr<bool> holds_;
};

}  // namespace catsbpf::agent
