// SPDX-License-Identifier: Apache-2.0
#include "util/http/client.h"

#include <openssl/x509v3.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "util/http/message.h"
#include "util/http/sse.h"
#include "util/http/uri.h"
#include "util/version.h"

namespace catsbpf::http {

namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;
using Endpoints = std::vector<Transport::Protocol::endpoint>;
using Link = std::shared_ptr<Transport>;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMaxAnswer = 64 << 20;

// "WHAT: why", with the way out where there is one.
Error error_of(const std::string &what, const ErrorCode &error, std::chrono::milliseconds timeout, SSL *ssl = nullptr) {
  if (error == asio::error::timed_out)
    return Error{what + ": no answer within " + std::to_string(timeout.count()) + " ms", "", error.value()};
  const Error why = tls::handshake_error(error, ssl);
  return Error{what + ": " + why.what, why.hint, error.value()};
}

asio::awaitable<Result<Endpoints>> resolve(const Url &url, std::chrono::milliseconds timeout) {
  Endpoints endpoints;
  ErrorCode error;
  if (url.scheme == Url::Scheme::kUnix) {
    endpoints.emplace_back(asio::local::stream_protocol::endpoint(url.path));
    co_return endpoints;
  }
  const auto address = asio::ip::make_address(url.address.host, error);
  if (!error) {
    endpoints.emplace_back(asio::ip::tcp::endpoint(address, url.address.port));
    co_return endpoints;
  }
  const auto executor = co_await asio::this_coro::executor;
  const auto resolver = std::make_shared<asio::ip::tcp::resolver>(executor);
  asio::steady_timer timer(executor, timeout);
  timer.async_wait([resolver](ErrorCode failed) {
    if (!failed) resolver->cancel();
  });
  auto [failure, found] = co_await resolver->async_resolve(url.address.host, std::to_string(url.address.port), kToken);
  if (failure)
    co_return Error{"resolve " + url.address.host + ": " + tls::handshake_reason(failure, nullptr),
                    "check the name in the url, or write the address: https://10.0.0.1:8443"};
  for (const auto &entry : found) endpoints.emplace_back(entry.endpoint());
  co_return endpoints;
}

// Who must be at the other end, where no role is expected: the host of the url, as in a browser.
void expect_host(SSL *ssl, const std::string &host) {
  ErrorCode error;
  asio::ip::make_address(host, error);
  X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);
  if (!error) {
    X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str());
  } else {
    X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size());
  }
}

asio::awaitable<Result<>> secure(Transport &transport, const Url &url, const Target &target) {
  const std::string what = "tls " + url.object();
  ErrorCode error;
  asio::ip::make_address(url.address.host, error);
  if (error) SSL_set_tlsext_host_name(transport.ssl(), url.address.host.c_str());
  if (!target.server) expect_host(transport.ssl(), url.address.host);
  error = co_await transport.handshake(Transport::Side::kClient);
  if (error) {
    const Error refused = error_of(what, error, target.timeout, transport.ssl());
    transport.linger_close();
    co_return refused;
  }
  if (!target.server) co_return done();
  const auto identity = tls::verify_peer(transport.ssl(), *target.server);
  if (!identity) co_return Error{what + ": " + identity.error().what, identity.error().hint, EACCES};
  co_return done();
}

Error connect_error(const Url &url, const ErrorCode &error, std::chrono::milliseconds timeout) {
  const std::string hint = error == asio::error::connection_refused
                               ? "is the program running, and does it listen there?"
                           : error.value() == ENOENT             ? "is the program running? its socket is not there"
                           : error == asio::error::access_denied ? "run as root or in the group that may use it"
                                                                 : "";
  return Error{error_of("connect " + url.object(), error, timeout).what, hint, error.value()};
}

// A connection that is ready for the request; its deadline runs.
asio::awaitable<Result<Link>> open_link(const Url &url, const Target &target) {
  if (url.scheme == Url::Scheme::kHttps && !target.tls)
    co_return Error{"tls " + url.object() + ": no authority is configured to check its certificate"};
  auto endpoints = co_await resolve(url, target.timeout);
  if (!endpoints) co_return endpoints.error();
  const auto executor = co_await asio::this_coro::executor;
  ErrorCode error = asio::error::host_not_found;
  for (const auto &endpoint : *endpoints) {
    auto link = std::make_shared<Transport>(Transport::Protocol::socket(executor),
                                            url.scheme == Url::Scheme::kHttps ? target.tls : nullptr);
    link->set_deadline(target.timeout);
    error = co_await link->connect(endpoint);
    if (error) continue;
    if (!link->ssl()) co_return link;
    if (auto ok = co_await secure(*link, url, target); !ok) co_return ok.error();
    co_return link;
  }
  co_return connect_error(url, error, target.timeout);
}

