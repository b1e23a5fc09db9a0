// SPDX-License-Identifier: Apache-2.0
#include "agent/netlink/own_macs.h"

#include <algorithm>

namespace catsbpf::agent {

namespace {

const Link *find(const std::vector<Link> &links, uint32_t ifindex) {
  const auto found =
      std::find_if(links.begin(), links.end(), [&](const Link &link) { return link.ifindex == ifindex; });
  return found == links.end() ? nullptr : &*found;
}

// A VRF has an address, too, but no frame is sent to it.
bool takes_frames_of_its_members(const Link &link) {
  return link.up && (link.kind == "bond" || link.kind == "bridge" || link.kind == "team");
}

}  // namespace

std::vector<MacAddress> own_macs(const std::vector<Link> &links, uint32_t ifindex) {
  const Link *interface = find(links, ifindex);
  if (!interface) return {};
  std::vector<MacAddress> macs{interface->mac};
  const auto add = [&](const MacAddress &mac) {
    if (mac != MacAddress{} && std::find(macs.begin(), macs.end(), mac) == macs.end()) macs.push_back(mac);
  };
  const auto add_those_over = [&](const Link &lower) {
    for (const Link &link : links)
      if (link.kind == "macvlan" && link.up && link.lower == lower.ifindex && link.master == lower.master)
        add(link.mac);
  };
  add_those_over(*interface);
  if (const Link *master = find(links, interface->master); master && takes_frames_of_its_members(*master)) {
    add(master->mac);
    add_those_over(*master);
  }
  return macs;
}

}  // namespace catsbpf::agent
