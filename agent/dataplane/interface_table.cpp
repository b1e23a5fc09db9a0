// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/interface_table.h"

#include <algorithm>
#include <cstring>

namespace catsbpf::agent {

namespace {

// The interface's entry, else a free one; null: all its probes are others'.
maps::interface *place_of(std::span<maps::interface> table, uint32_t ifindex) {
  maps::interface *free = nullptr;
  for (uint32_t probe = 0; probe < INTERFACE_PROBES; ++probe) {
    maps::interface &entry = table[(ifindex + probe) % table.size()];
    if (entry.ifindex == ifindex) return &entry;
    if (entry.ifindex == 0 && !free) free = &entry;
  }
  return free;
}

// A packet that meets an address half written is nobody's, and passes.
void write(maps::interface &entry, const DescribedInterface &interface) {
  maps::interface wanted {};
  wanted.ifindex = interface.ifindex;
  wanted.sides = interface.sides;
  if (!interface.macs.empty()) std::copy(interface.macs[0].begin(), interface.macs[0].end(), wanted.mac);
  for (size_t i = 1; i < interface.macs.size() && i <= MAX_FURTHER_MACS; ++i) {
    std::copy(interface.macs[i].begin(), interface.macs[i].end(), wanted.further_mac[i - 1]);
    ++wanted.further_macs;
  }
  if (std::memcmp(&entry, &wanted, sizeof entry) == 0) return;
  std::memcpy(entry.mac, wanted.mac, sizeof wanted.mac);
  std::memcpy(entry.further_mac, wanted.further_mac, sizeof wanted.further_mac);
  __atomic_store_n(&entry.further_macs, wanted.further_macs, __ATOMIC_RELEASE);
  __atomic_store_n(&entry.sides, wanted.sides, __ATOMIC_RELEASE);
  __atomic_store_n(&entry.ifindex, wanted.ifindex, __ATOMIC_RELEASE);
}

}  // namespace

// New interfaces first, old ones afterwards: packets of an interface that stays are known throughout.
Result<> describe_interfaces(std::span<maps::interface> table, const std::vector<DescribedInterface> &interfaces,
                             Others others) {
  Result<> result = done();
  for (const DescribedInterface &interface : interfaces) {
    if (interface.ifindex == 0) continue;
    if (maps::interface *place = place_of(table, interface.ifindex))
      write(*place, interface);
    else
      result = Error{"no place for interface " + interface.name + " in the interface table"};
    if (interface.macs.size() > 1 + MAX_FURTHER_MACS)
      result = Error{"interface " + interface.name + " has " + std::to_string(interface.macs.size() - 1) +
                         " macvlans and the like over it, frames to " + std::to_string(MAX_FURTHER_MACS) +
                         " of them are steered",
                     "frames to the others follow plain routing"};
  }
  if (others == Others::kStay) return result;
  for (maps::interface &entry : table) {
    const bool wanted =
        std::any_of(interfaces.begin(), interfaces.end(), [&](const auto &i) { return i.ifindex == entry.ifindex; });
    if (entry.ifindex != 0 && !wanted) __atomic_store_n(&entry.ifindex, 0u, __ATOMIC_RELEASE);
  }
  return result;
}

}  // namespace catsbpf::agent
