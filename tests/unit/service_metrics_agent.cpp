// SPDX-License-Identifier: Apache-2.0
// The C-SMA whole: the site's API over mutual TLS, sessions to a real C-PS end, the store on disk.
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include "agent/service_metrics/service_metric_agent.h"
#include "cmas/proto/json.h"
#include "tests/unit/full_disk.h"
#include "tests/unit/session_fixture.h"
#include "util/http/client.h"

namespace catsbpf::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char *kTable = R"({"site":"site-2","rows":[
  {"service_id":"AR1","cs_id":1,"csci_id":1,"gas":8,"cost":1.5,"contact":"10.2.0.11","contact6":"fd00:2::11"},
  {"service_id":"TP1","cs_id":2,"csci_id":2,"gas":4,"cost":2,"contact":"10.2.0.12"}]})";

class Agent : public SessionTest {
 protected:
  agent::ServiceMetricAgentOptions options() {
    agent::ServiceMetricAgentOptions options;
    options.name = "f2";
    options.site = "site-2";
    options.egresses = {"f2"};
    if (server_) options.path_selectors = {{"f1", endpoint_}};
    options.tls = authority_.issue("service-metric-agent", "f2");
    options.domain = "lab.cats";
    options.listen = "127.0.0.1:0";
    options.site_clients = {"s2"};
    options.database = folder_.file("site.db");
    return options;
  }
  void start(std::function<void(agent::ServiceMetricAgentOptions &)> change = {}) {
    auto wanted = options();
    if (change) change(wanted);
    auto opened = agent::ServiceMetricAgent::open(io_, wanted);
    ASSERT_TRUE(opened) << opened.error().text();
    agent_ = std::move(*opened);
  }
  http::Target target(const tls::Files &files) {
    http::Target target;
    target.url = "https://" + agent_->endpoint();
    target.tls = *tls::client_context(files);
    target.server = tls::Expected{"lab.cats", "service-metric-agent", {"f2"}};
    return target;
  }
  http::Answer call(const std::string &method, const std::string &path, const std::string &body = {}) {
    auto answer = await(http::call(target(authority_.issue("site", "s2")), method, path, body));
    EXPECT_TRUE(answer) << answer.error().text();
    return answer ? *answer : http::Answer{};
  }
  template <class Message>
  Message good(const http::Answer &answer) {
    EXPECT_EQ(answer.status, 200) << answer.body;
    Message message;
    auto parsed = from_json(answer.body, message);
    EXPECT_TRUE(parsed) << parsed.error().text();
    return message;
  }
  void put_table() { ASSERT_EQ(call("PUT", "/v1/table", kTable).status, 200); }
  v1::SiteTable table() { return good<v1::SiteTable>(call("GET", "/v1/table")); }
  v1::SiteDeltaResult delta(const std::string &deltas) {
    return good<v1::SiteDeltaResult>(call("POST", "/v1/deltas", "{\"deltas\":[" + deltas + "]}"));
  }
  bool reserve(uint64_t reservation, uint32_t csci_id, std::chrono::milliseconds lease = 60s, uint32_t gas = 1) {
    return await(server_->reserve("f2", {csci_id, csci_id}, reservation, gas, lease)).ok();
  }

  std::unique_ptr<agent::ServiceMetricAgent> agent_;
};

TEST_F(Agent, table_put_by_the_site_reaches_the_path_selector) {
  serve();
  start();
  EXPECT_EQ(table().rows_size(), 0);
  put_table();
  ASSERT_TRUE(until([&] { return instance(2).has_value(); }));
  EXPECT_EQ(instance(1)->cost, 1.5);
  const auto got = table();
  ASSERT_EQ(got.rows_size(), 2);
  EXPECT_EQ(got.rows(0).contact6(), "fd00:2::11");
  EXPECT_EQ(got.epoch(), agent_->epoch());
}

TEST_F(Agent, delta_answer_names_the_message_that_carries_it) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return in().sequence() > 0 && in().sequence() == agent_->sessions()[0].acknowledged(); }));
  const auto result = delta(R"({"csci_id":1,"gas_change":-3})");
  EXPECT_EQ(result.epoch(), agent_->epoch());
  EXPECT_EQ(result.rows(0).gas(), 5u);
  EXPECT_GT(result.wire_bytes(), 4u);
  EXPECT_LE(result.wire_bytes(), 32u);
  ASSERT_TRUE(until([&] { return instance(1)->offered == 5; }));
  EXPECT_EQ(in().sequence(), result.sequence());
}

