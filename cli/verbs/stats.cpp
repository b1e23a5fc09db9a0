// SPDX-License-Identifier: Apache-2.0
// Packets by instance on both sides of the tunnel (R105, R112), and the flow table's counters.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::Stats &stats, const Layout &layout) {
  Table table({{"CS-ID", Align::right},
               {"CSCI-ID", Align::right},
               {"DIRECTION"},
               {"PACKETS", Align::right},
               {"BYTES", Align::right}});
  for (const auto &row : stats.instances())
    table.row({std::to_string(row.cs_id()), std::to_string(row.csci_id()), row.direction(), si(row.packets()),
               bytes(row.bytes())});
  Facts flows;
  flows.add("flows inserted", si(stats.flows_inserted()));
  flows.add("expired", si(stats.flows_expired()));
  flows.add("displaced", si(stats.flows_displaced()) + " (live, to make room)");
  flows.add("moved", si(stats.flows_moved()) + " (their instance or path was dead)");
  flows.add("refused", si(stats.flows_refused()) + " (no place: followed the ring)");
  flows.add("sweeps", si(stats.sweep_passes()));
  return (stats.instances_size() > 0 ? table.render(layout) + "\n" : "") + flows.render(layout);
}

Result<Exit> stats(Context &context, const Arguments &) {
  const auto tables = tables_of(context);
  if (!tables) return tables.error();
  const auto value = read_stats(**tables);
  if (!value) return value.error();
  show(context, *value);
  return Exit::done;
}

}  // namespace catsbpf::cli
