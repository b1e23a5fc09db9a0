// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include <algorithm>
#include <fstream>

#include "agent/api/views.h"
#include "util/version.h"

namespace catsbpf::agent {

namespace {

double age_s(uint64_t monotonic_ns) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 -
         static_cast<double>(monotonic_ns) / 1e9;
}

// What the kernel uses: the stricter of the interface's and the host's.
int rp_filter(const std::string &interface) {
  int effective = 0;
  for (const auto &name : {std::string("all"), interface}) {
    int value = 0;
    std::ifstream in("/proc/sys/net/ipv4/conf/" + name + "/rp_filter");
    if (in >> value) effective = std::max(effective, value);
  }
  return effective;
}

std::string platform_text(const Parts &parts) {
  if (!parts.platform) return "none";
  const std::string &state = parts.platform->state();
  return state.starts_with("connected") ? "connected" : state;
}

void add_interfaces(const Parts &parts, v1::Status &status) {
  const auto rates = parts.rates ? parts.rates->rates() : std::vector<InterfaceRate>{};
  const auto views = parts.dataplane ? parts.dataplane->interfaces() : std::vector<Dataplane::InterfaceView>{};
  for (const auto &configured : parts.config->interfaces) {
    auto &out = *status.add_interfaces();
    out.set_name(configured.name);
    for (const auto &side : configured.sides) out.set_side(out.side() + (out.side().empty() ? "" : ",") + side);
    out.set_mode("detached");
    for (const auto &view : views)
      if (view.name == configured.name) out.set_mode(view.mode);
    out.set_state("down");
    for (auto set : {&v1::InterfaceStatus::set_receive_mbps, &v1::InterfaceStatus::set_transmit_mbps,
                     &v1::InterfaceStatus::set_speed_mbps})
      (out.*set)(-1);
    for (const auto &rate : rates)
      if (rate.name == configured.name) {
        out.set_state(rate.up ? "up" : "down");
        out.set_receive_mbps(rate.receive_mbps);
        out.set_transmit_mbps(rate.transmit_mbps);
        out.set_speed_mbps(rate.speed_mbps);
      }
  }
}

void add_tables(const Parts &parts, v1::Status &status) {
  if (!parts.tables) return;
  const auto &header = parts.tables->view_header();
  status.set_view_epoch(header.epoch);
  status.set_view_age_s(header.published_ns ? age_s(header.published_ns) : 0);
  const auto &control = parts.tables->control();
  if (control.hz)
    status.set_heartbeat_age_s(static_cast<double>(parts.tables->jiffies() - control.heartbeat) / control.hz);
  status.set_flow_capacity(parts.tables->flows().size() * FLOW_LINE_ENTRIES);
  if (const auto flows = parts.tables->flow_counters())
    status.set_flows(flows->inserted - std::min(flows->inserted, flows->expired + flows->displaced));
  const auto outcomes = parts.tables->outcomes();
  const auto known = maps::outcome_list();
  if (!outcomes) return;
  uint64_t alarms = 0;
  for (std::size_t i = 0; i < outcomes->size() && i < known.size(); i++)
    if (std::string(known[i].kind) == "alarm") alarms += (*outcomes)[i].packets;
  status.set_alarms(alarms);
}

}  // namespace

std::vector<std::string> warnings_view(const Parts &parts) {
  std::vector<std::string> all;
  const auto rates = parts.rates ? parts.rates->rates() : std::vector<InterfaceRate>{};
  for (const auto &rate : rates) {
    if (!rate.present)
      all.push_back("interface " + rate.name + " does not exist");
    else if (!rate.up)
      all.push_back("interface " + rate.name + " is down");
  }
  if (parts.dataplane) {
    for (auto &text : parts.dataplane->warnings())
      if (std::find(all.begin(), all.end(), text) == all.end()) all.push_back(std::move(text));
    for (const auto &view : parts.dataplane->interfaces())
      if (view.ifindex != 0 && view.mode == "detached")
        all.push_back("no program is attached to interface " + view.name + ": its packets go by plain routing");
  }
  const auto drains = parts.selector ? drains_view(parts) : v1::DrainList{};
  for (const auto &service : drains.unserved())
    all.push_back("drains leave " + service + " no instance: its new flows follow plain routing");
  if (parts.service_metrics)
    for (auto &text : parts.service_metrics->warnings()) all.push_back(std::move(text));
  for (const auto &interface : parts.config->interfaces)
    if (interface.sides.contains("underlay") && rp_filter(interface.name) == 1)
      all.push_back("rp_filter is strict on " + interface.name +
                    ": packets that the tc program sends may be dropped; set it to 2 or 0");
  if (parts.programmer) {
    for (auto &text : parts.programmer->warnings()) all.push_back(std::move(text));
    if (const auto state = parts.programmer->state(); state.rfind("dirty", 0) == 0)
      all.push_back("the data plane is " + state);
  }
  if (parts.selector)
    for (auto &text : parts.selector->warnings()) all.push_back(std::move(text));
  return all;
}

v1::Status status_view(const Parts &parts) {
  v1::Status status;
  status.set_node(parts.config->node);
  status.set_version(CATSBPF_VERSION);
  for (const Role role : parts.config->roles) status.add_roles(name(role));
  status.set_agent_running(true);
  status.set_uptime_s(std::chrono::duration<double>(std::chrono::steady_clock::now() - parts.started).count());
  if (parts.programmer) {
    status.set_bypass(parts.programmer->bypass());
    status.set_paths(static_cast<uint32_t>(parts.programmer->paths().size()));
  }
  status.set_programming(parts.programmer ? parts.programmer->state() : "");
  add_tables(parts, status);
  add_interfaces(parts, status);
  if (parts.selector) {
    status.set_services(static_cast<uint32_t>(parts.selector->table().services().size()));
    const auto rows = parts.selector->table().all();
    status.set_instances(static_cast<uint32_t>(
        std::count_if(rows.begin(), rows.end(), [](const auto &row) { return row.state != cmas::RowState::kDead; })));
  } else if (parts.service_metrics) {
    status.set_instances(static_cast<uint32_t>(parts.service_metrics->table().rows().size()));
  } else {
    status.set_instances(static_cast<uint32_t>(parts.config->instances.size()));
  }
  status.set_platform(platform_text(parts));
  const auto sessions = sessions_view(parts);
  for (const auto &session : sessions.sessions()) {
    status.set_sessions_configured(status.sessions_configured() + 1);
    if (session.state() == "up") status.set_sessions_up(status.sessions_up() + 1);
  }
  for (auto &text : warnings_view(parts)) status.add_warnings(std::move(text));
  return status;
}

v1::SessionList sessions_view(const Parts &parts) {
  v1::SessionList list;
  const auto add = [&](const std::vector<v1::SessionStatus> &some) {
    for (const auto &session : some) *list.add_sessions() = session;
  };
  if (parts.sessions) add(parts.sessions->sessions());
  if (parts.service_metrics) add(parts.service_metrics->sessions());
  return list;
}

}  // namespace catsbpf::agent
