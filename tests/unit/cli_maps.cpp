// SPDX-License-Identifier: Apache-2.0
// The reading of pinned maps, against tables in memory.
#include "cli/decode.h"
#include "tests/unit/cli_support.h"

namespace catsbpf::cli {
namespace {

TEST(CliMaps, status_knows_what_the_maps_know) {
  auto tables = two_sites();
  tables.control_.bypass = 1;
  tables.add_flow("10.1.0.2", 4000, 1, 1, 10, 5);
  const auto status = read_status(tables);
  ASSERT_TRUE(status.ok());
  EXPECT_FALSE(status->agent_running());
  EXPECT_TRUE(status->bypass());
  EXPECT_EQ(status->view_epoch(), 42U);
  EXPECT_EQ(status->heartbeat_age_s(), 4);  // 1000 jiffies at 250 Hz
  EXPECT_EQ(status->services(), 2U);
  EXPECT_EQ(status->instances(), 2U);  // the retired one is gone
  EXPECT_EQ(status->paths(), 2U);
  EXPECT_EQ(status->flows(), 1U);
  EXPECT_EQ(status->flow_capacity(), 4U);
  EXPECT_EQ(status->alarms(), 3U);
  ASSERT_EQ(status->interfaces_size(), 1);
  EXPECT_EQ(status->interfaces(0).name(), "if4000000000");
  EXPECT_EQ(status->interfaces(0).side(), "client,underlay");
}

// Nothing in the maps is below 0, so what is, is not known; and what reads "-" as text is such a figure, or empty.
TEST(CliMaps, figures_that_maps_do_not_hold_are_below_0) {
  const auto tables = two_sites();
  const auto status = read_status(tables);
  EXPECT_LT(status->uptime_s(), 0);
  EXPECT_LT(status->sessions_up(), 0);
  EXPECT_LT(status->sessions_configured(), 0);
  const auto &interface = status->interfaces(0);
  for (const double figure : {interface.receive_mbps(), interface.transmit_mbps(), interface.speed_mbps()})
    EXPECT_LT(figure, 0);
  EXPECT_LT(read_services(tables)->services(0).free_gas(), 0);
  const auto instance = read_instances(tables)->instances(0);
  for (const int64_t slots : {instance.gas(), instance.offered(), instance.in_use()}) EXPECT_LT(slots, 0);
  for (const double figure : {instance.cost(), instance.computing_time_ms(), instance.network_delay_ms()})
    EXPECT_LT(figure, 0);
  const auto path = read_paths(tables)->paths(0);
  for (const double figure :
       {path.delay_ms(), path.jitter_ms(), path.loss(), path.measured_ago_s(), path.transmit_mbps(), path.speed_mbps()})
    EXPECT_LT(figure, 0);
  EXPECT_LT(read_rings(tables)->rings(0).members(0).weight(), 0);
}

TEST(CliMaps, services_have_their_locators_and_ring) {
  const auto list = read_services(two_sites());
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->services_size(), 2);
  const auto &first = list->services(0);
  EXPECT_EQ(first.cs_id(), 1U);
  EXPECT_THAT(first.locators(), testing::ElementsAre("10.99.0.1 tcp 80", "fd00:99::1"));
  EXPECT_EQ(first.instances(), 2U);
  EXPECT_EQ(first.eligible(), 2);
  EXPECT_EQ(first.ring_slots(), 40U);
  EXPECT_EQ(first.timeout_s(), 300U);
  EXPECT_THAT(list->services(1).locators(), testing::ElementsAre("10.99.2.0/24 udp 5000-5999"));
  EXPECT_EQ(list->services(1).eligible(), 0);
}

TEST(CliMaps, instances_have_share_and_counters_but_no_cost) {
  const auto list = read_instances(two_sites());
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->instances_size(), 2);
  EXPECT_EQ(list->instances(0).csci_id(), 1U);
  EXPECT_EQ(list->instances(0).share(), 0.75);
  EXPECT_EQ(list->instances(0).packets(), 10U);
  EXPECT_EQ(list->instances(0).egress(), "10.255.0.2");
  EXPECT_LT(list->instances(0).cost(), 0);
  EXPECT_EQ(list->instances(1).csci_id(), 3U);
  EXPECT_EQ(list->instances(1).state(), "draining");
  EXPECT_EQ(list->instances(1).slot(), 2U);
}

TEST(CliMaps, paths_show_next_hop_and_mac_once_resolved) {
  const auto list = read_paths(two_sites());
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->paths_size(), 2);
  EXPECT_EQ(list->paths(0).next_hop(), "172.16.1.254");
  EXPECT_EQ(list->paths(0).mac(), "00:00:00:00:00:fe");
  EXPECT_EQ(list->paths(0).state(), "resolved");
  EXPECT_EQ(list->paths(1).state(), "unresolved");
  EXPECT_EQ(list->paths(1).mac(), "");
}

