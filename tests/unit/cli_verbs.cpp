// SPDX-License-Identifier: Apache-2.0
// Whole commands: what they ask, what they print, how they end.
#include <cstdio>
#include <fstream>

#include "tests/unit/cli_support.h"

namespace catsbpf::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Reply reply(const google::protobuf::Message &message, int status = 200) { return {status, to_json(message), {}}; }

TEST(CliVerbs, usage_errors_end_with_2_and_a_hint) {
  FakeRemote remote;
  const auto tables = two_sites();
  for (const char *wrong : {"nope",
                            "status now",
                            "flows --limit x",
                            "flows --limit",
                            "flows --client 300.1.1.1",
                            "flows --count --count",
                            "explain",
                            "explain AR1 AR2",
                            "explain AR1 --client nobody",
                            "explain AR1 --cost -1",
                            "finish",
                            "finish abc",
                            "site",
                            "site nope",
                            "site delta",
                            "site delta 1",
                            "site delta 1 --gas x",
                            "site delta 1 --gas +1 --remove",
                            "site delta 1 --drain yes",
                            "site finished",
                            "site finished --csci 1 --reservation 2",
                            "site table more",
                            "platform",
                            "platform get",
                            "platform nope",
                            "platform list more",
                            "drain instance",
                            "drain planet mars",
                            "drain instance x",
                            "drain site s --service AR1",
                            "drain --off",
                            "bypass maybe",
                            "site table --gas 1",
                            "site delta 1 --gas 1 --file x",
                            "site finished --csci 1 --cost 2",
                            "request --gas 2",
                            "help nope",
                            "--json --nope"}) {
    const auto ran = run_command(wrong, remote, &tables);
    EXPECT_EQ(ran.exit, Exit::usage) << wrong << ": " << ran.err;
    EXPECT_EQ(ran.out, "") << wrong;
    EXPECT_THAT(ran.err, HasSubstr("error: ")) << wrong;
    EXPECT_THAT(ran.err, HasSubstr("\nhint: ")) << wrong;
  }
}

TEST(CliVerbs, version_and_help_need_nothing) {
  FakeRemote remote;
  EXPECT_THAT(run_command("--version", remote, nullptr).out, HasSubstr("catsbpf "));
  const auto help = run_command("help", remote, nullptr);
  EXPECT_EQ(help.exit, Exit::done);
  for (const auto &verb : verbs()) EXPECT_THAT(help.out, HasSubstr(std::string("\n  ") + verb.name));
  EXPECT_LE(widest_line(help.out), 100U);
  EXPECT_EQ(run_command("--help", remote, nullptr).out, help.out);
  for (const auto &verb : verbs()) {
    const auto usage = run_command(std::string("help ") + verb.name, remote, nullptr);
    EXPECT_EQ(usage.exit, Exit::done);
    EXPECT_LE(widest_line(usage.out), 100U) << usage.out;
    EXPECT_EQ(run_command(std::string(verb.name) + " --help", remote, nullptr).out, usage.out);
  }
  EXPECT_TRUE(remote.calls.empty());
}

TEST(CliVerbs, usage_names_every_option_of_its_verb) {
  for (const auto &verb : verbs())
    for (const auto &option : verb.options) {
      if (std::string(option.name) == "names") continue;  // for completion, not for people
      EXPECT_THAT(verb.usage, HasSubstr(std::string("--") + option.name)) << verb.name;
    }
}

TEST(CliVerbs, bare_catsbpf_is_status) {
  FakeRemote remote;
  v1::Status status;
  status.set_agent_running(true);
  status.set_node("f1");
  remote.replies["GET /v1/status"] = reply(status);
  const auto ran = run_command("", remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::done);
  EXPECT_THAT(ran.out, HasSubstr("f1"));
  EXPECT_EQ(run_command("status", remote, nullptr).out, ran.out);
  EXPECT_EQ(ran.err, "");
}

