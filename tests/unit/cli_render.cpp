// SPDX-License-Identifier: Apache-2.0
// How values look, and that they fit the page whatever stands in them.
#include <google/protobuf/descriptor.h>

#include "tests/unit/cli_support.h"

namespace catsbpf::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Fills every field with the longest that can stand there: full IPv6 addresses, 5-digit ids, big counters.
void fill(Message &message, int rows) {
  const auto &reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const auto &field = *message.GetDescriptor()->field(i);
    if (field.containing_oneof() && !field.has_presence()) continue;
    const std::string text = field.name() == "state" ? "connecting"
                             : field.name() == "reason"
                                 ? "real delay 25.1 ms > 20 ms asked, and the lease would end too soon"
                             : field.name() == "kind"      ? "alarm"
                             : field.name() == "direction" ? "out"
                             : field.name() == "protocol"  ? "icmp6"
                                                           : "2001:db8:1111:2222:3333:4444:5555:6666";
    for (int row = 0; row < (field.is_repeated() ? rows : 1); ++row) {
      const bool many = field.is_repeated();
      switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING:
          many ? reflection.AddString(&message, &field, text) : reflection.SetString(&message, &field, text);
          break;
        case FieldDescriptor::CPPTYPE_UINT32: reflection.SetUInt32(&message, &field, 65'535); break;
        case FieldDescriptor::CPPTYPE_INT32: reflection.SetInt32(&message, &field, 65'535); break;
        case FieldDescriptor::CPPTYPE_INT64: reflection.SetInt64(&message, &field, 65'535); break;
        case FieldDescriptor::CPPTYPE_UINT64: reflection.SetUInt64(&message, &field, 123'456'789'012ULL); break;
        case FieldDescriptor::CPPTYPE_DOUBLE: reflection.SetDouble(&message, &field, 0.123456); break;
        case FieldDescriptor::CPPTYPE_BOOL: reflection.SetBool(&message, &field, true); break;
        case FieldDescriptor::CPPTYPE_MESSAGE:
          fill(many ? *reflection.AddMessage(&message, &field) : *reflection.MutableMessage(&message, &field), rows);
          break;
        default: break;
      }
    }
  }
}

template <class Value>
class CliFits : public testing::Test {};
using Values = testing::Types<v1::Status, v1::ServiceStatusList, v1::InstanceList, v1::PathList, v1::RingList,
                              v1::FlowList, v1::SessionList, v1::Stats, v1::OutcomeList, v1::Explanation,
                              v1::ReservationList, v1::SiteTable, v1::SiteDeltaResult, v1::ServiceCatalogue,
                              v1::Service, v1::ServiceChange, v1::DrainList, v1::Bypass>;
TYPED_TEST_SUITE(CliFits, Values);

TYPED_TEST(CliFits, within_100_columns_with_long_addresses_and_ids) {
  TypeParam value;
  fill(value, 2);
  const auto text = render(value, {});
  EXPECT_LE(widest_line(text), 100U) << text;
  EXPECT_TRUE(text.ends_with('\n'));
  EXPECT_EQ(text.find('\033'), std::string::npos);
}

TYPED_TEST(CliFits, an_empty_value_is_no_empty_page) {
  EXPECT_NE(render(TypeParam{}, {}), "");
  EXPECT_LE(widest_line(render(TypeParam{}, {})), 100U);
}

TYPED_TEST(CliFits, json_is_the_same_value) {
  TypeParam value, back;
  fill(value, 2);
  ASSERT_TRUE(from_json(json(value), back).ok());
  EXPECT_EQ(back.SerializeAsString(), value.SerializeAsString());
}

v1::InstanceStatus instance(const char *service, uint32_t csci_id, const char *site, double share) {
  v1::InstanceStatus row;
  row.set_service_id(service);
  row.set_csci_id(csci_id);
  row.set_gas(4);
  row.set_cost(0.5);
  row.set_computing_time_ms(1);
  row.set_network_delay_ms(20.25);
  row.set_offered(16);
  row.set_in_use(12);
  row.set_site(site);
  row.set_egress("f2");
  row.set_state("active");
  row.set_share(share);
  row.set_packets(1'234'567);
  return row;
}

TEST(CliRender, instances) {
  v1::InstanceList list;
  *list.add_instances() = instance("AR1", 1, "site-2", 0.75);
  auto &unknown = *list.add_instances();
  unknown.set_cs_id(2);
  unknown.set_csci_id(65535);
  unknown.set_gas(-1);
  unknown.set_in_use(-1);
  unknown.set_cost(-1);
  unknown.set_computing_time_ms(-1);
  unknown.set_network_delay_ms(-1);
  unknown.set_share(-1);
  unknown.set_packets(-1);
  unknown.set_state("dead");
  EXPECT_EQ(render(list, {}),
            "SERVICE  CSCI-ID  GAS  COST  COMP ms  NET ms  IN USE  SITE    EGRESS  STATE   SHARE  PACKETS\n"
            "AR1            1    4   0.5     1.00    20.2   12/16  site-2  f2      active  75.0%    1.23M\n"
            "CS-ID 2    65535    -     -        -       -       -  -       -       dead        -        -\n");
}

TEST(CliRender, a_drained_path_says_so_in_full) {
  v1::PathList list;
  auto &path = *list.add_paths();
  path.set_egress("f2");
  path.set_egress_address("10.255.0.2");
  path.set_encapsulation("geneve");
  path.set_interface("core0");
  path.set_next_hop("172.16.1.254");
  path.set_state("unresolved");
  path.set_mtu(1600);
  path.set_delay_ms(12.3);
  path.set_jitter_ms(12.3);
  path.set_loss(1);
  path.set_measured_ago_s(100);
  path.set_draining(true);
  EXPECT_EQ(render(list, {}),
            "EGRESS ADDRESS    ENCAP  INTERFACE NEXT HOP     STATE       MTU DELAY ms JITTER ms   LOSS SEEN\n"
            "f2     10.255.0.2 geneve core0     172.16.1.254 unresolved 1600     12.3      12.3 100.0% 100s\n"
            "    draining: takes no new flows, keeps those it has\n");
}

TEST(CliRender, flows_shorten_ipv6_in_the_middle) {
  v1::FlowList list;
  list.set_total(120);
  list.set_capacity(524'288);
  auto &flow = *list.add_flows();
  flow.set_source("2001:db8:1111:2222:3333:4444:5555:6666");
  flow.set_source_port(65535);
  flow.set_destination("2001:db8:9999:9999:9999:9999:9999:1");
  flow.set_destination_port(443);
  flow.set_protocol("tcp");
  flow.set_cs_id(12345);
  flow.set_csci_id(54321);
  flow.set_age_s(3700);
  flow.set_idle_s(0.012);
  flow.set_packets(99'999);
  flow.set_state("session");
  EXPECT_EQ(render(list, {}),
            "SOURCE                 DESTINATION             PROTO SERVICE     CSCI-ID   AGE  IDLE PACKETS STATE\n"
            "[2001:db..:6666]:65535 [2001:db8..:9999:1]:443 tcp   CS-ID 12345   54321 1h01m 0.01s    100k session\n"
            "the newest 1 of 120 live flows, the table holds 524k\n");
}

TEST(CliRender, outcomes_mark_alarms_and_say_what_they_mean) {
  v1::OutcomeList list;
  auto &alarm = *list.add_outcomes();
  alarm.set_name("no_instance");
  alarm.set_kind("alarm");
  alarm.set_packets(3);
  alarm.set_bytes(180);
  alarm.set_meaning("the service has no instance that may take a new flow: passed to plain routing");
  auto &normal = *list.add_outcomes();
  normal.set_name("forwarded");
  normal.set_kind("normal");
  normal.set_packets(1'000'000);
  normal.set_bytes(1'500'000'000);
  normal.set_meaning("handed to the underlay interface");
  EXPECT_EQ(render(list, {}),
            "       OUTCOME      PACKETS    BYTES\n"
            "alarm  no_instance        3    180 B\n"
            "    the service has no instance that may take a new flow: passed to plain routing\n"
            "       forwarded      1.00M  1.50 GB\n"
            "    handed to the underlay interface\n");
}

TEST(CliRender, explanation_marks_the_winner_and_the_ineligible) {
  v1::Explanation explanation;
  explanation.set_service_id("AR1");
  explanation.set_cs_id(1);
  explanation.set_policy("closest-cost");
  explanation.set_rule("least distance to the asked cost");
  explanation.set_csci_id(3);
  auto &winner = *explanation.add_candidates();
  winner.set_csci_id(3);
  winner.set_site("site-3");
  winner.set_egress("f3");
  winner.set_gas(9);
  winner.set_cost(1.5);
  winner.set_real_delay_ms(12.5);
  winner.set_eligible(true);
  winner.set_score(0.5);
  winner.set_share(1);
  winner.set_reason("cost distance 0.5");
  auto &other = *explanation.add_candidates();
  other.set_csci_id(1);
  other.set_reason("free 0 < 1 asked");
  EXPECT_EQ(render(explanation, {}),
            "service   AR1 (CS-ID 1)\n"
            "policy    closest-cost\n"
            "rule      least distance to the asked cost\n"
            "instance  CSCI-ID 3\n"
            "\n"
            "   CSCI-ID  SITE    EGRESS  GAS  COST  DELAY ms  SCORE   SHARE\n"
            "*        3  site-3  f3        9   1.5      12.5  0.500  100.0%\n"
            "    cost distance 0.5\n"
            "x        1  -       -         0     0      0.00      -    0.0%\n"
            "    free 0 < 1 asked\n"
            "* chosen, x may not take it\n");
}

TEST(CliRender, explanation_of_no_single_instance_says_where_flows_go) {
  v1::Explanation explanation;
  auto &candidate = *explanation.add_candidates();
  candidate.set_share(0.5);
  explanation.set_decided_by("ring");
  EXPECT_THAT(render(explanation, {}), testing::HasSubstr("instance  by the ring, each one's share"));
  candidate.set_share(0);
  EXPECT_THAT(render(explanation, {}), testing::HasSubstr("instance  none: new flows follow plain routing"));
  explanation.set_decided_by("bypass");
  EXPECT_THAT(render(explanation, {}), testing::HasSubstr("instance  plain routing"));
  explanation.set_decided_by("request");
  EXPECT_THAT(render(explanation, {}), testing::HasSubstr("instance  none\n"));
}

TEST(CliRender, rings_draw_shares) {
  v1::RingList list;
  list.set_view_epoch(7);
  auto &ring = *list.add_rings();
  ring.set_service_id("AR1");
  ring.set_slots(251);
  auto &member = *ring.add_members();
  member.set_csci_id(1);
  member.set_weight(2.5);
  member.set_slots(126);
  member.set_share(0.5);
  list.add_rings()->set_cs_id(2);
  EXPECT_EQ(render(list, {}),
            "view epoch 7\n"
            "SERVICE  RING  CSCI-ID  WEIGHT  SLOTS  SHARE\n"
            "AR1       251        1    2.50    126  50.0%  ###############\n"
            "CS-ID 2     0        -       -      -      -  no instance takes new flows\n");
}

TEST(CliRender, status_of_a_stopped_agent) {
  v1::Status status;
  status.set_heartbeat_age_s(4);
  status.set_view_epoch(42);
  status.set_view_age_s(65);
  status.set_services(3);
  status.set_instances(4);
  status.set_paths(2);
  status.set_flows(12'345);
  status.set_flow_capacity(524'288);
  status.set_alarms(3);
  EXPECT_EQ(render(status, {}),
            "agent     not running, last sign of life 4.00s ago\n"
            "view      epoch 42, published 65s ago\n"
            "bypass    off\n"
            "steering  3 services, 4 instances, 2 paths\n"
            "flows     12.3k of 524k\n"
            "alarms    3 packets, see catsbpf outcomes\n");
}

TEST(CliRender, sessions_tell_why_they_are_down) {
  v1::SessionList list;
  auto &session = *list.add_sessions();
  session.set_peer("f2");
  session.set_direction("in");
  session.set_state("refused");
  session.set_heard_s(-1);
  session.set_reason("role site is not service-metric-agent");
  EXPECT_EQ(render(list, {}),
            "PEER  SITE  DIR  STATE    ADDRESS  EPOCH  SEQUENCE  UNACKED  ROWS  HEARD  RESYNCS  REFUSED\n"
            "f2    -     in   refused  -            0         0        0     0      -        0        0\n"
            "    role site is not service-metric-agent\n");
}

TEST(CliRender, site_table_and_delta) {
  v1::SiteDeltaResult result;
  result.set_epoch(1);
  result.set_sequence(5);
  result.set_wire_bytes(21);
  auto &row = *result.add_rows();
  row.set_service_id("AR1");
  row.set_csci_id(1);
  row.set_gas(8);
  row.set_cost(0.5);
  row.set_contact("10.2.0.11");
  row.set_access_delay_us(250);
  row.set_draining(true);
  EXPECT_EQ(render(result, {}),
            "epoch 1, sequence 5: 21 B on the session\n"
            "SERVICE  CSCI-ID  GAS  IN USE  COST  CONTACT    IPv6 CONTACT  ACCESS ms  STATE     EGRESSES\n"
            "AR1            1    8       0   0.5  10.2.0.11  -                  0.25  draining  -\n");
}

}  // namespace
}  // namespace catsbpf::cli
