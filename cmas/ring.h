// SPDX-License-Identifier: Apache-2.0
// A service's ring: `slots` entries, each naming a member. A pure function of (members, quantised
// weights), so that all ingresses and all restarts agree. Each slot has a fixed, hash-ordered
// preference list of members; weights fill by bounded load, so that a change of weights moves at
// most 1.1 x the least possible number of slots.
#pragma once

#include <cstdint>
#include <vector>

namespace catsbpf::cmas {

struct RingMember {
  uint32_t csci_id = 0;
  double weight = 0;  // any scale; <= 0: not in the ring
  bool operator==(const RingMember &) const = default;
};

struct Ring {
  std::vector<RingMember> members;  // in order of csci_id, weights quantised: share of `slots`
  std::vector<uint16_t> slots;      // index into members; empty when no member has weight
  std::vector<uint32_t> counts;     // slots per member
};

// Smallest prime class (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537) >= 100 x members.
uint32_t ring_size(std::size_t members);

// Whole slot counts per member for these weights (largest remainder), a member with weight > 0 gets >= 1.
std::vector<uint32_t> quantise(const std::vector<RingMember> &members, uint32_t slots);

// Builds the ring. `members` in any order; duplicates of a csci_id are an error of the caller.
Ring build_ring(std::vector<RingMember> members, uint32_t slots);

}  // namespace catsbpf::cmas
