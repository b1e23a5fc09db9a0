// SPDX-License-Identifier: Apache-2.0
// Which instance takes a new flow (or a request), by which rule, and what of the others.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

Result<std::string> path_of(const Arguments &arguments, const std::optional<maps::address> &client) {
  std::string path = "/v1/explain?service=" + url_encoded(arguments.word(0));
  if (client) path += "&client=" + url_encoded(maps::format_address(*client));
  const auto gas = arguments.number("gas");
  if (!gas) return gas.error();
  if (*gas) path += "&gas=" + std::to_string(**gas);
  for (const auto &[option, field] : {std::pair{"cost", "cost"}, std::pair{"delay", "delay_ms"}}) {
    const auto value = arguments.decimal(option);
    if (!value) return value.error();
    if (*value) path += std::string("&") + field + "=" + url_encoded(decimal(**value));
  }
  return path;
}

Result<std::string> client_rule(Context &context, uint32_t cs_id, const maps::address &client) {
  const auto tables = context.open_tables();
  if (!tables) return tables.error();
  return read_client(**tables, cs_id, client);
}

std::string verdict(const v1::Explanation &explanation) {
  if (explanation.csci_id() != 0) return "CSCI-ID " + std::to_string(explanation.csci_id());
  for (const auto &candidate : explanation.candidates())
    if (candidate.share() > 0) return "by the ring, each one's share of new flows below";
  return "none";
}

}  // namespace

std::string render(const v1::Explanation &explanation, const Layout &layout) {
  Facts facts;
  facts.add("service", service_label(explanation.service_id(), explanation.cs_id()) + " (CS-ID " +
                           std::to_string(explanation.cs_id()) + ")");
  facts.add("policy", or_dash(explanation.policy()));
  facts.add("rule", or_dash(explanation.rule()));
  facts.add("instance", verdict(explanation));
  if (!explanation.client().empty())
    facts.add("client",
              explanation.client() + ": " +
                  (explanation.client_rule().empty() ? "no session, no live flow" : explanation.client_rule()));
  Table table({{""},
               {"CSCI-ID", Align::right},
               {"SITE", Align::left, Shorten::end, 6},
               {"EGRESS", Align::left, Shorten::middle, 6},
               {"GAS", Align::right},
               {"COST", Align::right},
               {"DELAY ms", Align::right},
               {"SCORE", Align::right},
               {"SHARE", Align::right}});
  bool marked = false;
  for (const auto &candidate : explanation.candidates()) {
    const bool winner = explanation.csci_id() != 0 && candidate.csci_id() == explanation.csci_id();
    marked = marked || winner || !candidate.eligible();
    table.row({winner                 ? "*"
               : candidate.eligible() ? ""
                                      : "x",
               std::to_string(candidate.csci_id()), or_dash(candidate.site()), or_dash(candidate.egress()),
               si(candidate.gas()), decimal(candidate.cost()), milliseconds(candidate.real_delay_ms()),
               candidate.eligible() ? decimal(candidate.score(), 4) : "-", percent(candidate.share())});
    if (!candidate.reason().empty()) table.note(candidate.reason());
  }
  auto text = facts.render(layout);
  if (explanation.candidates_size() > 0)
    text += "\n" + table.render(layout) + (marked ? "* chosen, x may not take it\n" : "");
  return text;
}

Result<Exit> explain(Context &context, const Arguments &arguments) {
  std::optional<maps::address> client;
  if (const auto text = arguments.text("client")) {
    client = maps::parse_address(*text);
    if (!client) return usage_error("--client '" + *text + "' is no address");
  }
  const auto path = path_of(arguments, client);
  if (!path) return path.error();
  auto explanation = ask<v1::Explanation>(context, {.path = *path});
  if (!explanation) return explanation.error();
  if (client) {
    explanation->set_client(maps::format_address(*client));
    const auto rule = client_rule(context, explanation->cs_id(), *client);
    if (!rule) context.err << "flows of the client are not shown: " << printable(rule.error().what) << "\n";
    // What the packets meet, before what the agent wants them to meet.
    else if (!rule->empty())
      explanation->set_client_rule(*rule);
  }
  show(context, *explanation);
  return Exit::done;
}

}  // namespace catsbpf::cli