TEST_F(Agent, without_a_session_the_answer_names_the_next_message) {
  start([](auto &options) { options.path_selectors = {{"f1", "127.0.0.1:9"}}; });
  put_table();
  const auto result = delta(R"({"csci_id":1,"gas":0})");
  EXPECT_EQ(result.sequence(), 1u);
  EXPECT_EQ(result.wire_bytes(), 0u);
}

TEST_F(Agent, batch_of_deltas_is_all_or_nothing_and_the_error_names_the_culprit) {
  start();
  put_table();
  const auto answer = call("POST", "/v1/deltas", R"({"deltas":[{"csci_id":1,"gas":3},{"csci_id":2,"gas_change":-9}]})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body, AllOf(HasSubstr("deltas[1]"), HasSubstr("gas")));
  EXPECT_EQ(table().rows(0).gas(), 8u) << "the first one is not applied either";
  // Two changes of one row are judged together.
  EXPECT_EQ(call("POST", "/v1/deltas", R"({"deltas":[{"csci_id":2,"gas":9},{"csci_id":2,"gas_change":-9}]})").status,
            200);
  EXPECT_EQ(call("POST", "/v1/deltas", R"({"deltas":[{"csci_id":2,"remove":true},{"csci_id":2,"gas":1}]})").status,
            400);
  EXPECT_EQ(table().rows_size(), 2);
}

TEST_F(Agent, removal_that_changes_the_row_as_well_is_refused) {
  start();
  put_table();
  const std::pair<const char *, const char *> wrong[] = {{R"("gas":3)", "gas,"},
                                                         {R"("gas_change":0)", "gas_change,"},
                                                         {R"("cost":0)", "cost,"},
                                                         {R"("draining":true)", "draining,"},
                                                         {R"("access_delay_us":9)", "access_delay_us,"}};
  for (const auto &[field, named] : wrong) {
    const auto answer =
        call("POST", "/v1/deltas",
             R"({"deltas":[{"csci_id":2,"cost":7},{"csci_id":1,"remove":true,)" + std::string(field) + "}]}");
    EXPECT_EQ(answer.status, 400) << field;
    EXPECT_THAT(answer.body, HasSubstr("deltas[1].remove: true excludes " + std::string(named))) << field;
  }
  EXPECT_EQ(table().rows_size(), 2);
  EXPECT_EQ(table().rows(1).cost(), 2) << "nothing of it is in force";
}

TEST_F(Agent, contact_that_is_no_host_of_a_network_is_refused) {
  start();
  const std::pair<const char *, const char *> wrong[] = {
      {R"("contact":"127.0.0.1")", "rows[0].contact: 127.0.0.1 is a loopback"},
      {R"("contact":"::1")", "rows[0].contact: ::1 is a loopback"},
      {R"("contact":"0.0.0.0")", "rows[0].contact: 0.0.0.0 is no address"},
      {R"("contact":"224.0.0.1")", "rows[0].contact: 224.0.0.1 is a multicast"},
      {R"("contact":"255.255.255.255")", "rows[0].contact: 255.255.255.255 is a broadcast"},
      {R"("contact":"::ffff:10.2.0.11")", "rows[0].contact: ::ffff:10.2.0.11 is an IPv4"},
      {R"("contact6":"ff02::1")", "rows[0].contact6: ff02::1 is a multicast"},
      {R"("contact6":"::1")", "rows[0].contact6: ::1 is a loopback"}};
  for (const auto &[field, part] : wrong) {
    const auto answer = call("PUT", "/v1/table", R"({"rows":[{"cs_id":1,"csci_id":1,)" + std::string(field) + "}]}");
    EXPECT_EQ(answer.status, 400) << field;
    EXPECT_THAT(answer.body, AllOf(HasSubstr(part), HasSubstr("no host of the site's network"))) << field;
  }
}

TEST_F(Agent, errors_of_a_table_name_row_and_field) {
  start();
  const std::pair<const char *, const char *> wrong[] = {
      {R"({"rows":[{"cs_id":1,"csci_id":1},{"cs_id":1,"csci_id":2,"cost":-1}]})", "rows[1]"},
      {R"({"rows":[{"cs_id":1,"csci_id":1,"cost":-1}]})", "cost"},
      {R"({"rows":[{"cs_id":1}]})", "rows[0].csci_id"},
      {R"({"rows":[{"csci_id":1}]})", "rows[0].service_id"},
      {R"({"rows":[{"service_id":"XX","csci_id":1}]})", "'XX'"},
      {R"({"rows":[{"cs_id":1,"csci_id":1,"contact":"here"}]})", "rows[0].contact"},
      {R"({"rows":[{"cs_id":1,"csci_id":1,"contact6":"10.0.0.1"}]})", "rows[0].contact6"},
      {R"({"rows":[{"cs_id":1,"csci_id":1},{"cs_id":1,"csci_id":1}]})", "rows[1].csci_id"},
      {R"({"rows":[{"cs_id":1,"csci_id":1,"gas":2000000}]})", "gas"},
      {R"({"site":"site-9","rows":[]})", "site-9"},
      {R"({"rows":[{"cs_id":1,"csci_id":1,"color":2}]})", "color"},
      {R"({"rows":)", "SiteTable"}};
  for (const auto &[body, part] : wrong) {
    const auto answer = call("PUT", "/v1/table", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_THAT(answer.body, HasSubstr(part)) << body;
  }
  EXPECT_EQ(table().rows_size(), 0);
}

TEST_F(Agent, all_rows_go_only_when_the_table_says_that_it_has_none) {
  start();
  put_table();
  for (const auto *body : {"{}", R"({"site":"site-2"})"}) {
    const auto answer = call("PUT", "/v1/table", body);
    EXPECT_EQ(answer.status, 400);
    EXPECT_THAT(answer.body, HasSubstr("rows: is missing"));
  }
  EXPECT_EQ(table().rows_size(), 2);
  EXPECT_EQ(call("PUT", "/v1/table", R"({"rows":[]})").status, 200);
  EXPECT_EQ(table().rows_size(), 0);
}

TEST_F(Agent, service_id_is_resolved_where_the_agent_knows_the_catalogue) {
  start([](auto &options) {
    options.resolve_service = [](const std::string &id) {
      return id == "AR1" ? std::optional<uint32_t>(1) : std::nullopt;
    };
  });
  EXPECT_EQ(call("PUT", "/v1/table", R"({"rows":[{"service_id":"AR1","csci_id":1,"gas":8}]})").status, 200);
  EXPECT_EQ(table().rows(0).cs_id(), 1u);
  EXPECT_EQ(call("PUT", "/v1/table", R"({"rows":[{"service_id":"AR1","cs_id":2,"csci_id":1}]})").status, 400);
}

TEST_F(Agent, instance_of_several_services_needs_the_service_named) {
  start();
  ASSERT_EQ(call("PUT", "/v1/table",
                 R"({"rows":[{"service_id":"A","cs_id":1,"csci_id":7},{"service_id":"B","cs_id":2,"csci_id":7}]})")
                .status,
            200);
  EXPECT_EQ(call("POST", "/v1/deltas", R"({"deltas":[{"csci_id":7,"gas":1}]})").status, 400);
  EXPECT_EQ(delta(R"({"csci_id":7,"service_id":"B","gas":1})").rows(0).cs_id(), 2u);
  EXPECT_EQ(delta(R"({"csci_id":7,"service_id":"1","gas":1})").rows(0).cs_id(), 1u);
}

TEST_F(Agent, only_the_sites_certificate_may_speak) {
  start();
  const auto wrong_role = await(http::call(target(authority_.issue("client", "s2")), "GET", "/v1/table"));
  const auto wrong_name = await(http::call(target(authority_.issue("site", "s3")), "GET", "/v1/table"));
  for (const auto *answer : {&wrong_role, &wrong_name}) EXPECT_TRUE(!*answer || (*answer)->status == 403);
  tls::Files none;
  none.authority = authority_.file();
  const auto anonymous = await(http::call(target(none), "GET", "/v1/table"));
  EXPECT_TRUE(!anonymous || anonymous->status == 403);
}

TEST_F(Agent, egress_hears_of_rows_and_contacts) {
  start();
  std::vector<std::vector<cmas::SiteRow>> heard;
  agent_->on_rows([&](const auto &rows) { heard.push_back(rows); });
  ASSERT_EQ(heard.size(), 1u);
  put_table();
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[1][0].contact, "10.2.0.11");
  delta(R"({"csci_id":1,"gas":2})");
  EXPECT_EQ(heard.size(), 2u) << "slots are nothing to deliveries";
  delta(R"({"csci_id":1,"remove":true})");
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard[2].size(), 1u);
}

