// SPDX-License-Identifier: Apache-2.0
// The values of the operator's API as far as the pinned maps know them, for when the agent is down, and
// those that are always read there (flows, stats, outcomes). In: maps::Tables. Out: messages of
// cmas/proto/api.proto. What maps do not know (cost, delay, names) is -1 or empty, and shown as "-".
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "cmas/proto/api.pb.h"
#include "maps/tables.h"
#include "util/result.h"

namespace catsbpf::cli {

// Service IDs by CS-ID, from the agent; empty when it is away.
using ServiceNames = std::map<uint32_t, std::string>;

Result<v1::Status> read_status(const maps::Tables &tables);
Result<v1::ServiceStatusList> read_services(const maps::Tables &tables);
Result<v1::InstanceList> read_instances(const maps::Tables &tables);
Result<v1::PathList> read_paths(const maps::Tables &tables);
Result<v1::RingList> read_rings(const maps::Tables &tables);
Result<v1::Stats> read_stats(const maps::Tables &tables);
// Without `all`: only those that happened. Alarms first, then by packets.
Result<v1::OutcomeList> read_outcomes(const maps::Tables &tables, bool all);

struct FlowFilter {
  std::optional<uint32_t> cs_id, csci_id;
  std::optional<maps::address> client;
  unsigned client_bits = 128;  // of `client` that count, in the 128-bit address
  std::size_t limit = 50;      // 0: all
  bool count_only = false;
};
// Live flows, newest packet first; `total` counts all that pass the filter.
v1::FlowList read_flows(const maps::Tables &tables, const FlowFilter &filter, const ServiceNames &names);

// ---- shared by the readers ----

bool in_use(const maps::instance &instance);   // active, draining or dead: has, or may have, flows
bool is_ingress(const maps::Tables &tables);   // has a side towards clients, or instances to steer to
std::string interface_name(uint32_t ifindex);  // "if7" where the kernel has no name for it here
std::string format_prefix(const maps::address &prefix,
                          unsigned bits);  // "10.1.0.0/16"; bits of 128; a host has no length
// "10.1.0.0/16", "10.1.0.2", "fd00::/8"; `bits` counts in the 128-bit address.
std::optional<maps::address> parse_prefix(const std::string &text, unsigned &bits);
bool in_prefix(const maps::address &a, const maps::address &prefix, unsigned bits);
// Since the agent's last sign of life; below 0: never gave one.
double heartbeat_age_s(const maps::Tables &tables);
bool shows_life(double heartbeat_age_s);  // so young that the agent runs, or ended just now
double jiffies_to_seconds(const maps::Tables &tables, int64_t jiffies);
// Slots of each instance slot in the ring of `record`.
std::map<uint16_t, uint32_t> ring_shares(const maps::Tables &tables, const maps::service_record &record);

struct LiveFlow {
  std::size_t index = 0;  // entry number, as in flow_records
  uint64_t word = 0;
  uint32_t idle = 0;  // jiffies
  uint64_t packets = 0;
  const maps::flow_record *record = nullptr;  // null: the record is being written
  uint16_t slot() const { return word & FLOW_SLOT_MASK; }
};
void for_each_live_flow(const maps::Tables &tables, const std::function<void(const LiveFlow &)> &visit);

}  // namespace catsbpf::cli
