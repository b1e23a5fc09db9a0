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

std::string verdict(const v1::Explanation &explanation) {
  if (explanation.decided_by() == "bypass") return "plain routing";
  if (explanation.csci_id() != 0) return "CSCI-ID " + std::to_string(explanation.csci_id());
  for (const auto &candidate : explanation.candidates())
    if (candidate.share() > 0 && explanation.decided_by() == "ring")
      return "by the ring, each one's share of new flows below";
  return explanation.decided_by() == "ring" ? "none: new flows follow plain routing" : "none";
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
    facts.add("client", explanation.client() + ": " +
                            (explanation.client_rule().empty() ? "no live flow" : explanation.client_rule()));
  Table table({{""},
               {"CSCI-ID", Align::right},
               {"SITE", Align::left, Shorten::end, 6},
               {"EGRESS", Align::left, Shorten::middle, 6},
               {"GAS", Align::right},
               {"COST", Align::right},
               {"DELAY ms", Align::right},
               {"SCORE", Align::right},
               {"SHARE", Align::right}});
  bool chosen = false, barred = false;
  std::vector<double> scores;
  for (const auto &candidate : explanation.candidates())
    if (candidate.eligible()) scores.push_back(candidate.score());
  const int decimals = decimals_of(scores);
  for (const auto &candidate : explanation.candidates()) {
    const bool winner = explanation.csci_id() != 0 && candidate.csci_id() == explanation.csci_id();
    chosen = chosen || winner;
    barred = barred || !candidate.eligible();
    table.row({winner                 ? "*"
               : candidate.eligible() ? ""
                                      : "x",
               std::to_string(candidate.csci_id()), or_dash(candidate.site()), or_dash(candidate.egress()),
               si(candidate.gas()), decimal(candidate.cost()), milliseconds(candidate.real_delay_ms()),
               candidate.eligible() ? fixed(candidate.score(), decimals) : "-", percent(candidate.share())});
    if (!candidate.reason().empty()) table.note(candidate.reason());
  }
  auto text = facts.render(layout);
  if (explanation.candidates_size() > 0)
    text += "\n" + table.render(layout) +
            (chosen && barred ? "* chosen, x may not take it\n"
             : chosen         ? "* chosen\n"
             : barred         ? "x may not take it\n"
                              : "");
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
  return show_answer<v1::Explanation>(context, {.path = *path});
}

}  // namespace catsbpf::cli
