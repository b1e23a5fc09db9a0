// SPDX-License-Identifier: Apache-2.0
// In: members and weights. Out: the ring's size, each member's share, and the ring. Only +, x, / and comparison on
// doubles, so that all machines compute the same ring.
#include "cmas/ring.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <queue>

#include "cmas/ring_matching.h"

namespace catsbpf::cmas {

namespace {

constexpr std::array<uint32_t, 9> kSizes = {251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537};
constexpr uint32_t kSlotsPerMember = 100;

// 8 bits of mantissa: a weight that did not really change does not change at all.
double quantised(double weight) {
  int exponent = 0;
  const double fraction = std::frexp(weight, &exponent);
  return std::ldexp(std::round(fraction * 256) / 256, exponent);
}

bool has_weight(const RingMember &member) { return std::isfinite(member.weight) && member.weight > 0; }

}  // namespace

uint32_t ring_size(std::size_t members) {
  for (const uint32_t size : kSizes)
    if (size >= kSlotsPerMember * members) return size;
  return kSizes.back();
}

std::vector<uint32_t> quantise(const std::vector<RingMember> &members, uint32_t slots) {
  std::vector<uint32_t> counts(members.size(), 0);
  double most = 0, sum = 0;
  for (const auto &member : members)
    if (has_weight(member)) most = std::max(most, member.weight);
  for (const auto &member : members)
    if (has_weight(member)) sum += member.weight / most;  // by the largest, so that no sum overflows
  if (most == 0) return counts;

  std::vector<std::pair<double, std::size_t>> remainders;  // -remainder, index: largest first, then order
  uint32_t given = 0;
  for (std::size_t m = 0; m < members.size(); ++m) {
    if (!has_weight(members[m])) continue;
    const double share = members[m].weight / most / sum * slots;
    counts[m] = static_cast<uint32_t>(share);
    given += counts[m];
    remainders.emplace_back(counts[m] - share, m);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t r = 0; given < slots; ++r, ++given) ++counts[remainders[r % remainders.size()].second];
  while (given > slots) --*std::max_element(counts.begin(), counts.end()), --given;
  if (remainders.size() > slots) return counts;
  std::priority_queue<std::pair<uint32_t, std::size_t>> richest;  // slots, ~index: the first of those with most
  for (std::size_t m = 0; m < counts.size(); ++m)
    if (counts[m] > 1) richest.emplace(counts[m], ~m);
  for (const auto &[remainder, m] : remainders) {
    if (counts[m] > 0) continue;
    const std::size_t giver = ~richest.top().second;
    richest.pop();
    if (--counts[giver] > 1) richest.emplace(counts[giver], ~giver);
    counts[m] = 1;
  }
  return counts;
}

Ring build_ring(std::vector<RingMember> members, uint32_t slots) {
  Ring ring;
  std::erase_if(members, [](const RingMember &member) { return !has_weight(member); });
  std::sort(members.begin(), members.end(), [](const auto &a, const auto &b) { return a.csci_id < b.csci_id; });
  double most = 0;
  for (auto &member : members) {
    member.weight = quantised(member.weight);
    most = std::max(most, member.weight);
  }
  ring.members = members;
  ring.counts.resize(members.size());
  if (members.empty() || slots == 0) return ring;
  // Relative to the largest, and no less than a share of nothing: draw / weight stays finite.
  int exponent = 0;
  (void)std::frexp(most, &exponent);
  for (auto &member : members) member.weight = std::max(std::ldexp(member.weight, -exponent), 1e-100);
  ring.slots = match(members, quantise(members, slots), slots);
  for (const uint16_t holder : ring.slots) ++ring.counts[holder];
  return ring;
}

}  // namespace catsbpf::cmas
