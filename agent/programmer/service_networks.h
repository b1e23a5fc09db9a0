// SPDX-License-Identifier: Apache-2.0
// Whether an egress can deliver to a contact, as the kernel's routes say now: asked before a contact is taken from
// the site. What changes later is the delivery table's to follow.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/netlink/query.h"
#include "util/result.h"

namespace catsbpf::agent {

class ServiceNetworks {
 public:
  // Of these interfaces. Fails when netlink cannot be opened.
  static Result<std::unique_ptr<ServiceNetworks>> open(std::set<std::string> interfaces);

  // Fails when it is certain that `contact` lies on no network of them, or is this host's own. A neighbour need not
  // answer, and what is down tells nothing of its networks: then any other host's address is fine.
  Result<> check(const std::string &contact);

 private:
  ServiceNetworks(std::set<std::string> interfaces, NetlinkQuery query)
      : interfaces_(std::move(interfaces)), query_(std::move(query)) {}

  std::set<std::string> interfaces_;
  NetlinkQuery query_;
};

// The same of a route and links in hand. A bond, bridge or VRF of a service interface leads to its networks, and so
// does what stands on one (VLAN, macvlan).
Result<> check_contact(const std::string &contact, const std::optional<Route> &route, const std::vector<Link> &links,
                       const std::set<std::string> &interfaces);

}  // namespace catsbpf::agent
