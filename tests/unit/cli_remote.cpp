// SPDX-License-Identifier: Apache-2.0
// The real Remote against the real server: UNIX socket, TLS with roles, tokens, event streams.
#include "cli/remote.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cerrno>
#include <csignal>

#include "cli/options.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"
#include "util/http/server.h"

namespace catsbpf::cli {
namespace {

using boost::asio::awaitable;
using testing::HasSubstr;

class CliRemote : public testing::Test {
 protected:
  // A server that says who asked; `tls` null: plain on a UNIX socket.
  void serve(http::ServerOptions options) {
    loop_.run([&] {
      auto opened = http::Server::open(loop_.io(), std::move(options));
      ASSERT_TRUE(opened.ok()) << opened.error().text();
      server_ = std::move(*opened);
      const auto echo = [](http::Request request) -> awaitable<http::Response> {
        const auto token = request.headers.find("authorization");
        http::Response response;
        response.body = request.method + " " + request.path + " " + request.body + " " +
                        (token == request.headers.end() ? "" : token->second) + " " +
                        (request.identity ? request.identity->name : "");
        response.headers["Location"] = "/v1/requests/7";
        co_return response;
      };
      const auto refuse = [](http::Request) -> awaitable<http::Response> {
        co_return http::failure(409, {"no", "not now"});
      };
      const auto stream = [](http::Request) -> awaitable<http::Response> {
        http::Response response;
        response.stream = [](std::shared_ptr<http::EventStream> events) -> awaitable<void> {
          (void)co_await events->send("put", "1", "one");
          (void)co_await events->send("remove", "2", "two");
        };
        co_return response;
      };
      const auto endless = [](http::Request) -> awaitable<http::Response> {
        http::Response response;
        response.stream = [](std::shared_ptr<http::EventStream> events) -> awaitable<void> {
          boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
          while (co_await events->send("put", "1", "one")) {
            timer.expires_after(std::chrono::milliseconds(20));
            co_await timer.async_wait(boost::asio::use_awaitable);
          }
        };
        co_return response;
      };
      server_->route("POST", "/echo", echo);
      server_->route("GET", "/endless", endless);
      server_->route("GET", "/refuse", refuse);
      server_->route("GET", "/watch", stream);
    });
  }
  void serve_tls(const std::string &role, http::ServerOptions options = {}) {
    const auto files = authority_.issue(role, "f1");
    const bool mutual = options.client.has_value();
    options.tls = *tls::server_context(files, mutual ? tls::PeerCertificate::kRequired : tls::PeerCertificate::kNone);
    options.listen = "127.0.0.1:0";
    serve(std::move(options));
    const auto port = loop_.run([&] { return server_->endpoint().port(); });
    options_.url = "https://127.0.0.1:" + std::to_string(port);
    options_.authority = files.authority;
    options_.domain = "lab.cats";
  }
  void TearDown() override {
    if (server_) loop_.run([&] { server_->stop(); });
  }
  Result<Reply> ask(Call call) { return Remote::over_http(options_)->call(call); }

