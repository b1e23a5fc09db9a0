// SPDX-License-Identifier: Apache-2.0
// What the view in force says: services, instances, paths, rings.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>

#include "cli/from_maps.h"

namespace catsbpf::cli {

namespace {

using maps::Tables;

const char *state_name(const maps::instance &instance) {
  switch (instance.state) {
    case maps::INSTANCE_ACTIVE: return "active";
    case maps::INSTANCE_DRAINING: return "draining";
    case maps::INSTANCE_DEAD: return "dead";
    case maps::INSTANCE_RETIRED: return "retired";
    default: return "free";
  }
}

const char *state_name(const maps::path &path) {
  switch (path.state) {
    case maps::PATH_RESOLVED: return "resolved";
    case maps::PATH_UNRESOLVED: return "unresolved";
    case maps::PATH_DEAD: return "dead";
    default: return "free";
  }
}

std::string locator_text(const maps::locator &locator) {
  std::string text = format_prefix(locator.prefix, locator.length);
  if (locator.protocol == IPPROTO_TCP)
    text += " tcp";
  else if (locator.protocol == IPPROTO_UDP)
    text += " udp";
  else if (locator.protocol != 0)
    text += " protocol " + std::to_string(locator.protocol);
  const bool any = (locator.port_min == 0 && locator.port_max == 65535) || (!locator.port_min && !locator.port_max);
  if (!any) text += " " + std::to_string(locator.port_min);
  if (!any && locator.port_max != locator.port_min) text += "-" + std::to_string(locator.port_max);
  return text;
}

std::string mac_text(const uint8_t *mac) {
  std::array<char, 18> text;
  std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                mac[5]);
  return text.data();
}

// Services and instances stand in the maps where there was room; people read them in the agent's order.
template <class Row>
void sort_by_id(google::protobuf::RepeatedPtrField<Row> &rows, uint32_t (Row::*id)() const) {
  std::sort(rows.begin(), rows.end(), [&](const Row &a, const Row &b) { return (a.*id)() < (b.*id)(); });
}

void sort_by_ids(v1::InstanceList &list) {
  std::sort(list.mutable_instances()->begin(), list.mutable_instances()->end(), [](const auto &a, const auto &b) {
    return std::pair(a.cs_id(), a.csci_id()) < std::pair(b.cs_id(), b.csci_id());
  });
}

// What maps do not hold of any instance is below 0.
v1::InstanceStatus &add_instance(v1::InstanceList &list, uint32_t cs_id, uint32_t csci_id,
                                 const maps::counter &counter) {
  auto &row = *list.add_instances();
  row.set_cs_id(cs_id);
  row.set_csci_id(csci_id);
  for (auto set : {&v1::InstanceStatus::set_cost, &v1::InstanceStatus::set_computing_time_ms,
                   &v1::InstanceStatus::set_network_delay_ms})
    (row.*set)(-1);
  for (auto set : {&v1::InstanceStatus::set_gas, &v1::InstanceStatus::set_offered, &v1::InstanceStatus::set_in_use})
    (row.*set)(-1);
  row.set_packets(static_cast<int64_t>(counter.packets));
  row.set_bytes(static_cast<int64_t>(counter.bytes));
  return row;
}

// An egress' instances are those it delivers to.
Result<v1::InstanceList> read_deliveries(const Tables &tables) {
  v1::InstanceList list;
  const auto deliveries = tables.deliveries();
  for (uint32_t i = 0; i < deliveries.size(); ++i) {
    const auto &delivery = deliveries[i];
    if (delivery.state == maps::DELIVERY_FREE) continue;
    const auto counter = tables.delivery_counter(i);
    if (!counter) return counter.error();
    auto &row = add_instance(list, delivery.cs_id, delivery.csci_id, *counter);
    row.set_share(-1);
    row.set_state(delivery.state == maps::DELIVERY_RESOLVED ? "delivered" : "unresolved");
  }
  sort_by_ids(list);
  return list;
}

}  // namespace

