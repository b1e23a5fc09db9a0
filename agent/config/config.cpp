// SPDX-License-Identifier: Apache-2.0
// Reads the fields of the file, each by itself; check.cpp looks at them together.
#include "agent/config/config.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "agent/config/check.h"
#include "agent/config/reader.h"
#include "agent/config/words.h"
#include "util/file.h"

namespace catsbpf::agent {

using namespace std::chrono_literals;

namespace {

const std::vector<std::pair<std::string, Role>> kRoles = {
    {"ingress", Role::kIngress},
    {"egress", Role::kEgress},
    {"service-metric-agent", Role::kServiceMetricAgent},
    {"network-metric-agent", Role::kNetworkMetricAgent},
    {"path-selector", Role::kPathSelector},
};

void read_roles(Section &top, Config &config, Problems &problems) {
  std::vector<std::string> known, words;
  for (const auto &[word, role] : kRoles) known.push_back(word);
  top.list("roles", words);
  for (const auto &word : words) {
    const auto found = std::find_if(kRoles.begin(), kRoles.end(), [&](const auto &r) { return r.first == word; });
    if (found == kRoles.end()) {
      const auto near = nearest(word, known);
      problems.at("roles", "'" + word + "' is no role",
                  near.empty() ? "roles are " + join(known) : "did you mean " + near + "?");
    } else if (!config.roles.insert(found->second).second) {
      problems.at("roles", word + " is given twice");
    }
  }
}

void read_tls(Section &top, Config &config, const std::string &folder) {
  auto section = top.section("tls");
  if (!section) return;
  Config::Tls tls;
  section->name("domain", tls.domain);
  section->file("certificate", tls.certificate, folder);
  section->file("key", tls.key, folder);
  section->file("authority", tls.authority, folder);
  section->require("domain", "the trust domain of the certificates, spiffe://DOMAIN/ROLE/NAME");
  section->require("certificate", "this agent's certificate, PEM");
  section->require("key", "the certificate's private key, PEM");
  section->require("authority", "the certificate of the authority that signs all peers, PEM");
  section->finish();
  config.tls = tls;
}

void read_interfaces(Section &top, Config &config, Problems &problems) {
  for (auto &section : top.sections("interfaces")) {
    Config::Interface interface;
    std::vector<std::string> sides;
    section.text("name", interface.name);
    section.list("side", sides);
    section.one_of("mode", interface.mode, {"native", "generic"});
    section.require("name", "the interface's name");
    section.require("side", "client, underlay or service");
    section.finish();
    if (interface.name.size() > 15)
      problems.at(section.path("name"), "'" + interface.name + "' is longer than 15 characters");
    if (interface.name.find_first_of("/ \t\n") != std::string::npos)
      problems.at(section.path("name"), "'" + interface.name + "' is no name of an interface", "see `ip link`");
    for (const auto &side : sides) {
      if (side == "client" || side == "underlay" || side == "service")
        interface.sides.insert(side);
      else
        problems.at(section.path("side"), "'" + side + "' is no side", "use client, underlay or service");
    }
    config.interfaces.push_back(interface);
  }
}

void read_forwarding(Section &top, Config &config, Problems &problems) {
  if (auto section = top.section("tunnel")) {
    Config::Tunnel tunnel;
    section->address("address", tunnel.address, Family::kV4);
    section->number("vni", tunnel.vni, 1, 0xffffff);
    section->require("address", "the IPv4 address that tunnel packets come from and go to");
    section->finish();
    config.tunnel = tunnel;
  }
  read_interfaces(top, config, problems);
  top.list_of("forwarders", config.forwarders, [](Section &section, auto &forwarder) {
    section.name("name", forwarder.name);
    section.address("address", forwarder.address, Family::kV4);
    section.require("name", "the forwarder's name, as C-SMAs call it in `egresses`");
    section.require("address", "its tunnel address");
  });
  if (auto section = top.section("flow_table")) {
    section->number("entries", config.flow_entries, 1024, 1 << 26);
    section->finish();
  }
  if (auto section = top.section("icmp_source")) {
    section->address("ipv4", config.icmp_source4, Family::kV4);
    section->address("ipv6", config.icmp_source6, Family::kV6);
    section->finish();
  }
  top.list_of("instances", config.instances, [](Section &section, auto &instance) {
    section.number("cs_id", instance.cs_id, 1, UINT32_MAX);
    section.number("csci_id", instance.csci_id, 1, UINT32_MAX);
    section.address("contact", instance.contact, Family::kAny);
    section.address("contact6", instance.contact6, Family::kV6);
    section.require("cs_id", "the service (CS-ID)");
    section.require("csci_id", "the instance (CSCI-ID)");
    section.require("contact", "the instance's address on the site's network");
  });
}

void read_selector(Section &top, Config &config) {
  auto section = top.section("path_selector");
  if (!section) return;
  Config::Selector selector;
  section->endpoint("listen", selector.listen);
  section->duration("hold_time", selector.hold_time, 1s, 1h);
  section->duration("freeze_after", selector.freeze_after, 100ms, 1h);
  section->real("ring_threshold", selector.ring_threshold, 0, 1);
  section->list_of("agents", selector.agents, [](Section &peer, auto &agent) {
    peer.name("name", agent.name);
    peer.name("site", agent.site);
    peer.require("name", "the C-SMA's name, as in its certificate");
    peer.require("site", "the site whose rows it may bring");
  });
  section->require("listen", "ADDRESS:PORT at which C-SMAs connect");
  section->require("agents", "the C-SMAs that may connect");
  section->finish();
  config.path_selector = selector;
}

void read_service_metrics(Section &top, Config &config) {
  auto section = top.section("service_metric_agent");
  if (!section) return;
  Config::ServiceMetrics agent;
  section->name("site", agent.site);
  section->list("egresses", agent.egresses);
  section->duration("hold_time", agent.hold_time, 1s, 1h);
  section->endpoint("listen", agent.listen);
  section->list("site_clients", agent.site_clients);
  section->list_of("path_selectors", agent.path_selectors, [](Section &peer, auto &selector) {
    peer.name("name", selector.name);
    peer.endpoint("address", selector.address);
    peer.require("name", "the C-PS' name, as in its certificate");
    peer.require("address", "ADDRESS:PORT of its path_selector.listen");
  });
  section->require("site", "the site whose rows this agent speaks for");
  section->require("egresses", "names of the forwarders that reach the site, best first");
  section->require("path_selectors", "the C-PSes that are told of the site's rows");
  section->require("listen", "ADDRESS:PORT of the site's API");
  section->finish();
  if (agent.site_clients.empty()) agent.site_clients = {agent.site};
  config.service_metric_agent = agent;
}

void read_requests(Section &top, Config &config, const std::string &folder, Problems &problems) {
  auto section = top.section("requests");
  if (!section) return;
  Config::Requests requests;
  section->endpoint("listen", requests.listen);
  section->number("rate_per_source", requests.rate_per_source, 1, 1'000'000);
  std::string given, file;
  if (section->text("token_file", given) && !given.empty() && section->file("token_file", file, folder)) {
    const auto text = read_file(file);
    if (text) std::istringstream(*text) >> requests.token;
    if (!text)
      problems.at("requests.token_file", "cannot read " + file + ": " + text.error().what, text.error().hint);
    else if (requests.token.size() < 16)
      problems.at("requests.token_file", "the token in " + file + " has fewer than 16 characters",
                  "make one with: openssl rand -hex 32");
  }
  section->require("listen", "ADDRESS:PORT of the request API");
  section->finish();
  config.requests = requests;
}

void read_network_metrics(Section &top, Config &config) {
  uint32_t port = 862;
  if (auto section = top.section("network_metric_agent")) {
    Config::NetworkMetrics metrics;
    section->duration("interval", metrics.interval, 10ms, 60s);
    section->number("window", metrics.window, 1, 4096);
    if (section->number("port", port, 1, 65535)) metrics.port = static_cast<uint16_t>(port);
    section->finish();
    config.network_metric_agent = metrics;
  }
  if (auto section = top.section("reflector")) {
    port = 862;
    section->number("port", port, 1, 65535);
    section->finish();
    config.reflector_port = static_cast<uint16_t>(port);
  }
}

void read(Section &top, Config &config, Problems &problems) {
  const std::string folder = std::filesystem::path(config.file).parent_path().string();
  top.name("node", config.node);
  read_roles(top, config, problems);
  top.directory("state_directory", config.state_directory, folder);
  top.directory("pin_directory", config.pin_directory, folder);
  top.directory("operator_socket", config.operator_socket, folder);
  top.one_of("log_level", config.log_level, {"debug", "info", "warn", "error"});
  top.duration("restart_hold", config.restart_hold, 0ms, 1h);
  read_tls(top, config, folder);
  read_forwarding(top, config, problems);
  if (auto section = top.section("platform")) {
    Config::Platform platform;
    section->text("url", platform.url);
    section->name("name", platform.name);
    section->require("url", "https://ADDRESS:PORT of the public service platform");
    section->finish();
    config.platform = platform;
  }
  read_selector(top, config);
  read_service_metrics(top, config);
  read_network_metrics(top, config);
  read_requests(top, config, folder, problems);
  top.require("node", "this agent's name, as in its certificate");
  top.require("roles", "what this agent does");
  top.finish();
}

}  // namespace

const char *name(Role role) {
  for (const auto &[word, known] : kRoles)
    if (known == role) return word.c_str();
  return "";
}

Result<Config> load_config(const std::string &path) {
  Config config;
  config.file = std::filesystem::absolute(path).lexically_normal().string();
  Problems problems;
  try {
    const auto text = read_file(path);
    if (!text)
      return Error{"cannot read " + path + ": " + text.error().what, "name the file with --config FILE",
                   text.error().code};
    const auto documents = YAML::LoadAll(*text);
    const YAML::Node node = documents.empty() ? YAML::Node() : documents.front();
    if (documents.size() > 1)
      problems.add(documents[1].Mark().line + 1, "", "a second document begins here", "keep one: remove the line ---");
    if (!node.IsMap()) return Error{path + ":1: the file has no fields", "see catsbpfd.yaml(5) for an example"};
    Section top(node, "", problems);
    read(top, config, problems);
    check(config, problems);
  } catch (const YAML::Exception &e) {
    problems.add(e.mark.line + 1, "", "not YAML: " + e.msg);
  }
  if (!problems.empty()) return Error{problems.text(path)};
  return config;
}

}  // namespace catsbpf::agent
