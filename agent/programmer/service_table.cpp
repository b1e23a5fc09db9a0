// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/service_table.h"

#include <algorithm>
#include <cstring>

#include "agent/programmer/translate.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

uint32_t lines_for(size_t slots) { return static_cast<uint32_t>((slots + RING_LINE_SLOTS - 1) / RING_LINE_SLOTS); }

bool same(const maps::service_record &a, const maps::service_record &b) { return std::memcmp(&a, &b, sizeof a) == 0; }

bool same(LocatorRules a, LocatorRules b) {
  const auto less = [](const maps::locator &x, const maps::locator &y) { return std::memcmp(&x, &y, sizeof x) < 0; };
  std::sort(a.begin(), a.end(), less);
  std::sort(b.begin(), b.end(), less);
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
}

}  // namespace

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

ServiceTable::ServiceTable(Dataplane &dataplane, Slots &slots, PathTable &paths, Programmer::Totals &totals)
    : dataplane_(dataplane), slots_(slots), paths_(paths), totals_(totals),
      rings_(static_cast<uint32_t>(dataplane.rings().size())) {}

void ServiceTable::adopt(uint32_t handle, const maps::service_record &record, LocatorRules rules) {
  Service &service = services_[record.cs_id];
  service.name = "CS-ID " + std::to_string(record.cs_id);
  service.staged = true;
  service.handle = handle;
  service.record = record;
  service.rules = std::move(rules);
  service.run = {record.ring_first, lines_for(record.ring_slots)};
  if (!rings_.reserve(service.run)) {
    log::error("pinned ring is out of range or shared: it will be made anew cs_id={} first={} slots={}", record.cs_id,
               record.ring_first, record.ring_slots);
    service.run = {};
    service.record.ring_first = service.record.ring_slots = 0;
  }
  handles_.reserve(handle);
  records_[handle] = service.record;
}

Result<> ServiceTable::open() {
  const int side = dataplane_.control().view & 1;
  auto rules = LocatorIndex::read(dataplane_.locators(side), maps::LOCATOR_SERVICE);
  const auto records = dataplane_.services(side);
  for (uint32_t handle = 0; handle < records.size(); ++handle) {
    if (records[handle].cs_id == 0) continue;
    if (services_.contains(records[handle].cs_id)) continue;  // cannot be: the first one counts
    adopt(handle, records[handle], std::move(rules[handle]));
  }
  LocatorRules own;
  for (uint8_t kind : {maps::LOCATOR_TUNNEL, maps::LOCATOR_FORWARDER})
    for (const auto &[target, list] : LocatorIndex::read(dataplane_.locators(side), kind))
      own.insert(own.end(), list.begin(), list.end());
  if (auto claimed = locators_.claim(LocatorIndex::kOwnerSelf, "", own); !claimed) return claimed;
  for (auto &[cs_id, service] : services_)
    if (auto claimed = locators_.claim(cs_id, service.name, service.rules); !claimed) return claimed;
  for (uint16_t slot : slots_.used()) {
    auto it = services_.find(slots_.entry(slot).cs_id);
    if (it == services_.end() || slots_.entry(slot).state == maps::INSTANCE_RETIRED) continue;
    it->second.slots.push_back(slot);
    slots_.set_wanted(slot, true);
  }
  return done();
}

Result<> ServiceTable::set_own_rules(const LocatorRules &rules) {
  const int side = dataplane_.control().view & 1;
  LocatorRules own;
  for (uint8_t kind : {maps::LOCATOR_TUNNEL, maps::LOCATOR_FORWARDER})
    for (const auto &[target, list] : LocatorIndex::read(dataplane_.locators(side), kind))
      own.insert(own.end(), list.begin(), list.end());
  if (same(own, rules)) return done();
  if (auto claimed = locators_.claim(LocatorIndex::kOwnerSelf, "", rules); !claimed) return claimed;
  ++locator_version_;
  changed_ = true;
  return done();
}

void ServiceTable::put(WantedService wanted) {
  const uint32_t cs_id = wanted.cs_id;
  Service &service = services_[cs_id];
  service.name = describe(wanted);
  service.kept = true;
  service.gone = false;
  service.error.clear();
  service.wanted = std::move(wanted);
  pending_.insert(cs_id);
}

