// SPDX-License-Identifier: Apache-2.0
// What has happened: status, packets by instance, outcomes.
#include <algorithm>
#include <ctime>

#include "cli/from_maps.h"

namespace catsbpf::cli {

namespace {

using maps::Tables;

std::string sides_of(uint32_t sides) {
  std::string text;
  const auto add = [&](uint32_t side, const char *name) {
    if (sides & side) text += (text.empty() ? "" : ",") + std::string(name);
  };
  add(maps::SIDE_CLIENT, "client");
  add(maps::SIDE_UNDERLAY, "underlay");
  add(maps::SIDE_SERVICE, "service");
  return text;
}

double seconds_since(uint64_t monotonic_ns) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const double now_s = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
  return std::max(0.0, now_s - static_cast<double>(monotonic_ns) / 1e9);
}

Result<uint64_t> alarms(const Tables &tables) {
  const auto counters = tables.outcomes();
  if (!counters) return counters.error();
  uint64_t packets = 0;
  const auto known = maps::outcome_list();
  for (std::size_t i = 0; i < std::min(known.size(), counters->size()); ++i)
    if (std::string_view(known[i].kind) == "alarm") packets += (*counters)[i].packets;
  return packets;
}

}  // namespace

Result<v1::Status> read_status(const Tables &tables) {
  v1::Status status;
  const auto &control = tables.control();
  status.set_agent_running(false);
  status.set_uptime_s(-1);
  status.set_bypass(control.bypass != 0);
  status.set_view_epoch(tables.view_header().epoch);
  status.set_view_age_s(tables.view_header().published_ns == 0 ? -1 : seconds_since(tables.view_header().published_ns));
  status.set_heartbeat_age_s(heartbeat_age_s(tables));
  const auto count = [](const auto &rows, auto &&used) {
    return static_cast<uint32_t>(std::count_if(rows.begin(), rows.end(), used));
  };
  if (is_ingress(tables)) {
    status.set_services(count(tables.services(), [](const auto &service) { return service.cs_id != 0; }));
    status.set_instances(count(tables.instances(), in_use));
  } else {  // an egress knows services by their addresses alone, and steers none
    status.set_instances(count(tables.deliveries(), [](const auto &row) { return row.state != maps::DELIVERY_FREE; }));
  }
  status.set_paths(count(tables.paths(), [](const auto &path) { return path.state != maps::PATH_FREE; }));
  uint64_t flows = 0;
  for_each_live_flow(tables, [&](const LiveFlow &) { ++flows; });
  status.set_flows(flows);
  status.set_flow_capacity(tables.flows().size() * FLOW_LINE_ENTRIES);
  status.set_sessions_up(-1);
  status.set_sessions_configured(-1);
  for (const auto &interface : tables.interfaces()) {
    if (interface.ifindex == 0) continue;
    auto &row = *status.add_interfaces();
    row.set_name(interface_name(interface.ifindex));
    row.set_side(sides_of(interface.sides));
    for (auto set : {&v1::InterfaceStatus::set_receive_mbps, &v1::InterfaceStatus::set_transmit_mbps,
                     &v1::InterfaceStatus::set_speed_mbps})
      (row.*set)(-1);
  }
  const auto packets = alarms(tables);
  if (!packets) return packets.error();
  status.set_alarms(*packets);
  return status;
}

Result<v1::Stats> read_stats(const Tables &tables) {
  v1::Stats stats;
  const auto add = [&](uint32_t cs_id, uint32_t csci_id, const char *direction, const maps::counter &counter) {
    auto &row = *stats.add_instances();
    row.set_cs_id(cs_id);
    row.set_csci_id(csci_id);
    row.set_direction(direction);
    row.set_packets(counter.packets);
    row.set_bytes(counter.bytes);
  };
  for (uint32_t slot = 1; slot < tables.instances().size(); ++slot) {
    const auto &instance = tables.instances()[slot];
    if (instance.state == maps::INSTANCE_FREE) continue;
    const auto counter = tables.instance_counter(slot);
    if (!counter) return counter.error();
    add(instance.cs_id, instance.csci_id, "ingress", *counter);
  }
  for (uint32_t i = 0; i < tables.deliveries().size(); ++i) {
    const auto &delivery = tables.deliveries()[i];
    if (delivery.state == maps::DELIVERY_FREE) continue;
    const auto counter = tables.delivery_counter(i);
    if (!counter) return counter.error();
    add(delivery.cs_id, delivery.csci_id, "egress", *counter);
  }
  const auto flows = tables.flow_counters();
  if (!flows) return flows.error();
  stats.set_flows_inserted(flows->inserted);
  stats.set_flows_expired(flows->expired);
  stats.set_flows_displaced(flows->displaced);
  stats.set_flows_moved(flows->moved);
  stats.set_flows_refused(flows->refused);
  const auto sweep = tables.sweep();
  if (!sweep) return sweep.error();
  stats.set_sweep_passes(sweep->passes);
  return stats;
}

Result<v1::OutcomeList> read_outcomes(const Tables &tables, bool all) {
  const auto counters = tables.outcomes();
  if (!counters) return counters.error();
  v1::OutcomeList list;
  const auto known = maps::outcome_list();
  for (std::size_t i = 0; i < std::min(known.size(), counters->size()); ++i) {
    if (!all && (*counters)[i].packets == 0) continue;
    auto &row = *list.add_outcomes();
    row.set_name(known[i].name);
    row.set_kind(known[i].kind);
    row.set_packets((*counters)[i].packets);
    row.set_bytes((*counters)[i].bytes);
    row.set_meaning(known[i].sentence);
  }
  auto &rows = *list.mutable_outcomes();
  const auto rank = [](const v1::OutcomeCount &row) { return std::pair(row.kind() != "alarm", ~row.packets()); };
  std::stable_sort(rows.begin(), rows.end(), [&](const auto &a, const auto &b) { return rank(a) < rank(b); });
  return list;
}

}  // namespace catsbpf::cli