// Of an agent that is an egress, too.
void deliver(agent::ServiceMetricAgentOptions &options, std::set<cmas::RowKey> configured = {}) {
  options.egress = {[](const std::string &) { return done(); }, std::move(configured)};
}

TEST_F(Agent, contact_that_the_egress_cannot_deliver_to_is_refused_and_nothing_changes) {
  start([](auto &options) {
    options.egress.emplace().check_contact = [](const std::string &contact) -> Result<> {
      if (contact.starts_with("10.2.0.")) return done();
      return Error{contact + " is elsewhere", "give another"};
    };
  });
  put_table();
  const auto before = table();
  const auto answer = call("PUT", "/v1/table", R"({"rows":[{"cs_id":1,"csci_id":1,"contact":"10.2.0.11"},
    {"cs_id":1,"csci_id":2,"contact":"99.99.99.99"}]})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body, AllOf(HasSubstr("rows[1].contact: 99.99.99.99 is elsewhere"), HasSubstr("give another")));
  EXPECT_EQ(table().SerializeAsString(), before.SerializeAsString());
  EXPECT_EQ(call("PUT", "/v1/table", R"({"rows":[{"cs_id":1,"csci_id":2,"contact":"99.99.99.99","egresses":["f3"]}]})")
                .status,
            200)
      << "not delivered here";
  EXPECT_EQ(
      call("PUT", "/v1/table", R"({"rows":[{"cs_id":1,"csci_id":2,"contact":"99.99.99.99","egresses":["f3","f2"]}]})")
          .status,
      400);
}