Result<v1::ServiceStatusList> read_services(const Tables &tables) {
  v1::ServiceStatusList list;
  const bool steers = is_ingress(tables);
  std::map<uint32_t, v1::ServiceStatus *> by_index;
  const auto services = tables.services();
  for (uint32_t i = 0; i < services.size(); ++i) {
    if (services[i].cs_id == 0) continue;
    auto &row = *list.add_services();
    by_index[i] = &row;
    row.set_cs_id(services[i].cs_id);
    row.set_ring_slots(services[i].ring_slots);
    row.set_free_gas(-1);
    row.set_eligible(steers ? static_cast<int32_t>(ring_shares(tables, services[i]).size()) : -1);
    row.set_timeout_s(static_cast<uint32_t>(std::max(0.0, jiffies_to_seconds(tables, services[i].timeout))));
  }
  std::map<uint32_t, std::set<std::string>> locators;
  for (const auto &locator : tables.locators())
    if (locator.kind == maps::LOCATOR_SERVICE && by_index.contains(locator.target))
      locators[locator.target].insert(locator_text(locator));
  for (const auto &[index, texts] : locators)
    for (const auto &text : texts) by_index[index]->add_locators(text);
  for (const auto &instance : tables.instances())
    if (const auto found = by_index.find(instance.service); in_use(instance) && found != by_index.end())
      found->second->set_instances(found->second->instances() + 1);
  if (!steers)
    for (auto &row : *list.mutable_services())
      row.set_instances(static_cast<uint32_t>(std::ranges::count_if(tables.deliveries(), [&](const auto &delivery) {
        return delivery.state != maps::DELIVERY_FREE && delivery.cs_id == row.cs_id();
      })));
  sort_by_id(*list.mutable_services(), &v1::ServiceStatus::cs_id);
  return list;
}

Result<v1::InstanceList> read_instances(const Tables &tables) {
  if (!is_ingress(tables)) return read_deliveries(tables);
  v1::InstanceList list;
  const auto services = tables.services();
  std::map<uint32_t, std::map<uint16_t, uint32_t>> shares;  // by index of the service
  const auto instances = tables.instances();
  for (uint32_t slot = 1; slot < instances.size(); ++slot) {
    const auto &instance = instances[slot];
    if (!in_use(instance)) continue;
    const auto counter = tables.instance_counter(slot);
    if (!counter) return counter.error();
    auto &row = add_instance(list, instance.cs_id, instance.csci_id, *counter);
    if (instance.path < tables.paths().size())
      row.set_egress(maps::format_address(tables.paths()[instance.path].egress));
    row.set_state(state_name(instance));
    row.set_slot(slot);
    if (instance.service >= services.size()) continue;
    const auto &service = services[instance.service];
    if (!shares.contains(instance.service)) shares[instance.service] = ring_shares(tables, service);
    if (service.ring_slots > 0)
      row.set_share(static_cast<double>(shares[instance.service][static_cast<uint16_t>(slot)]) / service.ring_slots);
  }
  sort_by_ids(list);
  return list;
}

Result<v1::PathList> read_paths(const Tables &tables) {
  v1::PathList list;
  for (const auto &path : tables.paths()) {
    if (path.state == maps::PATH_FREE) continue;
    auto &row = *list.add_paths();
    row.set_egress_address(maps::format_address(path.egress));
    row.set_encapsulation("geneve");
    if (path.ifindex != 0) row.set_interface(interface_name(path.ifindex));
    row.set_state(state_name(path));
    row.set_mtu(path.mtu);
    for (auto set :
         {&v1::PathStatus::set_delay_ms, &v1::PathStatus::set_jitter_ms, &v1::PathStatus::set_loss,
          &v1::PathStatus::set_measured_ago_s, &v1::PathStatus::set_transmit_mbps, &v1::PathStatus::set_speed_mbps})
      (row.*set)(-1);
    if (path.next_hop4 != 0) {
      char text[INET_ADDRSTRLEN];
      row.set_next_hop(inet_ntop(AF_INET, &path.next_hop4, text, sizeof text));
    }
    if (path.state == maps::PATH_RESOLVED) row.set_mac(mac_text(path.header));
  }
  return list;
}

Result<v1::RingList> read_rings(const Tables &tables) {
  if (!is_ingress(tables))
    return Error{"by its maps this node is no ingress: it steers nothing",
                 "ask on an ingress; catsbpf instances and catsbpf stats show what is delivered here"};
  v1::RingList list;
  list.set_view_epoch(tables.view_header().epoch);
  for (const auto &service : tables.services()) {
    if (service.cs_id == 0) continue;
    auto &ring = *list.add_rings();
    ring.set_cs_id(service.cs_id);
    ring.set_slots(service.ring_slots);
    for (const auto &[slot, count] : ring_shares(tables, service)) {
      auto &member = *ring.add_members();
      if (slot < tables.instances().size()) member.set_csci_id(tables.instances()[slot].csci_id);
      member.set_weight(-1);
      member.set_slots(count);
      member.set_share(static_cast<double>(count) / service.ring_slots);
    }
    sort_by_id(*ring.mutable_members(), &v1::RingMember::csci_id);
  }
  sort_by_id(*list.mutable_rings(), &v1::Ring::cs_id);
  return list;
}

}  // namespace catsbpf::cli