TEST(CliMaps, rings_count_slots_by_instance) {
  const auto list = read_rings(two_sites());
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->rings_size(), 2);
  ASSERT_EQ(list->rings(0).members_size(), 2);
  EXPECT_EQ(list->rings(0).members(0).slots(), 30U);
  EXPECT_EQ(list->rings(0).members(1).slots(), 10U);
  EXPECT_EQ(list->rings(1).members_size(), 0);
}

TEST(CliMaps, services_and_rings_stand_in_the_order_of_their_ids) {
  auto tables = two_sites();
  tables.services_[1].cs_id = 4;
  std::swap(tables.instances_[1].csci_id, tables.instances_[2].csci_id);
  const auto services = read_services(tables);
  const auto rings = read_rings(tables);
  EXPECT_EQ(services->services(0).cs_id(), 2U);
  EXPECT_THAT(services->services(0).locators(), testing::ElementsAre("10.99.2.0/24 udp 5000-5999"));
  EXPECT_EQ(services->services(1).cs_id(), 4U);
  EXPECT_EQ(rings->rings(0).cs_id(), 2U);
  EXPECT_EQ(rings->rings(1).members(0).csci_id(), 1U);
  EXPECT_EQ(rings->rings(1).members(0).slots(), 10U);
  EXPECT_EQ(rings->rings(1).members(1).csci_id(), 3U);
}

// Locators without rings, deliveries, no side towards clients.
FakeTables egress() {
  auto tables = two_sites();
  tables.interfaces_[1].sides = maps::SIDE_UNDERLAY | maps::SIDE_SERVICE;
  tables.services_[1].ring_slots = 0;
  tables.instances_.clear();
  return tables;
}

TEST(CliMaps, of_an_egress_the_maps_show_what_it_delivers) {
  const auto tables = egress();
  const auto status = read_status(tables);
  EXPECT_EQ(status->services(), 0U);
  EXPECT_EQ(status->instances(), 1U);
  const auto instances = read_instances(tables);
  ASSERT_EQ(instances->instances_size(), 1);
  const auto &instance = instances->instances(0);
  EXPECT_EQ(instance.cs_id(), 2U);
  EXPECT_EQ(instance.csci_id(), 7U);
  EXPECT_EQ(instance.state(), "delivered");
  EXPECT_EQ(instance.packets(), 7U);
  EXPECT_LT(instance.share(), 0);
  EXPECT_LT(instance.gas(), 0);
  const auto services = read_services(tables);
  ASSERT_EQ(services->services_size(), 2);
  EXPECT_LT(services->services(0).eligible(), 0);
  EXPECT_EQ(services->services(0).instances(), 0U);
  EXPECT_EQ(services->services(1).instances(), 1U);
}

TEST(CliMaps, an_egress_has_no_rings_and_says_so) {
  const auto rings = read_rings(egress());
  ASSERT_FALSE(rings.ok());
  EXPECT_THAT(rings.error().what, testing::HasSubstr("no ingress"));
  auto ingress = egress();
  ingress.interfaces_[1].sides = maps::SIDE_CLIENT;
  EXPECT_TRUE(read_rings(ingress).ok()) << "with services and no instance yet";
}

TEST(CliMaps, a_ring_beyond_the_pool_is_read_no_further) {
  auto tables = two_sites();
  tables.services_[1].ring_first = 2;
  const auto list = read_rings(tables);
  ASSERT_TRUE(list.ok());
  uint32_t slots = 0;
  for (const auto &member : list->rings(0).members()) slots += member.slots();
  EXPECT_EQ(slots, 32U);
}

TEST(CliMaps, flows_come_newest_packet_first) {
  auto tables = two_sites();
  tables.add_flow("10.1.0.2", 1, 1, 1, 500, 5);
  tables.add_flow("10.1.0.3", 2, 2, 1, 0, 6, FLOW_STATE_USED | FLOW_STATE_SESSION);
  tables.add_flow("fd00:1::2", 3, 0, 1, 250, 7);
  const auto list = read_flows(tables, {}, {{1, "AR1"}});
  ASSERT_EQ(list.flows_size(), 3);
  EXPECT_EQ(list.total(), 3U);
  EXPECT_EQ(list.capacity(), 4U);
  EXPECT_EQ(list.flows(0).source(), "10.1.0.3");
  EXPECT_EQ(list.flows(0).source_port(), 2U);
  EXPECT_EQ(list.flows(0).destination(), "10.99.0.1");
  EXPECT_EQ(list.flows(0).service_id(), "AR1");
  EXPECT_EQ(list.flows(0).csci_id(), 3U);
  EXPECT_EQ(list.flows(0).packets(), 6U);
  EXPECT_EQ(list.flows(0).state(), "session");
  EXPECT_EQ(list.flows(0).age_s(), 10);
  EXPECT_EQ(list.flows(1).source(), "fd00:1::2");
  EXPECT_EQ(list.flows(1).csci_id(), 0U);
  EXPECT_EQ(list.flows(1).idle_s(), 1);
  EXPECT_EQ(list.flows(2).idle_s(), 2);
}