TEST_F(Agent, instance_that_the_egress_cannot_deliver_to_takes_no_new_flows_until_it_can) {
  serve();
  start([](auto &options) { deliver(options); });
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value() && instance(2).has_value(); }));
  agent_->set_undeliverable({{1, 1}, {7, 7}});
  ASSERT_TRUE(until([&] { return instance(1)->state == cmas::RowState::kDraining; }));
  EXPECT_EQ(instance(2)->state, cmas::RowState::kActive);
  EXPECT_FALSE(reserve(11, 1));
  EXPECT_FALSE(table().rows(0).draining()) << "the site has not said so";
  // What the site says meanwhile, and what a session begins with.
  delta(R"({"csci_id":1,"gas":5})");
  ASSERT_TRUE(until([&] { return instance(1)->offered == 5; }));
  put_table();
  ASSERT_TRUE(until([&] { return instance(1)->offered == 8; }));
  EXPECT_EQ(instance(1)->state, cmas::RowState::kDraining);
  server_.reset();
  whole_ = {};
  serve();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  EXPECT_EQ(instance(1)->state, cmas::RowState::kDraining);
  agent_->set_undeliverable({});
  ASSERT_TRUE(until([&] { return instance(1)->state == cmas::RowState::kActive; }));
  EXPECT_TRUE(reserve(11, 1));
}

TEST_F(Agent, row_whose_contact_the_egress_does_not_know_is_refused) {
  start([](auto &options) { deliver(options, {{1, 1}}); });
  const auto put = [&](const std::string &rows) { return call("PUT", "/v1/table", "{\"rows\":[" + rows + "]}"); };
  const auto answer = put(R"({"cs_id":1,"csci_id":1},{"cs_id":1,"csci_id":2})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body,
              AllOf(HasSubstr("rows[1].contact: is missing, and `instances:` of this egress names none for "
                              "CSCI-ID 2 of CS-ID 1"),
                    HasSubstr("address on the site's network")));
  EXPECT_EQ(put(R"({"cs_id":1,"csci_id":2,"egresses":["f3","f2"]})").status, 400);
  EXPECT_EQ(put(R"({"cs_id":1,"csci_id":1})").status, 200) << "the configuration knows";
  EXPECT_EQ(put(R"({"cs_id":1,"csci_id":2,"egresses":["f3"]})").status, 200) << "another egress has to know";
  EXPECT_THAT(agent_->warnings(), ElementsAre());
}

