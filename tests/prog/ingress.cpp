// SPDX-License-Identifier: Apache-2.0
// Packets of a service at the ingress: which they are, and what leaves towards the egress.
#include "tests/prog/world.h"

namespace catsbpf::test {
namespace {

class Ingress : public World {};

TEST_F(Ingress, tcp_of_a_service_leaves_in_geneve_with_its_ids) {
  publish_ring({1});
  expect_forwarded({.flags = kSyn}, 1);
  EXPECT_EQ(plane.instance_packets(1), 1u);
  EXPECT_EQ(plane.instance_packets(2), 0u);
}

TEST_F(Ingress, outer_source_port_stays_with_the_flow_and_differs_between_flows) {
  publish_ring({1});
  std::set<uint16_t> ports;
  for (uint16_t p = 1000; p < 1032; ++p) {
    const uint16_t first = expect_forwarded(udp(p), 1);
    EXPECT_EQ(expect_forwarded(udp(p), 1), first);
    ports.insert(first);
  }
  EXPECT_GT(ports.size(), 28u);
}

TEST_F(Ingress, ipv6_of_a_service_leaves_in_geneve_over_ipv4) {
  publish_ring({2});
  expect_forwarded(six({.flags = kSyn}), 3);
  expect_forwarded(six(udp()), 3);
}

TEST_F(Ingress, echo_request_of_both_families_is_steered_by_its_identifier) {
  publish_ring({1});
  expect_forwarded({.protocol = kIcmp, .source_port = 77, .destination_port = 1}, 1);
  expect_forwarded(six({.protocol = kIcmp6, .source_port = 77, .destination_port = 1}), 1);
  publish_ring({2});
  expect_forwarded({.protocol = kIcmp, .source_port = 77, .destination_port = 2}, 1);  // same ping, next packet
  expect_forwarded({.protocol = kIcmp, .source_port = 78, .destination_port = 1}, 3);  // another ping
}

TEST_F(Ingress, other_protocols_are_steered_where_the_locator_takes_any) {
  publish_ring({1});
  expect_forwarded({.protocol = 47}, 1);
  expect_forwarded({.protocol = 132}, 1);  // SCTP has its ports where UDP has them
  auto tcp_only = service_one({1});
  tcp_only.locators = {{"10.99.0.1", kTcp}};
  plane.services({tcp_only});
  plane.publish();
  expect_passed(from_client(ip({.protocol = 47, .source_port = 1})), "not_ours");
  expect_passed(from_client(ip(udp(7))), "not_ours");
  expect_forwarded({.flags = kSyn}, 1);
}

TEST_F(Ingress, every_dscp_and_ecn_value_is_copied_to_the_outer_header) {
  publish_ring({1});
  for (uint32_t tos = 0; tos < 256; ++tos) {
    Ip packet = udp();
    packet.traffic_class = static_cast<uint8_t>(tos);
    expect_forwarded(packet, 1);
    expect_forwarded(six(packet), 1);
  }
}

TEST_F(Ingress, every_ttl_keeps_a_right_checksum) {
  publish_ring({1});
  for (uint32_t ttl = 2; ttl < 256; ++ttl) {
    Ip packet = udp();
    packet.ttl = static_cast<uint8_t>(ttl);
    expect_forwarded(packet, 1);
  }
}

TEST_F(Ingress, every_payload_length_keeps_right_lengths) {
  publish_ring({1});
  for (size_t bytes = 1; bytes < 1200; bytes += 13) {
    Ip packet = udp();
    packet.payload_bytes = bytes;
    expect_forwarded(packet, 1);
    expect_forwarded(six(packet), 1);
  }
}

TEST_F(Ingress, ipv4_options_are_carried_and_ports_found_behind_them) {
  publish_ring({1});
  Ip packet = udp();
  const uint16_t port = expect_forwarded(packet, 1);
  packet.options = {7, 7, 4, 0, 0, 0, 0, 1};  // record route
  EXPECT_EQ(expect_forwarded(packet, 1), port);
  packet.options = Bytes(40, 1);
  EXPECT_EQ(expect_forwarded(packet, 1), port);
}

TEST_F(Ingress, ipv6_extension_headers_are_carried_and_ports_found_behind_them) {
  publish_ring({1});
  Ip packet = six(udp());
  const uint16_t port = expect_forwarded(packet, 1);
  const Bytes padding{0, 0, 1, 4, 0, 0, 0, 0};
  packet.extensions = {{0, padding}};
  EXPECT_EQ(expect_forwarded(packet, 1), port);
  packet.extensions = {{0, padding}, {60, Bytes{0, 0, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, {51, Bytes(24)}};
  EXPECT_EQ(expect_forwarded(packet, 1), port);
}

TEST_F(Ingress, eight_extension_headers_are_walked_and_no_more) {
  publish_ring({1});
  Ip packet = six(udp());
  const uint16_t port = expect_forwarded(packet, 1);
  const Bytes padding{0, 0, 1, 4, 0, 0, 0, 0};
  packet.extensions = std::vector<std::pair<uint8_t, Bytes>>(8, {60, padding});
  EXPECT_EQ(expect_forwarded(packet, 1), port);
  packet.extensions.push_back({60, padding});
  expect_passed(from_client(ip(packet)), "malformed");
}

TEST_F(Ingress, ethernet_padding_stays_behind_the_packet) {
  publish_ring({1});
  Ip packet = udp();
  packet.payload_bytes = 1;
  const Bytes padding(17, 0xee);
  const Answer answer = plane.xdp(concat(from_client(ip(packet)), padding));
  EXPECT_EQ(answer.outcome, "forwarded");
  EXPECT_EQ(difference(concat(tunnelled(packet, 1, 1, read16(answer.packet, 34)), padding), answer.packet), "");
}

TEST_F(Ingress, unresolved_path_passes_with_a_mark_for_the_tc_program) {
  publish_ring({1});
  plane.path(1, "10.255.0.2", 1600, maps::PATH_UNRESOLVED);
  plane.path_at(1).next_hop4 = 0x010203ac;
  const Ip packet = udp();
  const Answer answer = plane.xdp(from_client(ip(packet)));
  EXPECT_EQ(answer.outcome, "forwarded_slow");
  EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_PASS));
  EXPECT_EQ(difference(tunnelled(packet, 1, 1, read16(answer.packet, 34)), answer.packet), "");
  ASSERT_EQ(answer.metadata.size(), sizeof(maps::slow_mark));
  maps::slow_mark mark;
  std::memcpy(&mark, answer.metadata.data(), sizeof mark);
  EXPECT_EQ(mark.magic, SLOW_MAGIC);
  EXPECT_EQ(mark.ifindex, kLoopback);
  EXPECT_EQ(mark.next_hop4, 0x010203acu);
  EXPECT_EQ(mark.family, 2u);
}

TEST_F(Ingress, tc_program_leaves_unmarked_packets_to_the_filters_behind_it) {
  const Bytes frame = from_client(ip(udp()));
  const Answer answer = plane.tc(frame);
  EXPECT_EQ(answer.verdict, static_cast<uint32_t>(TC_ACT_UNSPEC));
  EXPECT_EQ(answer.outcome, "");
  EXPECT_EQ(difference(frame, answer.packet), "");
}

TEST_F(Ingress, port_ranges_of_one_address_lead_to_different_services) {
  auto web = service_one({1}), rest = service_one({2});
  web.locators = {{"10.99.0.1", kTcp, 80, 89}};
  rest.cs_id = 2;
  rest.locators = {{"10.99.0.1", kUdp, 5000, 5000}, {"10.99.0.1", 0, 0, 65535}};
  plane.instance(2, 2, 3, 2);
  plane.services({web, rest});
  plane.publish();
  auto to = [](uint8_t protocol, uint16_t port) {
    return Ip{.protocol = protocol, .destination_port = port, .flags = kSyn};
  };
  expect_forwarded(to(kTcp, 80), 1);
  expect_forwarded(to(kTcp, 89), 1);
  expect_forwarded(to(kTcp, 79), 3, "forwarded", 2);
  expect_forwarded(to(kTcp, 90), 3, "forwarded", 2);
  expect_forwarded(to(kUdp, 80), 3, "forwarded", 2);
}

TEST_F(Ingress, longest_prefix_with_a_matching_rule_decides) {
  auto host = service_one({1}), net = service_one({2});
  host.locators = {{"10.99.0.1", kTcp, 80, 80}, {"fd00:99::1", kTcp, 80, 80}};
  net.cs_id = 2;
  net.locators = {{"10.99.0.0/24"}, {"fd00:99::/64"}};
  plane.instance(2, 2, 3, 2);
  plane.services({host, net});
  plane.publish();
  expect_forwarded({.flags = kSyn}, 1);
  expect_forwarded(six({.flags = kSyn}), 1);
  expect_forwarded({.destination_port = 81, .flags = kSyn}, 3, "forwarded", 2);  // host's rule does not match
  expect_forwarded({.destination = "10.99.0.2", .flags = kSyn}, 3, "forwarded", 2);
  expect_forwarded({.source = "fd00:1::2", .destination = "fd00:99::2", .flags = kSyn}, 3, "forwarded", 2);
  expect_passed(from_client(ip({.destination = "10.99.1.1"})), "not_ours");
  expect_passed(from_client(ip({.source = "fd00:1::2", .destination = "fd00:98::1"})), "not_ours");
}

}  // namespace
}  // namespace catsbpf::test
