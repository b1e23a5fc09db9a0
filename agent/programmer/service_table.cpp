// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/service_table.h"

#include <cstring>

#include "agent/programmer/translate.h"
#include "util/log.h"

namespace catsbpf::agent {

ServiceTable::ServiceTable(Dataplane &dataplane, Slots &slots, PathTable &paths, Programmer::Totals &totals)
    : dataplane_(dataplane),
      slots_(slots),
      paths_(paths),
      totals_(totals),
      rings_(static_cast<uint32_t>(dataplane.rings().size())) {}

void ServiceTable::adopt(uint32_t handle, const maps::service_record &record, LocatorRules rules) {
  Service &service = services_[record.cs_id];
  service.name = "CS-ID " + std::to_string(record.cs_id);
  service.staged = true;
  service.handle = handle;
  service.record = record;
  service.rules = std::move(rules);
  service.run = {record.ring_first, ring_lines(record.ring_slots)};
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
  if (auto claimed = locators_.claim(LocatorIndex::kOwnerSelf, "", own_rules()); !claimed) return claimed;
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

LocatorRules ServiceTable::own_rules() const {
  const int side = dataplane_.control().view & 1;
  LocatorRules own;
  for (uint8_t kind : {maps::LOCATOR_TUNNEL, maps::LOCATOR_FORWARDER})
    for (const auto &[target, list] : LocatorIndex::read(dataplane_.locators(side), kind))
      own.insert(own.end(), list.begin(), list.end());
  return own;
}

Result<> ServiceTable::set_own_rules(const LocatorRules &rules) {
  if (same_rules(own_rules(), rules)) return done();
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

void ServiceTable::apply_states(uint32_t cs_id) {
  const Service &service = services_.at(cs_id);
  if (!service.wanted || !service.staged) return;
  for (const WantedInstance &instance : service.wanted->instances) {
    const uint16_t slot = slots_.find(cs_id, instance.csci_id);
    if (slot == 0 || !slots_.wanted(slot)) continue;
    maps::instance entry = slots_.entry(slot);
    entry.state = instance_state(instance.wish);
    if (const uint16_t path = paths_.index(instance.egress)) entry.path = path;
    slots_.write(slot, entry);
  }
}

void ServiceTable::apply_states() {
  for (uint32_t cs_id : pending_) apply_states(cs_id);
}

void ServiceTable::forget_unwanted() {
  std::vector<uint32_t> unwanted;
  for (const auto &[cs_id, service] : services_)
    if (!service.kept) unwanted.push_back(cs_id);
  for (uint32_t cs_id : unwanted) remove(cs_id);
}

Result<> ServiceTable::write_side(int side) {
  if (side_locators_[side] != locator_version_) {
    if (auto written = locators_.write(dataplane_.locators(side), dataplane_.view_header(side)); !written)
      return written;
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
      if (it != services_.end() && it->second.staged && it->second.spare.lines == 0 &&
          it->second.run.lines == run.lines)
        it->second.spare = run;
      else
        rings_.release(run);
    }
    for (const auto &[cs_id, handle] : handles) handles_.release(handle);
  };
}

std::vector<std::string> ServiceTable::errors() const {
  std::vector<std::string> errors;
  for (uint32_t cs_id : pending_)
    if (auto it = services_.find(cs_id); it != services_.end() && !it->second.error.empty())
      errors.push_back(it->second.error);
  return errors;
}

}  // namespace catsbpf::agent