TEST_F(Agent, row_of_an_earlier_life_whose_contact_the_egress_does_not_know_takes_no_new_flows) {
  start();
  ASSERT_EQ(
      call("PUT", "/v1/table", R"({"rows":[{"cs_id":1,"csci_id":1,"gas":1},{"cs_id":1,"csci_id":2,"gas":1}]})").status,
      200);
  agent_.reset();
  serve();
  start([](auto &options) { deliver(options, {{1, 1}}); });
  ASSERT_TRUE(until([&] { return instance(1).has_value() && instance(2).has_value(); }));
  EXPECT_EQ(instance(1)->state, cmas::RowState::kActive);
  EXPECT_EQ(instance(2)->state, cmas::RowState::kDraining);
  EXPECT_FALSE(reserve(11, 2));
  EXPECT_THAT(agent_->warnings(),
              ElementsAre(HasSubstr("1 of the site's rows take no new flows, CSCI-ID 2 of CS-ID 1")));
  ASSERT_EQ(call("PUT", "/v1/table", R"({"rows":[{"cs_id":1,"csci_id":2,"gas":1,"contact":"10.2.0.12"}]})").status,
            200);
  ASSERT_TRUE(until([&] { return instance(2)->state == cmas::RowState::kActive; }));
  EXPECT_THAT(agent_->warnings(), ElementsAre());
}

TEST_F(Agent, egresses_of_the_configuration_hold_for_rows_that_name_none) {
  serve();
  start([](auto &options) {
    deliver(options);
    options.egresses = {"f3"};
  });
  EXPECT_EQ(call("PUT", "/v1/table", R"({"rows":[{"cs_id":1,"csci_id":1,"gas":1}]})").status, 200);
  agent_->set_undeliverable({{1, 1}});
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  EXPECT_EQ(instance(1)->state, cmas::RowState::kActive);
}

TEST_F(Agent, instance_of_another_egress_is_that_ones_to_deliver_to) {
  serve();
  start([](auto &options) { deliver(options); });
  const auto put = [&](const std::string &egresses) {
    return call("PUT", "/v1/table",
                R"({"rows":[{"cs_id":1,"csci_id":1,"gas":1,"contact":"10.3.0.11","egresses":)" + egresses + "}]}")
        .status;
  };
  agent_->set_undeliverable({{1, 1}});
  ASSERT_EQ(put(R"(["f3"])"), 200);
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  EXPECT_EQ(instance(1)->state, cmas::RowState::kActive);
  ASSERT_EQ(put(R"(["f2"])"), 200);
  ASSERT_TRUE(until([&] { return instance(1)->state == cmas::RowState::kDraining; }));
}

TEST_F(Agent, reservation_is_granted_finished_by_heartbeat_and_told_to_the_path_selector) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  std::vector<uint64_t> finished;
  server_->on_finished([&](uint64_t reservation, const std::string &) { finished.push_back(reservation); });
  ASSERT_TRUE(reserve(11, 1));
  ASSERT_TRUE(reserve(12, 1));
  ASSERT_TRUE(reserve(13, 1, 60s, 3));
  ASSERT_TRUE(until([&] { return instance(1)->in_use == 5; }));
  EXPECT_FALSE(reserve(14, 1, 60s, 4)) << "only 3 are free";
  EXPECT_EQ(call("POST", "/v1/finished", R"({"reservation":12})").status, 200);
  EXPECT_EQ(call("POST", "/v1/finished", R"({"csci_id":1})").status, 200) << "the oldest: 11";
  EXPECT_EQ(call("POST", "/v1/finished", R"({"csci_id":1,"gas":3})").status, 200);
  ASSERT_TRUE(until([&] { return finished.size() == 3 && instance(1)->in_use == 0; }));
  EXPECT_THAT(finished, ElementsAre(12, 11, 13));
  EXPECT_EQ(call("POST", "/v1/finished", R"({"reservation":12})").status, 404);
  EXPECT_EQ(call("POST", "/v1/finished", R"({"csci_id":1})").status, 404);
}

