// SPDX-License-Identifier: Apache-2.0
// Sessions: granted requests, each pinning the new flows of one client and service to an instance slot
// until its lease ends. The map is the truth; this remembers which reservation owns which key.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <unordered_map>

#include "agent/dataplane/dataplane.h"
#include "agent/programmer/slots.h"
#include "agent/programmer/wanted.h"
#include "util/result.h"

namespace catsbpf::agent {

class SessionTable {
 public:
  explicit SessionTable(Dataplane &dataplane) : dataplane_(dataplane) {}

  // Adopts what is programmed.
  Result<> open();
  // A later reservation of the same client and service takes the key over. On failure nothing changes.
  Result<> put(const WantedSession &session, uint16_t slot, uint64_t expires);
  void remove(uint64_t reservation);
  // Removes all but these.
  void keep(const std::set<uint64_t> &reservations);
  // Removes what has expired, and sessions on these slots.
  void expire(uint64_t now);
  void remove_on(const std::vector<uint16_t> &slots);
  void hold(SlotSet &slots) const;

 private:
  struct Owned {
    maps::session_key key{};
    uint64_t expires = 0;
    uint16_t slot = 0;
  };
  void remove_if(const std::function<bool(uint64_t, const Owned &)> &condition);

  Dataplane &dataplane_;
  std::unordered_map<uint64_t, Owned> sessions_;  // by reservation
};

}  // namespace catsbpf::agent
