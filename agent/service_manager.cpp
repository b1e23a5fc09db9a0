// SPDX-License-Identifier: Apache-2.0
#include "agent/service_manager.h"

#include <systemd/sd-daemon.h>

namespace catsbpf::agent {

ServiceManager::ServiceManager(boost::asio::io_context &io) : timer_(io) {
  uint64_t usec = 0;
  if (sd_watchdog_enabled(0, &usec) > 0) interval_ = std::chrono::microseconds(usec / 2);
}

void ServiceManager::ready(const std::string &status) {
  sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
  if (interval_.count()) pat();
}

void ServiceManager::reloading() { sd_notify(0, "RELOADING=1"); }

void ServiceManager::stopping() {
  sd_notify(0, "STOPPING=1");
  timer_.cancel();
}

void ServiceManager::pat() {
  sd_notify(0, "WATCHDOG=1");
  timer_.expires_after(interval_);
  timer_.async_wait([this](const boost::system::error_code &error) {
    if (!error) pat();
  });
}

}  // namespace catsbpf::agent