TEST_F(Agent, heartbeat_that_names_nothing_is_told_what_is_missing) {
  start();
  for (const auto *body : {"{}", R"({"gas":1})", R"({"reservation":0})"}) {
    const auto answer = call("POST", "/v1/finished", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_THAT(answer.body, HasSubstr("reservation, csci_id: both are missing")) << body;
  }
}

TEST_F(Agent, lease_that_runs_out_gives_the_slots_back) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  std::vector<std::pair<uint64_t, std::string>> finished;
  server_->on_finished([&](uint64_t id, const std::string &reason) { finished.emplace_back(id, reason); });
  ASSERT_TRUE(reserve(11, 1, 60ms));
  ASSERT_TRUE(reserve(12, 1, 30ms));
  ASSERT_TRUE(until([&] { return finished.size() == 2; }));
  EXPECT_EQ(finished[0].first, 12u);
  EXPECT_EQ(finished[0].second, "lease over");
  ASSERT_TRUE(until([&] { return instance(1)->in_use == 0; }));
}

TEST_F(Agent, restart_resumes_with_a_greater_epoch_the_same_rows_and_leases) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  ASSERT_TRUE(reserve(11, 1, 60s, 2));
  delta(R"({"csci_id":2,"gas":1,"cost":9})");
  const auto before = table();
  agent_.reset();
  start();
  const auto after = table();
  EXPECT_GT(after.epoch(), before.epoch());
  ASSERT_EQ(after.rows_size(), 2);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(after.rows(i).SerializeAsString(), before.rows(i).SerializeAsString());
  EXPECT_EQ(after.rows(0).in_use(), 2u);
  ASSERT_TRUE(until([&] { return in().epoch() == after.epoch() && in().state() == "up"; }));
  EXPECT_EQ(instance(1)->in_use, 2u);
  ASSERT_TRUE(await(server_->renew("f2", 11, 60s))) << "the lease lives on";
}

TEST_F(Agent, lease_that_ran_out_while_the_agent_was_away_is_ended_at_start) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  ASSERT_TRUE(reserve(11, 1, 20ms));
  agent_.reset();
  turn(30ms);
  start();
  ASSERT_TRUE(until([&] { return agent_->table().ledger().empty(); }));
  EXPECT_EQ(table().rows(0).in_use(), 0u);
}

TEST_F(Agent, slots_that_a_restarted_path_selector_does_not_know_are_free_at_once) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  for (const uint64_t reservation : {11, 12, 13}) ASSERT_TRUE(reserve(reservation, 1, 3600s));
  ASSERT_TRUE(until([&] { return instance(1)->in_use == 3; }));
  server_.reset();
  serve([](auto &options) { options.held = [](const std::string &) { return std::vector<uint64_t>{12}; }; });
  ASSERT_TRUE(until([&] { return agent_->table().ledger().size() == 1; }));
  EXPECT_TRUE(agent_->table().ledger().contains(12)) << "what it holds stays";
  ASSERT_TRUE(until([&] { return in().state() == "up" && instance(1)->in_use == 1; }));
  ASSERT_TRUE(await(server_->renew("f2", 12, 60s)));
  // Nor does a restart of the owner bring them back.
  agent_.reset();
  start();
  EXPECT_EQ(agent_->table().ledger().size(), 1u);
  EXPECT_EQ(agent_->table().ledger().at(12).holder, "f1");
}

TEST_F(Agent, heartbeat_while_the_path_selector_was_away_ends_its_grant_on_return) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  for (const uint64_t reservation : {11, 12, 13}) ASSERT_TRUE(reserve(reservation, 1, 3600s));
  server_.reset();
  EXPECT_EQ(call("POST", "/v1/finished", R"({"reservation":12})").status, 200);
  // And the owner is restarted: it remembers none of what ended.
  agent_.reset();
  serve([](auto &options) { options.held = [](const std::string &) { return std::vector<uint64_t>{11, 12, 13}; }; });
  start();
  std::vector<uint64_t> finished;
  server_->on_finished([&](uint64_t reservation, const std::string &) { finished.push_back(reservation); });
  ASSERT_TRUE(until([&] { return !finished.empty() && in().state() == "up"; }));
  EXPECT_THAT(finished, ElementsAre(12));
  EXPECT_EQ(agent_->table().ledger().size(), 2u);
}

