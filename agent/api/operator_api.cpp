// SPDX-License-Identifier: Apache-2.0
#include "agent/api/operator_api.h"

#include <cmath>

#include "agent/api/answers.h"
#include "agent/api/client_flows.h"
#include "agent/api/views.h"

namespace catsbpf::agent {

namespace {

using boost::asio::awaitable;
using http::Request;
using http::Response;

std::string flows_text(const std::map<uint32_t, uint32_t> &flows, const std::string &client) {
  std::string text;
  for (const auto &[csci_id, count] : flows)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + (csci_id ? " on csci " + std::to_string(csci_id) : " on plain routing");
  return text.empty() ? "" : "flows of " + client + " that exist stay: " + text;
}

// gas, cost and delay_ms of an explain query; empty when none is given.
Result<std::optional<cmas::Request>> request_in(const Request &request) {
  cmas::Request wish;
  bool given = false;
  const auto read = [&](const char *field, auto &into) -> Result<> {
    const auto found = request.query.find(field);
    if (found == request.query.end()) return done();
    const auto number = number_in<std::remove_reference_t<decltype(into)>>(found->second, field);
    if (!number) return number.error();
    given = true;
    into = *number;
    return done();
  };
  double delay_ms = 0;
  if (auto r = read("gas", wish.gas); !r) return r.error();
  if (auto r = read("cost", wish.cost); !r) return r.error();
  if (auto r = read("delay_ms", delay_ms); !r) return r.error();
  if (!std::isfinite(wish.cost) || wish.cost < 0) return Error{"cost: must not be negative", {}, EINVAL};
  if (!(delay_ms >= 0 && delay_ms <= 1e9)) return Error{"delay_ms: must be from 0 (any) to 1000000000", {}, EINVAL};
  if (delay_ms > 0) wish.delay = cmas::Micros(std::llround(delay_ms * 1000));
  return given ? std::optional(wish) : std::nullopt;
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
    route("PUT", "/v1/bypass", &Api::bypass, parts_.programmer);
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
    return refusal({"agent " + parts_.config->node + " has no role that knows " + path, "ask an agent with role path-selector", ENOENT});
  }

  awaitable<Response> explain(Request request) {
    const std::string client = request.query["client"];
    const auto address = maps::parse_address(client);
    if (!client.empty() && !address) co_return refusal({"client: '" + client + "' is not an address", {}, EINVAL});
    if (request.query["service"].empty())
      co_return refusal({"service: is missing", "GET /v1/explain?service=SERVICE[&client=ADDRESS][&gas=&cost=&delay_ms=]", EINVAL});
    const auto wish = request_in(request);
    if (!wish) co_return refusal(wish.error());
    auto explanation = parts_.selector->explain(request.query["service"], client, *wish);
    if (!explanation) co_return refusal(explanation.error());
    if (address && !*wish && parts_.dataplane) {
      const auto flows = co_await flows_of(*parts_.dataplane, *address, explanation->cs_id());
      const std::string text = flows_text(flows, client);
      if (!text.empty()) explanation->set_client_rule(explanation->client_rule() + (explanation->client_rule().empty() ? "" : "; ") + text);
    }
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

  awaitable<Response> drains(Request) { co_return http::json(parts_.selector->drains()); }

  awaitable<Response> drain(Request request) {
    v1::Drain drain;
    if (auto parsed = http::parse(request, drain); !parsed) co_return http::failure(400, parsed.error());
    const auto result = parts_.selector->drain(drain, request.method == "POST");
    co_return result ? http::json(parts_.selector->drains()) : refusal(result.error());
  }

  awaitable<Response> bypass(Request request) {
    v1::Bypass bypass;
    if (auto parsed = http::parse(request, bypass); !parsed) co_return http::failure(400, parsed.error());
    if (const auto set = parts_.programmer->set_bypass(bypass.on()); !set) co_return refusal(set.error());
    co_return http::json(bypass);
  }

  std::unique_ptr<http::Server> server_;
  const Parts &parts_;
};

}  // namespace

Result<std::unique_ptr<OperatorApi>> OperatorApi::open(boost::asio::io_context &io, const std::string &socket, const Parts &parts) {
  http::ServerOptions options;
  options.listen = socket;
  auto server = http::Server::open(io, std::move(options));
  if (!server) return server.error();
  return std::unique_ptr<OperatorApi>(new Api(std::move(*server), parts));
}

}  // namespace catsbpf::agent
