// SPDX-License-Identifier: Apache-2.0
#include "agent/api/request_api.h"

#include <openssl/crypto.h>
#include <boost/asio/this_coro.hpp>

#include <sstream>

#include "agent/api/answers.h"
#include "agent/api/rate_limit.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

namespace asio = boost::asio;
using asio::awaitable;
using http::Request;
using http::Response;

std::string client_of(const Request &request) {
  auto source = request.source.value_or(asio::ip::address{});
  if (source.is_v6() && source.to_v6().is_v4_mapped())
    source = asio::ip::make_address_v4(asio::ip::v4_mapped, source.to_v6());
  return source.to_string();
}

// An IPv6 host has a /64 to itself: it counts as one source.
std::string source_of(const std::string &client) {
  const auto address = asio::ip::make_address(client);
  if (address.is_v4()) return client;
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return asio::ip::address_v6(bytes).to_string();
}

bool same_token(const std::string &given, const std::string &wanted) {
  const std::string expected = "Bearer " + wanted;
  return given.size() == expected.size() && CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0;
}

// R045: the CSCI-ID stays with the ingress.
v1::Acknowledgement acknowledge(const v1::SelectionAnswer &answer) {
  v1::Acknowledgement out;
  out.set_service_id(answer.service_id());
  out.set_gas(answer.gas());
  out.set_real_cost(answer.real_cost());
  out.set_real_delay_ms(answer.real_delay_ms());
  out.set_success(answer.success());
  return out;
}

Response refuse(const RequestDesk::Outcome &outcome) {
  v1::RequestRefusal out;
  out.set_service_id(outcome.answer.service_id());
  out.set_gas(outcome.answer.gas());
  out.set_error("no instance of " + outcome.answer.service_id() + " grants the request: " + outcome.told);
  out.set_hint("ask for less gas or a longer delay, or ask again later");
  return http::json(out, 409);
}

Response acknowledge(const v1::Reservation &reservation) {
  v1::Acknowledgement out;
  out.set_service_id(reservation.service_id());
  out.set_gas(reservation.gas());
  out.set_real_cost(reservation.real_cost());
  out.set_real_delay_ms(reservation.real_delay_ms());
  out.set_success(true);
  auto response = http::json(out);
  std::ostringstream seconds;
  seconds.precision(3);
  seconds << std::fixed << reservation.expires_in_s();
  response.headers["Lease-Expires-In"] = seconds.str();
  return response;
}

class Api : public RequestApi {
 public:
  Api(std::unique_ptr<http::Server> server, RequestApiOptions options, RequestDesk &desk)
      : server_(std::move(server)), token_(options.token), limit_(options.rate_per_source), desk_(desk) {
    route("POST", "/v1/requests", &Api::post);
    route("GET", "/v1/requests/:id", &Api::get);
    route("PUT", "/v1/requests/:id", &Api::renew);
    route("DELETE", "/v1/requests/:id", &Api::finish);
  }

  void set_limits(uint32_t rate_per_source, const std::string &token) override {
    limit_.set(rate_per_source);
    token_ = token;
  }
  std::string endpoint() const override {
    std::ostringstream text;
    text << server_->endpoint();
    return text.str();
  }
  void stop() override { server_->stop(); }

 private:
  using Method = awaitable<Response> (Api::*)(Request, std::string);

  void route(const char *method, const char *path, Method handler) {
    server_->route(method, path, [this, handler](Request request) -> awaitable<Response> {
      const std::string client = client_of(request);
      if (auto refused = admit(request, client)) co_return *refused;
      // A client that goes away half-way must not leave a reservation that nobody knows.
      co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      co_return co_await (this->*handler)(std::move(request), client);
    });
  }

  std::optional<Response> admit(const Request &request, const std::string &client) {
    if (!limit_.take(source_of(client), std::chrono::steady_clock::now())) {
      auto response = http::failure(429, {"too many requests from " + client, "wait a second"});
      response.headers["Retry-After"] = "1";
      return response;
    }
    if (token_.empty()) return std::nullopt;
    const auto given = request.headers.find("authorization");
    if (given != request.headers.end() && same_token(given->second, token_)) return std::nullopt;
    auto response =
        http::failure(401, {"the request carries no valid token", "send the header Authorization: Bearer TOKEN"});
    response.headers["WWW-Authenticate"] = "Bearer";
    return response;
  }

  awaitable<Response> post(Request request, std::string client) {
    v1::ServiceRequest wish;
    if (auto parsed = http::parse(request, wish); !parsed) co_return http::failure(400, parsed.error());
    if (wish.service_id().empty())
      co_return refusal(
          {"service_id: is missing", "{\"service_id\": \"AR1\", \"gas\": 1, \"cost\": 3, \"delay_ms\": 20}", EINVAL});
    const auto outcome = co_await desk_.request(wish, client);
    if (!outcome) co_return refusal(outcome.error());
    if (!outcome->answer.success()) co_return refuse(*outcome);
    auto response = http::json(acknowledge(outcome->answer), 201);
    response.headers["Location"] = "/v1/requests/" + std::to_string(outcome->reservation);
    response.headers["Lease-Expires-In"] = std::to_string(outcome->lease_s);
    co_return response;
  }

  awaitable<Response> get(Request request, std::string client) {
    const auto id = number_in<uint64_t>(request.parameters["id"], "request");
    if (!id) co_return refusal(id.error());
    const auto reservation = desk_.reservation(*id, client);
    co_return reservation ? acknowledge(*reservation) : refusal(reservation.error());
  }

  awaitable<Response> renew(Request request, std::string client) {
    const auto id = number_in<uint64_t>(request.parameters["id"], "request");
    if (!id) co_return refusal(id.error());
    v1::Renewal renewal;
    if (!request.body.empty())
      if (auto parsed = http::parse(request, renewal); !parsed) co_return http::failure(400, parsed.error());
    const auto reservation =
        co_await desk_.renew(*id, client, renewal.has_lease_s() ? std::optional(renewal.lease_s()) : std::nullopt);
    co_return reservation ? acknowledge(*reservation) : refusal(reservation.error());
  }

  awaitable<Response> finish(Request request, std::string client) {
    const auto id = number_in<uint64_t>(request.parameters["id"], "request");
    if (!id) co_return refusal(id.error());
    const auto reservation = desk_.reservation(*id, client);
    if (!reservation) co_return refusal(reservation.error());
    if (const auto finished = desk_.finish(*id, client); !finished) co_return refusal(finished.error());
    co_return acknowledge(*reservation);
  }

  std::unique_ptr<http::Server> server_;
  std::string token_;
  RateLimit limit_;
  RequestDesk &desk_;
};

}  // namespace

Result<std::unique_ptr<RequestApi>> RequestApi::open(boost::asio::io_context &io, RequestApiOptions options,
                                                     RequestDesk &desk) {
  auto tls = tls::server_context(options.tls, tls::PeerCertificate::kNone);
  if (!tls) return tls.error();
  http::ServerOptions server_options;
  server_options.listen = options.listen;
  server_options.tls = *tls;
  server_options.max_body = 16'384;
  auto server = http::Server::open(io, std::move(server_options));
  if (!server) return server.error();
  return std::unique_ptr<RequestApi>(new Api(std::move(*server), std::move(options), desk));
}

}  // namespace catsbpf::agent