TEST(CliMaps, a_flow_beyond_its_timeout_is_not_live) {
  auto tables = two_sites();
  tables.now = 1'000'000;
  tables.add_flow("10.1.0.2", 1, 1, 1, 300 * 250, 5);
  tables.add_flow("10.1.0.3", 1, 1, 1, 300 * 250 + 1, 5);
  EXPECT_EQ(read_flows(tables, {}, {}).total(), 1U);
}

TEST(CliMaps, flows_survive_the_wrap_of_the_jiffies) {
  auto tables = two_sites();
  tables.now = (1ULL << 32) + 100;
  tables.add_flow("10.1.0.2", 1, 1, 1, 350, 5);
  const auto list = read_flows(tables, {}, {});
  ASSERT_EQ(list.flows_size(), 1);
  EXPECT_DOUBLE_EQ(list.flows(0).idle_s(), 1.4);
  EXPECT_DOUBLE_EQ(list.flows(0).age_s(), 10);
}

TEST(CliMaps, packets_beyond_32_bits_come_from_the_record) {
  auto tables = two_sites();
  tables.add_flow("10.1.0.2", 1, 1, 1, 0, 7);
  tables.records_[0].packets = (1ULL << 32) + 2;  // as of the last sweep
  EXPECT_EQ(read_flows(tables, {}, {}).flows(0).packets(), (1ULL << 32) + 7);
}

TEST(CliMaps, an_entry_that_is_being_inserted_is_no_flow_yet) {
  auto tables = two_sites();
  tables.add_flow("10.1.0.2", 1, 1, 1, 0, 7, FLOW_STATE_USED | FLOW_STATE_TENTATIVE);
  EXPECT_EQ(read_flows(tables, {}, {}).total(), 0U);
}

TEST(CliMaps, an_entry_whose_record_is_stale_shows_no_tuple) {
  auto tables = two_sites();
  tables.add_flow("10.1.0.2", 1, 1, 1, 0, 5);
  tables.records_[0].word ^= 1ULL << FLOW_TAG_SHIFT;
  const auto list = read_flows(tables, {}, {});
  ASSERT_EQ(list.flows_size(), 1);
  EXPECT_EQ(list.flows(0).source(), "");
  EXPECT_EQ(list.flows(0).csci_id(), 1U);
  EXPECT_EQ(list.flows(0).packets(), 5U);
}

TEST(CliMaps, flow_filters_hold_together) {
  auto tables = two_sites();
  for (uint16_t i = 0; i < 6; ++i) tables.add_flow("10.1.0." + std::to_string(i), i, i % 2 ? 1 : 2, 1, i, 1);
  const auto count = [&](const FlowFilter &filter) { return read_flows(tables, filter, {}).total(); };
  FlowFilter filter;
  filter.csci_id = 1;
  EXPECT_EQ(count(filter), 3U);
  filter.cs_id = 2;
  EXPECT_EQ(count(filter), 0U);
  filter = {};
  filter.client = parse_prefix("10.1.0.4/31", filter.client_bits);
  EXPECT_EQ(count(filter), 2U);
  filter.client = parse_prefix("10.1.0.4", filter.client_bits);
  EXPECT_EQ(count(filter), 1U);
  filter = {};
  filter.limit = 4;
  EXPECT_EQ(read_flows(tables, filter, {}).flows_size(), 4);
  EXPECT_EQ(count(filter), 6U);
  filter.limit = 0;
  EXPECT_EQ(read_flows(tables, filter, {}).flows_size(), 6);
  filter.count_only = true;
  EXPECT_EQ(read_flows(tables, filter, {}).flows_size(), 0);
  EXPECT_EQ(count(filter), 6U);
}

