// SPDX-License-Identifier: Apache-2.0
// Server and client against each other, and the server against raw sockets that misbehave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <fstream>

#include "cmas/proto/api.pb.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"
#include "util/endpoint.h"
#include "util/http/client.h"
#include "util/http/server.h"

namespace catsbpf::http {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A raw client: says what it wants, reads to the end.
class Raw {
 public:
  explicit Raw(const asio::ip::tcp::endpoint &to) : socket_(io_) { socket_.connect(to); }
  void say(const std::string &bytes) {
    boost::system::error_code ignored;  // a server that refuses may have closed
    asio::write(socket_, asio::buffer(bytes), ignored);
  }
  std::string rest() {
    std::string bytes;
    boost::system::error_code error;
    asio::read(socket_, asio::dynamic_buffer(bytes), error);
    return bytes;
  }
  std::string until(const std::string &end) {
    boost::system::error_code error;
    std::string bytes;
    while (!bytes.ends_with(end) && !error) {
      char c;
      if (socket_.read_some(asio::buffer(&c, 1), error) == 1) bytes += c;
    }
    return bytes;
  }

 private:
  asio::io_context io_;
  asio::ip::tcp::socket socket_;
};

class Http : public ::testing::Test {
 protected:
  ~Http() override {
    if (server_) loop_.run([this] { server_.reset(); });
    loop_.finish();  // hangs when a coroutine is left
  }

  void open(ServerOptions options) {
    auto opened = loop_.run([&] { return Server::open(loop_.io(), options); });
    ASSERT_TRUE(opened) << opened.error().text();
    server_ = *std::move(opened);
    loop_.run([this] { add_routes(); });
  }
  void open() { open({.listen = "127.0.0.1:0"}); }

  void add_routes() {
    server_->route("GET", "/v1/things/:id", [](Request request) -> asio::awaitable<Response> {
      co_return Response{.body = "\"" + request.parameters["id"] + "|" + request.query["q"] + "\""};
    });
    server_->route("GET", "/v1/things/special",
                   [](Request) -> asio::awaitable<Response> { co_return Response{.body = "\"special\""}; });
    server_->route("PUT", "/v1/things/:id", [](Request request) -> asio::awaitable<Response> {
      v1::Bypass bypass;
      if (auto ok = parse(request, bypass); !ok) co_return failure(400, ok.error());
      co_return json(bypass, 201);
    });
    server_->route("POST", "/v1/echo",
                   [](Request request) -> asio::awaitable<Response> { co_return Response{.body = request.body}; });
    server_->route("GET", "/v1/who", [](Request request) -> asio::awaitable<Response> {
      co_return Response{.body = (request.identity ? request.identity->uri() : "nobody") + " at " +
                                 (request.source ? request.source->to_string() : "unix")};
    });
    server_->route("GET", "/v1/broken", [](Request) -> asio::awaitable<Response> {
      throw std::runtime_error("on purpose");
      co_return Response{};
    });
    server_->route("GET", "/v1/forever", [this](Request) -> asio::awaitable<Response> {
      asio::steady_timer never(loop_.io(), asio::steady_timer::time_point::max());
      seen_.add("waits");
      const auto guard = std::shared_ptr<void>(nullptr, [this](void *) { seen_.add("cancelled"); });
      co_await never.async_wait(asio::use_awaitable);
      co_return Response{};
    });
    server_->route("GET", "/v1/three", [](Request) -> asio::awaitable<Response> {
      Response response;
      response.stream = [](std::shared_ptr<EventStream> events) -> asio::awaitable<void> {
        for (int i = 1; i <= 3; ++i)
          (void)co_await events->send("tick", std::to_string(i), "first\nsecond " + std::to_string(i));
      };
      co_return response;
    });
    server_->route("GET", "/v1/flood", [this](Request) -> asio::awaitable<Response> {
      Response response;
      response.stream = [this](std::shared_ptr<EventStream> events) -> asio::awaitable<void> {
        seen_.add("begins");
        for (;;) {
          if (auto sent = co_await events->send("flood", "", std::string(65536, 'x')); !sent) {
            seen_.add(sent.error().what);
            co_return;
          }
        }
      };
      co_return response;
    });
    server_->route("GET", "/v1/quiet", [this](Request) -> asio::awaitable<Response> {
      Response response;
      response.stream = [this](std::shared_ptr<EventStream> events) -> asio::awaitable<void> {
        (void)co_await events->send("hello", "7", "there");
        asio::steady_timer never(loop_.io(), asio::steady_timer::time_point::max());
        const auto guard = std::shared_ptr<void>(nullptr, [this](void *) { seen_.add("client is gone"); });
        co_await never.async_wait(asio::use_awaitable);
      };
      co_return response;
    });
  }

