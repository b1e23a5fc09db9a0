// SPDX-License-Identifier: Apache-2.0
// What of a changed configuration a running agent cannot take over.
#include "agent/config/config.h"

#include <sstream>

namespace catsbpf::agent {

namespace {

// One comparable line per field; log_level and the request API's rate and token are taken over while
// running and stay out.
std::vector<std::pair<std::string, std::string>> fixed_fields(const Config &c) {
  std::vector<std::pair<std::string, std::string>> all;
  const auto put = [&](const char *field, auto &&write) {
    std::ostringstream text;
    write(text);
    all.emplace_back(field, text.str());
  };
  const char sep = '\x1f';
  put("node", [&](auto &o) { o << c.node; });
  put("roles", [&](auto &o) {
    for (const Role role : c.roles) o << name(role) << sep;
  });
  put("state_directory", [&](auto &o) { o << c.state_directory; });
  put("pin_directory", [&](auto &o) { o << c.pin_directory; });
  put("operator_socket", [&](auto &o) { o << c.operator_socket; });
  put("restart_hold", [&](auto &o) { o << c.restart_hold.count(); });
  put("tls", [&](auto &o) {
    if (c.tls) o << c.tls->domain << sep << c.tls->certificate << sep << c.tls->key << sep << c.tls->authority;
  });
  put("tunnel", [&](auto &o) {
    if (c.tunnel) o << c.tunnel->address << sep << c.tunnel->vni;
  });
  put("interfaces", [&](auto &o) {
    for (const auto &i : c.interfaces) {
      o << i.name << sep << i.mode;
      for (const auto &side : i.sides) o << sep << side;
    }
  });
  put("forwarders", [&](auto &o) {
    for (const auto &f : c.forwarders) o << f.name << sep << f.address << sep;
  });
  put("flow_table", [&](auto &o) { o << c.flow_entries; });
  put("icmp_source", [&](auto &o) { o << c.icmp_source4 << sep << c.icmp_source6; });
  put("platform", [&](auto &o) {
    if (c.platform) o << c.platform->url << sep << c.platform->name;
  });
  put("path_selector", [&](auto &o) {
    if (!c.path_selector) return;
    const auto &s = *c.path_selector;
    o << s.listen << sep << s.hold_time.count() << sep << s.freeze_after.count() << sep << s.ring_threshold;
    for (const auto &agent : s.agents) o << sep << agent.name << sep << agent.site;
  });
  put("service_metric_agent", [&](auto &o) {
    if (!c.service_metric_agent) return;
    const auto &s = *c.service_metric_agent;
    o << s.site << sep << s.hold_time.count() << sep << s.listen;
    for (const auto &egress : s.egresses) o << sep << egress;
    for (const auto &peer : s.path_selectors) o << sep << peer.name << sep << peer.address;
    for (const auto &client : s.site_clients) o << sep << client;
  });
  put("network_metric_agent", [&](auto &o) {
    if (const auto &n = c.network_metric_agent) o << n->interval.count() << sep << n->window << sep << n->port;
  });
  put("requests", [&](auto &o) {
    if (c.requests) o << c.requests->listen;
  });
  put("reflector", [&](auto &o) {
    if (c.reflector_port) o << *c.reflector_port;
  });
  return all;
}

}  // namespace

std::vector<std::string> needs_restart(const Config &running, const Config &wanted) {
  const auto old_fields = fixed_fields(running), new_fields = fixed_fields(wanted);
  std::vector<std::string> changed;
  for (std::size_t i = 0; i < old_fields.size(); i++)
    if (old_fields[i].second != new_fields[i].second) changed.push_back(old_fields[i].first);
  return changed;
}

}  // namespace catsbpf::agent
