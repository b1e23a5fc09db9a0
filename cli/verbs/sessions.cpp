// SPDX-License-Identifier: Apache-2.0
// Delta sessions: incoming ones as C-PS, outgoing ones as C-SMA.
#include <algorithm>

#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::SessionList &list, const Layout &layout) {
  Table table({{"PEER", Align::left, Shorten::end},
               {"SITE", Align::left, Shorten::end},
               {"DIR"},
               {"STATE"},
               {"ADDRESS", Align::left, Shorten::middle},
               {"EPOCH", Align::right, Shorten::middle, 8},
               {"SEQUENCE", Align::right},
               {"UNACKED", Align::right},
               {"ROWS", Align::right},
               {"HEARD", Align::right},
               {"RESYNCS", Align::right},
               {"REFUSED", Align::right}});
  for (const auto &session : list.sessions()) {
    table.row(
        {session.peer(), or_dash(session.site()), session.direction(), session.state(), or_dash(session.address()),
         std::to_string(session.epoch()), std::to_string(session.sequence()),
         si(session.sequence() - std::min(session.sequence(), session.acknowledged())), std::to_string(session.rows()),
         duration(session.heard_s()), std::to_string(session.resyncs()), si(session.refused())},
        session.state() != "up");
    if (!session.reason().empty()) table.note(session.reason());
  }
  return table.render(layout);
}

Result<Exit> sessions(Context &context, const Arguments &) {
  return show_answer<v1::SessionList>(context, {.path = "/v1/sessions"});
}

}  // namespace catsbpf::cli