TEST(CliVerbs, a_dead_agent_is_replaced_by_the_maps) {
  FakeRemote remote;
  const auto tables = two_sites();
  for (const char *verb : {"status", "services", "instances", "paths", "rings"}) {
    const auto ran = run_command(verb, remote, &tables);
    EXPECT_EQ(ran.exit, Exit::done) << verb;
    EXPECT_EQ(ran.err, "agent is down: showing the pinned maps\n") << verb;
    EXPECT_LE(widest_line(ran.out), 100U) << verb;
    v1::Status status;
    if (std::string(verb) == "status") {
      ASSERT_TRUE(from_json(run_command("status --json", remote, &tables).out, status).ok());
      EXPECT_EQ(status.instances(), 2U);
    }
  }
  for (const char *verb : {"flows", "stats", "outcomes", "map", "map control"})
    EXPECT_EQ(run_command(verb, remote, &tables).exit, Exit::done) << verb;
}

TEST(CliVerbs, an_agent_that_lives_at_another_socket_is_not_called_down) {
  FakeRemote remote;
  remote.silence = {"connect unix:/nonexistent: No such file or directory", "", ENOENT};
  auto tables = two_sites();
  tables.control_.heartbeat = tables.now - 120;  // 0.48 s
  const auto ran = run_command("--socket /nonexistent", remote, &tables);
  EXPECT_EQ(ran.exit, Exit::done);
  EXPECT_EQ(ran.err,
            "agent cannot be reached (connect unix:/nonexistent: No such file or directory), but gave a sign of life "
            "0.48s ago: showing the pinned maps\n"
            "hint: its socket is another one (name it by --socket or CATSBPF_SOCKET), or it ended just now\n");
  EXPECT_THAT(ran.out, HasSubstr("agent     not reached, last sign of life 0.48s ago\n"));
  tables.control_.heartbeat = tables.now - 3 * 250;
  const auto down = run_command("--socket /nonexistent", remote, &tables);
  EXPECT_EQ(down.err, "agent is down: showing the pinned maps\n");
  EXPECT_THAT(down.out, HasSubstr("agent     not running, last sign of life 3.00s ago\n"));
}

TEST(CliVerbs, without_agent_and_maps_the_error_names_both) {
  FakeRemote remote;
  const auto ran = run_command("instances", remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::failed);
  EXPECT_THAT(ran.err, HasSubstr("connection refused"));
  EXPECT_THAT(ran.err, HasSubstr("nothing is pinned at /sys/fs/bpf/catsbpf"));
  EXPECT_EQ(run_command("flows --pins /elsewhere", remote, nullptr).err,
            "error: nothing is pinned at /elsewhere\nhint: is catsbpfd set up here?\n");
}

TEST(CliVerbs, where_the_agent_forwards_nothing_there_is_no_data_plane_to_read) {
  FakeRemote remote;
  v1::Status status;
  status.set_node("sma3");
  status.add_roles("service-metric-agent");
  remote.replies["GET /v1/status"] = reply(status);
  for (const char *verb : {"flows", "stats", "outcomes", "map", "map control"}) {
    const auto ran = run_command(verb, remote, nullptr);
    EXPECT_EQ(ran.exit, Exit::failed) << verb;
    EXPECT_EQ(ran.err,
              "error: node sma3 has no data plane: its agent is neither ingress nor egress (service-metric-agent)\n"
              "hint: ask on an ingress or an egress\n")
        << verb;
  }
  status.add_roles("egress");
  remote.replies["GET /v1/status"] = reply(status);
  EXPECT_THAT(run_command("stats", remote, nullptr).err, HasSubstr("nothing is pinned at "));
}

TEST(CliVerbs, an_agent_that_refuses_is_no_dead_agent) {
  FakeRemote remote;
  const auto tables = two_sites();
  remote.replies["GET /v1/instances"] = {500, R"({"error": "no table yet", "hint": "wait"})", {}};
  const auto ran = run_command("instances", remote, &tables);
  EXPECT_EQ(ran.exit, Exit::failed);
  EXPECT_EQ(ran.err, "error: no table yet\nhint: wait\n");
  EXPECT_EQ(ran.out, "");
  remote.replies.clear();
  remote.silence = {"connect: permission denied", "run as root", EACCES};
  EXPECT_EQ(run_command("instances", remote, &tables).err, "error: connect: permission denied\nhint: run as root\n");
}

