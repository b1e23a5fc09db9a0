// SPDX-License-Identifier: Apache-2.0
// The whole service table (R039), one row per service contact instance.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::InstanceList &list, const Layout &layout) {
  Table table({{"SERVICE", Align::left, Shorten::end},
               {"CSCI-ID", Align::right},
               {"GAS", Align::right},
               {"COST", Align::right},
               {"COMP ms", Align::right},
               {"NET ms", Align::right},
               {"IN USE", Align::right},
               {"SITE", Align::left, Shorten::end, 6},
               {"EGRESS", Align::left, Shorten::middle, 6},
               {"STATE"},
               {"SHARE", Align::right},
               {"PACKETS", Align::right}});
  for (const auto &row : list.instances()) {
    table.row({service_label(row.service_id(), row.cs_id()), std::to_string(row.csci_id()), slots(row.gas()),
               row.cost() < 0 ? "-" : decimal(row.cost()), milliseconds(row.computing_time_ms()),
               milliseconds(row.network_delay_ms()),
               row.in_use() < 0 ? "-" : slots(row.in_use()) + "/" + slots(row.offered()), or_dash(row.site()),
               or_dash(row.egress()), row.state(), percent(row.share()),
               row.packets() < 0 ? "-" : si(static_cast<uint64_t>(row.packets()))},
              row.state() == "dead");
  }
  return table.render(layout);
}

Result<Exit> instances(Context &context, const Arguments &) {
  return show_or_read<v1::InstanceList>(context, "/v1/instances", read_instances);
}

}  // namespace catsbpf::cli
