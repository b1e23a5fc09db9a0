// SPDX-License-Identifier: Apache-2.0
// A flow keeps its instance; when and how it gets another.
#include "tests/prog/world.h"

namespace catsbpf::test {
namespace {

class Affinity : public World {
 protected:
  static Ip syn(uint16_t port) { return {.source_port = port, .flags = kSyn}; }
  static Ip data(uint16_t port) { return {.source_port = port, .flags = kAck}; }
};

TEST_F(Affinity, flows_spread_over_the_ring) {
  int to_first = 0;
  for (uint16_t port = 1000; port < 2000; ++port) to_first += chosen(syn(port)) == 1;
  EXPECT_GT(to_first, 400);
  EXPECT_LT(to_first, 600);
}

TEST_F(Affinity, keeps_instance_when_the_ring_changes) {
  std::vector<uint32_t> before;
  for (uint16_t port = 1000; port < 1100; ++port) before.push_back(chosen(syn(port)));
  publish_ring({2});
  for (uint16_t port = 1000; port < 1100; ++port) EXPECT_EQ(chosen(data(port)), before[port - 1000]);
  for (uint16_t port = 2000; port < 2100; ++port) EXPECT_EQ(chosen(syn(port)), 3u);
  publish_ring({});
  EXPECT_EQ(chosen(data(1000)), before[0]);
  expect_passed(from_client(ip(syn(3000))), "no_instance");
}

TEST_F(Affinity, the_view_flips_by_one_store) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  publish_ring({2});
  EXPECT_EQ(chosen(syn(2)), 3u);
  plane.control().view ^= 1;
  EXPECT_EQ(chosen(syn(3)), 1u);
}

TEST_F(Affinity, draining_instance_keeps_its_flows) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  plane.instance_at(1).state = maps::INSTANCE_DRAINING;
  publish_ring({2});
  EXPECT_EQ(chosen(data(1)), 1u);
  EXPECT_EQ(chosen(syn(2)), 3u);
}

TEST_F(Affinity, dead_instance_loses_its_flows_to_the_ring_once) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  for (const auto state : {maps::INSTANCE_DEAD, maps::INSTANCE_RETIRED, maps::INSTANCE_FREE}) {
    plane.instance_at(1).state = static_cast<uint8_t>(state);
    publish_ring({2});
    EXPECT_EQ(chosen(data(1)), 3u);
  }
  EXPECT_EQ(plane.flow_counters().moved, 1u);
  plane.instance_at(1).state = maps::INSTANCE_ACTIVE;
  publish_ring({1});
  EXPECT_EQ(chosen(data(1)), 3u);  // it stays where it moved to
}

TEST_F(Affinity, ring_that_still_names_a_dead_instance_is_asked_again) {
  plane.instance_at(1).state = maps::INSTANCE_DEAD;
  int found = 0;
  for (uint16_t port = 1000; port < 1100; ++port) found += chosen(syn(port)) == 3;
  EXPECT_GE(found, 97);  // 8 hashes of a flow all on the dead one: 1 in 256
}

TEST_F(Affinity, dead_path_moves_its_flows) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  plane.path_at(1).state = maps::PATH_DEAD;
  publish_ring({2});
  EXPECT_EQ(chosen(data(1)), 3u);
}

TEST_F(Affinity, path_whose_next_hop_is_being_asked_for_keeps_its_flows) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  plane.path_at(1).state = maps::PATH_UNRESOLVED;
  publish_ring({2});
  EXPECT_EQ(plane.xdp(from_client(ip(data(1)))).outcome, "forwarded_slow");
  plane.path_at(1).state = maps::PATH_RESOLVED;
  EXPECT_EQ(chosen(data(1)), 1u);
}

TEST_F(Affinity, dead_path_of_the_only_instance_has_its_flows_back_when_it_returns) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  plane.path_at(1).state = maps::PATH_DEAD;
  publish_ring({});
  expect_dropped(from_client(ip(data(1))), "path_down");
  plane.path_at(1).state = maps::PATH_RESOLVED;
  EXPECT_EQ(chosen(data(1)), 1u);
  EXPECT_EQ(plane.flow_counters().moved, 0u);
}

