// SPDX-License-Identifier: Apache-2.0
// The real Remote: util/http over a UNIX socket, TCP or TLS 1.3.
#include "cli/remote.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>

#include "util/http/client.h"

namespace catsbpf::cli {

namespace {

// What a request may take: the C-PS asks one owner after the other.
constexpr std::chrono::seconds kTimeout{10};

class HttpRemote : public Remote {
 public:
  explicit HttpRemote(const Options &options) : options_(options) {}
  Result<Reply> call(const Call &call) override;
  Result<> watch(const Call &call, const std::function<void(const Event &)> &event) override;

 private:
  Result<http::Target> target_of(const Call &call) const;
  Result<std::string> domain() const;
  std::map<std::string, std::string> headers_of(const Call &call) const;

  const Options &options_;
};

// Roles that may answer as this API, the usual one first: an agent has one certificate for all its roles.
std::vector<std::string> roles_of(Api api) {
  switch (api) {
    case Api::site: return {"service-metric-agent", "path-selector"};
    case Api::platform: return {"platform"};
    default: return {"path-selector", "ingress", "service-metric-agent", "egress"};
  }
}

Result<std::string> HttpRemote::domain() const {
  if (!options_.domain.empty()) return options_.domain;
  if (options_.certificate.empty())
    return usage_error("the server's trust domain is not known", "give --domain NAME or set CATSBPF_DOMAIN");
  const auto own = tls::identity_of_file(options_.certificate);
  if (!own) return own.error();
  return own->domain;
}

Result<http::Target> HttpRemote::target_of(const Call &call) const {
  http::Target target;
  target.timeout = kTimeout;
  target.url = call.url;
  if (target.url.empty()) {
    const auto url = options_.url_of(call.api);
    if (!url) return url.error();
    target.url = *url;
  }
  if (!target.url.starts_with("https://")) return target;
  if (options_.authority.empty())
    return usage_error("no authority to check " + target.url + " by", "give --authority FILE or set CATSBPF_AUTHORITY");
  const auto trusted = domain();
  if (!trusted) return trusted.error();
  auto context = tls::client_context({options_.certificate, options_.key, options_.authority});
  if (!context) return context.error();
  target.tls = *context;
  target.server = tls::Expected{*trusted, roles_of(call.api).front(), {}};
  return target;
}

std::map<std::string, std::string> HttpRemote::headers_of(const Call &call) const {
  std::map<std::string, std::string> headers;
  if (!options_.token.empty() && call.api != Api::agent) headers["authorization"] = "Bearer " + options_.token;
  return headers;
}

// The server is who it should be, but has another role.
bool refused_for_role(const Error &error) {
  return error.code == EACCES && error.what.find("expected role ") != std::string::npos;
}

Result<Reply> HttpRemote::call(const Call &call) {
  auto target = target_of(call);
  if (!target) return target.error();
  std::optional<Error> first;
  for (const auto &role : roles_of(call.api)) {
    if (target->server) target->server->role = role;
    const auto answer = http::call_blocking(*target, call.method, call.path, call.body, headers_of(call));
    if (answer) return Reply{answer->status, answer->body, answer->headers};
    if (!first) first = answer.error();
    if (!target->server || !refused_for_role(answer.error())) break;
  }
  return *first;
}

Result<> HttpRemote::watch(const Call &call, const std::function<void(const Event &)> &event) {
  auto target = target_of(call);
  if (!target) return target.error();
  boost::asio::io_context io;
  boost::asio::signal_set interrupts(io, SIGINT, SIGTERM);
  interrupts.async_wait([&](const auto &, int) { io.stop(); });
  Result<> ended = done();  // by an interrupt
  const auto read = [&]() -> boost::asio::awaitable<void> {
    auto result = co_await http::watch(
        *target, call.path,
        [&](const http::Event &e) {
          event({e.name, e.data});
        },
        headers_of(call));
    ended = result ? Result<>{Error{"the server ended the stream", "run it again to go on"}} : result;
    io.stop();
  };
  boost::asio::co_spawn(io, read, boost::asio::detached);
  io.run();
  return ended;
}

}  // namespace

std::unique_ptr<Remote> Remote::over_http(const Options &options) { return std::make_unique<HttpRemote>(options); }

// The hint is for whoever calls the API; where another word helps more at the command line, it is said.
Error Reply::error() const {
  Error error = http::error_of({status, body, headers});
  if (status == 401) error.hint = "give the token by --token, or in CATSBPF_TOKEN";
  if (error.hint == "GET /v1/services lists them") error.hint = "catsbpf platform list shows them";
  return error;
}

bool nobody_answers(const Error &error) {
  return error.code == ECONNREFUSED || error.code == ENOENT || error.code == ETIMEDOUT || error.code == ECONNRESET;
}

std::string url_encoded(const std::string &text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
                       byte == '-' || byte == '.' || byte == '_' || byte == '~';
    if (plain)
      encoded += character;
    else
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return encoded;
}

}  // namespace catsbpf::cli
