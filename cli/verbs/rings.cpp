// SPDX-License-Identifier: Apache-2.0
// The steering rules (R110): how new flows of each service are spread over its instances.
#include <cmath>

#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::RingList &list, const Layout &layout) {
  constexpr double kBarColumns = 30;
  Table table({{"SERVICE", Align::left, Shorten::end},
               {"RING", Align::right},
               {"CSCI-ID", Align::right},
               {"WEIGHT", Align::right},
               {"SLOTS", Align::right},
               {"SHARE", Align::right},
               {""}});
  std::vector<double> weights;
  for (const auto &ring : list.rings())
    for (const auto &member : ring.members()) weights.push_back(member.weight());
  const int decimals = decimals_of(weights);
  for (const auto &ring : list.rings()) {
    auto service = service_label(ring.service_id(), ring.cs_id());
    auto slots = std::to_string(ring.slots());
    if (ring.members_size() == 0) table.row({service, slots, "-", "-", "-", "-", "no instance takes new flows"}, true);
    for (const auto &member : ring.members()) {
      const auto bar =
          static_cast<std::size_t>(std::lround(std::max(0.0, std::min(1.0, member.share())) * kBarColumns));
      table.row({service, slots, std::to_string(member.csci_id()),
                 member.weight() < 0 ? "-" : fixed(member.weight(), decimals), std::to_string(member.slots()),
                 percent(member.share()), std::string(bar, '#')});
      service.clear();
      slots.clear();
    }
  }
  return "view epoch " + std::to_string(list.view_epoch()) + "\n" + table.render(layout);
}

Result<Exit> rings(Context &context, const Arguments &) {
  return show_or_read<v1::RingList>(context, "/v1/rings", read_rings);
}

}  // namespace catsbpf::cli