// By plain routing its packets might reach another instance, which would reset it.
TEST_F(Affinity, without_any_path_left_a_flow_waits_and_new_ones_follow_plain_routing) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  plane.path_at(1).state = maps::PATH_DEAD;
  for (const auto &ring : {std::vector<uint16_t>{1}, std::vector<uint16_t>{}}) {
    publish_ring(ring);
    expect_dropped(from_client(ip(data(1))), "path_down");
    expect_passed(from_client(ip(syn(1))), "no_instance");  // a new connection on the same ports
    expect_passed(from_client(ip(syn(2))), "no_instance");
  }
  plane.control().bypass = 1;
  expect_passed(from_client(ip(data(1))), "bypassed");
}

TEST_F(Affinity, flow_of_an_instance_that_its_site_ended_follows_plain_routing_when_no_other_is_left) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  plane.instance_at(1).state = maps::INSTANCE_DEAD;
  for (const auto &ring : {std::vector<uint16_t>{1}, std::vector<uint16_t>{}}) {
    publish_ring(ring);
    expect_passed(from_client(ip(data(1))), "no_instance");
  }
}

TEST_F(Affinity, slot_of_another_service_is_not_used) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  plane.instance_at(1).cs_id = 9;  // as if the service's handle had changed hands
  publish_ring({2});
  EXPECT_EQ(chosen(data(1)), 3u);
}

TEST_F(Affinity, tcp_in_mid_flow_follows_the_ring_under_its_own_outcome) {
  publish_ring({1});
  expect_forwarded(data(1), 1, "forwarded_midflow");
  expect_forwarded(data(1), 1, "forwarded");
  expect_forwarded({.source_port = 2, .flags = kSynAck}, 1, "forwarded_midflow");
  expect_forwarded(udp(), 1, "forwarded");
}

TEST_F(Affinity, bypass_leaves_steered_flows_and_keeps_new_ones_out) {
  publish_ring({1});
  EXPECT_EQ(chosen(syn(1)), 1u);
  EXPECT_EQ(chosen(udp(1)), 1u);
  plane.control().bypass = 1;
  EXPECT_EQ(chosen(data(1)), 1u);
  expect_passed(from_client(ip(syn(2))), "bypassed");
  expect_passed(from_client(ip(udp(2))), "bypassed");
  plane.control().bypass = 0;
  expect_passed(from_client(ip(data(2))), "bypassed");  // it began under bypass
  expect_passed(from_client(ip(udp(2))), "bypassed");
  expect_forwarded(syn(2), 1);  // a new connection on the same ports
  expect_forwarded(data(2), 1);
  EXPECT_EQ(plane.flow_counters().moved, 0u);
}

TEST_F(Affinity, session_pins_new_flows_of_its_client_until_it_expires) {
  publish_ring({1});
  const uint64_t now = plane.jiffies();
  plane.session("10.1.0.2", 1, 2, now + 1'000'000);
  EXPECT_EQ(chosen(syn(1)), 3u);
  EXPECT_EQ(chosen({.source = "10.1.0.3", .source_port = 1, .flags = kSyn}), 1u);
  plane.session("10.1.0.2", 1, 2, now - 1);
  EXPECT_EQ(chosen(syn(2)), 1u);
  EXPECT_EQ(chosen(data(1)), 3u);
  plane.session("10.1.0.2", 1, 2, now + 1'000'000);
  plane.instance_at(2).state = maps::INSTANCE_DEAD;
  EXPECT_EQ(chosen(syn(3)), 1u);
}

TEST_F(Affinity, session_is_the_clients_for_that_service_only) {
  auto other = service_one({2});
  other.cs_id = 2;
  other.locators = {{"10.99.0.2"}};
  plane.instance(2, 2, 3, 2);
  plane.services({service_one({1}), other});
  plane.publish();
  plane.session("10.1.0.2", 2, 1, plane.jiffies() + 1'000'000);  // slot of another service: refused
  EXPECT_EQ(chosen({.destination = "10.99.0.2", .flags = kSyn}), 3u);
}