void ServiceTable::remove(uint32_t cs_id) {
  auto it = services_.find(cs_id);
  if (it == services_.end()) return;
  it->second.gone = true;
  it->second.wanted.reset();
  pending_.insert(cs_id);
}

void ServiceTable::apply_states() {
  for (uint32_t cs_id : pending_) {
    const Service &service = services_[cs_id];
    if (!service.wanted || !service.staged) continue;
    for (const WantedInstance &instance : service.wanted->instances) {
      const uint16_t slot = slots_.find(cs_id, instance.csci_id);
      if (slot == 0 || !slots_.wanted(slot)) continue;
      maps::instance entry = slots_.entry(slot);
      entry.state = instance_state(instance.wish);
      if (const uint16_t path = paths_.index(instance.egress)) entry.path = path;
      slots_.write(slot, entry);
    }
  }
}

void ServiceTable::forget_unwanted() {
  std::vector<uint32_t> unwanted;
  for (const auto &[cs_id, service] : services_)
    if (!service.kept) unwanted.push_back(cs_id);
  for (uint32_t cs_id : unwanted) remove(cs_id);
}

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
      return Error{"no instance slot is free for CSCI-ID " + std::to_string(instance.csci_id) + " of service " + describe(wanted),
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
  const uint32_t lines = lines_for(staging.ring.size());
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
    return Error{"no room for the ring of service " + describe(wanted) + ": " + std::to_string(lines) + " lines wanted, " +
                     std::to_string(rings_.free_lines()) + " of " + std::to_string(dataplane_.rings().size()) +
                     " free; the old ring stays",
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
  if (!service.staged) handles_.release(staging.handle);
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
    const auto handle = handles_.allocate();
    if (!handle) return Error{"all " + std::to_string(MAX_SERVICES) + " service records are in use, service " + service.name + " has none"};
    staging.handle = *handle;
  }

  auto rules = locator_rules(wanted, staging.handle);
  Result<> prepared = rules ? done() : Result<>(rules.error());
  if (prepared) prepared = take_slots(wanted, staging);
  if (prepared) prepared = take_run(service, wanted, staging);
  if (prepared) {
    staging.rules = std::move(*rules);
    if (!service.staged || !same(staging.rules, service.rules)) {
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
  staging.record.ring_first = service.run.first;
  staging.record.ring_slots = static_cast<uint32_t>(staging.ring.size());
  if (!service.staged || !same(staging.record, service.record)) {
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
    left_handles_.push_back(service.handle);
    changed_ = true;
  }
  services_.erase(cs_id);
  pending_.erase(cs_id);
}

Result<> ServiceTable::write_side(int side) {
  if (side_locators_[side] != locator_version_) {
    if (auto written = locators_.write(dataplane_.locators(side), dataplane_.view_header(side)); !written) return written;
    side_locators_[side] = locator_version_;
  }
  const auto records = dataplane_.services(side);
  const auto write = [&](uint32_t handle) {
    const auto it = records_.find(handle);
    records[handle] = it == records_.end() ? maps::service_record{} : it->second;
    ++totals_.services_written;
  };
  if (stale_all_[side]) {
    std::memset(records.data(), 0, records.size_bytes());
    for (const auto &[handle, record] : records_) write(handle);
    stale_all_[side] = false;
  } else {
    for (uint32_t handle : stale_[side]) write(handle);
  }
  stale_[side].clear();
  return done();
}

std::function<void()> ServiceTable::leave() {
  changed_ = false;
  return [this, runs = std::exchange(left_runs_, {}), handles = std::exchange(left_handles_, {})] {
    for (const auto &[cs_id, run] : runs) {
      auto it = services_.find(cs_id);
      if (it != services_.end() && it->second.staged && it->second.spare.lines == 0 && it->second.run.lines == run.lines)
        it->second.spare = run;
      else
        rings_.release(run);
    }
    for (uint32_t handle : handles) handles_.release(handle);
  };
}

std::vector<std::string> ServiceTable::errors() const {
  std::vector<std::string> errors;
  for (uint32_t cs_id : pending_)
    if (auto it = services_.find(cs_id); it != services_.end() && !it->second.error.empty()) errors.push_back(it->second.error);
  return errors;
}

}  // namespace catsbpf::agent
