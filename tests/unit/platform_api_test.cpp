// SPDX-License-Identifier: Apache-2.0
// The platform's HTTP API on a real socket and a real file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>

#include "cmas/platform/registry.h"
#include "cmas/platform/service_api.h"
#include "cmas/proto/json.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"
#include "util/endpoint.h"
#include "util/http/client.h"

namespace catsbpf::cmas {
namespace {

namespace asio = boost::asio;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PlatformApi : public ::testing::Test {
 protected:
  ~PlatformApi() override {
    close();
    loop_.finish();
  }
  void open(ServiceApiOptions options = {}) {
    auto registry = Registry::open(file_);
    ASSERT_TRUE(registry) << registry.error().text();
    registry_ = *std::move(registry);
    loop_.run([&] {
      auto server = http::Server::open(loop_.io(), {.listen = listen_});
      ASSERT_TRUE(server) << server.error().text();
      server_ = *std::move(server);
      add_service_api(loop_.io(), *server_, *registry_, std::move(options));
      listen_ = to_text(server_->endpoint());
    });
  }
  void close() {
    loop_.run([this] {
      server_.reset();
      registry_.reset();
    });
  }
  http::Target target() const { return {.url = "http://" + listen_}; }
  http::Answer call(const std::string &method, const std::string &path, const std::string &body = {},
                    const std::map<std::string, std::string> &headers = {}) {
    auto answer = http::call_blocking(target(), method, path, body, headers);
    EXPECT_TRUE(answer) << answer.error().text();
    return answer ? *std::move(answer) : http::Answer{};
  }

  // A watch on its own loop; each event as "NAME ID SERVICE".
  class Watch {
   public:
    Watch(const http::Target &target, const std::string &path, std::map<std::string, std::string> headers = {}) {
      const auto run = [=, this]() -> asio::awaitable<void> {
        const std::function<void(http::Event)> on_event = [this](http::Event event) {
          v1::ServiceChange change;
          EXPECT_TRUE(from_json(event.data, change)) << event.data;
          events.add(event.name + " " + event.id + " " +
                     (change.has_put() ? change.put().service_id() : change.removed()));
        };
        const auto ended = co_await http::watch(target, path, on_event, headers);
        events.add(ended ? "ended" : "broken: " + ended.error().what);
      };
      run_ = run;
      loop_.run([this] {
        asio::co_spawn(loop_.io(), run_, asio::bind_cancellation_slot(cancel_.slot(), [](std::exception_ptr) {}));
      });
    }
    ~Watch() {
      loop_.run([this] { cancel_.emit(asio::cancellation_type::terminal); });
      loop_.finish();
    }
    test::Lines events;

   private:
    asio::cancellation_signal cancel_;
    std::function<asio::awaitable<void>()> run_;
    test::Loop loop_;
  };

