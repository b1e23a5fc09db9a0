// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/slots.h"

namespace catsbpf::agent {

namespace {

template <class T>
void store(T &target, T value) {
  if (target != value) __atomic_store_n(&target, value, __ATOMIC_RELEASE);
}

}  // namespace

std::unique_ptr<SlotSet> slots_in_use(std::span<const maps::flow_line> flows) {
  auto held = std::make_unique<SlotSet>();
  for (const maps::flow_line &line : flows)
    for (const maps::flow_entry &entry : line.entry)
      if (const uint64_t word = __atomic_load_n(&entry.word, __ATOMIC_RELAXED)) held->set(word & FLOW_SLOT_MASK);
  return held;
}

Slots::Slots(std::span<maps::instance> instances) : instances_(instances) {
  taken_.set(SLOT_PLAIN);
  for (uint32_t slot = 1; slot < instances_.size(); ++slot) {
    const maps::instance &entry = instances_[slot];
    if (entry.state == maps::INSTANCE_FREE) continue;
    taken_.set(slot);
    slots_[key(entry.cs_id, entry.csci_id)] = static_cast<uint16_t>(slot);
    if (entry.state == maps::INSTANCE_RETIRED) retired_[static_cast<uint16_t>(slot)] = ++lives_;
  }
}

uint16_t Slots::find(uint32_t cs_id, uint32_t csci_id) const {
  auto it = slots_.find(key(cs_id, csci_id));
  return it == slots_.end() || retired_.contains(it->second) ? 0 : it->second;
}

uint16_t Slots::take(uint32_t cs_id, uint32_t csci_id) {
  if (auto it = slots_.find(key(cs_id, csci_id)); it != slots_.end()) return it->second;
  for (uint32_t tried = 1; tried < MAX_INSTANCES; ++tried) {
    const auto slot = static_cast<uint16_t>(cursor_);
    cursor_ = cursor_ + 1 < MAX_INSTANCES ? cursor_ + 1 : 1;
    if (taken_[slot]) continue;
    taken_.set(slot);
    slots_[key(cs_id, csci_id)] = slot;
    instances_[slot].cs_id = cs_id;
    instances_[slot].csci_id = csci_id;
    return slot;
  }
  return 0;
}

void Slots::give_back(uint16_t slot) {
  const maps::instance &entry = instances_[slot];
  if (entry.state != maps::INSTANCE_FREE) return;  // was there before
  slots_.erase(key(entry.cs_id, entry.csci_id));
  taken_.reset(slot);
}

void Slots::write(uint16_t slot, const maps::instance &entry) {
  maps::instance &target = instances_[slot];
  if (target.state == maps::INSTANCE_FREE) {
    maps::instance fresh = entry;
    fresh.state = maps::INSTANCE_FREE;
    target = fresh;
  } else {
    store(target.path, entry.path);
    store(target.service, entry.service);
  }
  set_state(slot, entry.state);
}

void Slots::set_state(uint16_t slot, uint8_t state) {
  store(instances_[slot].state, state);
  if (state == maps::INSTANCE_RETIRED)
    retired_.emplace(slot, ++lives_);
  else
    retired_.erase(slot);
}

std::vector<uint16_t> Slots::retire_unwanted() {
  std::vector<uint16_t> gone;
  for (const auto &[key, slot] : slots_) {
    const uint8_t state = instances_[slot].state;
    if (!wanted_[slot] && state != maps::INSTANCE_FREE && state != maps::INSTANCE_RETIRED) gone.push_back(slot);
  }
  for (uint16_t slot : gone) set_state(slot, maps::INSTANCE_RETIRED);
  return gone;
}

std::vector<Slots::Retired> Slots::retired() const {
  std::vector<Retired> all;
  for (const auto &[slot, life] : retired_) all.push_back({slot, life});
  return all;
}

std::vector<uint16_t> Slots::reclaim(const std::vector<Retired> &candidates, const SlotSet &held) {
  std::vector<uint16_t> freed;
  for (const Retired &candidate : candidates) {
    auto it = retired_.find(candidate.slot);
    if (it == retired_.end() || it->second != candidate.life || held[candidate.slot]) continue;
    maps::instance &entry = instances_[candidate.slot];
    slots_.erase(key(entry.cs_id, entry.csci_id));
    store<uint8_t>(entry.state, maps::INSTANCE_FREE);
    taken_.reset(candidate.slot);
    retired_.erase(it);
    freed.push_back(candidate.slot);
  }
  return freed;
}

std::vector<uint16_t> Slots::used() const {
  std::vector<uint16_t> all;
  for (const auto &[key, slot] : slots_) all.push_back(slot);
  return all;
}

}  // namespace catsbpf::agent