TEST_F(Agent, path_selector_that_says_nothing_of_what_it_holds_loses_nothing) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  ASSERT_TRUE(reserve(11, 1));
  server_.reset();
  serve();
  ASSERT_TRUE(until([&] { return in().state() == "up"; }));
  turn(50ms);
  EXPECT_TRUE(agent_->table().ledger().contains(11)) << "an older version: until its lease is over";
}

TEST_F(Agent, release_that_was_lost_with_the_session_is_made_good_in_the_next) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  ASSERT_TRUE(reserve(11, 1));
  ASSERT_TRUE(reserve(12, 1));
  agent_.reset();              // dies with the releases unread, or stored by nobody
  server_->release("f2", 11);  // into the dying session: the server has not read its end yet
  start();
  ASSERT_TRUE(until([&] { return agent_->table().ledger().size() == 1; }));
  EXPECT_TRUE(agent_->table().ledger().contains(12));
}

TEST_F(Agent, change_that_cannot_be_stored_is_refused_and_not_in_force) {
  FullDisk disk;
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value() && instance(2).has_value(); }));
  disk.fill();
  // One that meets the full disk, those that come while it is written, and one that comes when it is known.
  auto first = begin(http::call(target(authority_.issue("site", "s2")), "POST", "/v1/deltas",
                                R"({"deltas":[{"csci_id":1,"gas_change":-3},{"csci_id":2,"remove":true}]})"));
  auto second = begin(http::call(target(authority_.issue("site", "s2")), "PUT", "/v1/table",
                                 R"({"rows":[{"service_id":"AR1","cs_id":1,"csci_id":9,"gas":1}]})"));
  ASSERT_TRUE(until([&] { return first->has_value() && second->has_value(); }));
  const auto third = call("POST", "/v1/deltas", R"({"deltas":[{"csci_id":1,"cost":9}]})");
  for (const auto &answer : {***first, ***second, third}) {
    EXPECT_EQ(answer.status, 503);
    EXPECT_THAT(answer.body, AllOf(HasSubstr("not in force"), HasSubstr("site.db: No space left on device")));
  }
  EXPECT_THAT(agent_->warnings(), ElementsAre(AllOf(HasSubstr("is refused"), HasSubstr("No space left on device"))));
  const auto unchanged = table();
  ASSERT_EQ(unchanged.rows_size(), 2);
  EXPECT_EQ(unchanged.rows(0).gas(), 8u);
  EXPECT_EQ(unchanged.rows(0).cost(), 1.5);
  EXPECT_EQ(unchanged.rows(0).contact6(), "fd00:2::11");
  ASSERT_TRUE(until([&] {
    return in().sequence() == agent_->sessions()[0].sequence() && instance(1)->offered == 8 &&
           instance(2)->state == cmas::RowState::kActive &&
           (!instance(9) || instance(9)->state == cmas::RowState::kDead);
  })) << "the path selector has the old rows again";

  disk.fill(false);
  ASSERT_TRUE(until([&] { return agent_->warnings().empty(); })) << "the store tries again by itself";
  EXPECT_EQ(delta(R"({"csci_id":1,"gas_change":-3})").rows(0).gas(), 5u);
  agent_.reset();
  start();
  EXPECT_EQ(table().rows(0).gas(), 5u);
  EXPECT_EQ(table().rows_size(), 2);
}

TEST_F(Agent, reservations_are_neither_granted_nor_ended_while_the_disk_is_full) {
  FullDisk disk;
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  std::vector<uint64_t> finished;
  server_->on_finished([&](uint64_t reservation, const std::string &) { finished.push_back(reservation); });
  ASSERT_TRUE(reserve(11, 1, 3600s, 2));
  disk.fill();
  EXPECT_EQ(call("POST", "/v1/finished", R"({"reservation":11})").status, 503);
  EXPECT_FALSE(reserve(12, 1));
  ASSERT_EQ(agent_->table().ledger().size(), 1u);
  EXPECT_EQ(table().rows(0).in_use(), 2u);
  EXPECT_TRUE(finished.empty());
  disk.fill(false);
  ASSERT_TRUE(until([&] { return agent_->warnings().empty(); }));
  EXPECT_EQ(call("POST", "/v1/finished", R"({"reservation":11})").status, 200);
  ASSERT_TRUE(until([&] { return !finished.empty(); }));
  EXPECT_THAT(finished, ElementsAre(11));
  EXPECT_TRUE(reserve(12, 1));
}

