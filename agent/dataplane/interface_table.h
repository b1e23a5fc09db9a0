// SPDX-License-Identifier: Apache-2.0
// Contents of the map `interfaces`. In: what interfaces are. Out: the table says so, and nothing else, while
// packets look at it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agent/netlink/next_hops.h"
#include "maps/contract.h"
#include "util/result.h"

namespace catsbpf::agent {

struct DescribedInterface {
  std::string name;
  uint32_t ifindex = 0;          // 0: gone
  uint32_t sides = 0;            // maps::interface_side, or-ed
  std::vector<MacAddress> macs;  // its own first; none: frames are not checked
};

// Says what found no place; all else is in the table. Entries of other interfaces stay or go.
enum class Others { kStay, kGo };
Result<> describe_interfaces(std::span<maps::interface> table, const std::vector<DescribedInterface> &interfaces,
                             Others others);

}  // namespace catsbpf::agent
