// SPDX-License-Identifier: Apache-2.0
// A router first: what is not ours, or not for us to decide, passes untouched.
#include "tests/prog/world.h"

namespace catsbpf::test {
namespace {

class Router : public World {};

TEST_F(Router, arp_and_vlan_pass) {
  expect_passed(ethernet(Bytes(6, 0xff), kClientMac, kArpType, Bytes(46)), "not_ip");
  const Bytes tagged = concat({0, 5, 8, 0}, ip({}));
  expect_passed(ethernet(kRouterMac, kClientMac, kVlanType, tagged), "not_ip");
  expect_passed(ethernet(kRouterMac, kClientMac, 0x88a8, concat({0, 5, 0x81, 0}, tagged)), "not_ip");
}

TEST_F(Router, neighbouring_addresses_pass) {
  for (const char *address : {"10.99.0.0", "10.99.0.2", "10.98.0.1", "11.99.0.1", "10.255.0.2", "10.1.0.1"})
    expect_passed(from_client(ip({.destination = address})), "not_ours");
  for (const char *address : {"fd00:99::", "fd00:99::2", "fd01:99::1", "::ffff:10.99.0.1"})
    expect_passed(from_client(ip({.source = "fd00:1::2", .destination = address})), "not_ours");
}

TEST_F(Router, packets_of_other_sides_pass) {
  plane.interface_sides(maps::SIDE_UNDERLAY);
  expect_passed(from_client(ip({})), "not_ours");
  plane.interface_sides(maps::SIDE_SERVICE);
  expect_passed(from_client(ip({})), "not_ours");
  plane.interface_sides(maps::SIDE_CLIENT);
  expect_forwarded(udp(), chosen(udp()));
}

TEST_F(Router, unknown_interface_passes_all) {
  plane.interface_sides(0);
  expect_passed(from_client(ip({})), "unknown_interface");
}

TEST_F(Router, ipv4_fragments_pass) {
  for (const uint16_t fragment : {0x2000, 0x0001, 0x2010})
    expect_passed(from_client(ip({.fragment = fragment})), "fragment");
  publish_ring({1});
  expect_forwarded({.protocol = kUdp, .fragment = 0}, 1);
  expect_forwarded({.protocol = kUdp, .fragment = 0x4000}, 1);
}

TEST_F(Router, ipv6_fragments_pass) {
  Ip packet = six(udp());
  packet.extensions = {{44, Bytes{0, 0, 0, 1, 0, 0, 0, 9}}};
  expect_passed(from_client(ip(packet)), "fragment");
  packet.extensions = {{0, Bytes{0, 0, 1, 4, 0, 0, 0, 0}}, {44, Bytes{0, 0, 0, 0x58, 0, 0, 0, 9}}};
  expect_passed(from_client(ip(packet)), "fragment");
}

TEST_F(Router, used_up_ttl_passes_to_the_kernel) {
  for (const uint8_t ttl : {0, 1}) {
    Ip packet = udp();
    packet.ttl = ttl;
    expect_passed(from_client(ip(packet)), "ttl_expired");
    expect_passed(from_client(ip(six(packet))), "ttl_expired");
  }
}

TEST_F(Router, icmp_errors_pass_and_echo_replies_too) {
  for (const uint8_t type : {3, 11, 12})
    expect_passed(from_client(ip({.protocol = kIcmp, .icmp_type = type})), "icmp_error");
  for (const uint8_t type : {1, 2, 3, 4})
    expect_passed(from_client(ip(six({.protocol = kIcmp6, .icmp_type = type}))), "icmp_error");
  expect_passed(from_client(ip({.protocol = kIcmp, .icmp_type = 13})), "not_ours");
  expect_passed(from_client(ip(six({.protocol = kIcmp6, .icmp_type = 129}))), "not_ours");
}

TEST_F(Router, martian_sources_and_broadcast_frames_pass) {
  for (const char *source : {"0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255"}) {
    Ip packet = udp();
    packet.source = source;
    expect_passed(from_client(ip(packet)), "martian");
  }
  for (const char *source : {"::", "::1", "ff02::1"}) {
    Ip packet = six(udp());
    packet.source = source;
    expect_passed(from_client(ip(packet)), "martian");
  }
  expect_passed(ethernet(Bytes(6, 0xff), kClientMac, kIpv4Type, ip(udp())), "martian");
}

TEST_F(Router, new_flow_from_an_address_of_this_router_passes) {
  plane.own_addresses({"10.1.0.1", "10.255.0.1", "fd00:1::1"});
  for (const char *source : {"10.1.0.1", "10.255.0.1"}) {
    Ip packet = udp();
    packet.source = source;
    expect_passed(from_client(ip(packet)), "martian");
    expect_passed(from_client(ip(packet)), "martian");
  }
  Ip own6 = six(udp()), neighbour = udp(), neighbour6 = six(udp());
  own6.source = "fd00:1::1";
  expect_passed(from_client(ip(own6)), "martian");
  EXPECT_EQ(plane.live_flows(), 0u);
  neighbour.source = "10.1.0.3";
  neighbour6.source = "fd00:1::3";
  EXPECT_NE(chosen(neighbour), 0u);
  EXPECT_NE(chosen(neighbour6), 0u);
}

// Nothing that is cut short is steered, answered or dropped, at whatever byte the cut is.
TEST_F(Router, truncated_packets_pass) {
  Ip options = udp(), extensions = six(udp());
  options.options = Bytes(8, 1);
  extensions.extensions = {{0, Bytes{0, 0, 1, 4, 0, 0, 0, 0}}};
  for (const Ip &packet :
       {Ip{}, udp(), options, Ip{.protocol = kIcmp}, six({}), six(udp()), extensions, six({.protocol = kIcmp6})}) {
    const Bytes whole = from_client(ip(packet));
    for (size_t length = 14; length < whole.size(); ++length) {
      const Answer answer = plane.xdp(truncated(whole, length));
      EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_PASS)) << length;
      EXPECT_EQ(answer.outcome, "malformed") << length;
    }
  }
}

// Lengths that lie about the header behind them.
TEST_F(Router, packets_shorter_than_their_transport_header_pass) {
  Bytes tcp = ip({.payload_bytes = 0});
  write16(tcp, 2, 30);
  expect_passed(from_client(tcp), "malformed");
  Bytes six_tcp = ip(six({.payload_bytes = 0}));
  write16(six_tcp, 4, 10);
  expect_passed(from_client(six_tcp), "malformed");
  Bytes short_header = ip({});
  short_header[0] = 0x44;
  expect_passed(from_client(short_header), "malformed");
  Bytes other_version = ip({});
  other_version[0] = 0x65;
  expect_passed(ethernet(kRouterMac, kClientMac, kIpv4Type, other_version), "malformed");
}

TEST_F(Router, service_without_instances_follows_plain_routing) {
  publish_ring({});
  expect_passed(from_client(ip({})), "no_instance");
  EXPECT_EQ(plane.live_flows(), 0u);
}

}  // namespace
}  // namespace catsbpf::test
