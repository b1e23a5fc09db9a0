// SPDX-License-Identifier: Apache-2.0
// Instance slots: which instance (CS-ID, CSCI-ID) a slot means. A slot means one instance for ever: a
// slot that is given up is retired, and is free again only after a full scan of the flow table, begun
// after a grace period, found no holder.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "maps/contract.h"
#include "util/result.h"

namespace catsbpf::agent {

using SlotSet = std::bitset<MAX_INSTANCES>;

// Slots that any entry of the flow table holds. Safe beside packets and from any thread.
std::unique_ptr<SlotSet> slots_in_use(std::span<const maps::flow_line> flows);

class Slots {
 public:
  // Adopts what is programmed.
  explicit Slots(std::span<maps::instance> instances);

  // 0: none, or retired.
  uint16_t find(uint32_t cs_id, uint32_t csci_id) const;
  // The slot of the instance (a retired one comes back to life), or a free one; 0: all are taken. Only
  // bookkeeping: the caller writes the entry by write().
  uint16_t take(uint32_t cs_id, uint32_t csci_id);
  // Gives back a slot that take() gave and nobody wrote.
  void give_back(uint16_t slot);
  // Completes the entry, then makes it valid; of a valid entry path, service and state are stores of their own.
  void write(uint16_t slot, const maps::instance &entry);
  void set_state(uint16_t slot, uint8_t state);

  // Wanted by a service: retire() leaves it alone.
  void set_wanted(uint16_t slot, bool wanted) { wanted_[slot] = wanted; }
  bool wanted(uint16_t slot) const { return wanted_[slot]; }
  // Retires all slots that are in use and not wanted; returns them.
  std::vector<uint16_t> retire_unwanted();

  struct Retired {
    uint16_t slot;
    uint64_t life;  // guards against a slot that came back and was retired anew meanwhile
  };
  std::vector<Retired> retired() const;
  // Frees those that nothing holds; returns the freed ones.
  std::vector<uint16_t> reclaim(const std::vector<Retired> &candidates, const SlotSet &held);

  // All slots that mean an instance, retired ones too.
  std::vector<uint16_t> used() const;
  maps::instance &entry(uint16_t slot) { return instances_[slot]; }

 private:
  static uint64_t key(uint32_t cs_id, uint32_t csci_id) { return static_cast<uint64_t>(cs_id) << 32 | csci_id; }

  std::span<maps::instance> instances_;
  std::unordered_map<uint64_t, uint16_t> slots_;    // (cs_id, csci_id) -> slot, retired ones too
  std::unordered_map<uint16_t, uint64_t> retired_;  // slot -> life
  SlotSet taken_, wanted_;
  uint32_t cursor_ = 1;
  uint64_t lives_ = 0;
};

}  // namespace catsbpf::agent