TEST_F(Affinity, client_address_can_be_the_flow) {
  auto by_client = service_one({1, 2});
  by_client.source_port_mask = by_client.destination_port_mask = 0;
  by_client.protocol_mask = 0;
  plane.services({by_client});
  plane.publish();
  std::set<uint32_t> instances;
  for (uint8_t host = 2; host < 66; ++host) {
    const std::string client = "10.1.0." + std::to_string(host), client6 = "fd00:1::" + std::to_string(host);
    const uint32_t first = chosen({.source = client, .source_port = 1, .flags = kSyn});
    EXPECT_EQ(chosen({.source = client, .source_port = 2, .destination_port = 443, .flags = kSyn}), first);
    EXPECT_EQ(chosen({.source = client, .protocol = kUdp}), first);
    EXPECT_EQ(chosen({.source = client, .protocol = kIcmp}), first);
    const uint32_t first6 = chosen({.source = client6, .destination = "fd00:99::1", .flags = kSyn});
    EXPECT_EQ(chosen({.source = client6, .destination = "fd00:99::1", .protocol = kUdp}), first6);
    instances.insert(first);
  }
  EXPECT_EQ(instances.size(), 2u);
  EXPECT_EQ(plane.live_flows(), 128u);
}

TEST_F(Affinity, client_prefix_can_be_the_flow) {
  auto by_prefix = service_one({1, 2});
  by_prefix.source_port_mask = by_prefix.destination_port_mask = 0;
  by_prefix.source_ignore4 = 0xff;
  by_prefix.source_mask6 = "ffff:ffff:ffff:ffff::";
  plane.services({by_prefix});
  plane.publish();
  for (int net = 0; net < 20; ++net)
    for (int host = 1; host < 10; ++host) {
      const std::string n = std::to_string(net), h = std::to_string(host);
      chosen({.source = "10.1." + n + "." + h, .source_port = static_cast<uint16_t>(host), .flags = kSyn});
      chosen({.source = "fd00:1:0:" + n + "::" + h, .destination = "fd00:99::1", .flags = kSyn});
    }
  EXPECT_EQ(plane.live_flows(), 40u);
}

TEST_F(Affinity, port_pairs_can_be_one_flow) {
  auto rtp = service_one({1, 2});
  rtp.source_port_mask = rtp.destination_port_mask = 0xfffe;
  plane.services({rtp});
  plane.publish();
  for (uint16_t port = 10000; port < 10100; port = static_cast<uint16_t>(port + 2)) {
    const uint32_t rtp_instance = chosen({.protocol = kUdp, .source_port = port, .destination_port = 6000});
    EXPECT_EQ(chosen({.protocol = kUdp, .source_port = static_cast<uint16_t>(port + 1), .destination_port = 6001}),
              rtp_instance);
  }
  EXPECT_EQ(plane.live_flows(), 50u);
}

TEST_F(Affinity, flow_record_shows_real_addresses) {
  expect_forwarded(syn(4242), chosen(syn(4242)));
  ASSERT_EQ(plane.live_flows(), 1u);
  for (size_t i = 0; i < plane.flows().size() * FLOW_LINE_ENTRIES; ++i) {
    const auto &entry = plane.flows()[i / FLOW_LINE_ENTRIES].entry[i % FLOW_LINE_ENTRIES];
    if (!entry.word) continue;
    const maps::flow_record &record = plane.records()[i];
    EXPECT_EQ(record.word, entry.word);
    EXPECT_EQ(record.source_port, htons(4242));
    EXPECT_EQ(record.destination_port, htons(80));
    EXPECT_EQ(record.protocol, kTcp);
    EXPECT_EQ(record.service, 0);
    EXPECT_EQ(maps::flow_packets(entry.seen, record.packets), 2u);
    const Bytes source{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 2};
    EXPECT_EQ(std::memcmp(&record.source, source.data(), 16), 0);
  }
}

}  // namespace
}  // namespace catsbpf::test
