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
  // What is not given, and what makes no sense, is the ingress' to decide: the same for all who call it.
  if (*gas) request.set_gas(static_cast<uint32_t>(**gas));
  if (*lease) request.set_lease_s(static_cast<uint32_t>(**lease));
  const auto cost = arguments.decimal("cost"), delay = arguments.decimal("delay");
  if (!cost) return cost.error();
  if (!delay) return delay.error();
  request.set_cost(cost->value_or(0));
  request.set_delay_ms(delay->value_or(0));
  return request;
}

// No candidate has it: that is an answer as well, and is shown. Everything else is an error alone.
Error refused(Context &context, const Reply &reply) {
  v1::RequestRefusal refusal;
  if (!from_json(reply.body, refusal) || refusal.service_id().empty()) return reply.error();
  if (context.options.json) {
    context.out << json(refusal);
  } else {
    Granted shown;
    shown.acknowledgement.set_service_id(refusal.service_id());
    shown.acknowledgement.set_gas(refusal.gas());
    context.out << render(shown, context.layout);
  }
  return {refusal.error(), refusal.hint() + "; catsbpf explain " + refusal.service_id() +
                               " at the ingress, with the same --gas --cost --delay, names the candidates"};
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
  if (!reply->good()) return refused(context, *reply);
  Granted granted;
  if (!from_json(reply->body, granted.acknowledgement))
    return Error{"cannot read the ingress' acknowledgement", "are catsbpf and the ingress of the same version?"};
  if (const auto location = reply->headers.find("location"); location != reply->headers.end())
    granted.location = location->second;
  show(context, granted);
  return Exit::done;
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