  test::Folder folder_;
  std::string file_ = folder_.file("platform.db");
  std::string listen_ = "127.0.0.1:0";
  test::Loop loop_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(PlatformApi, service_lives_its_life_by_http) {
  open();
  auto answer = call("PUT", "/v1/services/AR1", R"({"cs_id":1,"locators":[{"prefix":"10.99.0.1"}]})");
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.headers["etag"], "\"1\"");
  EXPECT_EQ(call("PUT", "/v1/services/AR1", R"({"cs_id":1,"service_name":"AR/VR"})").status, 200);
  answer = call("GET", "/v1/services/AR1");
  EXPECT_THAT(answer.body, HasSubstr(R"("service_name":"AR/VR")"));
  EXPECT_EQ(answer.headers["etag"], "\"2\"");
  EXPECT_EQ(call("GET", "/v1/services/1").body, answer.body);
  EXPECT_THAT(call("GET", "/v1/services?search=vr").body, HasSubstr("AR1"));
  EXPECT_EQ(call("GET", "/v1/services?search=zz").body, "{\"services\":[],\"revision\":2}\n");
  EXPECT_EQ(call("DELETE", "/v1/services/AR1").status, 204);
  EXPECT_EQ(call("GET", "/v1/services/AR1").status, 404);
  EXPECT_EQ(call("DELETE", "/v1/services/AR1").status, 404);
}

TEST_F(PlatformApi, refusals_have_their_status_and_reason) {
  open();
  EXPECT_EQ(call("PUT", "/v1/services/A", R"({"cs_id":1})").status, 201);
  EXPECT_EQ(call("PUT", "/v1/services/B", R"({"cs_id":1})").status, 409);
  EXPECT_EQ(call("PUT", "/v1/services/B", R"({"cs_id":0})").status, 400);
  EXPECT_EQ(call("PUT", "/v1/services/B", R"({"cs":1})").status, 400);
  EXPECT_EQ(call("PUT", "/v1/services/B", R"({"service_id":"C","cs_id":3})").status, 400);
  EXPECT_EQ(call("PUT", "/v1/services/A", R"({"cs_id":2})", {{"If-Match", "\"7\""}}).status, 412);
  EXPECT_EQ(call("PUT", "/v1/services/A", R"({"cs_id":2})", {{"If-Match", "x"}}).status, 400);
  EXPECT_EQ(call("PUT", "/v1/services/A", R"({"cs_id":2})", {{"If-Match", "\"1\""}}).status, 200);
  EXPECT_EQ(call("POST", "/v1/services/A").status, 405);
  EXPECT_EQ(call("GET", "/v1/services/watch?since=x").status, 400);
  EXPECT_EQ(http::error_of(call("PUT", "/v1/services/B", R"({"cs_id":2})")).what,
            "service B is refused: cs_id: 2 belongs to service A");
}

TEST_F(PlatformApi, writing_needs_the_token_where_there_is_one) {
  open({.write_token = "0123456789abcdef"});
  const std::string body = R"({"cs_id":1})";
  const auto none = call("PUT", "/v1/services/A", body);
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(none.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(http::error_of(call("DELETE", "/v1/services/A", "", {{"Authorization", "Bearer wrong"}})).what,
            "the write token is wrong");
  EXPECT_EQ(call("PUT", "/v1/services/A", body, {{"Authorization", "Bearer 0123456789abcdef"}}).status, 201);
  EXPECT_EQ(call("GET", "/v1/services").status, 200);
}

TEST_F(PlatformApi, without_a_token_a_foreign_host_name_may_not_write) {
  open();
  EXPECT_EQ(call("PUT", "/v1/services/A", R"({"cs_id":1})", {{"Host", "localhost"}}).status, 201);
  // A browser that was led to 127.0.0.1 by a foreign name says that name.
  EXPECT_EQ(call("PUT", "/v1/services/A", R"({"cs_id":2})", {{"Host", "evil.example"}}).status, 403);
}

TEST_F(PlatformApi, watch_begins_with_all_services_and_goes_on_with_changes) {
  open();
  call("PUT", "/v1/services/A", R"({"cs_id":9})");
  call("PUT", "/v1/services/B", R"({"cs_id":2})");
  Watch watch(target(), "/v1/services/watch");
  EXPECT_NE(watch.events.wait_for("snapshot end"), "");
  call("PUT", "/v1/services/C", R"({"cs_id":3})");
  call("DELETE", "/v1/services/A");
  EXPECT_THAT(watch.events.wait_for(5), ElementsAre("put 1 A", "put 2 B", "snapshot end 2 ", "put 3 C", "remove 4 A"));
}

TEST_F(PlatformApi, watch_resumes_after_the_last_event) {
  open();
  for (const char *id : {"A", "B", "C"})
    call("PUT", std::string("/v1/services/") + id, R"({"cs_id":)" + std::to_string(id[0]) + "}");
  call("DELETE", "/v1/services/A");
  Watch by_header(target(), "/v1/services/watch", {{"Last-Event-ID", "2"}});
  EXPECT_THAT(by_header.events.wait_for(2), ElementsAre("put 3 C", "remove 4 A"));
  Watch by_query(target(), "/v1/services/watch?since=3");
  EXPECT_THAT(by_query.events.wait_for(1), ElementsAre("remove 4 A"));
  Watch ahead(target(), "/v1/services/watch?since=99");  // of another registry: all of it
  EXPECT_THAT(ahead.events.wait_for(3), ElementsAre("put 2 B", "put 3 C", "snapshot end 4 "));
}

TEST_F(PlatformApi, watch_resumes_after_a_restart_of_the_platform) {
  open();
  call("PUT", "/v1/services/A", R"({"cs_id":1})");
  call("PUT", "/v1/services/B", R"({"cs_id":2})");
  {
    Watch watch(target(), "/v1/services/watch");
    EXPECT_NE(watch.events.wait_for("snapshot end 2"), "");
    close();
    EXPECT_NE(watch.events.wait_for("broken"), "");
  }
  open();
  call("DELETE", "/v1/services/A");
  Watch watch(target(), "/v1/services/watch?since=2");
  EXPECT_THAT(watch.events.wait_for(1), ElementsAre("remove 3 A"));
}

TEST_F(PlatformApi, watch_sees_what_another_program_writes_into_the_file) {
  open();
  Watch watch(target(), "/v1/services/watch");
  EXPECT_NE(watch.events.wait_for("snapshot end"), "");
  auto other = Registry::open(file_);
  v1::Service service;
  service.set_service_id("A");
  service.set_cs_id(1);
  ASSERT_TRUE((*other)->put(service));
  EXPECT_NE(watch.events.wait_for("put 1 A"), "");
}

TEST_F(PlatformApi, many_changes_reach_a_watcher_in_order_and_none_is_lost) {
  open();
  Watch watch(target(), "/v1/services/watch");
  EXPECT_NE(watch.events.wait_for("snapshot end"), "");
  constexpr std::size_t kServices = 250;  // more than one batch
  std::vector<v1::Service> services(kServices);
  for (std::size_t i = 0; i < kServices; ++i) {
    services[i].set_service_id("S" + std::to_string(i));
    services[i].set_cs_id(static_cast<std::uint32_t>(i + 1));
  }
  ASSERT_TRUE(loop_.run([&] { return registry_->import(services); }));
  const auto events = watch.events.wait_for(kServices + 1);
  ASSERT_EQ(events.size(), kServices + 1);
  for (std::size_t i = 0; i < kServices; ++i)
    EXPECT_EQ(events[i + 1], "put " + std::to_string(i + 1) + " S" + std::to_string(i));
}

}  // namespace
}  // namespace catsbpf::cmas