TEST(CliMaps, prefixes_of_both_families) {
  unsigned bits = 0;
  EXPECT_TRUE(parse_prefix("10.0.0.0/8", bits));
  EXPECT_EQ(bits, 104U);
  EXPECT_TRUE(parse_prefix("fd00::/8", bits));
  EXPECT_EQ(bits, 8U);
  for (const char *wrong : {"10.0.0.0/33", "fd00::/129", "10.0.0.0/", "x", "10.0.0.0/-1"})
    EXPECT_FALSE(parse_prefix(wrong, bits)) << wrong;
  const auto in = [](const char *a, const char *prefix) {
    unsigned length = 0;
    const auto p = parse_prefix(prefix, length);
    return in_prefix(*maps::parse_address(a), *p, length);
  };
  EXPECT_TRUE(in("10.255.0.1", "10.0.0.0/8"));
  EXPECT_FALSE(in("11.0.0.1", "10.0.0.0/8"));
  EXPECT_TRUE(in("fdff::1", "fd00::/8"));
  EXPECT_TRUE(in("fd00:1::2", "fd00:1::2/127") || in("fd00:1::3", "fd00:1::2/127"));
  EXPECT_FALSE(in("fd00:1::4", "fd00:1::2/127"));
  EXPECT_TRUE(in("1.2.3.4", "0.0.0.0/0"));
  EXPECT_FALSE(in("fd00::1", "0.0.0.0/0"));
}

TEST(CliMaps, stats_count_both_ends) {
  const auto stats = read_stats(two_sites());
  ASSERT_TRUE(stats.ok());
  ASSERT_EQ(stats->instances_size(), 4);  // also the retired one: its packets happened
  EXPECT_EQ(stats->instances(1).csci_id(), 3U);
  EXPECT_EQ(stats->instances(1).direction(), "ingress");
  EXPECT_EQ(stats->instances(1).packets(), 20U);
  EXPECT_EQ(stats->instances(3).direction(), "egress");
  EXPECT_EQ(stats->instances(3).csci_id(), 7U);
  EXPECT_EQ(stats->instances(3).bytes(), 700U);
  EXPECT_EQ(stats->flows_inserted(), 9U);
  EXPECT_EQ(stats->flows_refused(), 5U);
  EXPECT_EQ(stats->sweep_passes(), 77U);
}

TEST(CliMaps, outcomes_that_never_happened_are_left_out_and_alarms_come_first) {
  const auto tables = two_sites();
  const auto list = read_outcomes(tables, false);
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->outcomes_size(), 3);
  EXPECT_EQ(list->outcomes(0).name(), "no_instance");
  EXPECT_EQ(list->outcomes(0).kind(), "alarm");
  EXPECT_EQ(list->outcomes(1).name(), "not_ours");
  EXPECT_EQ(list->outcomes(2).name(), "forwarded");
  EXPECT_EQ(read_outcomes(tables, true)->outcomes_size(), static_cast<int>(OUTCOME_COUNT));
}

TEST(CliMaps, every_map_but_the_secret_can_be_decoded) {
  auto tables = two_sites();
  tables.add_flow("10.1.0.2", 1, 1, 1, 0, 5);
  tables.sessions_.push_back({{*maps::parse_address("10.1.0.2"), 1, 0}, {1, 7, 2, {}}});
  for (const char *name : {"control", "interfaces", "own_addresses", "view_headers", "locators", "services", "rings",
                           "instances", "paths", "deliveries", "sessions", "flows", "flow_records", "sweep", "outcomes",
                           "flow_counters", "instance_counters", "delivery_counters", "icmp_budget"}) {
    const auto grid = decode_map(tables, name, 0);
    ASSERT_TRUE(grid.ok()) << name;
    ASSERT_FALSE(grid->rows.empty()) << name;
    for (const auto &row : grid->rows) EXPECT_EQ(row.size(), grid->columns.size()) << name;
    EXPECT_LE(widest_line(render(*grid, {})), 100U) << name;
  }
  EXPECT_FALSE(decode_map(tables, "secret", 0).ok());
  const auto unknown = decode_map(tables, "nope", 0);
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().hint.find("flow_records"), std::string::npos);
}

TEST(CliMaps, a_limit_shortens_the_rows_and_not_the_total) {
  const auto grid = decode_map(two_sites(), "locators", 2);
  ASSERT_TRUE(grid.ok());
  EXPECT_EQ(grid->rows.size(), 2U);
  EXPECT_EQ(grid->total, 4U);
  EXPECT_EQ(render(*grid, {}),
            "INDEX  PREFIX      KIND     PROTOCOL  PORT MIN  PORT MAX  TARGET  NEXT\n"
            "    0  10.99.0.1   service         6        80        80       1     0\n"
            "    1  fd00:99::1  service         0         0     65535       1     0\n"
            "2 of 4 in use\n");
}

}  // namespace
}  // namespace catsbpf::cli
