// SPDX-License-Identifier: Apache-2.0
// Next hops: where a packet to an address leaves this host, kept current. In: addresses of interest and
// the kernel's routes, links and neighbours. Out: a callback for each change. Behind it the kernel
// (kernel_next_hops.cpp), a fake in tests.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "util/result.h"

namespace catsbpf::agent {

using MacAddress = std::array<uint8_t, 6>;
std::string format_mac(const MacAddress &mac);

struct NextHop {
  bool routed = false;    // a unicast route leads out of an interface that is up
  bool resolved = false;  // and the next hop's MAC is known
  bool failed = false;    // or the kernel has asked for it in vain, and it has not shown since
  uint32_t ifindex = 0;
  std::string interface;
  std::string gateway;  // "": on-link
  uint32_t mtu = 0;     // of the interface, or of the route where that is smaller
  MacAddress source_mac{};
  MacAddress mac{};
  bool operator==(const NextHop &) const = default;
};

class NextHops {
 public:
  virtual ~NextHops() = default;

  // Calls back on the event loop, soon for the first time, then after each change, until unwatch().
  // The kernel is asked to keep the neighbour resolved (managed).
  using Callback = std::function<void(const NextHop &)>;
  virtual Result<uint64_t> watch(const std::string &address, Callback callback) = 0;
  virtual void unwatch(uint64_t watch) = 0;
  // After the callbacks of one look at the kernel: what follows from one event has all been said.
  virtual void on_told(std::function<void()> callback) = 0;
};

// Fails when netlink cannot be opened. `manages` false: asks for neighbours again and again, as on a kernel before
// 5.16, which cannot keep them resolved by itself.
Result<std::unique_ptr<NextHops>> open_kernel_next_hops(boost::asio::io_context &io, bool manages = true);

}  // namespace catsbpf::agent