std::string request_text(const Url &url, const std::string &method, const std::string &path, const std::string &body,
                         const std::map<std::string, std::string> &headers) {
  std::string text = method + " " + path + " HTTP/1.1\r\n";
  if (!headers.contains("Host"))
    text += header_line("Host", url.scheme == Url::Scheme::kUnix ? "localhost" : to_text(url.address));
  text += header_line("User-Agent", "catsbpf/" CATSBPF_VERSION);
  text += header_line("Connection", "close");
  if (!body.empty()) text += header_line("Content-Type", "application/json");
  if (!body.empty() || method == "PUT" || method == "POST")
    text += header_line("Content-Length", std::to_string(body.size()));
  for (const auto &[name, value] : headers) text += header_line(name, value);
  return text + "\r\n" + body;
}

// Sends the request and reads the answer's header.
asio::awaitable<Result<>> exchange(Transport &link, boost::beast::flat_buffer &buffer, ResponseParser &parser,
                                   const Url &url, const Target &target, std::string request) {
  const ErrorCode unsent = co_await link.write(std::move(request));
  // A server that refuses may close before it has read all; its answer, or its TLS alert, is still to be read.
  ErrorCode error = co_await read(link, buffer, parser, Until::kHeader);
  if (!error && parser.get().result_int() == 100) co_return Error{url.object() + ": unexpected 100 Continue"};
  if (!error) co_return done();
  if (unsent && error.category() != asio::error::get_ssl_category() && error != asio::error::timed_out) error = unsent;
  if (error == boost::beast::http::error::end_of_stream) error = asio::error::eof;
  const bool alert = error.category() == asio::error::get_ssl_category();
  co_return error_of((alert ? "tls " : "") + url.object(), error, target.timeout, link.ssl());
}

}  // namespace

asio::awaitable<Result<Answer>> call(Target target, std::string method, std::string path, std::string body,
                                     std::map<std::string, std::string> headers) {
  const auto url = parse_url(target.url);
  if (!url) co_return url.error();
  auto link = co_await open_link(*url, target);
  if (!link) co_return link.error();
  boost::beast::flat_buffer buffer;
  ResponseParser parser;
  parser.header_limit(kMaxHeader);
  parser.body_limit(kMaxAnswer);
  if (method == "HEAD") parser.skip(true);
  auto exchanged =
      co_await exchange(**link, buffer, parser, *url, target, request_text(*url, method, path, body, headers));
  if (!exchanged) co_return exchanged.error();
  parser.eager(true);
  const auto error = co_await read(**link, buffer, parser, Until::kEnd);
  if (error) co_return error_of(url->object() + ": answer broke off", error, target.timeout);
  (*link)->close();
  Answer answer;
  answer.status = static_cast<int>(parser.get().result_int());
  answer.headers = header_map(parser.get());
  answer.body = std::move(parser.get().body());
  co_return answer;
}

Result<Answer> call_blocking(const Target &target, const std::string &method, const std::string &path,
                             const std::string &body, const std::map<std::string, std::string> &headers) {
  asio::io_context io(1);
  Result<Answer> result = Error{"no answer"};
  const auto run = [&]() -> asio::awaitable<void> { result = co_await call(target, method, path, body, headers); };
  asio::co_spawn(io, run, asio::detached);
  io.run();
  return result;
}

asio::awaitable<Result<>> watch(Target target, std::string path, std::function<void(Event)> event,
                                std::map<std::string, std::string> headers) {
  const auto url = parse_url(target.url);
  if (!url) co_return url.error();
  auto link = co_await open_link(*url, target);
  if (!link) co_return link.error();
  headers.emplace("Accept", "text/event-stream");
  boost::beast::flat_buffer buffer;
  ResponseParser parser;
  parser.header_limit(kMaxHeader);
  parser.body_limit(boost::none);
  auto exchanged =
      co_await exchange(**link, buffer, parser, *url, target, request_text(*url, "GET", path, "", headers));
  if (!exchanged) co_return exchanged.error();
  parser.eager(true);
  const int status = static_cast<int>(parser.get().result_int());
  const Until goal = status == 200 ? Until::kSomeBody : Until::kEnd;
  EventParser events;
  while (!parser.is_done()) {
    (*link)->set_deadline(status == 200 ? target.silence : target.timeout);
    const auto error = co_await read(**link, buffer, parser, goal);
    if (error == asio::error::timed_out)
      co_return Error{url->object() + ": silent for " + std::to_string(target.silence.count() / 1000) + " s", "",
                      ETIMEDOUT};
    if (error) co_return error_of(url->object(), error, target.timeout, (*link)->ssl());
    if (status != 200) break;
    const std::string bytes = std::exchange(parser.get().body(), {});
    if (!events.feed(bytes, event)) co_return Error{url->object() + ": sends an event of more than 16 MiB"};
  }
  if (status == 200) co_return done();
  Answer answer{status, std::move(parser.get().body()), {}};
  Error refused = error_of(answer);
  refused.code = status;
  co_return refused;
}

}  // namespace catsbpf::http
