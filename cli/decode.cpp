// SPDX-License-Identifier: Apache-2.0
#include "cli/decode.h"

#include <iterator>
#include <sstream>

#include "cli/decoders.h"

namespace catsbpf::cli {

namespace {

using maps::Tables;

// `columns`: what the decoder puts into a row; "~" after a name: shortened in its middle, ">": at its end.
struct Known {
  const char *name;
  Result<> (*decode)(const Tables &, decoders::Rows &);
  const char *columns;
};
constexpr Known kKnown[] = {
    {"control", decoders::control, "layout view bypass hz heartbeat icmp_source4~ icmp_source6~"},
    {"interfaces", decoders::interfaces, "index ifindex name sides"},
    {"own_addresses", decoders::own_addresses, "address~"},
    {"view_headers", decoders::view_headers, "side epoch published_ns locator_seed lengths4 lengths6"},
    {"locators", decoders::locators, "index prefix~ kind protocol port_min port_max target next"},
    {"services", decoders::services,
     "index cs_id ring_first ring_slots timeout source_mask> sport dport proto destination"},
    {"rings", decoders::rings, "line cs_id slots>"},
    {"instances", decoders::instances, "slot cs_id csci_id path service state"},
    {"paths", decoders::paths, "path egress~ state interface mtu header>"},
    {"deliveries", decoders::deliveries, "index cs_id csci_id contact~ contact6~ interface state ethernet>"},
    {"sessions", decoders::sessions, "client~ cs_id slot reservation expires"},
    {"flows", decoders::flows, "line entry tag generation state slot seen packets"},
    {"flow_records", decoders::flow_records,
     "index source~ destination~ protocol word> packets created timeout service"},
    {"sweep", decoders::sweep, "cursor lines ticks passes"},
    {"outcomes", decoders::outcomes, "index outcome packets bytes"},
    {"flow_counters", decoders::flow_counters, "inserted expired displaced moved refused raced"},
    {"instance_counters", decoders::instance_counters, "slot packets bytes"},
    {"delivery_counters", decoders::delivery_counters, "index packets bytes"},
    {"icmp_budget", decoders::icmp_budget, "cpu spent"},
};

std::vector<GridColumn> columns_of(const char *text) {
  std::vector<GridColumn> columns;
  std::istringstream in(text);
  for (std::string name; in >> name;) {
    const auto shorten = name.back() == '~' ? Shorten::middle : name.back() == '>' ? Shorten::end : Shorten::never;
    if (shorten != Shorten::never) name.pop_back();
    columns.push_back({name, shorten});
  }
  return columns;
}

}  // namespace

Grid decode_maps(const std::vector<maps::Tables::MapInfo> &maps) {
  Grid grid{"maps", {{"map"}, {"type"}, {"key_bytes"}, {"value_bytes"}, {"entries"}, {"memory_bytes"}}};
  for (const auto &map : maps)
    grid.rows.push_back({map.name, map.type, uint64_t{map.key_bytes}, uint64_t{map.value_bytes}, uint64_t{map.entries},
                         map.memory_bytes});
  grid.total = grid.rows.size();
  grid.what = "maps";
  return grid;
}

Result<Grid> decode_map(const Tables &tables, const std::string &name, std::size_t limit) {
  if (name == "secret")
    return Error{"map secret is not shown", "whoever knows it can aim packets at one flow table line"};
  for (const auto &known : kKnown) {
    if (name != known.name) continue;
    decoders::Rows rows{{known.name, columns_of(known.columns)}, limit};
    if (const auto decoded = known.decode(tables, rows); !decoded) return decoded.error();
    return rows.grid;
  }
  std::string names;
  for (const auto &known : decodable_maps()) names += " " + known;
  return Error{"no map '" + name + "'", "there are" + names};
}

std::vector<std::string> decodable_maps() {
  std::vector<std::string> names;
  for (const auto &known : kKnown) names.emplace_back(known.name);
  return names;
}

}  // namespace catsbpf::cli