  asio::ip::tcp::endpoint endpoint() {
    return loop_.run([this] { return server_->endpoint(); });
  }
  ServerCounts counts() {
    return loop_.run([this] { return server_->counts(); });
  }
  // Watches on a loop of its own until the watch ends.
  static Result<> watch_here(Target target, const std::string &path, std::function<void(Event)> event) {
    asio::io_context io(1);
    Result<> result = Error{"no result"};
    const auto run = [&]() -> asio::awaitable<void> { result = co_await watch(target, path, event); };
    asio::co_spawn(io, run, asio::detached);
    io.run();
    return result;
  }
  Target plain() { return {.url = "http://" + to_text(endpoint())}; }
  Result<Answer> get(const std::string &path) { return call_blocking(plain(), "GET", path); }
  static std::string error_text(const Result<Answer> &answer) {
    return answer ? error_of(*answer).what : "no answer: " + answer.error().what;
  }

  test::Loop loop_;
  test::Lines seen_;
  std::unique_ptr<Server> server_;
};

TEST_F(Http, routes_by_method_and_the_most_literal_pattern) {
  open();
  EXPECT_EQ(get("/v1/things/a%20b%2Fc?q=x+%C3%BC")->body, "\"a b/c|x ü\"");
  EXPECT_EQ(get("/v1/things/special")->body, "\"special\"");
  EXPECT_EQ(get("/v1/things")->status, 404);
  EXPECT_EQ(error_text(get("/v1/nothing")), "no such path: /v1/nothing");
  const auto wrong = call_blocking(plain(), "DELETE", "/v1/things/a");
  EXPECT_EQ(wrong->status, 405);
  EXPECT_EQ(wrong->headers.at("allow"), "GET, HEAD, PUT");
  EXPECT_EQ(error_of(*wrong).hint, "use GET, HEAD, PUT");
  EXPECT_EQ(get("/v1/things/a%zz")->status, 400);
  const auto head = call_blocking(plain(), "HEAD", "/v1/things/special");
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->headers.at("content-length"), "9");
  EXPECT_EQ(head->body, "");
}

TEST_F(Http, body_is_json_of_a_message_and_errors_name_the_field) {
  open();
  const auto good = call_blocking(plain(), "PUT", "/v1/things/a", R"({"on": true})");
  EXPECT_EQ(good->status, 201);
  EXPECT_EQ(good->body, "{\"on\":true}\n");
  EXPECT_EQ(good->headers.at("content-type"), "application/json");
  const auto unknown = call_blocking(plain(), "PUT", "/v1/things/a", R"({"off": true})");
  EXPECT_EQ(unknown->status, 400);
  EXPECT_THAT(error_of(*unknown).what, HasSubstr("off"));
  EXPECT_EQ(error_text(call_blocking(plain(), "PUT", "/v1/things/a")), "request has no body");
  EXPECT_EQ(error_of(*unknown).hint, "fields of Bypass: on");
}