TEST(CliVerbs, an_answer_that_cannot_be_read_is_an_error) {
  FakeRemote remote;
  remote.replies["GET /v1/sessions"] = {200, R"({"surprise": 1})", {}};
  const auto ran = run_command("sessions", remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::failed);
  EXPECT_THAT(ran.err, HasSubstr("cannot read the answer"));
}

TEST(CliVerbs, flows_take_names_from_the_agent) {
  FakeRemote remote;
  v1::ServiceStatusList list;
  auto &service = *list.add_services();
  service.set_cs_id(1);
  service.set_service_id("AR1");
  remote.replies["GET /v1/services"] = reply(list);
  auto tables = two_sites();
  tables.add_flow("10.1.0.2", 4000, 1, 1, 10, 5);
  EXPECT_THAT(run_command("flows --service AR1", remote, &tables).out, HasSubstr("AR1"));
  EXPECT_EQ(run_command("flows --service 1 --count", remote, &tables).out, "1 live flow, the table holds 4\n");
  EXPECT_EQ(run_command("flows --service 2 --count", remote, &tables).out, "0 live flows, the table holds 4\n");
  tables.add_flow("10.1.0.3", 4000, 0, 1, 10, 5);
  EXPECT_EQ(run_command("flows --csci plain --count", remote, &tables).out, "1 live flow, the table holds 4\n");
  EXPECT_THAT(run_command("flows --csci plain", remote, &tables).out,
              testing::AllOf(HasSubstr("plain"), Not(HasSubstr("10.1.0.2"))));
  EXPECT_EQ(run_command("flows --service NOPE", remote, &tables).exit, Exit::failed);
  v1::FlowList flows;
  ASSERT_TRUE(from_json(run_command("flows --csci 1 --json", remote, &tables).out, flows).ok());
  EXPECT_EQ(flows.flows(0).service_id(), "AR1");
  EXPECT_EQ(flows.flows(0).packets(), 5U);
}

TEST(CliVerbs, explain_asks_for_that_client_and_that_request) {
  FakeRemote remote;
  v1::Explanation explanation;
  explanation.set_service_id("AR1");
  explanation.set_cs_id(1);
  explanation.set_client("10.1.0.2");
  explanation.set_client_rule("live flows stay where they are: 1 on CSCI-ID 1");
  remote.replies["GET /v1/explain?service=AR1&client=10.1.0.2&gas=2&cost=0.5&delay_ms=20"] = reply(explanation);
  const auto ran = run_command("explain AR1 --client 10.1.0.2 --gas 2 --cost 0.5 --delay 20", remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::done) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("10.1.0.2: live flows stay where they are: 1 on CSCI-ID 1"));
}

TEST(CliVerbs, a_granted_request_shows_five_values_and_its_location) {
  FakeRemote remote;
  v1::Acknowledgement acknowledgement;
  acknowledgement.set_service_id("AR1");
  acknowledgement.set_gas(2);
  acknowledgement.set_real_cost(0.5);
  acknowledgement.set_real_delay_ms(21.5);
  acknowledgement.set_success(true);
  remote.replies["POST /v1/requests"] = {201, to_json(acknowledgement), {{"location", "/v1/requests/7"}}};
  const auto ran = run_command("request AR1 --gas 2 --cost 0.4 --delay 25 --lease 30", remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::done);
  EXPECT_EQ(ran.out,
            "service      AR1\ngas          2\nreal cost    0.5\nreal delay   21.5 ms\nsuccess      yes\nreservation  "
            "/v1/requests/7\n");
  v1::ServiceRequest asked;
  ASSERT_TRUE(from_json(remote.calls[0].body, asked).ok());
  EXPECT_EQ(remote.calls[0].api, Api::ingress);
  EXPECT_EQ(asked.gas(), 2U);
  EXPECT_EQ(asked.cost(), 0.4);
  EXPECT_EQ(asked.delay_ms(), 25);
  EXPECT_EQ(asked.lease_s(), 30U);
  EXPECT_EQ(run_command("request AR1 --json", remote, nullptr).out,
            "{\n  \"service_id\": \"AR1\",\n  \"gas\": 2,\n  \"real_cost\": 0.5,\n  \"real_delay_ms\": 21.5,\n  "
            "\"success\": true,\n"
            "  \"location\": \"/v1/requests/7\"\n}\n");
}

