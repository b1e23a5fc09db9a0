// SPDX-License-Identifier: Apache-2.0
// Bandwidth by interface rates (R037): byte counters and link speed of the named interfaces, sampled
// from the kernel (netlink statistics, ethtool), so it is right in any network namespace.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "util/result.h"

namespace catsbpf::agent {

struct InterfaceRate {
  std::string name;
  bool present = false;     // false: no such interface now
  bool up = false;          // running
  double receive_mbps = 0;  // over the last period
  double transmit_mbps = 0;
  double speed_mbps = -1;  // below 0: unknown
};

class InterfaceRates {
 public:
  static Result<std::unique_ptr<InterfaceRates>> open(boost::asio::io_context &io, std::vector<std::string> interfaces,
                                                      std::chrono::milliseconds period = std::chrono::seconds{1});
  virtual ~InterfaceRates() = default;
  // In the order given to open.
  virtual std::vector<InterfaceRate> rates() const = 0;
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
