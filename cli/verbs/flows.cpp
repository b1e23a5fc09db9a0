// SPDX-License-Identifier: Apache-2.0
// Live flows, always read from the pinned flow table.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

constexpr const char *kPlain = "plain";  // in place of a CSCI-ID: plain routing, since the flow began under bypass

Result<FlowFilter> filter_of(const Arguments &arguments, const ServiceNames &names) {
  FlowFilter filter;
  if (const auto service = arguments.text("service")) {
    const auto cs_id = cs_id_of(*service, names);
    if (!cs_id) return cs_id.error();
    filter.cs_id = *cs_id;
  }
  if (arguments.text("csci") == kPlain) {
    filter.csci_id = 0;
  } else {
    const auto csci = arguments.number("csci");
    if (!csci) return csci.error();
    if (*csci) filter.csci_id = static_cast<uint32_t>(**csci);
  }
  if (const auto client = arguments.text("client")) {
    filter.client = parse_prefix(*client, filter.client_bits);
    if (!filter.client) return usage_error("--client '" + *client + "' is neither an address nor a prefix");
  }
  const auto limit = arguments.number("limit");
  if (!limit) return limit.error();
  filter.limit = limit->value_or(filter.limit);
  filter.count_only = arguments.has("count");
  return filter;
}

}  // namespace

std::string render(const v1::FlowList &list, const Layout &layout) {
  const auto total = std::to_string(list.total()) + (list.total() == 1 ? " live flow" : " live flows") +
                     ", the table holds " + si(list.capacity()) + "\n";
  if (list.flows_size() == 0) return total;
  Table table({{"SOURCE", Align::left, Shorten::middle, 20},
               {"DESTINATION", Align::left, Shorten::middle, 18},
               {"PROTO"},
               {"SERVICE", Align::left, Shorten::end},
               {"CSCI-ID", Align::right},
               {"AGE", Align::right},
               {"IDLE", Align::right},
               {"PACKETS", Align::right},
               {"STATE"}});
  for (const auto &flow : list.flows())
    table.row({endpoint(flow.source(), flow.source_port()), endpoint(flow.destination(), flow.destination_port()),
               or_dash(flow.protocol()), service_label(flow.service_id(), flow.cs_id()),
               flow.csci_id() == 0 ? kPlain : std::to_string(flow.csci_id()), duration(flow.age_s()),
               duration(flow.idle_s()), si(flow.packets()), or_dash(flow.state())});
  auto text = table.render(layout);
  const auto shown = static_cast<uint64_t>(list.flows_size());
  return text + (shown < list.total() ? "the newest " + std::to_string(shown) + " of " + total : total);
}

std::string json(const v1::FlowList &list) {
  std::string text = "{\n  \"flows\": [";
  for (int i = 0; i < list.flows_size(); ++i) text += (i == 0 ? "\n    " : ",\n    ") + to_json(list.flows(i));
  return text + (list.flows_size() > 0 ? "\n  " : "") + "],\n  \"total\": " + std::to_string(list.total()) +
         ",\n  \"capacity\": " + std::to_string(list.capacity()) + "\n}\n";
}

Result<Exit> flows(Context &context, const Arguments &arguments) {
  const auto names = service_names(context);
  const auto filter = filter_of(arguments, names);
  if (!filter) return filter.error();
  const auto tables = tables_of(context);
  if (!tables) return tables.error();
  show(context, read_flows(**tables, *filter, names));
  return Exit::done;
}

}  // namespace catsbpf::cli