TEST_F(Http, every_refusal_has_a_hint) {
  open({.listen = "127.0.0.1:0", .max_body = 1000});
  const auto check = [&](int status, const Result<Answer> &answer) {
    ASSERT_TRUE(answer) << answer.error().text();
    EXPECT_EQ(answer->status, status);
    EXPECT_NE(error_of(*answer).what, "");
    EXPECT_NE(error_of(*answer).hint, "") << status;
  };
  check(400, call_blocking(plain(), "PUT", "/v1/things/a"));
  check(404, get("/v1/nothing"));
  check(405, call_blocking(plain(), "DELETE", "/v1/things/a"));
  check(413, call_blocking(plain(), "POST", "/v1/echo", std::string(2000, 'x')));
  check(500, get("/v1/broken"));
  for (const int status : {400, 401, 403, 404, 409, 429, 500, 503}) {
    const Answer answer{.status = status, .body = failure(status, Error{"no"}).body, .headers = {}};
    EXPECT_NE(error_of(answer).hint, "") << status;
  }
}

TEST_F(Http, connection_serves_pipelined_requests_one_after_the_other) {
  open();
  Raw raw(endpoint());
  raw.say(
      "GET /v1/things/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/things/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const auto both = raw.rest();
  EXPECT_THAT(both, HasSubstr("\"1|\""));
  EXPECT_THAT(both, HasSubstr("\"2|\""));
  EXPECT_EQ(counts().connections, 1u);
  EXPECT_EQ(counts().requests, 2u);
}

TEST_F(Http, what_is_no_http_is_answered_400) {
  open();
  Raw raw(endpoint());
  raw.say("HELO mail\r\n\r\n");
  EXPECT_THAT(raw.rest(), StartsWith("HTTP/1.1 400 Bad Request\r\n"));
}

TEST_F(Http, oversized_body_is_answered_413_without_reading_it) {
  open({.listen = "127.0.0.1:0", .max_body = 1000});
  EXPECT_EQ(call_blocking(plain(), "POST", "/v1/echo", std::string(1000, 'x'))->body.size(), 1000u);
  const auto answer = call_blocking(plain(), "POST", "/v1/echo", std::string(8'000'000, 'x'));
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->status, 413);
  EXPECT_EQ(error_of(*answer).what, "body is larger than 1000 bytes");
  Raw chunked(endpoint());
  chunked.say("POST /v1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
              std::string(2000, 'x') + "\r\n");
  EXPECT_THAT(chunked.rest(), StartsWith("HTTP/1.1 413"));
}

TEST_F(Http, oversized_header_is_answered_431) {
  open();
  Raw raw(endpoint());
  raw.say("GET / HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n");
  EXPECT_THAT(raw.rest(), StartsWith("HTTP/1.1 431"));
}

TEST_F(Http, header_of_many_short_fields_is_limited_as_a_whole) {
  open();
  const auto request = [](int fields) {
    std::string text = "GET /v1/things/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    for (int i = 0; i < fields; ++i) text += "X-" + std::to_string(1000 + i) + ": 0123456789012345678901\r\n";
    return text + "\r\n";
  };
  for (const bool slowly : {false, true}) {
    Raw raw(endpoint());
    const auto text = request(900);  // of 32 bytes each
    if (slowly)
      for (std::size_t at = 0; at < text.size(); at += 1000) raw.say(text.substr(at, 1000));
    else
      raw.say(text);
    EXPECT_THAT(raw.rest(), StartsWith("HTTP/1.1 431"));
  }
  Raw below(endpoint());
  below.say(request(500));
  EXPECT_THAT(below.rest(), StartsWith("HTTP/1.1 200"));
}

TEST_F(Http, client_that_waits_for_100_continue_gets_it) {
  open();
  Raw raw(endpoint());
  raw.say(
      "POST /v1/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(raw.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  raw.say("hi");
  EXPECT_THAT(raw.rest(), HasSubstr("\r\n\r\nhi"));
}

TEST_F(Http, slowloris_is_closed_after_the_header_time_out_though_it_keeps_talking) {
  open({.listen = "127.0.0.1:0", .idle = 60s, .header = 200ms});
  const auto begin = std::chrono::steady_clock::now();
  Raw raw(endpoint());
  raw.say("GET / HTTP/1.1\r\n");
  std::atomic<bool> closed = false;
  std::thread drip([&] {
    while (!closed) {
      raw.say("X: y\r\n");
      std::this_thread::sleep_for(10ms);  // the attack, not a wait for a result
    }
  });
  EXPECT_EQ(raw.rest(), "");
  closed = true;
  drip.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  Raw silent(endpoint());
  EXPECT_EQ(silent.rest(), "");
}

TEST_F(Http, idle_connection_is_closed) {
  open({.listen = "127.0.0.1:0", .idle = 100ms});
  Raw raw(endpoint());
  raw.say("GET /v1/things/1 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(raw.rest(), HasSubstr("\"1|\""));  // and the end, though keep-alive was offered
}

