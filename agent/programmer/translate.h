// SPDX-License-Identifier: Apache-2.0
// From the words of the control plane to those of the data plane: pure functions.
#pragma once

#include <optional>
#include <string>

#include "agent/netlink/next_hops.h"
#include "agent/programmer/locator_index.h"
#include "agent/programmer/wanted.h"
#include "maps/contract.h"
#include "util/result.h"

namespace catsbpf::agent {

// "AR1 (CS-ID 1)"
std::string describe(const WantedService &service);

// The rules of a service whose record has index `handle`.
Result<LocatorRules> locator_rules(const WantedService &service, uint32_t handle);
// A rule for exactly one address (tunnel addresses, forwarders).
maps::locator address_rule(const maps::address &address, uint8_t kind);

// Lines of the pool that a ring takes.
inline uint32_t ring_lines(size_t slots) {
  return static_cast<uint32_t>((slots + RING_LINE_SLOTS - 1) / RING_LINE_SLOTS);
}

// Affinity and identity; the ring is left empty.
Result<maps::service_record> service_record(const WantedService &service, uint32_t hz);

uint8_t instance_state(InstanceWish wish);
// Network byte order is in `option_ids`; path and service index are the caller's.
maps::instance instance_entry(uint32_t cs_id, const WantedInstance &instance);

// The path to `egress` over `hop`: outer header and all (contract.h says what is filled per packet).
maps::path path_entry(const maps::address &tunnel, const maps::address &egress, uint32_t vni, const NextHop &hop);

}  // namespace catsbpf::agent
