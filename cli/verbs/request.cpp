// SPDX-License-Identifier: Apache-2.0
// Requests (section 6 of the CMAS draft): `request` asks the ingress, `finish` gives back.
#include <nlohmann/json.hpp>

#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

Result<v1::ServiceRequest> request_of(const Arguments &arguments) {
  v1::ServiceRequest request;
  request.set_service_id(arguments.word(0));
  const auto gas = arguments.number("gas"), lease = arguments.number("lease");
  if (!gas) return gas.error();
  if (!lease) return lease.error();
  request.set_gas(static_cast<uint32_t>(gas->value_or(1)));
  if (request.gas() == 0) return usage_error("--gas 0 asks for nothing");
  request.set_lease_s(static_cast<uint32_t>(lease->value_or(0)));
  const auto cost = arguments.decimal("cost"), delay = arguments.decimal("delay");
  if (!cost) return cost.error();
  if (!delay) return delay.error();
  request.set_cost(cost->value_or(0));
  request.set_delay_ms(delay->value_or(0));
  return request;
}

// The ingress to call and the path there, of "7", "/v1/requests/7" or a whole URL.
Result<Call> call_of_location(const std::string &location) {
  Call call{.api = Api::ingress, .method = "DELETE"};
  if (const auto scheme = location.find("://"); scheme != std::string::npos) {
    const auto path = location.find('/', scheme + 3);
    if (path == std::string::npos) return usage_error("location '" + location + "' has no path");
    call.url = location.substr(0, path);
    call.path = location.substr(path);
  } else if (location.starts_with('/')) {
    call.path = location;
  } else {
    const auto id = parse_number("reservation", location, UINT64_MAX);
    if (!id) return id.error();
    call.path = "/v1/requests/" + std::to_string(*id);
  }
  return call;
}

}  // namespace

std::string json(const Granted &granted) {
  auto value = nlohmann::ordered_json::parse(to_json(granted.acknowledgement), nullptr, false);
  value["location"] = granted.location;
  return value.dump(2) + "\n";
}

std::string render(const Granted &granted, const Layout &layout) {
  const auto &acknowledgement = granted.acknowledgement;
  Facts facts;
  facts.add("service", acknowledgement.service_id());
  facts.add("gas", std::to_string(acknowledgement.gas()));
  facts.add("real cost", acknowledgement.success() ? decimal(acknowledgement.real_cost()) : "-");
  facts.add("real delay", acknowledgement.success() ? milliseconds(acknowledgement.real_delay_ms()) + " ms" : "-");
  facts.add("success", acknowledgement.success() ? "yes" : "no");
  if (!granted.location.empty()) facts.add("reservation", granted.location);
  return facts.render(layout);
}

std::string render(const v1::ReservationList &list, const Layout &layout) {
  if (list.requests_size() == 0) return "no granted request\n";
  Table table({{"ID", Align::right},
               {"SERVICE", Align::left, Shorten::end},
               {"CSCI-ID", Align::right},
               {"CLIENT", Align::left, Shorten::middle, 12},
               {"GAS", Align::right},
               {"COST", Align::right},
               {"DELAY ms", Align::right},
               {"ENDS IN", Align::right}});
  for (const auto &row : list.requests())
    table.row({std::to_string(row.id()), row.service_id(), std::to_string(row.csci_id()), row.client(), si(row.gas()),
               decimal(row.real_cost()), milliseconds(row.real_delay_ms()), duration(row.expires_in_s())});
  return table.render(layout);
}

Result<Exit> request(Context &context, const Arguments &arguments) {
  if (arguments.positional().empty()) {
    const auto alien = arguments.first_of({"gas", "cost", "delay", "lease"});
    if (!alien.empty()) return usage_error("option '--" + alien + "' needs a service");
    return show_answer<v1::ReservationList>(context, {.path = "/v1/requests"});
  }
  const auto value = request_of(arguments);
  if (!value) return value.error();
  const auto reply =
      context.remote.call({.api = Api::ingress, .method = "POST", .path = "/v1/requests", .body = to_json(*value)});
  if (!reply) return reply.error();
  // A refusal is an acknowledgement as well (success = false), whatever its status.
  Granted granted;
  if (!from_json(reply->body, granted.acknowledgement)) {
    if (!reply->good()) return reply->error();
    return Error{"cannot read the ingress' acknowledgement", "are catsbpf and the ingress of the same version?"};
  }
  if (const auto location = reply->headers.find("location"); location != reply->headers.end())
    granted.location = location->second;
  show(context, granted);
  if (granted.acknowledgement.success()) return Exit::done;
  // The acknowledgement is the answer; why nobody would have it is the operator's to see.
  return Error{
      "no instance of " + value->service_id() + " grants the request",
      "catsbpf explain " + value->service_id() + " with the same --gas --cost --delay at the ingress says why"};
}

Result<Exit> finish(Context &context, const Arguments &arguments) {
  auto call = call_of_location(arguments.word(0));
  if (!call) return call.error();
  if (arguments.has("operator")) {
    if (!call->url.empty()) return usage_error("--operator asks the agent's socket, not " + call->url);
    call->api = Api::agent;
  }
  const auto reply = context.remote.call(*call);
  if (!reply) return reply.error();
  if (!reply->good()) return reply->error();
  if (context.options.json)
    context.out << nlohmann::ordered_json{{"finished", call->path}}.dump(2) << "\n";
  else
    context.out << "finished " << call->path << "\n";
  return Exit::done;
}

}  // namespace catsbpf::cli