TEST(CliVerbs, a_refused_request_ends_with_1) {
  FakeRemote remote;
  v1::RequestRefusal refusal;
  refusal.set_service_id("AR1");
  refusal.set_gas(1);
  refusal.set_error("no instance of AR1 grants the request: free 0 < 1 asked (2 instances)");
  refusal.set_hint("ask again later");
  remote.replies["POST /v1/requests"] = {409, to_json(refusal), {}};
  const auto ran = run_command("request AR1", remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::failed);
  EXPECT_THAT(ran.out, HasSubstr("success     no"));
  EXPECT_THAT(ran.err, HasSubstr("free 0 < 1 asked (2 instances)"));
  EXPECT_THAT(ran.err, HasSubstr("hint: ask again later; catsbpf explain AR1"));
  EXPECT_EQ(run_command("request AR1 --gas 0", remote, nullptr).out, ran.out);
  v1::ServiceRequest asked;
  ASSERT_TRUE(from_json(remote.calls[1].body, asked).ok());
  EXPECT_TRUE(asked.has_gas()) << "0 is the ingress' to refuse";
  EXPECT_FALSE(asked.has_lease_s());
  remote.replies["POST /v1/requests"] = {404, R"({"error": "unknown service 'AR1'", "hint": ""})", {}};
  EXPECT_EQ(run_command("request AR1", remote, nullptr).err, "error: unknown service 'AR1'\n");
}

TEST(CliVerbs, finish_takes_an_id_a_path_or_a_url) {
  FakeRemote remote;
  remote.replies["DELETE /v1/requests/7"] = {204, "", {}};
  for (const char *words : {"finish 7", "finish /v1/requests/7", "finish https://10.1.0.1:6443/v1/requests/7"})
    EXPECT_EQ(run_command(words, remote, nullptr).exit, Exit::done) << words;
  EXPECT_EQ(remote.calls[1].url, "");
  EXPECT_EQ(remote.calls[2].url, "https://10.1.0.1:6443");
  EXPECT_EQ(remote.calls[2].api, Api::ingress);
  EXPECT_EQ(run_command("finish 7 --operator", remote, nullptr).exit, Exit::done);
  EXPECT_EQ(remote.calls[3].api, Api::agent);
  EXPECT_EQ(run_command("finish https://10.1.0.1:6443/v1/requests/7 --operator", remote, nullptr).exit, Exit::usage);
}

TEST(CliVerbs, a_delta_says_only_what_changes) {
  FakeRemote remote;
  remote.replies["POST /v1/deltas"] = reply(v1::SiteDeltaResult{});
  EXPECT_EQ(run_command("site delta 1 --gas -1", remote, nullptr).exit, Exit::done);
  EXPECT_EQ(remote.calls[0].body, R"({"deltas":[{"csci_id":1,"gas_change":-1}]})");
  EXPECT_EQ(remote.calls[0].api, Api::site);
  (void)run_command("site delta 1 --gas +2 --cost 0.5 --service AR1", remote, nullptr);
  EXPECT_EQ(remote.calls[1].body, R"({"deltas":[{"csci_id":1,"service_id":"AR1","gas_change":2,"cost":0.5}]})");
  (void)run_command("site delta 1 --gas 0 --drain off", remote, nullptr);
  EXPECT_EQ(remote.calls[2].body, R"({"deltas":[{"csci_id":1,"gas":0,"draining":false}]})");
  (void)run_command("site delta 1 --remove", remote, nullptr);
  EXPECT_EQ(remote.calls[3].body, R"({"deltas":[{"csci_id":1,"remove":true}]})");
  for (const auto &call : remote.calls) {
    v1::SiteDeltas parsed;
    EXPECT_TRUE(from_json(call.body, parsed).ok()) << call.body;
  }
}

