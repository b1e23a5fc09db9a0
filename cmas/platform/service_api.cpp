// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/service_api.h"

#include <openssl/crypto.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <charconv>
#include <set>

#include "cmas/proto/json.h"
#include "util/endpoint.h"
#include "util/log.h"

namespace catsbpf::cmas {

namespace {

namespace asio = boost::asio;
using http::Request;
using http::Response;
using Answer = asio::awaitable<Response>;
constexpr unsigned kBatch = 100;                // changes read at a time: all that is ever kept for a watcher
constexpr std::chrono::seconds kLookAround{1};  // for changes by other programs

Response refused(const Error &error) {
  int status = 500;
  switch (error.code) {
    case EINVAL: status = 400; break;
    case ENOENT: status = 404; break;
    case EEXIST: status = 409; break;
    case ESTALE: status = 412; break;
    case EBUSY: status = 503; break;
    case ENOSPC: status = 507; break;
    default: break;
  }
  if (status >= 500) log::error("platform: {}", error.what);
  return http::failure(status, error);
}

std::optional<std::uint64_t> whole_number(const std::string &text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string etag(std::uint64_t revision) { return "\"" + std::to_string(revision) + "\""; }

// The revision in If-Match; empty where there is no such header.
Result<std::optional<std::uint64_t>> expected_revision(const Request &request) {
  const auto header = request.headers.find("if-match");
  if (header == request.headers.end()) return std::optional<std::uint64_t>{};
  std::string text = header->second;
  text.erase(std::remove(text.begin(), text.end(), '"'), text.end());
  const auto revision = whole_number(text);
  if (!revision) return Error{"If-Match is not a revision", "send the ETag that GET gave", EINVAL};
  return revision;
}

class Api : public std::enable_shared_from_this<Api> {
 public:
  Api(asio::io_context &io, Registry &registry, ServiceApiOptions options)
      : io_(io), registry_(registry), options_(std::move(options)), look_around_(io) {}

  void add_routes(http::Server &server);

 private:
  Response list(const Request &request);
  Response get(const Request &request);
  Response put(const Request &request);
  Response remove(const Request &request);
  Response watch(const Request &request);
  asio::awaitable<void> stream(std::optional<std::uint64_t> since, std::shared_ptr<http::EventStream> events);
  asio::awaitable<Result<std::uint64_t>> send_all(std::shared_ptr<http::EventStream> events);
  asio::awaitable<Result<std::uint64_t>> send_changes(std::uint64_t since, std::shared_ptr<http::EventStream> events);
  std::optional<Response> forbidden(const Request &request) const;
  void wake_watchers();
  void look_around();

  asio::io_context &io_;
  Registry &registry_;
  ServiceApiOptions options_;
  unsigned watchers_ = 0;
  std::set<asio::steady_timer *> waiting_;  // of watchers that have sent everything
  asio::steady_timer look_around_;
  std::uint64_t seen_ = 0;  // revision that the watchers were woken for
};

void Api::add_routes(http::Server &server) {
  const auto route = [&](const char *method, const char *pattern, Response (Api::*handler)(const Request &)) {
    server.route(method, pattern, [self = shared_from_this(), handler](Request request) -> Answer {
      co_return ((*self).*handler)(request);
    });
  };
  route("GET", "/v1/services", &Api::list);
  route("GET", "/v1/services/watch", &Api::watch);
  route("GET", "/v1/services/:id", &Api::get);
  route("PUT", "/v1/services/:id", &Api::put);
  route("DELETE", "/v1/services/:id", &Api::remove);
  if (const auto now = registry_.revision()) seen_ = *now;
}

Response Api::list(const Request &request) {
  const auto search = request.query.find("search");
  const auto catalogue = registry_.list(search == request.query.end() ? "" : search->second);
  if (!catalogue) return refused(catalogue.error());
  auto response = http::json(*catalogue);
  response.headers["ETag"] = etag(catalogue->revision());
  return response;
}

Response Api::get(const Request &request) {
  const auto &id = request.parameters.at("id");
  const auto service = registry_.get(id);
  if (!service) return refused(service.error());
  if (!*service) return refused(Error{"no service " + id, "GET /v1/services lists them", ENOENT});
  auto response = http::json(**service);
  response.headers["ETag"] = etag((*service)->revision());
  return response;
}

Response Api::put(const Request &request) {
  if (auto no = forbidden(request)) return *std::move(no);
  const auto &id = request.parameters.at("id");
  v1::Service service;
  if (auto ok = http::parse(request, service); !ok) return http::failure(400, ok.error());
  if (service.service_id().empty()) service.set_service_id(id);
  if (service.service_id() != id)
    return http::failure(400,
                         Error{"service_id '" + service.service_id() + "' is not '" + id + "', which the path names",
                               "leave service_id out of the body, or put to its own path"});
  const auto expected = expected_revision(request);
  if (!expected) return refused(expected.error());
  const auto stored = registry_.put(service, *expected);
  if (!stored) return refused(stored.error());
  if (stored->changed) {
    log::info("platform: {} service={} revision={} by={}", stored->created ? "added" : "changed", id,
              stored->service.revision(), request.source ? request.source->to_string() : "this host");
    wake_watchers();
  }
  auto response = http::json(stored->service, stored->created ? 201 : 200);
  response.headers["ETag"] = etag(stored->service.revision());
  return response;
}

Response Api::remove(const Request &request) {
  if (auto no = forbidden(request)) return *std::move(no);
  const auto &id = request.parameters.at("id");
  const auto expected = expected_revision(request);
  if (!expected) return refused(expected.error());
  if (auto ok = registry_.remove(id, *expected); !ok) return refused(ok.error());
  log::info("platform: removed service={} by={}", id, request.source ? request.source->to_string() : "this host");
  wake_watchers();
  return Response{.status = 204};
}

// Who may write: the token's owner; without a token, programs of this host that name it by its loopback address (a
// browser that was lured here by a foreign name sends that name).
std::optional<Response> Api::forbidden(const Request &request) const {
  if (options_.write_token) {
    const auto header = request.headers.find("authorization");
    const std::string wanted = "Bearer " + *options_.write_token;
    const std::string given = header == request.headers.end() ? "" : header->second;
    if (given.size() == wanted.size() && CRYPTO_memcmp(given.data(), wanted.data(), wanted.size()) == 0)
      return std::nullopt;
    auto response =
        http::failure(401, Error{given.empty() ? "writing needs the write token" : "the write token is wrong",
                                 "send the header Authorization: Bearer TOKEN"});
    response.headers["WWW-Authenticate"] = "Bearer";
    return response;
  }
  const Error error{"writing is possible only from this host", "configure write_token_file to write from elsewhere"};
  if (!request.source) return std::nullopt;  // a UNIX socket has its own permissions
  if (!request.source->is_loopback()) return http::failure(403, error);
  const auto header = request.headers.find("host");
  const auto host = parse_host_port(header == request.headers.end() ? "" : header->second, 80);
  boost::system::error_code not_address;
  if (host) asio::ip::make_address(host->host, not_address);
  if (!host || (not_address && host->host != "localhost"))
    return http::failure(403, Error{"writing needs an address or localhost as the Host", error.hint});
  return std::nullopt;
}

// ---- watchers ----

Response Api::watch(const Request &request) {
  std::optional<std::uint64_t> since;
  const auto resume = request.headers.find("last-event-id");
  const auto query = request.query.find("since");
  const bool asked = resume != request.headers.end() || query != request.query.end();
  if (asked) since = whole_number(resume != request.headers.end() ? resume->second : query->second);
  if (asked && !since)
    return http::failure(400, Error{"since (or Last-Event-ID) is not a revision", "send the id of the last event"});
  Response response;
  response.stream = [self = shared_from_this(), since](std::shared_ptr<http::EventStream> events) {
    return self->stream(since, events);
  };
  return response;
}

// A watcher keeps nothing but the revision that it has reached: a slow one reads the registry later, or is dropped by
// the stream's time-out.
asio::awaitable<void> Api::stream(std::optional<std::uint64_t> since, std::shared_ptr<http::EventStream> events) {
  const auto self = shared_from_this();
  asio::steady_timer timer(io_);
  // Leaves also when the coroutine is cancelled.
  const std::shared_ptr<void> member(nullptr, [this, &timer](void *) {
    waiting_.erase(&timer);
    if (--watchers_ == 0) look_around_.cancel();
  });
  if (watchers_++ == 0) look_around();
  std::uint64_t reached = 0;
  bool whole = !since;
  if (since) {
    const auto changes = registry_.changes_after(*since, 1);
    whole = !changes || !changes->known;
    reached = *since;
  }
  if (whole) {
    const auto sent = co_await send_all(events);
    if (!sent) co_return log::info("platform: watcher ended reason=\"{}\"", sent.error().what);
    reached = *sent;
  }
  for (;;) {
    const auto sent = co_await send_changes(reached, events);
    if (!sent) co_return log::info("platform: watcher ended reason=\"{}\"", sent.error().what);
    if (*sent != reached) {
      reached = *sent;
      continue;
    }
    waiting_.insert(&timer);
    timer.expires_after(http::kKeepAlive);
    const auto [woken] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    waiting_.erase(&timer);
    if (woken) continue;
    const auto alive = co_await events->comment("keep-alive");
    if (!alive) co_return;
  }
}

// In order of revision, so that a watcher that breaks off may resume from any of them.
asio::awaitable<Result<std::uint64_t>> Api::send_all(std::shared_ptr<http::EventStream> events) {
  auto catalogue = registry_.list();
  if (!catalogue) co_return catalogue.error();
  auto &services = *catalogue->mutable_services();
  std::sort(services.pointer_begin(), services.pointer_end(),
            [](const auto *a, const auto *b) { return a->revision() < b->revision(); });
  v1::ServiceChange change;
  for (auto &service : services) {
    change.set_revision(service.revision());
    *change.mutable_put() = std::move(service);
    const auto sent = co_await events->send("put", std::to_string(change.revision()), to_json(change));
    if (!sent) co_return sent.error();
  }
  v1::ServiceChange end;
  end.set_revision(catalogue->revision());
  const auto sent = co_await events->send("snapshot end", std::to_string(end.revision()), to_json(end));
  if (!sent) co_return sent.error();
  co_return catalogue->revision();
}

asio::awaitable<Result<std::uint64_t>> Api::send_changes(std::uint64_t since,
                                                         std::shared_ptr<http::EventStream> events) {
  const auto changes = registry_.changes_after(since, kBatch);
  if (!changes) co_return changes.error();
  if (!changes->known) co_return Error{"it fell behind the log"};  // it comes again and gets all services
  for (const auto &change : changes->changes) {
    const std::string name = change.has_put() ? "put" : "remove";
    const auto sent = co_await events->send(name, std::to_string(change.revision()), to_json(change));
    if (!sent) co_return sent.error();
    since = change.revision();
  }
  co_return since;
}

void Api::wake_watchers() {
  if (const auto now = registry_.revision()) seen_ = *now;
  for (auto *timer : waiting_) timer->cancel();
}

// While there are watchers.
void Api::look_around() {
  look_around_.expires_after(kLookAround);
  look_around_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (error || !self || self->watchers_ == 0) return;
    const auto now = self->registry_.revision();
    if (now && *now != self->seen_) self->wake_watchers();
    self->look_around();
  });
}

}  // namespace

void add_service_api(asio::io_context &io, http::Server &server, Registry &registry, ServiceApiOptions options) {
  std::make_shared<Api>(io, registry, std::move(options))->add_routes(server);
}

}  // namespace catsbpf::cmas
