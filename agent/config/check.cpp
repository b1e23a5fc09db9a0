// SPDX-License-Identifier: Apache-2.0
#include "agent/config/check.h"

#include <algorithm>
#include <functional>

#include "agent/config/words.h"
#include "cmas/limits.h"
#include "maps/contract.h"
#include "util/http/uri.h"
#include "util/tls/identity.h"

namespace catsbpf::agent {

namespace {

template <class List, class Key>
void distinct(const List &list, const std::string &field, const std::string &what, Key key, Problems &problems) {
  for (std::size_t i = 0; i < list.size(); i++)
    for (std::size_t j = 0; j < i; j++)
      if (const std::string same = key(list[i]); !same.empty() && same == key(list[j])) {
        problems.at(field + "[" + std::to_string(i) + "]",
                    what + " " + same + " is also that of " + field + "[" + std::to_string(j) + "]");
        break;
      }
}

void check_names(const Config &config, Problems &problems) {
  distinct(
      config.interfaces, "interfaces", "name", [](const auto &i) { return i.name; }, problems);
  distinct(
      config.forwarders, "forwarders", "name", [](const auto &f) { return f.name; }, problems);
  distinct(
      config.forwarders, "forwarders", "address", [](const auto &f) { return f.address; }, problems);
  distinct(
      config.instances, "instances", "cs_id and csci_id",
      [](const auto &i) { return std::to_string(i.cs_id) + " " + std::to_string(i.csci_id); }, problems);
  if (config.path_selector)
    distinct(
        config.path_selector->agents, "path_selector.agents", "name", [](const auto &a) { return a.name; }, problems);
  if (config.service_metric_agent) {
    if (const auto count = config.service_metric_agent->egresses.size(); count > cmas::kMaxEgresses)
      problems.at("service_metric_agent.egresses",
                  std::to_string(count) + " egresses are more than " + std::to_string(cmas::kMaxEgresses) +
                      ", which a C-PS takes",
                  "name the best " + std::to_string(cmas::kMaxEgresses));
    distinct(
        config.service_metric_agent->path_selectors, "service_metric_agent.path_selectors", "name",
        [](const auto &p) { return p.name; }, problems);
    for (const auto *list : {&config.service_metric_agent->egresses, &config.service_metric_agent->site_clients})
      for (const auto &word : *list)
        if (!valid_name(word))
          problems.at("service_metric_agent", "'" + word + "' is not a name",
                      "a name has 1 to 63 letters, digits, '.', '_' and '-'");
  }
  if (const std::size_t most = MAX_PATHS - 1; config.forwarders.size() > most)
    problems.at("forwarders", std::to_string(config.forwarders.size()) + " are more than the data plane's " +
                                  std::to_string(most) + " paths");
  for (std::size_t i = 0; i < config.forwarders.size(); i++) {
    const std::string field = "forwarders[" + std::to_string(i) + "]";
    if (config.forwarders[i].name == config.node)
      problems.at(field, "is this agent itself", "list the other forwarders only");
    else if (config.tunnel && !config.tunnel->address.empty() && config.forwarders[i].address == config.tunnel->address)
      problems.at(field, "has this agent's own tunnel address");
  }
}

// A section that a role needs, and no section without its role.
void section_of_role(const Config &config, Problems &problems, Role role, const std::string &field, bool there,
                     bool needed) {
  if (needed && config.has(role) && !there)
    problems.at(field, std::string("is missing: role ") + name(role) + " needs it", "see catsbpfd.yaml(5)");
  if (!config.has(role) && there)
    problems.at(field, std::string("is given, but this agent has no role ") + name(role),
                std::string("add ") + name(role) + " to roles or remove " + field);
}

void need_side(const Config &config, Problems &problems, Role role, const std::string &side) {
  if (std::none_of(config.interfaces.begin(), config.interfaces.end(),
                   [&](const auto &i) { return i.sides.contains(side); }))
    problems.at("interfaces", std::string("role ") + name(role) + " needs an interface of side " + side,
                "add - { name: IFNAME, side: " + side + " }");
}

void check_roles(Config &config, Problems &problems) {
  const bool ingress = config.has(Role::kIngress), selector = config.has(Role::kPathSelector);
  if (config.roles.empty() && problems.has("roles")) problems.at("roles", "no role is given");
  if (ingress != selector)
    problems.at(
        "roles",
        ingress ? "ingress needs path-selector on the same agent" : "path-selector needs ingress on the same agent",
        "views are not sent between agents yet: give both roles");
  if (config.has(Role::kNetworkMetricAgent) && !selector)
    problems.at("roles", "network-metric-agent needs path-selector on the same agent");
  if (selector && config.has(Role::kServiceMetricAgent))
    problems.at("roles", "path-selector and service-metric-agent cannot share one certificate",
                "run the service-metric-agent as an agent of its own");

  section_of_role(config, problems, Role::kPathSelector, "path_selector", config.path_selector.has_value(), true);
  // A C-SMA may ask the platform too, for the CS-ID of a Service ID, and an egress for the addresses of services.
  if (!config.has(Role::kServiceMetricAgent) && !config.has(Role::kEgress))
    section_of_role(config, problems, Role::kPathSelector, "platform", config.platform.has_value(), true);
  section_of_role(config, problems, Role::kServiceMetricAgent, "service_metric_agent",
                  config.service_metric_agent.has_value(), true);
  section_of_role(config, problems, Role::kNetworkMetricAgent, "network_metric_agent",
                  config.network_metric_agent.has_value(), false);
  section_of_role(config, problems, Role::kIngress, "requests", config.requests.has_value(), false);
  section_of_role(config, problems, Role::kEgress, "instances", !config.instances.empty(), false);
  section_of_role(config, problems, Role::kEgress, "reflector", config.reflector_port.has_value(), false);
  if (config.has(Role::kNetworkMetricAgent) && !config.network_metric_agent) config.network_metric_agent.emplace();
  if (config.has(Role::kEgress) && !config.reflector_port) config.reflector_port = 862;

  if (!config.forwards()) return;
  const std::string why = std::string("is missing: role ") + name(ingress ? Role::kIngress : Role::kEgress) + " needs ";
  if (!config.tunnel) problems.at("tunnel", why + "a tunnel address");
  if (config.forwarders.empty()) problems.at("forwarders", why + "its peers");
  if (ingress) {
    need_side(config, problems, Role::kIngress, "client");
    need_side(config, problems, Role::kIngress, "underlay");
  }
  if (config.has(Role::kEgress)) {
    need_side(config, problems, Role::kEgress, "service");
    if (!ingress) need_side(config, problems, Role::kEgress, "underlay");
  }
}

void check_tls(const Config &config, Problems &problems) {
  const bool selector = config.has(Role::kPathSelector), agent = config.has(Role::kServiceMetricAgent);
  if (!config.tls) {
    if (selector || agent)
      problems.at("tls", std::string("is missing: role ") +
                             name(selector ? Role::kPathSelector : Role::kServiceMetricAgent) + " needs a certificate");
    return;
  }
  const tls::Files files{config.tls->certificate, config.tls->key, config.tls->authority};  // "": said already
  const auto told = [&](const char *field, const Result<> &checked) {
    if (!checked) problems.at(field, checked.error().what, checked.error().hint);
    return checked.ok();
  };
  if (!files.authority.empty()) told("tls.authority", tls::check_authority(files.authority));
  if (files.certificate.empty() || !told("tls.certificate", tls::check_certificate(files.certificate))) return;
  if (!files.key.empty()) told("tls.key", tls::check_key(files));
  const auto identity = tls::identity_of_file(config.tls->certificate);
  if (!identity) return problems.at("tls.certificate", identity.error().what, identity.error().hint);
  const std::string wanted = selector ? "path-selector" : agent ? "service-metric-agent" : "egress";
  if (identity->role != wanted)
    problems.at("tls.certificate", "its role is " + identity->role + ", this agent's roles need " + wanted,
                "the certificate needs the URI SAN spiffe://" + config.tls->domain + "/" + wanted + "/" + config.node);
  if (identity->domain != config.tls->domain)
    problems.at("tls.domain", "is " + config.tls->domain + ", the certificate's is " + identity->domain);
  if (identity->name != config.node && !config.node.empty())
    problems.at("tls.certificate", "its name is " + identity->name + ", this node is " + config.node,
                "node and the certificate's name must agree, because peers know the agent by it");
}

void check_platform(const Config &config, Problems &problems) {
  if (!config.platform || config.platform->url.empty()) return;
  const std::string &url = config.platform->url;
  const auto begins = [&](const char *text) { return url.rfind(text, 0) == 0; };
  if (const auto parsed = http::parse_url(url); !parsed && (begins("https://") || begins("http://"))) {
    problems.at("platform.url", parsed.error().what, parsed.error().hint);
  } else if (begins("https://")) {
    if (config.platform->name.empty())
      problems.at("platform.name", "is missing: the name in the platform's certificate");
  } else if (begins("http://")) {
    if (!begins("http://127.") && !begins("http://localhost") && !begins("http://[::1]"))
      problems.at("platform.url", url + " is neither https nor of this host",
                  "services decide where traffic goes: use https://");
  } else {
    problems.at("platform.url", "'" + url + "' is not a URL", "write https://ADDRESS:PORT");
  }
}

}  // namespace

void check(Config &config, Problems &problems) {
  check_names(config, problems);
  check_roles(config, problems);
  check_tls(config, problems);
  check_platform(config, problems);
  if (config.path_selector && config.path_selector->freeze_after >= config.path_selector->hold_time)
    problems.at("path_selector.freeze_after", "must be shorter than hold_time");
}

}  // namespace catsbpf::agent
