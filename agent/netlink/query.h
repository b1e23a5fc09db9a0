// SPDX-License-Identifier: Apache-2.0
// Single questions to the kernel over route netlink: route to an address, link, neighbour; and the wish to
// keep a neighbour resolved. The kernel answers at once, so these calls do not wait for anything.
#pragma once

#include <netlink/netlink.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/netlink/next_hops.h"
#include "util/result.h"

namespace catsbpf::agent {

// An IPv4 (4 bytes) or IPv6 (16 bytes) address in network order.
struct IpAddress {
  std::vector<uint8_t> bytes;
  int family() const;
  bool operator==(const IpAddress &) const = default;
};
std::optional<IpAddress> parse_ip(const std::string &text);
std::string format_ip(const IpAddress &address);

struct Route {
  uint32_t ifindex = 0;
  IpAddress gateway;  // no bytes: on-link
  uint32_t mtu = 0;   // 0: that of the link
};
struct Link {
  std::string name;
  bool up = false;    // and running
  uint32_t mtu = 0;
  MacAddress mac{};
};
struct Neighbour {
  bool valid = false;
  MacAddress mac{};
};

class NetlinkQuery {
 public:
  static Result<NetlinkQuery> open();

  // Empty: there is none.
  std::optional<Route> route(const IpAddress &destination);
  std::optional<Link> link(uint32_t ifindex);
  std::optional<Neighbour> neighbour(uint32_t ifindex, const IpAddress &address);
  // Asks the kernel to resolve the neighbour and to keep it so (from 5.16), or for once (before).
  bool manages() const { return can_manage_; }
  Result<> keep_resolved(uint32_t ifindex, const IpAddress &address);
  void let_go(uint32_t ifindex, const IpAddress &address);

 private:
  struct Free {
    void operator()(nl_sock *socket) const { nl_socket_free(socket); }
  };
  using Socket = std::unique_ptr<nl_sock, Free>;
  explicit NetlinkQuery(Socket socket) : socket_(std::move(socket)) {}
  int set_neighbour(uint32_t ifindex, const IpAddress &address, bool managed);

  Socket socket_;
  bool can_manage_ = true;
};

}  // namespace catsbpf::agent
