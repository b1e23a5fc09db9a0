// SPDX-License-Identifier: Apache-2.0
#include "agent/view_in_force.h"

#include <map>

namespace catsbpf::agent {

namespace {

// By instance slot, 0..1.
std::vector<double> ring_shares(const maps::Tables &tables) {
  std::vector<double> shares(tables.instances().size(), 0);
  const auto lines = tables.rings();
  for (const auto &service : tables.services()) {
    if (service.cs_id == 0) continue;
    for (uint32_t i = 0; i < service.ring_slots; i++) {
      const std::size_t line = service.ring_first + i / RING_LINE_SLOTS;
      if (line >= lines.size()) break;
      if (const uint16_t slot = lines[line].slot[i % RING_LINE_SLOTS]; slot < shares.size())
        shares[slot] += 1.0 / service.ring_slots;
    }
  }
  return shares;
}

}  // namespace

std::vector<SelectorOptions::Programmed> instances_in_force(const maps::Tables &tables,
                                                            const std::vector<Config::Forwarder> &forwarders) {
  std::map<std::string, std::string> names;  // by tunnel address
  for (const auto &forwarder : forwarders) names[forwarder.address] = forwarder.name;
  std::vector<SelectorOptions::Programmed> all;
  const auto instances = tables.instances();
  const auto shares = ring_shares(tables);
  for (std::size_t slot = 0; slot < instances.size(); slot++) {
    const auto &instance = instances[slot];
    if (instance.state != maps::INSTANCE_ACTIVE && instance.state != maps::INSTANCE_DRAINING) continue;
    if (instance.path >= tables.paths().size()) continue;
    const auto egress = names.find(maps::format_address(tables.paths()[instance.path].egress));
    if (egress != names.end()) all.push_back({{instance.cs_id, instance.csci_id}, egress->second, shares[slot]});
  }
  return all;
}

}  // namespace catsbpf::agent