  test::Folder folder_;
  test::Authority authority_{folder_, "ca"};
  test::Loop loop_;
  std::unique_ptr<http::Server> server_;
  Options options_;
};

TEST_F(CliRemote, the_agents_socket_answers_without_a_token) {
  options_.socket = folder_.file("agent.sock");
  options_.token = "secret";
  http::ServerOptions options;
  options.listen = options_.socket;
  serve(std::move(options));
  const auto reply = ask({.method = "POST", .path = "/echo", .body = "hello"});
  ASSERT_TRUE(reply.ok()) << reply.error().text();
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, "POST /echo hello  ");
  EXPECT_EQ(reply->headers.at("location"), "/v1/requests/7");
  const auto refused = ask({.path = "/refuse"});
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ(refused->error().text(), "no\nhint: not now");
}

TEST_F(CliRemote, no_socket_and_a_stale_socket_mean_that_nobody_answers) {
  options_.socket = folder_.file("none.sock");
  const auto missing = ask({.path = "/echo"});
  ASSERT_FALSE(missing.ok());
  EXPECT_TRUE(nobody_answers(missing.error())) << missing.error().text();
  options_.socket = folder_.file("stale.sock");
  {
    boost::asio::io_context io;
    boost::asio::local::stream_protocol::acceptor acceptor(io, options_.socket);
  }
  const auto stale = ask({.path = "/echo"});
  ASSERT_FALSE(stale.ok());
  EXPECT_TRUE(nobody_answers(stale.error())) << stale.error().text();
}

TEST_F(CliRemote, a_server_of_the_expected_role_is_asked_with_our_token) {
  serve_tls("platform");
  options_.token = "secret";
  const auto reply = ask({.api = Api::platform, .method = "POST", .path = "/echo", .body = "{}"});
  ASSERT_TRUE(reply.ok()) << reply.error().text();
  EXPECT_EQ(reply->body, "POST /echo {} Bearer secret ");
}

TEST_F(CliRemote, an_ingress_may_have_any_agents_role) {
  serve_tls("egress");
  const auto reply = ask({.api = Api::ingress, .method = "POST", .path = "/echo"});
  EXPECT_TRUE(reply.ok()) << reply.error().text();
}

TEST_F(CliRemote, a_server_of_another_role_is_refused) {
  serve_tls("client");
  for (const auto api : {Api::ingress, Api::platform, Api::site}) {
    const auto reply = ask({.api = api, .method = "POST", .path = "/echo"});
    ASSERT_FALSE(reply.ok());
    EXPECT_THAT(reply.error().what, HasSubstr("spiffe://lab.cats/client/f1"));
    EXPECT_FALSE(nobody_answers(reply.error()));
  }
}

TEST_F(CliRemote, a_server_of_another_domain_is_refused) {
  serve_tls("platform");
  options_.domain = "other.cats";
  const auto reply = ask({.api = Api::platform, .method = "POST", .path = "/echo"});
  ASSERT_FALSE(reply.ok());
  EXPECT_THAT(reply.error().what, HasSubstr("other.cats"));
}

TEST_F(CliRemote, a_site_shows_its_certificate_which_also_tells_the_domain) {
  http::ServerOptions options;
  options.client = tls::Expected{"lab.cats", "site", {"s2"}};
  serve_tls("service-metric-agent", std::move(options));
  const auto own = authority_.issue("site", "s2");
  options_.domain.clear();
  options_.certificate = own.certificate;
  options_.key = own.key;
  const auto reply = ask({.api = Api::site, .method = "POST", .path = "/echo"});
  ASSERT_TRUE(reply.ok()) << reply.error().text();
  EXPECT_THAT(reply->body, HasSubstr("s2"));
}

TEST_F(CliRemote, tls_without_authority_or_domain_is_a_usage_error) {
  options_.url = "https://127.0.0.1:1";
  for (const bool authority : {false, true}) {
    if (authority) options_.authority = authority_.file();
    const auto reply = ask({.api = Api::platform, .path = "/echo"});
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(reply.error().code, kUsage);
    EXPECT_THAT(reply.error().hint, HasSubstr(authority ? "CATSBPF_DOMAIN" : "CATSBPF_AUTHORITY"));
  }
}

TEST_F(CliRemote, a_missing_certificate_file_is_named) {
  options_.url = "https://127.0.0.1:1";
  options_.authority = folder_.file("nobody.crt");
  options_.domain = "lab.cats";
  const auto reply = ask({.api = Api::platform, .path = "/echo"});
  ASSERT_FALSE(reply.ok());
  EXPECT_THAT(reply.error().what, HasSubstr("nobody.crt"));
}

TEST_F(CliRemote, a_watch_hands_on_events_until_the_server_ends) {
  serve_tls("platform");
  std::vector<std::string> events;
  const auto ended =
      Remote::over_http(options_)->watch({.api = Api::platform, .path = "/watch"},
                                         [&](const Event &event) { events.push_back(event.name + " " + event.data); });
  EXPECT_THAT(events, testing::ElementsAre("put one", "remove two"));
  ASSERT_FALSE(ended.ok());
  EXPECT_THAT(ended.error().what, HasSubstr("ended the stream"));
}

TEST_F(CliRemote, a_watch_ends_well_on_an_interrupt) {
  serve_tls("platform");
  int events = 0;
  const auto ended = Remote::over_http(options_)->watch({.api = Api::platform, .path = "/endless"}, [&](const Event &) {
    if (++events == 3) std::raise(SIGINT);
  });
  EXPECT_TRUE(ended.ok()) << ended.error().text();
}

}  // namespace
}  // namespace catsbpf::cli
