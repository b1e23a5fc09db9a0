// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "agent/netlink/next_hops.h"

namespace catsbpf::agent {

std::string format_mac(const MacAddress &mac) {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
  return text;
}

}  // namespace catsbpf::agent
