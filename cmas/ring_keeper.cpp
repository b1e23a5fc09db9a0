// SPDX-License-Identifier: Apache-2.0
#include "cmas/ring_keeper.h"

#include <algorithm>
#include <cmath>

namespace catsbpf::cmas {

namespace {

double largest(const std::vector<RingMember> &members) {
  double most = 0;
  for (const auto &member : members) most = std::max(most, member.weight);
  return most;
}

// Weights as shares of 1; by the largest first, so that no sum overflows.
std::vector<double> shares(const std::vector<RingMember> &members) {
  const double most = largest(members);
  std::vector<double> out;
  double sum = 0;
  for (const auto &member : members) sum += out.emplace_back(member.weight / most);
  for (double &share : out) share /= sum;
  return out;
}

bool same_ids(const std::vector<RingMember> &a, const std::vector<RingMember> &b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto &x, const auto &y) { return x.csci_id == y.csci_id; });
}

}  // namespace

bool RingKeeper::update(const std::vector<RingMember> &members, std::size_t candidates) {
  std::vector<RingMember> weighed;
  for (const auto &member : members)
    if (std::isfinite(member.weight) && member.weight > 0) weighed.push_back(member);
  std::sort(weighed.begin(), weighed.end(), [](const auto &a, const auto &b) { return a.csci_id < b.csci_id; });
  const uint32_t slots = weighed.empty() ? 0 : ring_size(std::max(weighed.size(), candidates));
  if (slots == ring_->slots.size() && same_ids(weighed, weighed_) && !moved(weighed)) return false;

  auto next = std::make_shared<const Ring>(build_ring(weighed, slots));
  const bool changed = next->slots != ring_->slots || !same_ids(next->members, ring_->members);
  ring_ = std::move(next);
  weighed_ = std::move(weighed);
  return changed;
}

bool RingKeeper::moved(const std::vector<RingMember> &members) const {
  const auto before = shares(weighed_), now = shares(members);
  for (std::size_t m = 0; m < now.size(); ++m)
    if (std::abs(now[m] - before[m]) > threshold_ * before[m]) return true;
  return false;
}

}  // namespace catsbpf::cmas