TEST(CliVerbs, heartbeats_name_a_reservation_or_an_instance) {
  FakeRemote remote;
  remote.replies["POST /v1/finished"] = {200, "{}", {}};
  EXPECT_EQ(run_command("site finished --csci 1", remote, nullptr).exit, Exit::done);
  v1::ServiceFinished heartbeat;
  ASSERT_TRUE(from_json(remote.calls[0].body, heartbeat).ok());
  EXPECT_EQ(heartbeat.csci_id(), 1U);
}

class CliFiles : public testing::Test {
 protected:
  std::string write(const std::string &text) {
    std::ofstream(name_) << text;
    return name_;
  }
  void TearDown() override { std::remove(name_.c_str()); }
  std::string name_ =
      testing::TempDir() + "cli_files_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".yaml";
};

TEST_F(CliFiles, yaml_and_json_tables_are_the_same) {
  v1::SiteTable yaml, json;
  ASSERT_TRUE(
      read_message_file(
          write("rows:\n- {service_id: AR1, csci_id: 1, gas: 16, cost: 0.5, contact: 10.2.0.11, draining: true,\n"
                "   egresses: [f2]}\n"),
          yaml)
          .ok());
  EXPECT_TRUE(read_message_file(write(to_json(yaml)), json).ok());
  EXPECT_EQ(yaml.SerializeAsString(), json.SerializeAsString());
  EXPECT_EQ(yaml.rows(0).gas(), 16U);
  EXPECT_TRUE(yaml.rows(0).draining());
  EXPECT_EQ(yaml.rows(0).egresses(0), "f2");
}

TEST_F(CliFiles, a_broken_file_is_refused_with_its_place) {
  v1::SiteTable table;
  const auto broken = read_message_file(write("rows:\n- {service_id: AR1\n  - x"), table);
  ASSERT_FALSE(broken.ok());
  EXPECT_THAT(broken.error().what, HasSubstr(name_ + ":3"));
  const auto unknown = read_message_file(write("rows: [{prize: 3}]"), table);
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().what, HasSubstr("prize"));
  EXPECT_FALSE(read_message_file(write("rows: [{gas: many}]"), table).ok());
  EXPECT_FALSE(read_message_file("/nonexistent/file", table).ok());
}

TEST_F(CliFiles, each_problem_of_a_file_stands_on_its_line_with_field_reason_and_hint) {
  FakeRemote remote;
  const auto ran = run_command("site table --file " + write("site: s\n"
                                                            "rows:\n"
                                                            "- {service_id: AR1, csci_id: 1, gas: -1}\n"
                                                            "- service_id: AR1\n"
                                                            "  cost: free\n"
                                                            "  draining: yes\n"
                                                            "  prize: 3\n"
                                                            "  egresses: f2\n"
                                                            "  cost: 2\n"),
                               remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::failed);
  EXPECT_TRUE(remote.calls.empty());
  EXPECT_THAT(
      ran.err,
      StartsWith("error: " + name_ +
                 ":3: rows[0].gas: '-1' is not a whole number from 0 on\nhint: write digits alone, without a unit\n" +
                 name_ + ":5: rows[1].cost: 'free' is not a number\nhint: write digits alone, without a unit\n" +
                 name_ + ":6: rows[1].draining: 'yes' is neither true nor false\nhint: write true or false\n" + name_ +
                 ":7: rows[1].prize: is not a field\nhint: the fields are service_id, "));
  EXPECT_THAT(ran.err, HasSubstr(name_ + ":8: rows[1].egresses: must be a list\nhint: "));
  EXPECT_THAT(ran.err, HasSubstr(name_ + ":9: rows[1].cost: stands there twice\n"));
}

