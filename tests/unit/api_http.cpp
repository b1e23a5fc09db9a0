// SPDX-License-Identifier: Apache-2.0
// The operator's and the request API on real sockets of this host, over a selector with fakes around it.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "agent/api/operator_api.h"
#include "agent/api/rate_limit.h"
#include "agent/api/request_api.h"
#include "agent/dataplane/fake.h"
#include "tests/unit/selector_fakes.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"
#include "util/http/client.h"

using namespace catsbpf;
using namespace catsbpf::test;
using namespace std::chrono_literals;
using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

constexpr const char *kRequest = R"({"service_id": "AR1", "gas": 1, "cost": 4, "delay_ms": 100, "lease_s": 60})";

class Apis : public ::testing::Test {
 protected:
  Apis() : authority_(folder_, "lab"), files_(authority_.issue("path-selector", "f1")) {
    config_.node = "f1";
    config_.roles = {Role::kIngress, Role::kPathSelector};
    config_.interfaces = {{"h5a-nowhere0", {"client"}, "native"}};
    loop_.run([&] { build(); });
  }
  ~Apis() override {
    loop_.run([&] {
      request_api_.reset();
      operator_api_.reset();
      selector_.reset();
    });
    loop_.finish();
  }

  void build() {
    SelectorOptions options;
    options.forwarders = {"f2", "f3"};
    options.sites = {"site-2", "site-3"};
    selector_ = std::move(*PathSelector::open(loop_.io(), table_, owners_, programmer_, options));
    v1::SessionStatus up;
    up.set_peer("f2");
    up.set_direction("in");
    up.set_state("up");
    owners_.statuses = {up};
    programmer_.path_views = {{"f2", "10.255.0.2", "core0", "172.16.1.254", "02:00:00:00:00:01", "resolved", 1600},
                              {"f3", "10.255.0.3", "", "", "", "unresolved", 0}};
    v1::Service service;
    service.set_service_id("AR1");
    service.set_cs_id(1);
    service.mutable_computing_time()->set_max_us(1000);
    auto &locator = *service.add_locators();
    locator.set_prefix("10.99.0.1");
    locator.set_protocol("tcp");
    locator.set_port_min(80);
    selector_->put_service(service);
    for (const auto &[origin, csci_id, cost] : {std::tuple{"f2", 1u, 4.0}, std::tuple{"f3", 3u, 6.0}}) {
      cmas::Row row;
      row.key = {1, csci_id};
      row.offered = 4;
      row.cost = cost;
      owners_.touched(*table_.put_rows(origin, std::string("site-") + origin[1], {origin}, {row}), origin, 1, 1);
    }
    selector_->put_metric("f2", {cmas::Micros(10'000), cmas::Micros(50), 0.25, cmas::Clock::now()});
    selector_->platform_known();
    programmer_.unresolved = {"path to f3 (10.255.0.3) is unresolved"};
    parts_ = {.config = &config_,
              .started = std::chrono::steady_clock::now(),
              .dataplane = &dataplane_,
              .programmer = &programmer_,
              .selector = selector_.get(),
              .sessions = &owners_};
    auto api = OperatorApi::open(loop_.io(), folder_.file("o.sock"), parts_);
    ASSERT_TRUE(api) << api.error().text();
    operator_api_ = std::move(*api);
  }
  void serve_requests(uint32_t rate = 1000, const std::string &token = "") {
    loop_.run([&] {
      auto api = RequestApi::open(loop_.io(), {"127.0.0.1:0", files_, rate, token}, selector_->requests());
      ASSERT_TRUE(api) << api.error().text();
      request_api_ = std::move(*api);
    });
  }

  struct Reply {
    int status = 0;
    Json json;
    std::map<std::string, std::string> headers;
  };
  static Reply reply(const Result<http::Answer> &answer) {
    EXPECT_TRUE(answer) << answer.error().text();
    if (!answer) return {};
    return {answer->status, Json::parse(answer->body, nullptr, false), answer->headers};
  }
  Reply ask(const std::string &method, const std::string &path, const std::string &body = "") {
    return reply(http::call_blocking({.url = "unix:" + folder_.file("o.sock")}, method, path, body));
  }
  Reply call(const std::string &method, const std::string &path, const std::string &body = "",
             const std::map<std::string, std::string> &headers = {}) {
    const http::Target target{.url = "https://" + request_api_->endpoint(),
                              .tls = *tls::client_context({"", "", authority_.file()})};
    return reply(http::call_blocking(target, method, path, body, headers));
  }

  Folder folder_;
  Authority authority_;
  tls::Files files_;
  Config config_;
  cmas::WholeTable table_;
  FakeOwners owners_;
  FakeProgrammer programmer_;
  FakeDataplane dataplane_;
  std::unique_ptr<PathSelector> selector_;
  Parts parts_;
  std::unique_ptr<OperatorApi> operator_api_;
  std::unique_ptr<RequestApi> request_api_;
  Loop loop_;
};

// ---- operator ----

TEST_F(Apis, status_says_what_runs_and_what_is_off) {
  const auto status = ask("GET", "/v1/status");
  ASSERT_EQ(status.status, 200);
  EXPECT_EQ(status.json["node"], "f1");
  EXPECT_EQ(status.json["roles"], Json({"ingress", "path-selector"}));
  EXPECT_EQ(status.json["programming"], "in sync");
  EXPECT_EQ(status.json["services"], 1);
  EXPECT_EQ(status.json["instances"], 2);
  EXPECT_EQ(status.json["sessions_up"], 1);
  EXPECT_EQ(status.json["platform"], "none");
  EXPECT_EQ(status.json["interfaces"][0]["mode"], "detached");
  EXPECT_EQ(status.json["interfaces"][0]["speed_mbps"], -1) << "nobody measures here";
  EXPECT_THAT(status.json["warnings"].dump(), HasSubstr("path to f3 (10.255.0.3) is unresolved"));
}

TEST_F(Apis, bypass_wants_to_be_told_on_or_off) {
  for (const auto *body : {"{}", R"({"on":null})", R"({"on":"yes"})", R"({"on":1})"}) {
    ASSERT_TRUE(programmer_.set_bypass(true));
    const auto answer = ask("PUT", "/v1/bypass", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_THAT(answer.json["error"].get<std::string>(), HasSubstr("on: ")) << body;
    EXPECT_TRUE(programmer_.bypass()) << body;
  }
  EXPECT_EQ(ask("PUT", "/v1/bypass", R"({"on":false})").json["on"], false);
  EXPECT_FALSE(programmer_.bypass());
}

TEST_F(Apis, tables_are_listed_with_everything_about_them) {
  const auto service = ask("GET", "/v1/services").json["services"][0];
  EXPECT_EQ(service["locators"], Json({"10.99.0.1 tcp 80"}));
  EXPECT_EQ(service["ring_policy"], "balanced");
  EXPECT_EQ(service["instances"], 2);
  EXPECT_EQ(service["free_gas"], 8);

  const auto instances = ask("GET", "/v1/instances").json["instances"];
  ASSERT_EQ(instances.size(), 2u);
  EXPECT_EQ(instances[0]["csci_id"], 1);
  EXPECT_EQ(instances[0]["gas"], 4);
  EXPECT_EQ(instances[0]["network_delay_ms"], 10);
  EXPECT_EQ(instances[0]["computing_time_ms"], 1);
  EXPECT_EQ(instances[0]["slot"], 101);
  EXPECT_EQ(instances[1]["network_delay_ms"], -1) << "not measured yet";

  const auto paths = ask("GET", "/v1/paths").json["paths"];
  EXPECT_EQ(paths[0]["delay_ms"], 10);
  EXPECT_EQ(paths[0]["loss"], 0.25);
  EXPECT_EQ(paths[0]["next_hop"], "172.16.1.254");
  for (const auto *unknown : {"delay_ms", "jitter_ms", "loss", "measured_ago_s", "transmit_mbps", "speed_mbps"})
    EXPECT_EQ(paths[1][unknown], -1) << unknown;

  const auto ring = ask("GET", "/v1/rings").json["rings"][0];
  EXPECT_EQ(ring["members"][0]["csci_id"], 1);
  EXPECT_EQ(ring["members"].size(), 1u) << "one is measured, the other is not";
  EXPECT_EQ(ask("GET", "/v1/sessions").json["sessions"][0]["peer"], "f2");
}

TEST_F(Apis, removed_row_is_shown_as_dead_and_offers_nothing) {
  loop_.run([&] { owners_.touched(table_.remove_rows("f3", {{1, 3}}), "f3", 1, 2); });
  const auto instance = ask("GET", "/v1/instances").json["instances"][1];
  EXPECT_EQ(instance["csci_id"], 3);
  EXPECT_EQ(instance["state"], "dead");
  EXPECT_EQ(instance["gas"], 0);
  EXPECT_EQ(instance["offered"], 0);
  EXPECT_EQ(ask("GET", "/v1/services").json["services"][0]["instances"], 1);
  EXPECT_EQ(ask("GET", "/v1/status").json["instances"], 1);
  EXPECT_EQ(ask("GET", "/v1/explain?service=AR1").json["candidates"][1]["gas"], 0);
}

TEST_F(Apis, explain_answers_by_service_id_and_cs_id_and_names_wrong_fields) {
  EXPECT_EQ(ask("GET", "/v1/explain?service=AR1").json["csci_id"], 1);
  EXPECT_EQ(ask("GET", "/v1/explain?service=1&gas=2&cost=4").json["policy"], "closest-cost");
  EXPECT_EQ(ask("GET", "/v1/explain?service=NOPE").status, 404);
  for (const auto &[query, field] : std::map<std::string, std::string>{{"", "service"},
                                                                       {"service=AR1&client=10.1", "client"},
                                                                       {"service=AR1&gas=many", "gas"},
                                                                       {"service=AR1&gas=-1", "gas"},
                                                                       {"service=AR1&gas=0", "gas 0 asks for nothing"},
                                                                       {"service=AR1&cost=-1", "cost"},
                                                                       {"service=AR1&delay_ms=nan", "delay_ms"}}) {
    const auto answer = ask("GET", "/v1/explain?" + query);
    EXPECT_EQ(answer.status, 400) << query;
    EXPECT_THAT(answer.json["error"].get<std::string>(), HasSubstr(field));
    EXPECT_NE(answer.json["hint"], "") << query;
  }
}

// What a new flow of a client meets, in the data plane's order.
TEST_F(Apis, explain_names_bypass_before_session_before_ring) {
  serve_requests();
  const auto explain = [&] { return ask("GET", "/v1/explain?service=AR1&client=127.0.0.1").json; };
  EXPECT_EQ(explain()["decided_by"], "ring");
  const auto location = call("POST", "/v1/requests", kRequest).headers.at("location");
  const auto id = location.substr(location.rfind('/') + 1);
  loop_.run([&] { dataplane_.paths()[1].state = maps::PATH_RESOLVED; });
  const auto set_state = [&](maps::instance_state state) {
    loop_.run([&] {
      dataplane_.instances()[101] = {.cs_id = 1,
                                     .csci_id = 1,
                                     .path = 1,
                                     .service = 5,
                                     .state = static_cast<uint8_t>(state),
                                     .pad = {},
                                     .option_ids = {},
                                     .reserved = {}};
    });
  };
  set_state(maps::INSTANCE_DEAD);
  EXPECT_EQ(explain()["decided_by"], "ring");
  EXPECT_THAT(explain()["rule"].get<std::string>(),
              HasSubstr("request " + id + " pins this client to CSCI-ID 1, which is dead"));
  set_state(maps::INSTANCE_DRAINING);
  const auto pinned = explain();
  EXPECT_EQ(pinned["decided_by"], "session");
  EXPECT_EQ(pinned["csci_id"], 1);
  EXPECT_THAT(pinned["rule"].get<std::string>(),
              HasSubstr("session: request " + id + " pins new flows of 127.0.0.1 to CSCI-ID 1 for another "));
  EXPECT_EQ(pinned["candidates"].size(), 2u) << "all of them, with their scores";
  EXPECT_EQ(ask("GET", "/v1/explain?service=AR1").json["decided_by"], "ring") << "of no client in particular";

  ASSERT_EQ(ask("PUT", "/v1/bypass", R"({"on": true})").status, 200);
  EXPECT_EQ(explain()["decided_by"], "bypass");
  EXPECT_EQ(explain()["csci_id"], 0);
  EXPECT_EQ(explain()["candidates"].size(), 2u);
  const auto asked = ask("GET", "/v1/explain?service=AR1&gas=1").json;
  EXPECT_EQ(asked["csci_id"], 1) << "what a request would be granted";
  EXPECT_THAT(asked["rule"].get<std::string>(), HasSubstr("bypass is on"));
}

TEST_F(Apis, explain_counts_the_flows_that_a_client_has) {
  loop_.run([&] {
    dataplane_.services(0)[5].cs_id = 1;
    dataplane_.instances()[7] = {.cs_id = 1,
                                 .csci_id = 3,
                                 .path = 1,
                                 .service = 5,
                                 .state = maps::INSTANCE_ACTIVE,
                                 .pad = {},
                                 .option_ids = {},
                                 .reserved = {}};
    for (uint64_t i = 0; i < 3; i++) {
      dataplane_.put_flow(100 + i, 7);
    }
    // Two of the three are this client's, and one record is that of a flow that has ended.
    auto records = const_cast<maps::flow_record *>(dataplane_.flow_records().data());
    int found = 0;
    for (std::size_t i = 0; i < dataplane_.flow_records().size(); i++) {
      const uint64_t word = dataplane_.flows()[i / FLOW_LINE_ENTRIES].entry[i % FLOW_LINE_ENTRIES].word;
      if (word == 0) continue;
      records[i].word = word;
      records[i].service = 5;
      records[i].timeout = static_cast<uint32_t>(dataplane_.now);
      records[i].source = *maps::parse_address(found++ < 2 ? "10.1.0.2" : "10.1.0.3");
    }
    records[dataplane_.flow_records().size() - 1] = records[0];
    records[dataplane_.flow_records().size() - 1].word = 0x4711;
    ASSERT_EQ(found, 3);
  });
  const auto answer = ask("GET", "/v1/explain?service=AR1&client=10.1.0.2");
  EXPECT_EQ(answer.json["client_rule"], "live flows stay where they are: 2 on CSCI-ID 3");
  EXPECT_EQ(ask("GET", "/v1/explain?service=AR1&client=10.1.0.9").json["client_rule"], "");
}

TEST_F(Apis, publications_begin_after_the_epoch_asked_for) {
  loop_.run([&] {
    programmer_.published(7, 1000);
    programmer_.published(8, 2000);
  });
  EXPECT_EQ(ask("GET", "/v1/publications").json["publications"].size(), 2u);
  const auto newer = ask("GET", "/v1/publications?since=7").json["publications"];
  ASSERT_EQ(newer.size(), 1u);
  EXPECT_EQ(newer[0]["epoch"], 8);
  EXPECT_EQ(ask("GET", "/v1/publications?since=x").status, 400);
}

TEST_F(Apis, a_drain_of_all_instances_names_the_services_that_are_left_without) {
  EXPECT_EQ(ask("POST", "/v1/drain", R"({"egress": "f2"})").json["unserved"], Json::array());
  EXPECT_EQ(ask("POST", "/v1/drain", R"({"egress": "f3"})").json["unserved"], Json({"AR1"}));
  EXPECT_THAT(ask("GET", "/v1/status").json["warnings"].dump(), HasSubstr("drains leave AR1 no instance"));
  EXPECT_EQ(ask("DELETE", "/v1/drain", R"({"egress": "f2"})").json["unserved"], Json::array());
}

TEST_F(Apis, bypass_and_drains_are_switched) {
  EXPECT_EQ(ask("PUT", "/v1/bypass", R"({"on": true})").status, 200);
  EXPECT_EQ(ask("GET", "/v1/status").json["bypass"], true);
  EXPECT_EQ(ask("PUT", "/v1/bypass", R"({"off": true})").status, 400);

  EXPECT_EQ(ask("POST", "/v1/drain", R"({"csci_id": 1})").json["drains"][0]["service_id"], "AR1");
  EXPECT_EQ(ask("GET", "/v1/instances").json["instances"][0]["state"], "draining");
  EXPECT_EQ(ask("GET", "/v1/drains").json["drains"].size(), 1u);
  EXPECT_EQ(ask("POST", "/v1/drain", R"({"csci_id": 99})").status, 404);
  EXPECT_EQ(ask("POST", "/v1/drain", R"({})").status, 400);
  EXPECT_EQ(ask("DELETE", "/v1/drain", R"({"csci_id": 1, "service_id": "AR1"})").json["drains"].size(), 0u);
}

TEST_F(Apis, agent_without_the_role_says_so) {
  loop_.run([&] {
    parts_.selector = nullptr;
    parts_.programmer = nullptr;
    operator_api_.reset();
    operator_api_ = std::move(*OperatorApi::open(loop_.io(), folder_.file("o.sock"), parts_));
  });
  const auto answer = ask("GET", "/v1/rings");
  EXPECT_EQ(answer.status, 404);
  EXPECT_THAT(answer.json["error"].get<std::string>(), HasSubstr("agent f1 has no role"));
  EXPECT_EQ(ask("GET", "/v1/status").json["programming"], "");
}

// The C-SMA of site 2 with one row.
class FakeServiceMetricAgent : public ServiceMetricAgent {
 public:
  FakeServiceMetricAgent() {
    cmas::SiteRow row;
    row.row.key = {1, 1};
    row.row.offered = 3;
    row.service_id = "AR1";
    EXPECT_TRUE(table_.replace({row}));
  }
  void on_rows(std::function<void(const std::vector<cmas::SiteRow> &)>) override {}
  void set_undeliverable(std::set<cmas::RowKey> instances) override { table_.withhold(std::move(instances)); }
  const cmas::SiteTable &table() const override { return table_; }
  uint64_t epoch() const override { return 1; }
  std::vector<v1::SessionStatus> sessions() const override { return {}; }
  std::string endpoint() const override { return "127.0.0.1:7443"; }
  std::vector<std::string> warnings() const override { return {}; }
  void stop() override {}

 private:
  cmas::SiteTable table_;
};

TEST_F(Apis, service_metric_agent_shows_its_rows_and_no_figure_that_only_ingresses_know) {
  FakeServiceMetricAgent site;
  loop_.run([&] {
    config_.roles = {Role::kEgress, Role::kServiceMetricAgent};
    auto &mine = config_.service_metric_agent.emplace();
    mine.site = "site-2";
    mine.egresses = {"f2"};
    parts_.selector = nullptr;
    parts_.service_metrics = &site;
    operator_api_.reset();
    operator_api_ = std::move(*OperatorApi::open(loop_.io(), folder_.file("o.sock"), parts_));
  });
  auto instance = ask("GET", "/v1/instances").json["instances"][0];
  EXPECT_EQ(instance["offered"], 3);
  EXPECT_EQ(instance["state"], "active");
  for (const auto *unknown : {"computing_time_ms", "network_delay_ms", "share", "packets", "bytes"})
    EXPECT_EQ(instance[unknown], -1) << unknown;
  loop_.run([&] { site.set_undeliverable({{1, 1}}); });
  instance = ask("GET", "/v1/instances").json["instances"][0];
  EXPECT_EQ(instance["state"], "draining") << "as the ingresses are told";
}

TEST_F(Apis, bypass_is_refused_where_nothing_is_steered) {
  loop_.run([&] {
    config_.roles = {Role::kEgress};
    parts_.selector = nullptr;
    operator_api_.reset();
    operator_api_ = std::move(*OperatorApi::open(loop_.io(), folder_.file("o.sock"), parts_));
  });
  const auto answer = ask("PUT", "/v1/bypass", R"({"on": true})");
  EXPECT_EQ(answer.status, 404);
  EXPECT_THAT(answer.json["error"].get<std::string>(), HasSubstr("no role that knows /v1/bypass"));
  EXPECT_THAT(answer.json["hint"].get<std::string>(), HasSubstr("ask an ingress"));
  EXPECT_FALSE(programmer_.bypass());
}

// ---- requests ----

TEST_F(Apis, request_is_acknowledged_by_five_values_and_its_location) {
  serve_requests();
  const auto granted = call("POST", "/v1/requests", kRequest);
  ASSERT_EQ(granted.status, 201) << granted.json;
  EXPECT_EQ(granted.json,
            Json({{"service_id", "AR1"}, {"gas", 1}, {"real_cost", 4}, {"real_delay_ms", 11}, {"success", true}}));
  EXPECT_EQ(granted.headers.at("lease-expires-in"), "60");
  const auto location = granted.headers.at("location");
  const auto held = ask("GET", "/v1/requests").json["requests"][0];
  EXPECT_EQ(location, "/v1/requests/" + std::to_string(held["id"].get<uint64_t>()));
  EXPECT_EQ(held["client"], "127.0.0.1") << "the address that the ingress sees";
  EXPECT_EQ(held["csci_id"], 1);

  EXPECT_EQ(call("GET", location).json["success"], true);
  EXPECT_EQ(call("PUT", location, R"({"lease_s": 100})").status, 200);
  EXPECT_GT(ask("GET", "/v1/requests").json["requests"][0]["expires_in_s"], 90);
  EXPECT_EQ(call("DELETE", location).status, 200);
  EXPECT_EQ(call("DELETE", location).status, 404);
  EXPECT_EQ(ask("GET", "/v1/requests").json["requests"].size(), 0u);
}

TEST_F(Apis, request_that_nobody_serves_is_an_acknowledgement_without_success) {
  serve_requests();
  const auto refused = call("POST", "/v1/requests", R"({"service_id": "AR1", "gas": 1000})");
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(refused.json["success"], false);
  EXPECT_EQ(refused.json["gas"], 1000);
  EXPECT_EQ(refused.json["error"], "no instance of AR1 grants the request: free 4 < 1000 asked (2 instances)");
  EXPECT_NE(refused.json["hint"], "");
  EXPECT_THAT(refused.json.dump(), Not(HasSubstr("csci"))) << "the CSCI-ID stays with the ingress";
}

TEST_F(Apis, wrong_bodies_name_the_field) {
  serve_requests();
  EXPECT_THAT(call("POST", "/v1/requests", R"({"service_id": "AR1", "gass": 1})").json["error"].get<std::string>(),
              HasSubstr("gass"));
  EXPECT_EQ(call("POST", "/v1/requests", R"({"service_id": "AR1", "gas": "x"})").status, 400);
  EXPECT_EQ(call("POST", "/v1/requests", "{").status, 400);
  EXPECT_THAT(call("POST", "/v1/requests", "{}").json["error"].get<std::string>(), HasSubstr("service_id"));
  EXPECT_EQ(call("POST", "/v1/requests", R"({"service_id": "NOPE"})").status, 404);
  EXPECT_EQ(call("DELETE", "/v1/requests/x").status, 400);
  for (const char *body : {"", "{", R"({"service_id": "AR1", "gass": 1})", R"({"service_id": "AR1", "gas": 0})",
                           R"({"service_id": "AR1", "cost": -1})", R"({"service_id": "AR1", "lease_s": 0})",
                           R"({"service_id": "AR1", "delay_ms": -1})", R"({"service_id": "NOPE"})"}) {
    const auto refused = call("POST", "/v1/requests", body);
    EXPECT_NE(refused.json["error"], "") << body;
    EXPECT_NE(refused.json["hint"], "") << body;
  }
}

TEST_F(Apis, another_address_can_neither_see_nor_finish) {
  serve_requests();
  const auto location = call("POST", "/v1/requests", kRequest).headers.at("location");
  const uint64_t id = std::stoull(location.substr(location.rfind('/') + 1));
  loop_.run([&] {
    EXPECT_EQ(selector_->requests().reservation(id, "127.0.0.2").error().code, EPERM);
    EXPECT_EQ(selector_->requests().finish(id, "127.0.0.2").error().code, EPERM);
  });
  EXPECT_EQ(ask("DELETE", "/v1/requests/" + std::to_string(id)).status, 200) << "the operator may";
}

TEST_F(Apis, source_that_calls_too_often_is_told_to_wait) {
  serve_requests(3);
  std::map<int, int> answers;
  for (int i = 0; i < 20; i++) answers[call("GET", "/v1/requests/1").status]++;
  EXPECT_GE(answers[404], 3);
  EXPECT_GT(answers[429], 0);
}

TEST_F(Apis, token_is_asked_for_and_can_change_while_running) {
  serve_requests(1000, "0123456789abcdef");
  EXPECT_EQ(call("GET", "/v1/requests/1").status, 401);
  EXPECT_EQ(call("GET", "/v1/requests/1", "", {{"Authorization", "Bearer wrong"}}).status, 401);
  EXPECT_EQ(call("GET", "/v1/requests/1", "", {{"Authorization", "Bearer 0123456789abcdef"}}).status, 404);
  loop_.run([&] { request_api_->set_limits(1000, "fedcba9876543210"); });
  EXPECT_EQ(call("GET", "/v1/requests/1", "", {{"Authorization", "Bearer 0123456789abcdef"}}).status, 401);
}

TEST(RateLimits, each_source_has_its_own_bucket_that_fills_with_time) {
  RateLimit limit(2, 3);
  auto now = RateLimit::TimePoint{} + 1h;
  EXPECT_TRUE(limit.take("a", now));
  EXPECT_TRUE(limit.take("a", now));
  EXPECT_FALSE(limit.take("a", now));
  EXPECT_TRUE(limit.take("b", now));
  now += 500ms;
  EXPECT_TRUE(limit.take("a", now));
  EXPECT_FALSE(limit.take("a", now));
}

TEST(RateLimits, sources_are_bounded_and_idle_ones_forgotten) {
  RateLimit limit(2, 3);
  auto now = RateLimit::TimePoint{} + 1h;
  for (const char *source : {"a", "b", "c"}) EXPECT_TRUE(limit.take(source, now));
  EXPECT_FALSE(limit.take("d", now)) << "no room to watch another";
  now += 2s;
  EXPECT_TRUE(limit.take("d", now));
  EXPECT_EQ(limit.sources(), 1u);
}

}  // namespace