TEST_F(Http, connections_over_the_limits_are_told_so) {
  open({.listen = "127.0.0.1:0", .max_connections = 2, .max_connections_per_source = 100});
  {
    Raw one(endpoint()), two(endpoint());
    for (Raw *raw : {&one, &two}) raw->say("GET /v1/forever HTTP/1.1\r\nHost: x\r\n\r\n");
    seen_.wait_for(std::size_t{2});
    const auto third = get("/v1/things/1");
    ASSERT_TRUE(third) << third.error().text();
    EXPECT_EQ(third->status, 503);
    EXPECT_EQ(third->headers.at("retry-after"), "1");
    EXPECT_EQ(counts().refused_limits, 1u);
  }
  loop_.run([this] { server_.reset(); });
  open({.listen = "127.0.0.1:0", .max_connections_per_source = 1});
  Raw one(endpoint());
  one.say("GET /v1/things/1 HTTP/1.1\r\nHost: x\r\n\r\n");
  one.until("\"1|\"");
  const auto second = get("/v1/things/1");
  EXPECT_EQ(second->status, 429);
  EXPECT_EQ(error_of(*second).what, "too many connections from 127.0.0.1");
}

TEST_F(Http, connections_that_only_wait_make_room_for_newcomers) {
  open({.listen = "127.0.0.1:0", .max_connections = 3, .max_connections_per_source = 100});
  Raw busy(endpoint());
  busy.say("GET /v1/forever HTTP/1.1\r\nHost: x\r\n\r\n");
  seen_.wait_for(std::size_t{1});
  Raw slow(endpoint());
  slow.say("POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
  Raw idle(endpoint());
  idle.say("GET /v1/things/1 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(idle.until("\"1|\""), HasSubstr("200 OK"));
  EXPECT_EQ(get("/v1/things/2")->status, 200);
  EXPECT_EQ(slow.rest(), "") << "waited longest";
  EXPECT_EQ(counts().made_room, 1u);
  EXPECT_EQ(counts().refused_limits, 0u);
  idle.say("GET /v1/things/3 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(idle.until("\"3|\""), HasSubstr("200 OK")) << "not closed";
  EXPECT_EQ(seen_.all().size(), 1u) << "what is at work stays";
}

TEST_F(Http, handler_that_throws_is_answered_500_and_logged) {
  open();
  test::CapturedLog log;
  EXPECT_EQ(get("/v1/broken")->status, 500);
  EXPECT_NE(log.wait_for("handler of /v1/broken failed: on purpose"), "");
}

TEST_F(Http, stop_cancels_handlers_that_wait) {
  open();
  auto answer =
      std::async(std::launch::async, [this, target = plain()] { return call_blocking(target, "GET", "/v1/forever"); });
  ASSERT_NE(seen_.wait_for("waits"), "");
  loop_.run([this] { server_->stop(); });
  EXPECT_FALSE(answer.get());
  EXPECT_NE(seen_.wait_for("cancelled"), "");
}

TEST_F(Http, events_arrive_with_name_id_and_lines) {
  open();
  std::vector<Event> events;
  const auto watched = watch_here(plain(), "/v1/three", [&](Event event) { events.push_back(event); });
  EXPECT_TRUE(watched) << watched.error().text();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].name, "tick");
  EXPECT_EQ(events[2].id, "3");
  EXPECT_EQ(events[2].data, "first\nsecond 3");
}

