// SPDX-License-Identifier: Apache-2.0
// Which frames that arrive on an interface are for this host: a function of the links, no netlink in it.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/netlink/query.h"

namespace catsbpf::agent {

// The interface's own MAC address (zeros: it has none), then those by which hosts reach this one through it: of the
// bond or bridge that it belongs to, and of macvlans over either, by which keepalived and FRR have the virtual
// router's address (RFC 9568 section 7.3). A macvlan that is down, in another namespace, or in another bridge or VRF
// than the interface is somebody else's. Empty: there is no such interface.
std::vector<MacAddress> own_macs(const std::vector<Link> &links, uint32_t ifindex);

}  // namespace catsbpf::agent
