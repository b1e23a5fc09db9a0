// SPDX-License-Identifier: Apache-2.0
// Paths to the egresses, as measured and as resolved. Interfaces' rates are in `catsbpf status`.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::PathList &list, const Layout &layout) {
  Table table({{"EGRESS", Align::left, Shorten::end, 6},
               {"ADDRESS", Align::left, Shorten::middle, 12},
               {"ENCAP", Align::left, Shorten::end, 6},
               {"INTERFACE", Align::left, Shorten::end, 9},
               {"NEXT HOP", Align::left, Shorten::middle, 12},
               {"STATE", Align::left, Shorten::end, 10},
               {"MTU", Align::right},
               {"DELAY ms", Align::right},
               {"JITTER ms", Align::right},
               {"LOSS", Align::right},
               {"SEEN", Align::right}});
  for (const auto &path : list.paths()) {
    const std::string state = path.silent() && path.state() != "dead" ? "silent" : path.state();
    table.row({or_dash(path.egress()), path.egress_address(), path.encapsulation(), or_dash(path.interface()),
               or_dash(path.next_hop()), state, std::to_string(path.mtu()), milliseconds(path.delay_ms()),
               milliseconds(path.jitter_ms()), percent(path.loss()), duration(path.measured_ago_s())},
              path.state() == "dead");
    if (path.draining()) table.note("draining: takes no new flows, keeps those it has");
  }
  return table.render(layout);
}

Result<Exit> paths(Context &context, const Arguments &) {
  return show_or_read<v1::PathList>(context, "/v1/paths", read_paths);
}

}  // namespace catsbpf::cli