TEST_F(Http, stream_ends_when_the_client_goes_though_nothing_is_sent) {
  open();
  {
    Raw raw(endpoint());
    raw.say("GET /v1/quiet HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(raw.until("data: there\n\n"), HasSubstr("Content-Type: text/event-stream"));
  }
  EXPECT_NE(seen_.wait_for("client is gone"), "");
}

TEST_F(Http, client_that_does_not_read_its_events_is_dropped) {
  open({.listen = "127.0.0.1:0", .idle = 200ms});
  Raw raw(endpoint());
  raw.say("GET /v1/flood HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(seen_.wait_for("client is"), "client is too slow");
}

TEST_F(Http, watch_of_an_error_says_the_servers_words) {
  open();
  const auto result = watch_here(plain(), "/v1/nothing", [](Event) {});
  EXPECT_EQ(result.error().what, "no such path: /v1/nothing");
  EXPECT_EQ(result.error().code, 404);
}

TEST_F(Http, watch_without_a_byte_for_long_is_broken) {
  open();
  auto target = plain();
  target.silence = 200ms;
  const auto result = watch_here(target, "/v1/quiet", [](Event) {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ETIMEDOUT);
}

TEST_F(Http, watch_ends_when_it_is_cancelled) {
  open();
  asio::cancellation_signal cancel;
  std::promise<void> ended;
  const auto target = plain();
  const auto run = [&]() -> asio::awaitable<void> {
    const std::function<void(Event)> on_event = [this](Event event) { seen_.add(event.name); };
    const auto result = co_await watch(target, "/v1/quiet", on_event);
    seen_.add(result ? "ended" : result.error().what);
  };
  loop_.run([&] {
    asio::co_spawn(loop_.io(), run,
                   asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr) { ended.set_value(); }));
  });
  EXPECT_NE(seen_.wait_for("hello"), "") << ::testing::PrintToString(seen_.all());
  loop_.run([&] { cancel.emit(asio::cancellation_type::terminal); });
  EXPECT_EQ(ended.get_future().wait_for(test::kPatience), std::future_status::ready);
}

TEST_F(Http, call_says_why_there_is_no_answer) {
  open();
  const auto to = to_text(endpoint());
  auto target = plain();
  target.timeout = 200ms;
  EXPECT_EQ(call_blocking(target, "GET", "/v1/forever").error().what, to + ": no answer within 200 ms");
  loop_.run([this] { server_.reset(); });
  EXPECT_EQ(call_blocking(target, "GET", "/").error().what, "connect " + to + ": connection refused");
  EXPECT_EQ(call_blocking({.url = "ftp://x"}, "GET", "/").error().what, "url 'ftp://x' has no scheme that is known");
  EXPECT_EQ(call_blocking({.url = "https://" + to}, "GET", "/").error().what,
            "tls " + to + ": no authority is configured to check its certificate");
}

TEST_F(Http, two_servers_cannot_have_one_address) {
  open();
  auto second = loop_.run([&] { return Server::open(loop_.io(), {.listen = to_text(server_->endpoint())}); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().what, "listen " + to_text(endpoint()) + ": Address already in use");
  auto elsewhere = loop_.run([&] { return Server::open(loop_.io(), {.listen = "192.0.2.1:1"}); });
  EXPECT_EQ(elsewhere.error().hint, "the address must be one of this host");
}

TEST_F(Http, unix_socket_has_its_mode_and_survives_a_killed_program) {
  const test::Folder folder;
  const std::string path = folder.file("x.sock");
  {
    // A program that was killed leaves its socket file behind.
    const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const asio::local::stream_protocol::endpoint at(path);
    ASSERT_EQ(::bind(left, at.data(), at.size()), 0);
    ::close(left);
  }
  open({.listen = path, .socket_mode = 0600});
  struct stat file {};
  ASSERT_EQ(::stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
  EXPECT_EQ(call_blocking({.url = "unix:" + path}, "GET", "/v1/who")->body, "nobody at unix");
  auto second = loop_.run([&] { return Server::open(loop_.io(), {.listen = path}); });
  EXPECT_EQ(second.error().what, "listen " + path + ": another program listens there");
  loop_.run([this] { server_->stop(); });
  EXPECT_NE(::stat(path.c_str(), &file), 0);
  const auto gone = call_blocking({.url = path}, "GET", "/");
  EXPECT_EQ(gone.error().what, "connect " + path + ": no such file or directory");
}

class Https : public Http {
 protected:
  static Result<std::shared_ptr<asio::ssl::context>> context(const tls::Files &files) {
    return tls::client_context(files);
  }
  void open_mutual() {
    auto own = tls::server_context(platform_, tls::PeerCertificate::kRequired);
    ASSERT_TRUE(own) << own.error().text();
    open({.listen = "127.0.0.1:0", .tls = *own, .client = tls::Expected{"lab.cats", "site", {"s2"}}});
  }
  Target target(const tls::Files &files) {
    auto own = tls::client_context(files);
    EXPECT_TRUE(own) << own.error().text();
    return {.url = "https://" + to_text(endpoint()), .tls = *own, .server = tls::Expected{"lab.cats", "platform", {}}};
  }

  test::Folder folder_;
  test::Authority authority_{folder_, "lab"};
  tls::Files platform_ = authority_.issue("platform", "platform");
  tls::Files site_ = authority_.issue("site", "s2");
  test::CapturedLog log_;
};

TEST_F(Https, mutual_identity_reaches_the_handler) {
  open_mutual();
  const auto answer = call_blocking(target(site_), "GET", "/v1/who");
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->body, "spiffe://lab.cats/site/s2 at 127.0.0.1");
}

TEST_F(Https, client_with_the_wrong_role_is_told_so_with_403) {
  open_mutual();
  const auto answer = call_blocking(target(authority_.issue("egress", "f2")), "GET", "/v1/who");
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->status, 403);
  EXPECT_EQ(error_of(*answer).what, "certificate is spiffe://lab.cats/egress/f2, expected role site");
  EXPECT_NE(log_.wait_for(
                "client refused listen=127.0.0.1:0 peer=127.0.0.1 reason=\"certificate is spiffe://lab.cats/egress/f2"),
            "");
  const auto two = authority_.issue_as("two", {.names = "URI:spiffe://lab.cats/site/s2,URI:spiffe://lab.cats/site/s3"});
  EXPECT_THAT(error_text(call_blocking(target(two), "GET", "/v1/who")), HasSubstr("certificate has 2 URI SANs"));
  EXPECT_EQ(counts().refused_identities, 2u);
}

TEST_F(Https, client_with_only_tls_1_2_is_refused_and_both_sides_say_why) {
  open_mutual();
  auto old = target(site_);
  SSL_CTX_set_min_proto_version(old.tls->native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(old.tls->native_handle(), TLS1_2_VERSION);
  EXPECT_EQ(call_blocking(old, "GET", "/v1/who").error().what,
            "tls " + to_text(endpoint()) + ": peer refuses our TLS version: it wants TLS 1.3, we offer only TLS 1.2");
  EXPECT_NE(
      log_.wait_for("tls handshake refused listen=127.0.0.1:0 peer=127.0.0.1 reason=\"peer offers only TLS 1.2\""), "");
  EXPECT_EQ(counts().refused_handshakes, 1u);
}

TEST_F(Https, refused_certificates_are_told_to_both_sides) {
  open_mutual();
  const auto to = to_text(endpoint());
  const auto expired =
      authority_.issue_as("old", {.names = "URI:spiffe://lab.cats/site/s2", .from_s = -7200, .until_s = -3600});
  const auto refused = call_blocking(target(expired), "GET", "/v1/who");
  EXPECT_EQ(refused.error().what, "tls " + to + ": peer refuses our certificate: it has expired (or is not yet valid)");
  EXPECT_THAT(refused.error().hint, HasSubstr("new certificate"));
  EXPECT_NE(log_.wait_for("certificate of the peer (spiffe://lab.cats/site/s2) is refused: it has expired"), "");

  const test::Authority other(folder_, "other");
  auto foreign = other.issue("site", "s2-foreign");
  foreign.authority = authority_.file();
  EXPECT_EQ(call_blocking(target(foreign), "GET", "/v1/who").error().what,
            "tls " + to + ": peer refuses our certificate: it does not trust the authority that signed it");
  EXPECT_NE(log_.wait_for("it is not signed by the authority that is trusted here"), "");

  EXPECT_EQ(call_blocking(target({"", "", authority_.file()}), "GET", "/v1/who").error().what,
            "tls " + to + ": peer requires a certificate and we present none");
  EXPECT_NE(log_.wait_for("peer presents no certificate"), "");
}

TEST_F(Https, server_with_the_wrong_role_or_authority_is_refused_by_the_client) {
  open_mutual();
  const auto to = to_text(endpoint());
  auto wrong = target(site_);
  wrong.server->role = "egress";
  EXPECT_EQ(call_blocking(wrong, "GET", "/v1/who").error().what,
            "tls " + to + ": certificate is spiffe://lab.cats/platform/platform, expected role egress");
  const test::Authority other(folder_, "other");
  auto distrusts = site_;
  distrusts.authority = other.file();
  EXPECT_THAT(
      call_blocking(target(distrusts), "GET", "/v1/who").error().what,
      HasSubstr("certificate of the peer (spiffe://lab.cats/platform/platform) is refused: it is not signed by"));
  EXPECT_NE(log_.wait_for("peer refuses our certificate"), "");
}

TEST_F(Https, without_an_expected_role_the_certificate_must_name_the_host) {
  auto own = tls::server_context(authority_.issue_as("p", {.names = "URI:spiffe://lab.cats/platform/p,IP:127.0.0.1"}),
                                 tls::PeerCertificate::kNone);
  open({.listen = "127.0.0.1:0", .tls = *own});
  auto anonymous = target({"", "", authority_.file()});
  anonymous.server.reset();
  EXPECT_EQ(call_blocking(anonymous, "GET", "/v1/who")->body, "nobody at 127.0.0.1");
  loop_.run([this] { server_.reset(); });
  own = tls::server_context(authority_.issue_as("q", {.names = "URI:spiffe://lab.cats/platform/p,IP:10.0.0.1"}),
                            tls::PeerCertificate::kNone);
  open({.listen = "127.0.0.1:0", .tls = *own});
  anonymous.url = "https://" + to_text(endpoint());
  EXPECT_THAT(call_blocking(anonymous, "GET", "/v1/who").error().what,
              HasSubstr("it does not name the address of the url"));
}

TEST_F(Https, plain_http_to_a_tls_server_and_the_other_way_are_told) {
  open_mutual();
  EXPECT_FALSE(call_blocking(plain(), "GET", "/v1/who"));
  EXPECT_NE(log_.wait_for("peer speaks plain HTTP, not TLS"), "");
  loop_.run([this] { server_.reset(); });
  open();
  EXPECT_EQ(call_blocking(target(site_), "GET", "/v1/who").error().what,
            "tls " + to_text(endpoint()) + ": peer does not speak TLS");
}

TEST_F(Https, events_come_through_tls) {
  open_mutual();
  std::vector<Event> events;
  const auto result = watch_here(target(site_), "/v1/three", [&](Event event) { events.push_back(event); });
  EXPECT_TRUE(result) << result.error().text();
  EXPECT_EQ(events.size(), 3u);
}

TEST_F(Https, client_checks_need_a_context_that_asks_for_certificates) {
  auto own = tls::server_context(platform_, tls::PeerCertificate::kNone);
  auto opened = loop_.run([&] {
    return Server::open(loop_.io(),
                        {.listen = "127.0.0.1:0", .tls = *own, .client = tls::Expected{"lab.cats", "site", {}}});
  });
  EXPECT_THAT(opened.error().what, HasSubstr("does not require certificates of clients"));
}

}  // namespace
}  // namespace catsbpf::http
