// SPDX-License-Identifier: Apache-2.0
// Take no new flows on an instance, a site or an egress; flows that run stay.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

Result<v1::Drain> drain_of(const Arguments &arguments) {
  v1::Drain drain;
  const auto kind = arguments.word(0), name = arguments.word(1);
  if (kind != "site" && kind != "egress" && kind != "instance")
    return usage_error("cannot drain a '" + kind + "', only an instance, a site or an egress");
  if (name.empty()) return usage_error("which " + kind + " to drain is missing");
  if (kind == "site") {
    drain.set_site(name);
  } else if (kind == "egress") {
    drain.set_egress(name);
  } else {
    const auto csci_id = parse_number("CSCI-ID", name);
    if (!csci_id) return csci_id.error();
    drain.set_csci_id(static_cast<uint32_t>(*csci_id));
    drain.set_service_id(arguments.text("service").value_or(""));
  }
  if (kind != "instance" && arguments.has("service"))
    return usage_error("option '--service' goes with an instance only");
  return drain;
}

}  // namespace

std::string render(const v1::DrainList &list, const Layout &layout) {
  if (list.drains_size() == 0) return "nothing is drained\n";
  Table table({{"DRAINED"}, {"NAME"}, {"SERVICE"}});
  for (const auto &drain : list.drains()) {
    if (drain.csci_id() != 0)
      table.row({"instance", std::to_string(drain.csci_id()), drain.service_id().empty() ? "all" : drain.service_id()});
    else if (!drain.site().empty())
      table.row({"site", drain.site(), "all"});
    else
      table.row({"egress", drain.egress(), "all"});
  }
  std::string unserved;
  for (const auto &service : list.unserved()) unserved += (unserved.empty() ? "" : ", ") + service;
  if (!unserved.empty())
    unserved =
        wrap(printable("no instance is left for " + unserved + ": new flows follow plain routing"), layout.width, 0);
  return table.render(layout) + unserved;
}

Result<Exit> drain(Context &context, const Arguments &arguments) {
  if (arguments.positional().empty()) {
    if (arguments.has("off") || arguments.has("service")) return usage_error("what to drain is missing");
    return show_answer<v1::DrainList>(context, {.path = "/v1/drains"});
  }
  const auto value = drain_of(arguments);
  if (!value) return value.error();
  return show_answer<v1::DrainList>(
      context, {.method = arguments.has("off") ? "DELETE" : "POST", .path = "/v1/drain", .body = to_json(*value)});
}

}  // namespace catsbpf::cli
