// SPDX-License-Identifier: Apache-2.0
// The site's API on its C-SMA: the service model table, its deltas, service-finished heartbeats.
#include <nlohmann/json.hpp>

#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

template <class Rows>
std::string render_rows(const Rows &rows, const Layout &layout) {
  Table table({{"SERVICE", Align::left, Shorten::end},
               {"CSCI-ID", Align::right},
               {"GAS", Align::right},
               {"IN USE", Align::right},
               {"COST", Align::right},
               {"CONTACT", Align::left, Shorten::middle, 15},
               {"IPv6 CONTACT", Align::left, Shorten::middle, 15},
               {"ACCESS ms", Align::right},
               {"STATE"},
               {"EGRESSES", Align::left, Shorten::end}});
  for (const v1::SiteRow &row : rows) {
    std::string egresses;
    for (const auto &egress : row.egresses()) egresses += (egresses.empty() ? "" : ",") + egress;
    table.row({service_label(row.service_id(), row.cs_id()), std::to_string(row.csci_id()), si(row.gas()),
               si(row.in_use()), decimal(row.cost()), or_dash(row.contact()), or_dash(row.contact6()),
               row.access_delay_us() == 0 ? "-" : milliseconds(row.access_delay_us() / 1000.0),
               row.draining() ? "draining" : "active", or_dash(egresses)});
  }
  return table.render(layout);
}

Result<Exit> table(Context &context, const Arguments &arguments) {
  Call call{.api = Api::site, .path = "/v1/table"};
  if (const auto path = arguments.text("file")) {
    v1::SiteTable value;
    auto file = read_message_file(*path, value);
    if (!file) return file.error();
    if (file->line_of("rows") == 0) {
      file->problem("rows", "is missing", "rows: [] is a table that removes all rows");
      return file->error();
    }
    call.method = "PUT";
    call.body = to_json(value);
    // The answer to a put is the delta that it makes; what people want to see is the table.
    const auto reply = context.remote.call(call);
    if (!reply) return reply.error();
    if (!reply->good()) return file->placed(reply->error());
  }
  return show_answer<v1::SiteTable>(context, {.api = Api::site, .path = "/v1/table"});
}

Result<v1::SiteDeltas> delta_of(const Arguments &arguments) {
  v1::SiteDeltas deltas;
  auto &delta = *deltas.add_deltas();
  if (arguments.word(1).empty()) return usage_error("the CSCI-ID is missing");
  const auto csci_id = parse_number("CSCI-ID", arguments.word(1));
  if (!csci_id) return csci_id.error();
  delta.set_csci_id(static_cast<uint32_t>(*csci_id));
  delta.set_service_id(arguments.text("service").value_or(""));
  if (const auto gas = arguments.text("gas")) {
    const auto amount = parse_amount("--gas", *gas);
    if (!amount) return amount.error();
    if (amount->relative)
      delta.set_gas_change(static_cast<int32_t>(amount->value));
    else
      delta.set_gas(static_cast<uint32_t>(amount->value));
  }
  const auto cost = arguments.decimal("cost");
  if (!cost) return cost.error();
  if (*cost) delta.set_cost(**cost);
  if (const auto text = arguments.text("drain")) {
    const auto on = parse_switch("--drain", *text);
    if (!on) return on.error();
    delta.set_draining(*on);
  }
  delta.set_remove(arguments.has("remove"));
  const bool changes = delta.has_gas() || delta.has_gas_change() || delta.has_cost() || delta.has_draining();
  if (!changes && !delta.remove()) return usage_error("the delta changes nothing");
  if (changes && delta.remove()) return usage_error("--remove goes with no other change");
  return deltas;
}

// Without what is not set: `draining: false` would be a change.
std::string body_of(const v1::SiteDeltas &deltas) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto &delta : deltas.deltas()) {
    nlohmann::ordered_json body{{"csci_id", delta.csci_id()}};
    if (!delta.service_id().empty()) body["service_id"] = delta.service_id();
    if (delta.has_gas_change()) body["gas_change"] = delta.gas_change();
    if (delta.has_gas()) body["gas"] = delta.gas();
    if (delta.has_cost()) body["cost"] = delta.cost();
    if (delta.has_draining()) body["draining"] = delta.draining();
    if (delta.remove()) body["remove"] = true;
    list.push_back(body);
  }
  return nlohmann::ordered_json{{"deltas", list}}.dump();
}

Result<Exit> delta(Context &context, const Arguments &arguments) {
  const auto deltas = delta_of(arguments);
  if (!deltas) return deltas.error();
  return show_answer<v1::SiteDeltaResult>(
      context, {.api = Api::site, .method = "POST", .path = "/v1/deltas", .body = body_of(*deltas)});
}

Result<Exit> finished(Context &context, const Arguments &arguments) {
  v1::ServiceFinished heartbeat;
  const auto reservation = arguments.number("reservation", UINT64_MAX), csci = arguments.number("csci");
  if (!reservation) return reservation.error();
  if (!csci) return csci.error();
  if (reservation->has_value() == csci->has_value()) return usage_error("give either --reservation or --csci");
  heartbeat.set_reservation(reservation->value_or(0));
  heartbeat.set_csci_id(static_cast<uint32_t>(csci->value_or(0)));
  const auto reply =
      context.remote.call({.api = Api::site, .method = "POST", .path = "/v1/finished", .body = to_json(heartbeat)});
  if (!reply) return reply.error();
  if (!reply->good()) return reply->error();
  if (context.options.json)
    context.out << json(heartbeat);
  else
    context.out << "finished\n";
  return Exit::done;
}

}  // namespace

std::string render(const v1::SiteTable &table, const Layout &layout) {
  return "site " + or_dash(table.site()) + ", epoch " + std::to_string(table.epoch()) + ", sequence " +
         std::to_string(table.sequence()) + "\n" + render_rows(table.rows(), layout);
}

std::string render(const v1::SiteDeltaResult &result, const Layout &layout) {
  return "epoch " + std::to_string(result.epoch()) + ", sequence " + std::to_string(result.sequence()) + ": " +
         bytes(result.wire_bytes()) + " on the session\n" +
         (result.rows_size() > 0 ? render_rows(result.rows(), layout) : "");
}

Result<Exit> site(Context &context, const Arguments &arguments) {
  const auto what = arguments.word(0);
  const bool is_table = what == "table", is_delta = what == "delta", is_finished = what == "finished";
  if (!is_table && !is_delta && !is_finished) return usage_error("unknown 'site " + what + "'");
  if (!is_delta && arguments.positional().size() > 1) return usage_error("unexpected word '" + arguments.word(1) + "'");
  std::string alien;
  if (!is_table) alien = arguments.first_of({"file"});
  if (alien.empty() && !is_delta) alien = arguments.first_of({"service", "gas", "cost", "drain", "remove"});
  if (alien.empty() && !is_finished) alien = arguments.first_of({"reservation", "csci"});
  if (!alien.empty()) return usage_error("option '--" + alien + "' does not go with 'site " + what + "'");
  return is_table ? table(context, arguments) : is_delta ? delta(context, arguments) : finished(context, arguments);
}

}  // namespace catsbpf::cli
