// SPDX-License-Identifier: Apache-2.0
#include "agent/api/operator_api.h"

#include "agent/api/answers.h"
#include "agent/api/client_flows.h"
#include "agent/api/new_flow.h"
#include "agent/api/views.h"

namespace catsbpf::agent {

namespace {

using boost::asio::awaitable;
using http::Request;
using http::Response;

std::string flows_text(const std::map<uint32_t, uint32_t> &flows) {
  std::string text;
  for (const auto &[csci_id, count] : flows)
    text += (text.empty() ? "" : ", ") + std::to_string(count) +
            (csci_id ? " on CSCI-ID " + std::to_string(csci_id) : " by plain routing");
  return text.empty() ? "" : "live flows stay where they are: " + text;
}

// gas, cost and delay_ms of an explain query; empty when none is given.
Result<std::optional<cmas::Request>> request_in(const Request &request) {
  v1::ServiceRequest wish;
  const auto text_of = [&](const char *field) {
    const auto found = request.query.find(field);
    return found == request.query.end() ? std::nullopt : std::optional(found->second);
  };
  const auto gas = text_of("gas"), cost = text_of("cost"), delay_ms = text_of("delay_ms");
  if (!gas && !cost && !delay_ms) return std::optional<cmas::Request>{};
  const auto slots = number_in<uint32_t>(gas.value_or("1"), "gas");
  const auto price = number_in<double>(cost.value_or("0"), "cost");
  const auto delay = number_in<double>(delay_ms.value_or("0"), "delay_ms");
  if (!slots) return slots.error();
  if (!price) return price.error();
  if (!delay) return delay.error();
  wish.set_gas(*slots);
  wish.set_cost(*price);
  wish.set_delay_ms(*delay);
  const auto checked = wish_of(wish);
  if (!checked) return checked.error();
  return std::optional(*checked);
}

class Api : public OperatorApi {
 public:
  Api(std::unique_ptr<http::Server> server, const Parts &parts) : server_(std::move(server)), parts_(parts) {
    get("/v1/status", &status_view, true);
    get("/v1/services", &services_view, parts_.selector);
    get("/v1/instances", &instances_view, parts_.selector || parts_.service_metrics);
    get("/v1/paths", &paths_view, parts_.programmer);
    get("/v1/rings", &rings_view, parts_.selector);
    get("/v1/sessions", &sessions_view, true);
    route("GET", "/v1/explain", &Api::explain, parts_.selector);
    route("GET", "/v1/publications", &Api::publications, parts_.selector);
    route("GET", "/v1/requests", &Api::requests, parts_.selector);
    route("DELETE", "/v1/requests/:id", &Api::finish, parts_.selector);
    route("GET", "/v1/drains", &Api::drains, parts_.selector);
    route("GET", "/v1/drain", &Api::drains, parts_.selector);
    route("POST", "/v1/drain", &Api::drain, parts_.selector);
    route("DELETE", "/v1/drain", &Api::drain, parts_.selector);
    route("PUT", "/v1/bypass", &Api::bypass, parts_.programmer && parts_.selector);  // an ingress
  }

  void stop() override { server_->stop(); }

 private:
  using Method = awaitable<Response> (Api::*)(Request);

  void route(const char *method, const char *path, Method handler, bool has_part) {
    server_->route(method, path, [this, handler, has_part](Request request) -> awaitable<Response> {
      if (!has_part) co_return lacks_role(request.path);
      co_return co_await (this->*handler)(std::move(request));
    });
  }

  template <class View>
  void get(const char *path, View view, bool has_part) {
    server_->route("GET", path, [this, view, has_part](Request request) -> awaitable<Response> {
      co_return has_part ? http::json(view(parts_)) : lacks_role(request.path);
    });
  }

  Response lacks_role(const std::string &path) const {
    return refusal({"agent " + parts_.config->node + " has no role that knows " + path,
                    "ask an ingress: an agent with the roles ingress and path-selector", ENOENT});
  }

  awaitable<Response> explain(Request request) {
    const std::string client = request.query["client"];
    const auto address = maps::parse_address(client);
    if (!client.empty() && !address)
      co_return refusal(
          {"client: '" + client + "' is not an address", "an IPv4 or IPv6 address, without prefix length", EINVAL});
    if (request.query["service"].empty())
      co_return refusal(
          {"service: is missing", "GET /v1/explain?service=SERVICE[&client=ADDRESS][&gas=&cost=&delay_ms=]", EINVAL});
    const auto wish = request_in(request);
    if (!wish) co_return refusal(wish.error());
    auto explanation = parts_.selector->explain(request.query["service"], *wish);
    if (!explanation) co_return refusal(explanation.error());
    if (address) explanation->set_client(maps::format_address(*address));
    if (parts_.dataplane && parts_.programmer) what_comes_first(*explanation, parts_);
    if (address && parts_.dataplane)
      explanation->set_client_rule(flows_text(co_await flows_of(*parts_.dataplane, *address, explanation->cs_id())));
    co_return http::json(*explanation);
  }

  awaitable<Response> publications(Request request) {
    uint64_t since = 0;
    if (const auto given = request.query.find("since"); given != request.query.end()) {
      const auto number = number_in<uint64_t>(given->second, "since");
      if (!number) co_return refusal(number.error());
      since = *number;
    }
    co_return http::json(parts_.selector->journal().list(since));
  }

  awaitable<Response> requests(Request) { co_return http::json(parts_.selector->requests().list()); }

  awaitable<Response> finish(Request request) {
    const auto id = number_in<uint64_t>(request.parameters["id"], "request");
    if (!id) co_return refusal(id.error());
    const auto finished = parts_.selector->requests().finish(*id, std::nullopt);
    co_return finished ? http::json(parts_.selector->requests().list()) : refusal(finished.error());
  }

  awaitable<Response> drains(Request) { co_return http::json(drains_view(parts_)); }

  awaitable<Response> drain(Request request) {
    v1::Drain drain;
    if (auto parsed = http::parse(request, drain); !parsed) co_return http::failure(400, parsed.error());
    const auto result = parts_.selector->drain(drain, request.method == "POST");
    co_return result ? http::json(drains_view(parts_)) : refusal(result.error());
  }

  awaitable<Response> bypass(Request request) {
    v1::Bypass bypass;
    if (auto parsed = http::parse(request, bypass); !parsed) co_return http::failure(400, parsed.error());
    if (!bypass.has_on()) co_return refusal({"on: is missing", "{\"on\": true} or {\"on\": false}", EINVAL});
    if (const auto set = parts_.programmer->set_bypass(bypass.on()); !set) co_return refusal(set.error());
    co_return http::json(bypass);
  }

  std::unique_ptr<http::Server> server_;
  const Parts &parts_;
};

}  // namespace

Result<std::unique_ptr<OperatorApi>> OperatorApi::open(boost::asio::io_context &io, const std::string &socket,
                                                       const Parts &parts) {
  http::ServerOptions options;
  options.listen = socket;
  auto server = http::Server::open(io, std::move(options));
  if (!server) return server.error();
  return std::unique_ptr<OperatorApi>(new Api(std::move(*server), parts));
}

}  // namespace catsbpf::agent
