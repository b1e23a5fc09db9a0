// SPDX-License-Identifier: Apache-2.0
// systemd's side of the agent: ready, reloading, stopping, and the watchdog's pats from the event loop, so that
// a loop that hangs is noticed. Without systemd nothing happens.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <string>

namespace catsbpf::agent {

class ServiceManager {
 public:
  explicit ServiceManager(boost::asio::io_context &io);
  void ready(const std::string &status);
  void reloading();
  void stopping();

 private:
  void pat();
  boost::asio::steady_timer timer_;
  std::chrono::microseconds interval_{0};  // 0: no watchdog
};

}  // namespace catsbpf::agent
