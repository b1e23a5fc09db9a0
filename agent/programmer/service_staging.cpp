// SPDX-License-Identifier: Apache-2.0
// The staging half of the service table: what is wanted becomes records, rules, slots and rings of the next view.
#include <cstring>

#include "agent/programmer/service_table.h"
#include "agent/programmer/translate.h"
#include "util/log.h"

namespace catsbpf::agent {

// What a service is to become; nothing of it counts before commit().
struct ServiceTable::Staging {
  maps::service_record record{};
  LocatorRules rules;
  uint32_t handle = 0;
  std::vector<std::pair<uint16_t, maps::instance>> instances;
  std::vector<uint16_t> ring;
  Run run;
  bool new_run = false;
};

namespace {

// Both say the same of what a flow is.
bool same_flows(maps::service_record a, const maps::service_record &b) {
  a.ring_first = b.ring_first;
  a.ring_slots = b.ring_slots;
  a.timeout = b.timeout;
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace

bool ServiceTable::stage(bool retry) {
  std::set<uint32_t> todo;
  for (uint32_t cs_id : std::set<uint32_t>(pending_)) {
    Service &service = services_[cs_id];
    if (service.gone)
      stage_removal(cs_id, service);
    else if (retry || service.error.empty())
      todo.insert(cs_id);
  }
  // A second time where something failed: what it lacked may have been given up by a later one.
  for (int pass = 0; pass < 2 && !todo.empty(); ++pass)
    for (uint32_t cs_id : std::set<uint32_t>(todo)) {
      Service &service = services_[cs_id];
      auto staged = stage_service(service);
      service.error = staged ? "" : staged.error().text();
      if (!staged) continue;
      todo.erase(cs_id);
      pending_.erase(cs_id);
    }
  return todo.empty();
}

Result<> ServiceTable::take_slots(const WantedService &wanted, Staging &staging) {
  std::unordered_map<uint32_t, uint16_t> slot_of;
  for (const WantedInstance &instance : wanted.instances) {
    const uint16_t path = paths_.index(instance.egress);
    if (path == 0)
      return Error{"egress '" + instance.egress + "' of CSCI-ID " + std::to_string(instance.csci_id) + " of service " +
                       describe(wanted) + " is no configured forwarder",
                   "add it to `forwarders` of this agent's configuration"};
    const uint16_t slot = slots_.take(wanted.cs_id, instance.csci_id);
    if (slot == 0)
      return Error{"no instance slot is free for CSCI-ID " + std::to_string(instance.csci_id) + " of service " +
                       describe(wanted),
                   "retired slots come back when no flow holds them any more"};
    maps::instance entry = instance_entry(wanted.cs_id, instance);
    entry.path = path;
    entry.service = static_cast<uint16_t>(staging.handle);
    staging.instances.push_back({slot, entry});
    slot_of[instance.csci_id] = slot;
  }
  if (!wanted.ring) return done();
  std::vector<uint16_t> members;
  for (const cmas::RingMember &member : wanted.ring->members) members.push_back(slot_of[member.csci_id]);
  staging.ring.reserve(wanted.ring->slots.size());
  for (uint16_t member : wanted.ring->slots) {
    if (member >= members.size() || members[member] == 0)
      return Error{"the ring of service " + describe(wanted) + " names a CSCI-ID that is none of its instances"};
    staging.ring.push_back(members[member]);
  }
  return done();
}

bool ServiceTable::ring_is(Run run, uint32_t ring_slots, const std::vector<uint16_t> &slots) const {
  if (slots.size() != ring_slots) return false;
  const auto lines = dataplane_.rings();
  for (size_t i = 0; i < slots.size(); ++i)
    if (lines[run.first + i / RING_LINE_SLOTS].slot[i % RING_LINE_SLOTS] != slots[i]) return false;
  return true;
}

Result<> ServiceTable::take_run(Service &service, const WantedService &wanted, Staging &staging) {
  if (service.staged && ring_is(service.run, service.record.ring_slots, staging.ring)) {
    staging.run = service.run;
    return done();
  }
  staging.new_run = true;
  const uint32_t lines = ring_lines(staging.ring.size());
  if (lines == 0) return done();
  if (service.spare.lines == lines) {
    staging.run = service.spare;
    return done();
  }
  auto run = rings_.allocate(lines);
  if (!run) {
    free_spares();
    run = rings_.allocate(lines);
  }
  if (!run)
    return Error{"no room for the ring of service " + describe(wanted) + ": " + std::to_string(lines) +
                     " lines wanted, " + std::to_string(rings_.free_lines()) + " of " +
                     std::to_string(dataplane_.rings().size()) + " free; the old ring stays",
                 "a pool of another size needs new pins (catsbpfd --uninstall)"};
  staging.run = *run;
  return done();
}

void ServiceTable::free_spares() {
  for (auto &[cs_id, service] : services_) rings_.release(std::exchange(service.spare, {}));
}

void ServiceTable::undo(Service &service, Staging &staging) {
  for (const auto &[slot, entry] : staging.instances) slots_.give_back(slot);
  if (staging.new_run && staging.run.lines > 0 && !(staging.run == service.spare)) rings_.release(staging.run);
  if (!service.staged) left_handles_[service.wanted->cs_id] = staging.handle;  // packets may see it still
}

// Flows under a mask have the handle in their hash: a service that is removed and put again gets the one it had, so
// that they find their entries. It follows from the CS-ID, so this holds across restarts, too, as long as no other
// service with the same wish came in between.
std::optional<uint32_t> ServiceTable::take_handle(uint32_t cs_id) {
  if (const auto left = left_handles_.extract(cs_id)) return left.mapped();
  const auto wish = static_cast<uint32_t>(static_cast<uint64_t>(cs_id * 0x9e3779b1u) * MAX_SERVICES >> 32);
  return handles_.allocate_from(wish);
}

Result<> ServiceTable::stage_service(Service &service) {
  const WantedService &wanted = *service.wanted;
  Staging staging;
  auto record = service_record(wanted, dataplane_.control().hz);
  if (!record) return record.error();
  staging.record = *record;
  if (service.staged) {
    staging.handle = service.handle;
  } else {
    const auto handle = take_handle(wanted.cs_id);
    if (!handle)
      return Error{"all " + std::to_string(MAX_SERVICES) + " service records are in use, service " + service.name +
                   " has none"};
    staging.handle = *handle;
  }

  auto rules = locator_rules(wanted, staging.handle);
  Result<> prepared = rules ? done() : Result<>(rules.error());
  if (prepared) prepared = take_slots(wanted, staging);
  if (prepared) prepared = take_run(service, wanted, staging);
  if (prepared) {
    staging.rules = std::move(*rules);
    if (!service.staged || !same_rules(staging.rules, service.rules)) {
      prepared = locators_.claim(wanted.cs_id, service.name, staging.rules);
      if (prepared) {
        ++locator_version_;
        changed_ = true;
      }
    }
  }
  if (!prepared) {
    undo(service, staging);
    return prepared;
  }
  commit(service, staging);
  return done();
}

void ServiceTable::write_ring(Run run, const std::vector<uint16_t> &slots) {
  const auto lines = dataplane_.rings();
  for (size_t i = 0; i < slots.size(); ++i) {
    uint16_t &slot = lines[run.first + i / RING_LINE_SLOTS].slot[i % RING_LINE_SLOTS];
    if (slot == slots[i]) continue;
    slot = slots[i];
    ++totals_.slots_written;
  }
}

void ServiceTable::commit(Service &service, Staging &staging) {
  const uint32_t cs_id = service.wanted->cs_id;
  std::vector<uint16_t> before = std::exchange(service.slots, {});
  for (uint16_t slot : before) slots_.set_wanted(slot, false);
  for (const auto &[slot, entry] : staging.instances) {
    slots_.write(slot, entry);
    slots_.set_wanted(slot, true);
    service.slots.push_back(slot);
  }
  for (uint16_t slot : before) changed_ = changed_ || !slots_.wanted(slot);

  if (staging.new_run) {
    write_ring(staging.run, staging.ring);
    if (staging.run.lines > 0 && staging.run == service.spare) service.spare = {};
    rings_.release(std::exchange(service.spare, {}));
    if (service.run.lines > 0) left_runs_.push_back({cs_id, service.run});
    service.run = staging.run;
  }
  if (service.staged && !staging.instances.empty() && !same_flows(staging.record, service.record))
    log::warn("affinity changed service={} cs_id={}: its established flows are placed anew", service.wanted->service_id,
              cs_id);
  staging.record.ring_first = service.run.first;
  staging.record.ring_slots = static_cast<uint32_t>(staging.ring.size());
  if (!service.staged || std::memcmp(&staging.record, &service.record, sizeof staging.record) != 0) {
    records_[staging.handle] = staging.record;
    for (auto &stale : stale_) stale.insert(staging.handle);
    changed_ = true;
  }
  service.staged = true;
  service.handle = staging.handle;
  service.record = staging.record;
  service.rules = std::move(staging.rules);
  service.wanted.reset();
}

void ServiceTable::stage_removal(uint32_t cs_id, Service &service) {
  if (service.staged) {
    for (uint16_t slot : service.slots) slots_.set_wanted(slot, false);
    locators_.release(cs_id);
    ++locator_version_;
    records_.erase(service.handle);
    for (auto &stale : stale_) stale.insert(service.handle);
    rings_.release(service.spare);
    if (service.run.lines > 0) left_runs_.push_back({cs_id, service.run});
    left_handles_[cs_id] = service.handle;
    changed_ = true;
  }
  services_.erase(cs_id);
  pending_.erase(cs_id);
}

}  // namespace catsbpf::agent