TEST_F(CliFiles, a_file_without_rows_does_not_remove_them) {
  FakeRemote remote;
  for (const auto *text : {"{}", "site: s2\n", "", "# nothing\n", "- csci_id: 1\n", "just words\n"}) {
    const auto ran = run_command("site table --file " + write(text), remote, nullptr);
    EXPECT_EQ(ran.exit, Exit::failed) << text;
    EXPECT_THAT(ran.err, StartsWith("error: " + name_)) << text;
  }
  EXPECT_TRUE(remote.calls.empty());
}

TEST_F(CliFiles, a_directory_is_refused) {
  FakeRemote remote;
  for (const auto *verb : {"site table --file ", "platform put "}) {
    const auto ran = run_command(verb + testing::TempDir(), remote, nullptr);
    EXPECT_EQ(ran.exit, Exit::failed);
    EXPECT_EQ(ran.err, "error: " + testing::TempDir() + ": is a directory\nhint: name a file in it\n");
  }
}

TEST_F(CliFiles, what_the_server_refuses_is_shown_on_its_line) {
  FakeRemote remote;
  remote.replies["PUT /v1/table"] = {
      400, R"({"error":"rows[1].contact: 'here' is no address","hint":"write it without port"})", {}};
  const auto text = "rows:\n- csci_id: 1\n- csci_id: 2\n  contact: here\n";
  EXPECT_EQ(run_command("site table --file " + write(text), remote, nullptr).err,
            "error: " + name_ + ":4: rows[1].contact: 'here' is no address\nhint: write it without port\n");
  remote.replies["PUT /v1/services/A"] = {400, R"({"error":"cs_id: belongs to AR1","hint":"take another"})", {}};
  EXPECT_EQ(run_command("platform put " + write("service_id: A\ncs_id: 1\n"), remote, nullptr).err,
            "error: " + name_ + ":2: cs_id: belongs to AR1\nhint: take another\n");
}

TEST_F(CliFiles, platform_put_goes_to_the_services_own_path) {
  FakeRemote remote;
  v1::Service service;
  service.set_service_id("AR1");
  remote.replies["PUT /v1/services/AR1"] = reply(service);
  EXPECT_EQ(run_command("platform put " + write("service_id: AR1\ncs_id: 1\nlocators: [{prefix: 10.99.0.1}]\n"), remote,
                        nullptr)
                .exit,
            Exit::done);
  ASSERT_TRUE(from_json(remote.calls[0].body, service).ok());
  EXPECT_EQ(service.locators(0).prefix(), "10.99.0.1");
  const auto ran = run_command("platform put " + write("cs_id: 1"), remote, nullptr);
  EXPECT_EQ(ran.exit, Exit::failed);
  EXPECT_THAT(ran.err, HasSubstr("service_id: is missing"));
}

TEST(CliVerbs, platform_watch_prints_changes) {
  FakeRemote remote;
  v1::ServiceChange change;
  change.set_revision(3);
  change.mutable_put()->set_service_id("AR1");
  change.mutable_put()->set_cs_id(1);
  remote.events = {{"put", to_json(change)}, {"snapshot end", ""}, {"remove", R"({"revision": 4, "removed": "AR1"})"}};
  EXPECT_EQ(run_command("platform watch", remote, nullptr).out,
            "put AR1 (CS-ID 1), revision 3\nremoved AR1, revision 4\n");
}

TEST(CliVerbs, usage_of_platform_says_what_a_file_is) {
  FakeRemote remote;
  EXPECT_THAT(run_command("platform --help", remote, nullptr).out, HasSubstr("YAML or JSON, - for standard input"));
}

TEST(CliVerbs, platform_search_is_encoded) {
  FakeRemote remote;
  remote.replies["GET /v1/services?search=augmented%20reality"] = reply(v1::ServiceCatalogue{});
  EXPECT_EQ(run_command("platform search augmented reality", remote, nullptr).exit, Exit::done);
}

