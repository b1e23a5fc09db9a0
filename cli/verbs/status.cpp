// SPDX-License-Identifier: Apache-2.0
// The agent at a glance.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

std::string joined(const google::protobuf::RepeatedPtrField<std::string> &texts) {
  std::string all;
  for (const auto &text : texts) all += (all.empty() ? "" : ", ") + text;
  return all;
}

std::string agent_line(const v1::Status &status) {
  const auto heartbeat = status.heartbeat_age_s() < 0
                             ? "no sign of life yet"
                             : "last sign of life " + duration(status.heartbeat_age_s()) + " ago";
  if (!status.agent_running())
    return (shows_life(status.heartbeat_age_s()) ? "not reached, " : "not running, ") + heartbeat;
  return "running for " + duration(status.uptime_s()) + ", " + heartbeat;
}

std::string render_interfaces(const v1::Status &status, const Layout &layout) {
  Table table({{"INTERFACE", Align::left, Shorten::end},
               {"SIDE", Align::left, Shorten::end},
               {"MODE", Align::left, Shorten::end},
               {"STATE"},
               {"RECEIVE Mbit/s", Align::right},
               {"TRANSMIT Mbit/s", Align::right},
               {"SPEED Mbit/s", Align::right}});
  for (const auto &interface : status.interfaces())
    table.row({interface.name(), interface.side(), or_dash(interface.mode()), or_dash(interface.state()),
               mbps(interface.receive_mbps()), mbps(interface.transmit_mbps()), mbps(interface.speed_mbps())},
              interface.state() == "down" || interface.mode() == "detached");
  return "\n" + table.render(layout);
}

}  // namespace

std::string render(const v1::Status &status, const Layout &layout) {
  Facts facts;
  if (!status.node().empty()) facts.add("node", status.node() + " (" + joined(status.roles()) + ")");
  if (!status.version().empty()) facts.add("version", status.version());
  facts.add("agent", agent_line(status));
  const auto epoch = "epoch " + std::to_string(status.view_epoch());
  facts.add("view", status.view_epoch() == 0 ? "none published yet"
                                             : epoch + ", published " + duration(status.view_age_s()) + " ago");
  if (!status.programming().empty()) facts.add("programming", status.programming());
  facts.add("bypass", status.bypass() ? "on: new flows follow plain routing" : "off");
  facts.add("steering", counted(status.services(), "service") + ", " + counted(status.instances(), "instance") + ", " +
                            counted(status.paths(), "path"));
  facts.add("flows", si(status.flows()) + " of " + si(status.flow_capacity()));
  if (status.agent_running()) {
    facts.add("platform", or_dash(status.platform()));
    facts.add("sessions",
              std::to_string(status.sessions_up()) + " of " + std::to_string(status.sessions_configured()) + " up");
  }
  facts.add("alarms", status.alarms() == 0 ? "none" : counted(status.alarms(), "packet") + ", see catsbpf outcomes");
  for (const auto &warning : status.warnings()) facts.add("warning", warning);
  auto text = facts.render(layout);
  if (status.interfaces_size() > 0) text += render_interfaces(status, layout);
  return text;
}

Result<Exit> status(Context &context, const Arguments &) {
  return show_or_read<v1::Status>(context, "/v1/status", read_status);
}

}  // namespace catsbpf::cli
