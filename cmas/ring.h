// SPDX-License-Identifier: Apache-2.0
// A service's ring: `slots` entries, each naming a member. A pure function of (members, quantised
// weights), so that all ingresses and all restarts agree.
//
// Way: each (slot, member) has a fixed draw, pseudo-random by CSCI-ID, and a slot's preference list are
// the members in order of draw / weight (weighted rendezvous). A member takes at most 1/8 more slots than
// its share; the slots it wants least go on to their next preference (bounded load). ring_matching.h does it at a
// cost of slots x ln(slots), however many members: no state is kept between two rings.
//
// What a change moves: where members' weights change by one factor and the others stay (one instance's GAS
// or cost, one egress' delay, members that come, members that go) slots move to the members that gain and
// from nowhere else but for the few at the bound: <= 1.1 x the least possible. Where some members come while
// others go, no function of the weights alone can do so: of {A,B}, {B,C}, {A,C} a slot can agree in one pair
// only, so that 4/3 of the least move on average. There this ring stays below 2 x, the best known bound.
#pragma once

#include <cstdint>
#include <vector>

namespace catsbpf::cmas {

struct RingMember {
  uint32_t csci_id = 0;
  double weight = 0;  // any scale; <= 0 or not finite: not in the ring
  bool operator==(const RingMember &) const = default;
};

struct Ring {
  std::vector<RingMember> members;  // in order of csci_id, weights quantised (8 bits of mantissa)
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