TEST_F(Agent, start_on_a_full_disk_delivers_and_its_sessions_wait_for_room) {
  FullDisk disk;
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  ASSERT_TRUE(reserve(11, 1, 3600s, 2));
  const auto epoch = agent_->epoch();
  disk.fill();
  agent_.reset();
  start();
  std::vector<cmas::SiteRow> delivered;
  agent_->on_rows([&](const auto &rows) { delivered = rows; });
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_EQ(delivered[0].contact, "10.2.0.11");
  agent_->set_undeliverable({{2, 2}});
  EXPECT_EQ(table().rows(0).in_use(), 2u);
  EXPECT_EQ(call("POST", "/v1/deltas", R"({"deltas":[{"csci_id":1,"gas":1}]})").status, 503);
  EXPECT_THAT(agent_->warnings(), ElementsAre(AllOf(HasSubstr("unstored: sessions with the path selectors wait"),
                                                    HasSubstr("No space left on device"))));
  EXPECT_TRUE(agent_->sessions().empty());

  disk.fill(false);
  ASSERT_TRUE(until([&] { return agent_->warnings().empty() && in().epoch() == agent_->epoch(); }));
  EXPECT_GT(agent_->epoch(), epoch);
  EXPECT_TRUE(reserve(12, 1));
  EXPECT_EQ(delta(R"({"csci_id":1,"gas":7})").rows(0).in_use(), 3u);
  const auto second = agent_->epoch();
  agent_.reset();
  start();
  EXPECT_GT(agent_->epoch(), second);
  EXPECT_EQ(table().rows(0).gas(), 7u);
  agent_.reset();  // in order: the file stands alone, without a journal
  disk.fill();
  start();
  EXPECT_THAT(agent_->warnings(), ElementsAre(HasSubstr("unstored: ")));
  EXPECT_EQ(table().rows(0).gas(), 7u);
}

// `count` deltas, one after the other, over one kept connection; how many were answered by 200.
asio::awaitable<int> post_deltas(asio::io_context &io, asio::ip::tcp::endpoint to, tls::Files files, int count) {
  const auto context = *tls::client_context(files);
  asio::ssl::stream<asio::ip::tcp::socket> stream(io, *context);
  co_await stream.next_layer().async_connect(to, asio::use_awaitable);
  co_await stream.async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
  const std::string body = R"({"deltas":[{"csci_id":1,"gas_change":1}]})";
  const std::string request =
      "POST /v1/deltas HTTP/1.1\r\nHost: f2\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  std::string answer;
  int good = 0;
  for (int i = 0; i < count; ++i) {
    co_await asio::async_write(stream, asio::buffer(request), asio::use_awaitable);
    // The body ends with the list of rows.
    const auto size =
        co_await asio::async_read_until(stream, asio::dynamic_buffer(answer), "}]}\n", asio::use_awaitable);
    good += answer.starts_with("HTTP/1.1 200");
    answer.erase(0, size);
  }
  co_return good;
}

TEST_F(Agent, thousand_deltas_a_second_are_stored_sent_and_answered) {
  serve();
  start();
  put_table();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  constexpr int kConnections = 8, kEach = 500, kAll = kConnections * kEach;
  const auto to = *parse_endpoint(agent_->endpoint());
  const auto files = authority_.issue("site", "s2");
  const auto sequence = in().sequence();
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<std::optional<int>>> posts;
  for (int i = 0; i < kConnections; ++i) posts.push_back(begin(post_deltas(io_, to, files, kEach)));
  ASSERT_TRUE(until([&] { return std::ranges::all_of(posts, [](const auto &post) { return post->has_value(); }); }));
  ASSERT_TRUE(until([&] { return instance(1)->offered == 8u + kAll; }));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  for (const auto &post : posts) EXPECT_EQ(**post, kEach);
  EXPECT_EQ(agent_->table().rows().at({1, 1}).row.offered, 8u + kAll);
  // The site, the C-SMA and the C-PS all run on this one thread.
  RecordProperty("deltas_per_second", std::to_string(kAll / took.count()));
  RecordProperty("deltas_per_message", std::to_string(double(kAll) / static_cast<double>(in().sequence() - sequence)));
}

}  // namespace
}  // namespace catsbpf::test
