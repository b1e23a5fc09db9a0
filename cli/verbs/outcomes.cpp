// SPDX-License-Identifier: Apache-2.0
// What became of every packet that a catsbpf program saw.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::OutcomeList &list, const Layout &layout) {
  if (list.outcomes_size() == 0) return "no packet yet\n";
  Table table({{"", Align::left}, {"OUTCOME"}, {"PACKETS", Align::right}, {"BYTES", Align::right}});
  for (const auto &outcome : list.outcomes()) {
    const bool alarm = outcome.kind() == "alarm";
    table.row({alarm ? "alarm" : "", outcome.name(), si(outcome.packets()), bytes(outcome.bytes())},
              alarm && outcome.packets() > 0);
    table.note(outcome.meaning());
  }
  return table.render(layout);
}

Result<Exit> outcomes(Context &context, const Arguments &arguments) {
  const auto tables = tables_of(context);
  if (!tables) return tables.error();
  const auto value = read_outcomes(**tables, arguments.has("all"));
  if (!value) return value.error();
  show(context, *value);
  return Exit::done;
}

}  // namespace catsbpf::cli
