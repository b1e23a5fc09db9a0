// SPDX-License-Identifier: Apache-2.0
// The agent's configuration as plain data. Comes in: one YAML file. Goes out: a Config in which every
// field was checked (types, ranges, addresses, files, what each role needs), so that no other part
// checks again.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "util/result.h"

namespace catsbpf::agent {

enum class Role { kIngress, kEgress, kServiceMetricAgent, kNetworkMetricAgent, kPathSelector };
const char *name(Role role);

struct Config {
  std::string file;  // absolute path of the YAML file

  std::string node;
  std::set<Role> roles;
  std::string state_directory = "/var/lib/catsbpf";
  std::string pin_directory = "/sys/fs/bpf/catsbpf";
  std::string operator_socket = "/run/catsbpf/catsbpfd.sock";
  std::string log_level = "info";
  std::chrono::milliseconds restart_hold{30'000};

  struct Tls {
    std::string domain, certificate, key, authority;  // absolute paths
  };
  std::optional<Tls> tls;

  struct Tunnel {
    std::string address;  // IPv4
    uint32_t vni = 0xca75;
  };
  std::optional<Tunnel> tunnel;

  struct Interface {
    std::string name;
    std::set<std::string> sides;  // client, underlay, service
    std::string mode = "native";  // native, generic
  };
  std::vector<Interface> interfaces;

  struct Forwarder {
    std::string name, address;
  };
  std::vector<Forwarder> forwarders;

  uint32_t flow_entries = 1 << 19;
  std::string icmp_source4, icmp_source6;  // "" : tunnel address, none

  struct Platform {
    std::string url, name;
  };
  std::optional<Platform> platform;

  struct Selector {
    std::string listen;
    std::chrono::milliseconds hold_time{30'000};
    std::chrono::milliseconds freeze_after{3'000};
    double ring_threshold = 0.1;
    struct Agent {
      std::string name, site;
    };
    std::vector<Agent> agents;
  };
  std::optional<Selector> path_selector;

  struct NetworkMetrics {
    std::chrono::milliseconds interval{100};
    uint32_t window = 32;
    uint16_t port = 862;
  };
  std::optional<NetworkMetrics> network_metric_agent;

  struct Requests {
    std::string listen;
    uint32_t rate_per_source = 20;  // per second
    std::string token;              // contents of token_file, "" : none asked
  };
  std::optional<Requests> requests;

  struct ServiceMetrics {
    std::string site;
    std::vector<std::string> egresses;
    struct Peer {
      std::string name, address;  // address: "10.255.0.1:7900"
    };
    std::vector<Peer> path_selectors;
    std::chrono::milliseconds hold_time{30'000};
    std::string listen;
    std::vector<std::string> site_clients;
  };
  std::optional<ServiceMetrics> service_metric_agent;

  std::optional<uint16_t> reflector_port;

  struct Instance {
    uint32_t cs_id = 0, csci_id = 0;
    std::string contact, contact6;
  };
  std::vector<Instance> instances;

  bool has(Role role) const { return roles.contains(role); }
  // Ingress and egress have a data plane; agents of other roles alone touch no map.
  bool forwards() const { return has(Role::kIngress) || has(Role::kEgress); }
};

// All problems of the file at once: the Error's text has one "FILE:LINE: FIELD: REASON" per problem,
// each followed by its "hint: ..." line where there is something to do.
Result<Config> load_config(const std::string &path);

// What differs between two configurations that only a restart can bring into force: names of fields.
std::vector<std::string> needs_restart(const Config &running, const Config &wanted);

}  // namespace catsbpf::agent
