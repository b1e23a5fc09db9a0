// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "agent/api/views.h"

namespace catsbpf::agent {

namespace {

double ms(const std::optional<cmas::Micros> &time) { return time ? static_cast<double>(time->count()) / 1000.0 : -1; }

std::string locator_text(const v1::Locator &locator) {
  std::string text = locator.prefix();
  if (!locator.protocol().empty()) text += " " + locator.protocol();
  if (locator.port_min()) text += " " + std::to_string(locator.port_min());
  if (locator.port_max() > locator.port_min()) text += "-" + std::to_string(locator.port_max());
  return text;
}

std::string service_id_of(const Parts &parts, uint32_t cs_id) {
  const auto *service = parts.selector ? parts.selector->table().service(cs_id) : nullptr;
  return service ? service->service_id() : std::to_string(cs_id);
}

void add_counters(const Parts &parts, v1::InstanceStatus &out) {
  if (!parts.programmer) return;
  out.set_slot(parts.programmer->slot(out.cs_id(), out.csci_id()));
  if (!out.slot() || !parts.tables) return;
  const auto counter = parts.tables->instance_counter(out.slot());
  if (!counter) return;
  out.set_packets(static_cast<int64_t>(counter->packets));
  out.set_bytes(static_cast<int64_t>(counter->bytes));
}

v1::InstanceStatus instance_of(const Parts &parts, const cmas::Candidate &c) {
  v1::InstanceStatus out;
  out.set_service_id(service_id_of(parts, c.key.cs_id));
  out.set_cs_id(c.key.cs_id);
  out.set_csci_id(c.key.csci_id);
  // A removed row is shown for a while, so that people see where it went; it offers nothing.
  const bool dead = c.state == cmas::RowState::kDead;
  out.set_gas(dead ? 0 : c.gas);
  out.set_cost(c.cost);
  out.set_computing_time_ms(ms(c.computing_time));
  out.set_network_delay_ms(ms(c.network_delay));
  out.set_offered(dead ? 0 : c.offered);
  out.set_in_use(c.in_use);
  out.set_site(c.site);
  out.set_egress(c.egress);
  out.set_state(cmas::name(c.state));
  if (const auto *steering = parts.selector->steering(c.key.cs_id)) out.set_share(steering->share(c.key.csci_id));
  add_counters(parts, out);
  return out;
}

// A C-SMA that is no C-PS knows its own site's rows, and not what ingresses make of them.
v1::InstanceStatus instance_of(const Parts &parts, const cmas::SiteRow &site_row) {
  const cmas::Row row = parts.service_metrics->table().advertised(site_row);
  v1::InstanceStatus out;
  out.set_service_id(site_row.service_id.empty() ? std::to_string(row.key.cs_id) : site_row.service_id);
  out.set_cs_id(row.key.cs_id);
  out.set_csci_id(row.key.csci_id);
  out.set_gas(row.free());
  out.set_cost(row.cost);
  for (auto set : {&v1::InstanceStatus::set_computing_time_ms, &v1::InstanceStatus::set_network_delay_ms,
                   &v1::InstanceStatus::set_share})
    (out.*set)(-1);
  out.set_packets(-1);
  out.set_bytes(-1);
  out.set_offered(row.offered);
  out.set_in_use(row.in_use);
  out.set_site(parts.config->service_metric_agent->site);
  const auto &egresses = row.egresses.empty() ? parts.config->service_metric_agent->egresses : row.egresses;
  if (!egresses.empty()) out.set_egress(egresses.front());
  out.set_state(cmas::name(row.draining ? cmas::RowState::kDraining : cmas::RowState::kActive));
  return out;
}

}  // namespace

v1::ServiceStatusList services_view(const Parts &parts) {
  v1::ServiceStatusList list;
  for (const auto &[cs_id, service] : parts.selector->table().services()) {
    auto &out = *list.add_services();
    out.set_service_id(service.service_id());
    out.set_cs_id(cs_id);
    out.set_service_name(service.service_name());
    for (const auto &locator : service.locators()) out.add_locators(locator_text(locator));
    const auto *steering = parts.selector->steering(cs_id);
    for (const auto &candidate : parts.selector->table().candidates(cs_id)) {
      if (candidate.state == cmas::RowState::kDead) continue;
      out.set_instances(out.instances() + 1);
      if (candidate.state == cmas::RowState::kActive) out.set_free_gas(out.free_gas() + candidate.gas);
      if (steering && steering->in_ring(candidate.key.csci_id)) out.set_eligible(out.eligible() + 1);
    }
    if (steering && steering->ring()) out.set_ring_slots(static_cast<uint32_t>(steering->ring()->slots.size()));
    out.set_ring_policy(service.policy().ring().empty() ? "balanced" : service.policy().ring());
    out.set_request_policy(service.policy().request().empty() ? "closest-cost" : service.policy().request());
    out.set_timeout_s(service.affinity().timeout_s() ? service.affinity().timeout_s() : 300);
  }
  return list;
}

v1::InstanceList instances_view(const Parts &parts) {
  v1::InstanceList list;
  if (parts.selector)
    for (const auto &candidate : parts.selector->table().all()) *list.add_instances() = instance_of(parts, candidate);
  else if (parts.service_metrics)
    for (const auto &[key, row] : parts.service_metrics->table().rows())
      *list.add_instances() = instance_of(parts, row);
  return list;
}

v1::PathList paths_view(const Parts &parts) {
  v1::PathList list;
  const auto rates = parts.rates ? parts.rates->rates() : std::vector<InterfaceRate>{};
  for (const auto &path : parts.programmer->paths()) {
    auto &out = *list.add_paths();
    out.set_egress(path.egress);
    out.set_egress_address(path.address);
    out.set_encapsulation("geneve");
    out.set_interface(path.interface);
    out.set_next_hop(path.next_hop);
    out.set_mac(path.mac);
    out.set_state(path.state);
    out.set_mtu(path.mtu);
    for (auto set :
         {&v1::PathStatus::set_delay_ms, &v1::PathStatus::set_jitter_ms, &v1::PathStatus::set_loss,
          &v1::PathStatus::set_measured_ago_s, &v1::PathStatus::set_transmit_mbps, &v1::PathStatus::set_speed_mbps})
      (out.*set)(-1);
    for (const auto &rate : rates)
      if (rate.name == path.interface) {
        out.set_transmit_mbps(rate.transmit_mbps);
        out.set_speed_mbps(rate.speed_mbps);
      }
    if (!parts.selector) continue;
    out.set_draining(parts.selector->table().draining_egress(path.egress));
    out.set_silent(parts.selector->table().silent_egresses().contains(path.egress));
    const auto *metric = parts.selector->table().metric(path.egress);
    if (!metric) continue;
    out.set_delay_ms(ms(metric->delay));
    out.set_jitter_ms(ms(metric->jitter));
    out.set_loss(metric->loss);
    out.set_measured_ago_s(std::chrono::duration<double>(cmas::Clock::now() - metric->measured).count());
  }
  return list;
}

v1::DrainList drains_view(const Parts &parts) {
  v1::DrainList list = parts.selector->drains();
  for (const auto &[cs_id, service] : parts.selector->table().services()) {
    const auto candidates = parts.selector->table().candidates(cs_id);
    const auto is = [](cmas::RowState state) {
      return [state](const cmas::Candidate &candidate) { return candidate.state == state; };
    };
    if (std::ranges::any_of(candidates, is(cmas::RowState::kDraining)) &&
        std::ranges::none_of(candidates, is(cmas::RowState::kActive)))
      list.add_unserved(service.service_id());
  }
  return list;
}

v1::RingList rings_view(const Parts &parts) {
  v1::RingList list;
  if (parts.tables) list.set_view_epoch(parts.tables->view_header().epoch);
  for (const auto &[cs_id, service] : parts.selector->table().services()) {
    const auto *steering = parts.selector->steering(cs_id);
    if (!steering || !steering->ring()) continue;
    auto &out = *list.add_rings();
    out.set_service_id(service.service_id());
    out.set_cs_id(cs_id);
    out.set_slots(static_cast<uint32_t>(steering->ring()->slots.size()));
    for (std::size_t i = 0; i < steering->ring()->members.size(); i++) {
      const auto &member = steering->ring()->members[i];
      auto &shown = *out.add_members();
      shown.set_csci_id(member.csci_id);
      shown.set_weight(member.weight);
      shown.set_slots(steering->ring()->counts[i]);
      shown.set_share(steering->share(member.csci_id));
    }
  }
  return list;
}

}  // namespace catsbpf::agent
