// SPDX-License-Identifier: Apache-2.0
// The flow table and the sessions. It is read while the data plane writes: an entry whose record belongs to
// another word is in the middle of an insert and has no tuple to show yet.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "cli/format.h"
#include "cli/from_maps.h"

namespace catsbpf::cli {

namespace {

using maps::Tables;

std::string protocol_name(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP: return "tcp";
    case IPPROTO_UDP: return "udp";
    case IPPROTO_ICMP: return "icmp";
    case IPPROTO_ICMPV6: return "icmp6";
    default: return std::to_string(protocol);
  }
}

// CS-ID and CSCI-ID of a flow; 0 where unknown or plainly routed.
std::pair<uint32_t, uint32_t> ids_of(const Tables &tables, const LiveFlow &flow) {
  const auto slot = flow.slot();
  const bool known = slot != SLOT_PLAIN && slot < tables.instances().size();
  uint32_t cs_id = known ? tables.instances()[slot].cs_id : 0;
  if (flow.record && flow.record->service < tables.services().size())
    cs_id = tables.services()[flow.record->service].cs_id;
  return {cs_id, known ? tables.instances()[slot].csci_id : 0};
}

std::string state_of(uint64_t word) {
  const auto state = word >> FLOW_STATE_SHIFT;
  if (state & FLOW_STATE_SESSION) return "session";
  return state & FLOW_STATE_CREDIT ? "credit" : "";
}

bool passes(const Tables &tables, const LiveFlow &flow, const FlowFilter &filter) {
  const auto [cs_id, csci_id] = ids_of(tables, flow);
  if (filter.cs_id && *filter.cs_id != cs_id) return false;
  if (filter.csci_id && *filter.csci_id != csci_id) return false;
  return !filter.client || (flow.record && in_prefix(flow.record->source, *filter.client, filter.client_bits));
}

v1::Flow message_of(const Tables &tables, const LiveFlow &flow, const ServiceNames &names) {
  v1::Flow row;
  const auto [cs_id, csci_id] = ids_of(tables, flow);
  row.set_cs_id(cs_id);
  row.set_csci_id(csci_id);
  if (const auto name = names.find(cs_id); name != names.end()) row.set_service_id(name->second);
  row.set_idle_s(jiffies_to_seconds(tables, flow.idle));
  row.set_age_s(-1);
  row.set_packets(flow.packets);
  row.set_state(state_of(flow.word));
  if (!flow.record) return row;
  const auto &record = *flow.record;
  row.set_source(maps::format_address(record.source));
  row.set_source_port(ntohs(record.source_port));
  row.set_destination(maps::format_address(record.destination));
  row.set_destination_port(ntohs(record.destination_port));
  row.set_protocol(protocol_name(record.protocol));
  row.set_age_s(
      jiffies_to_seconds(tables, static_cast<int32_t>(static_cast<uint32_t>(tables.jiffies()) - record.created)));
  return row;
}

}  // namespace

void for_each_live_flow(const Tables &tables, const std::function<void(const LiveFlow &)> &visit) {
  const auto lines = tables.flows();
  const auto records = tables.flow_records();
  const auto now = static_cast<uint32_t>(tables.jiffies());
  for (std::size_t line = 0; line < lines.size(); ++line) {
    for (std::size_t i = 0; i < FLOW_LINE_ENTRIES; ++i) {
      const auto &entry = lines[line].entry[i];
      LiveFlow flow{.index = line * FLOW_LINE_ENTRIES + i, .word = __atomic_load_n(&entry.word, __ATOMIC_ACQUIRE)};
      if (flow.word == 0 || (flow.word >> FLOW_STATE_SHIFT & FLOW_STATE_TENTATIVE)) continue;
      const uint64_t seen = __atomic_load_n(&entry.seen, __ATOMIC_RELAXED);
      // A packet may come between our look at the clock and at the entry.
      flow.idle = static_cast<uint32_t>(std::max(0, static_cast<int32_t>(now - static_cast<uint32_t>(seen >> 32))));
      flow.packets = static_cast<uint32_t>(seen);
      if (flow.index < records.size() && records[flow.index].word == flow.word) {
        flow.record = &records[flow.index];
        flow.packets = maps::flow_packets(seen, flow.record->packets);
        if (flow.idle > flow.record->timeout) continue;  // over; the sweep has not come by yet
      }
      visit(flow);
    }
  }
}

v1::FlowList read_flows(const Tables &tables, const FlowFilter &filter, const ServiceNames &names) {
  std::vector<LiveFlow> found;
  v1::FlowList list;
  uint64_t total = 0;
  for_each_live_flow(tables, [&](const LiveFlow &flow) {
    if (!passes(tables, flow, filter)) return;
    ++total;
    if (!filter.count_only) found.push_back(flow);
  });
  const auto count = filter.limit == 0 ? found.size() : std::min(filter.limit, found.size());
  std::partial_sort(
      found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(),
      [](const auto &a, const auto &b) { return std::pair(a.idle, a.index) < std::pair(b.idle, b.index); });
  for (std::size_t i = 0; i < count; ++i) *list.add_flows() = message_of(tables, found[i], names);
  list.set_total(total);
  list.set_capacity(tables.flows().size() * FLOW_LINE_ENTRIES);
  return list;
}

}  // namespace catsbpf::cli