TEST(CliVerbs, refusals_of_the_platform_are_told_in_words_of_the_command_line) {
  FakeRemote remote;
  remote.replies["GET /v1/services/NOPE"] = {
      404, R"({"error":"no service NOPE","hint":"GET /v1/services lists them"})", {}};
  EXPECT_EQ(run_command("platform get NOPE", remote, nullptr).err,
            "error: no service NOPE\nhint: catsbpf platform list shows them\n");
  remote.replies["DELETE /v1/services/AR1"] = {
      401, R"({"error":"writing needs the write token","hint":"send the header Authorization: Bearer TOKEN"})", {}};
  EXPECT_EQ(run_command("platform remove AR1", remote, nullptr).err,
            "error: writing needs the write token\nhint: give the token by --token, or in CATSBPF_TOKEN\n");
}

TEST(CliVerbs, options_may_stand_before_the_verb) {
  FakeRemote remote;
  const auto tables = two_sites();
  const auto after = run_command("flows --limit 3 --count", remote, &tables);
  const auto before = run_command("--limit 3 --json flows --count", remote, &tables);
  EXPECT_EQ(after.exit, Exit::done);
  EXPECT_EQ(before.exit, Exit::done) << before.err;
  const auto alien = run_command("--gas 3 flows", remote, &tables);
  EXPECT_EQ(alien.exit, Exit::usage);
  EXPECT_THAT(alien.err, HasSubstr("usage: catsbpf flows "));
}

TEST(CliVerbs, a_drain_that_leaves_a_service_no_instance_says_so) {
  FakeRemote remote;
  v1::DrainList list;
  list.add_drains()->set_egress("f2");
  list.add_unserved("AR1");
  list.add_unserved("TP1");
  remote.replies["POST /v1/drain"] = reply(list);
  EXPECT_EQ(run_command("drain egress f2", remote, nullptr).out,
            "DRAINED  NAME  SERVICE\negress   f2    all\n"
            "no instance is left for AR1, TP1: new flows follow plain routing\n");
}

TEST(CliVerbs, drains_begin_end_and_list) {
  FakeRemote remote;
  v1::DrainList list;
  list.add_drains()->set_site("site-2");
  remote.replies["GET /v1/drains"] = reply(list);
  remote.replies["POST /v1/drain"] = reply(list);
  remote.replies["DELETE /v1/drain"] = reply(v1::DrainList{});
  EXPECT_EQ(run_command("drain", remote, nullptr).out, "DRAINED  NAME    SERVICE\nsite     site-2  all\n");
  EXPECT_EQ(run_command("drain instance 3 --service AR1", remote, nullptr).exit, Exit::done);
  v1::Drain drain;
  ASSERT_TRUE(from_json(remote.calls[1].body, drain).ok());
  EXPECT_EQ(drain.csci_id(), 3U);
  EXPECT_EQ(drain.service_id(), "AR1");
  EXPECT_EQ(run_command("drain egress f2 --off", remote, nullptr).out, "nothing is drained\n");
  EXPECT_EQ(remote.calls[2].method, "DELETE");
}

TEST(CliVerbs, an_unknown_word_to_drain_is_not_taken_for_a_kind) {
  FakeRemote remote;
  for (const char *words : {"drain bogus", "drain bogus f2"}) {
    const auto ran = run_command(words, remote, nullptr);
    EXPECT_EQ(ran.exit, Exit::usage) << words;
    EXPECT_THAT(ran.err,
                StartsWith("error: cannot drain a 'bogus', only an instance, a site or an egress\nhint: usage: "
                           "catsbpf drain [instance CSCI-ID "))
        << words;
  }
  EXPECT_THAT(run_command("drain site", remote, nullptr).err, StartsWith("error: which site to drain is missing\n"));
}

TEST(CliVerbs, bypass_is_switched_and_shown) {
  FakeRemote remote;
  const auto tables = two_sites();
  remote.replies["PUT /v1/bypass"] = {200, "{}", {}};
  EXPECT_EQ(run_command("bypass on", remote, nullptr).out, "bypass is on: new flows follow plain routing\n");
  EXPECT_THAT(remote.calls[0].body, HasSubstr("true"));
  EXPECT_EQ(run_command("bypass", remote, &tables).out, "bypass is off\n");
  remote.replies.clear();
  EXPECT_EQ(run_command("bypass on", remote, &tables).exit, Exit::failed);
}

}  // namespace
}  // namespace catsbpf::cli
