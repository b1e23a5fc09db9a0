// SPDX-License-Identifier: Apache-2.0
// Single questions to the kernel over route netlink: route to an address, links, addresses, neighbour, tc filters; and
// the wish to keep a neighbour resolved. The kernel answers at once, so these calls do not wait for anything.
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
  uint32_t ifindex = 0;
  std::string name;
  std::string kind;      // "veth", "macvlan", ...; "": a device of its own
  bool up = false;       // as its administrator wants it
  bool running = false;  // with a carrier
  uint32_t mtu = 0;
  MacAddress mac{};     // zeros: its addresses are no MACs
  uint32_t master = 0;  // of the bond, bridge or VRF that it belongs to; 0: none
  uint32_t lower = 0;   // of the link that it stands on, in this network namespace; 0: none
};
struct Neighbour {
  bool valid = false;
  bool failed = false;   // the kernel has asked for it in vain
  bool fixed = false;    // somebody said what it is: not to be asked for
  bool managed = false;  // the kernel keeps it resolved
  MacAddress mac{};
};

class NetlinkQuery {
 public:
  // `manages` false: as on a kernel before 5.16.
  static Result<NetlinkQuery> open(bool manages = true);

  // Empty: there is none. An error: the kernel did not say, for want of memory, say.
  Result<std::optional<Route>> route(const IpAddress &destination);
  Result<std::optional<Link>> link(uint32_t ifindex);
  Result<std::vector<Link>> links();
  // Those that are this host's alone, on all interfaces of this network namespace, and the broadcast addresses of their
  // networks; one may be told more than once. An IPv6 address that another host may have (duplicate address detection
  // goes on, or found one) is not among them.
  Result<std::vector<IpAddress>> own_addresses();
  std::optional<Neighbour> neighbour(uint32_t ifindex, const IpAddress &address);
  // Asks the kernel to resolve the neighbour and to keep it so (from 5.16), or for once (before). A fixed one is
  // left as it is: the kernel would forget its MAC.
  bool manages() const { return can_manage_; }
  Result<> keep_resolved(uint32_t ifindex, const IpAddress &address);
  void let_go(uint32_t ifindex, const IpAddress &address);
  // True when a clsact qdisc has a filter, whosever.
  bool has_filters(uint32_t ifindex);

 private:
  struct Free {
    void operator()(nl_sock *socket) const { nl_socket_free(socket); }
  };
  using Socket = std::unique_ptr<nl_sock, Free>;
  NetlinkQuery(Socket socket, bool manages) : socket_(std::move(socket)), can_manage_(manages) {}
  int set_neighbour(uint32_t ifindex, const IpAddress &address, bool managed);

  Socket socket_;
  bool can_manage_;
};

}  // namespace catsbpf::agent
