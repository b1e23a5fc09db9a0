// SPDX-License-Identifier: Apache-2.0
// Keeps the ring of one service and its hysteresis (R127).
#pragma once

#include <memory>

#include "cmas/ring.h"

namespace catsbpf::cmas {

// A new weighing changes the ring only where the set of members changes or a member's share moves by
// more than `threshold` of itself.
class RingKeeper {
 public:
  explicit RingKeeper(double threshold = 0.1) : threshold_(threshold) {}

  // True when the ring changed. `candidates`: all instances of the service, also those that take no new
  // flows now; the ring is sized for them, so that GAS that goes and comes does not change its size (which
  // would move nearly all slots).
  bool update(const std::vector<RingMember> &members, std::size_t candidates = 0);
  const Ring &ring() const { return *ring_; }
  // The same, for those that keep it longer than the next update: one copy, however many hold it.
  const std::shared_ptr<const Ring> &shared() const { return ring_; }

 private:
  bool moved(const std::vector<RingMember> &members) const;

  double threshold_;
  std::shared_ptr<const Ring> ring_ = std::make_shared<const Ring>();  // never null
  std::vector<RingMember> weighed_;                                    // that ring_ was built from
};

}  // namespace catsbpf::cmas
