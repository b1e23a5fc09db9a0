// SPDX-License-Identifier: Apache-2.0
// Tunnel packets at the egress: which are ours, and what the instance receives.
#include "tests/prog/world.h"

namespace catsbpf::test {
namespace {

class Egress : public World {
 protected:
  Egress() {
    plane.delivery(1, 1, "10.2.0.11");
    plane.delivery(2, 2, "10.2.0.12", maps::DELIVERY_UNRESOLVED, "fd00:2::12");
  }
  static Geneve to_us(uint32_t cs_id = 1, uint32_t csci_id = 1) {
    return {.source = "10.255.0.2", .destination = "10.255.0.1", .cs_id = cs_id, .csci_id = csci_id};
  }
  static Bytes frame(const Geneve &outer, const Bytes &inner) {
    return ethernet(kRouterMac, kCoreMac, kIpv4Type, geneve(outer, inner));
  }
  void expect_delivered(const Geneve &outer, const Ip &inner, const Ip &expected) {
    const Answer answer = plane.xdp(frame(outer, ip(inner)));
    EXPECT_EQ(answer.outcome, "delivered");
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_REDIRECT));
    const Bytes out = ip(expected);
    EXPECT_EQ(
        difference(ethernet(kInstanceMac, kRouterMac, out[0] >> 4 == 4 ? kIpv4Type : kIpv6Type, out), answer.packet),
        "");
  }
  static Ip one_hop_less(Ip packet) {
    packet.ttl--;
    return packet;
  }
  void expect_dropped(const Bytes &packet, const std::string &outcome) {
    const Answer answer = plane.xdp(packet);
    EXPECT_EQ(answer.outcome, outcome);
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_DROP));
  }
};

TEST_F(Egress, instance_receives_the_packet_as_the_client_sent_it) {
  for (const Ip &inner :
       {Ip{}, udp(), Ip{.protocol = kIcmp}, six({}), six(udp()), six({.protocol = kIcmp6}), Ip{.options = Bytes(8, 1)}})
    expect_delivered(to_us(), inner, one_hop_less(inner));
  EXPECT_EQ(plane.delivery_packets(1), 7u);
}

TEST_F(Egress, peers_outer_udp_checksum_is_accepted) {
  Geneve outer = to_us();
  outer.udp_checksum = 0x1234;
  expect_delivered(outer, {}, one_hop_less({}));
}

TEST_F(Egress, further_options_are_skipped_unless_critical) {
  Geneve outer = to_us();
  outer.more_options = {0x01, 0x02, 0x03, 0x01, 0, 0, 0, 0};
  expect_delivered(outer, {}, one_hop_less({}));
  outer.geneve_flags = 0x40;
  expect_passed(frame(outer, ip({})), "tunnel_not_ours");
}

TEST_F(Egress, ecn_follows_rfc_6040) {
  const int drop = -1;
  const int table[4][4] = {                  // outer: not, ect1, ect0, ce      inner:
                           {0, 0, 0, drop},  // not ECN-capable
                           {1, 1, 1, 3},     // ECT(1)
                           {2, 1, 2, 3},     // ECT(0)
                           {3, 3, 3, 3}};    // CE
  for (uint8_t inner = 0; inner < 4; ++inner)
    for (uint8_t outer = 0; outer < 4; ++outer)
      for (const bool v6 : {false, true}) {
        Geneve tunnel = to_us();
        tunnel.traffic_class = static_cast<uint8_t>(0x88 | outer);
        Ip packet = v6 ? six(udp()) : udp();
        packet.traffic_class = static_cast<uint8_t>(0x48 | inner);
        if (table[inner][outer] == drop) {
          expect_dropped(frame(tunnel, ip(packet)), "ecn_dropped");
          continue;
        }
        Ip expected = one_hop_less(packet);
        expected.traffic_class = static_cast<uint8_t>(0x48 | table[inner][outer]);
        expect_delivered(tunnel, packet, expected);
      }
}

TEST_F(Egress, tunnel_packets_of_others_pass_untouched) {
  auto passed = [this](auto change, const std::string &outcome) {
    Geneve outer = to_us();
    change(outer);
    expect_passed(frame(outer, ip({})), outcome);
  };
  passed([](Geneve &g) { g.vni = 7; }, "tunnel_not_ours");
  passed([](Geneve &g) { g.option_class = 0x0102; }, "tunnel_not_ours");
  passed([](Geneve &g) { g.option_type = 2; }, "tunnel_not_ours");
  passed([](Geneve &g) { g.option_version = 2; }, "tunnel_not_ours");
  passed([](Geneve &g) { g.geneve_flags = 0x80; }, "tunnel_not_ours");
  passed([](Geneve &g) { g.source = "10.255.0.9"; }, "tunnel_unknown_peer");
  passed([](Geneve &g) { g.source = "10.255.0.1"; }, "tunnel_unknown_peer");
  passed([](Geneve &g) { g.destination = "10.255.0.2"; }, "not_ours");
  passed([](Geneve &g) { g.port = 6080; }, "not_ours");
  passed([](Geneve &g) { g.outer_protocol = kTcp; }, "not_ours");
}

TEST_F(Egress, other_vni_is_ours_when_the_view_says_so) {
  plane.tunnel("10.255.0.1", 99, {"10.255.0.2"});
  plane.publish();
  expect_passed(frame(to_us(), ip({})), "tunnel_not_ours");
  Geneve outer = to_us();
  outer.vni = 99;
  expect_delivered(outer, {}, one_hop_less({}));
}

TEST_F(Egress, our_own_traffic_to_the_tunnel_address_passes) {
  expect_passed(from_client(ip({.destination = "10.255.0.1", .destination_port = 22})), "not_ours");
  expect_passed(from_client(ip({.destination = "10.255.0.1", .protocol = kIcmp})), "not_ours");
  expect_passed(from_client(ip({.destination = "10.255.0.1", .protocol = kUdp, .destination_port = 862})), "not_ours");
}

TEST_F(Egress, unknown_instance_is_dropped) {
  expect_dropped(frame(to_us(1, 9), ip({})), "unknown_instance");
  expect_dropped(frame(to_us(2, 1), ip({})), "unknown_instance");  // right instance, other service
}

TEST_F(Egress, broken_inner_packets_are_dropped) {
  const Bytes inner = ip(udp());
  for (size_t length = 0; length < inner.size(); ++length)
    expect_dropped(frame(to_us(), truncated(inner, length)), "tunnel_malformed");
  Geneve ethernet_inside = to_us();
  ethernet_inside.inner_type = 0x6558;
  expect_dropped(frame(ethernet_inside, inner), "tunnel_malformed");
  Bytes wrong_length = frame(to_us(), inner);
  write16(wrong_length, 38, static_cast<uint16_t>(read16(wrong_length, 38) - 1));
  expect_dropped(wrong_length, "tunnel_malformed");
}

TEST_F(Egress, truncated_tunnel_packets_pass) {
  const Bytes whole = frame(to_us(), ip(udp()));
  for (size_t length = 14; length < whole.size(); ++length)
    EXPECT_EQ(plane.xdp(truncated(whole, length)).outcome, "malformed") << length;
}

TEST_F(Egress, inner_ttl_used_up_passes_decapsulated_to_the_kernel) {
  Ip inner = udp();
  inner.ttl = 1;
  const Answer answer = plane.xdp(frame(to_us(), ip(inner)));
  EXPECT_EQ(answer.outcome, "ttl_expired");
  EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_PASS));
  EXPECT_EQ(difference(ethernet(kRouterMac, kCoreMac, kIpv4Type, ip(inner)), answer.packet), "");
}

TEST_F(Egress, inner_destination_must_be_an_address_of_the_service) {
  for (const char *foreign : {"10.2.0.11", "224.0.0.5", "255.255.255.255", "10.99.0.2"}) {
    Ip inner = udp();
    inner.destination = foreign;
    expect_dropped(frame(to_us(), ip(inner)), "foreign_destination");
    inner.ttl = 1;  // nor does the kernel get it
    expect_dropped(frame(to_us(), ip(inner)), "foreign_destination");
  }
  Ip inner = six(udp());
  inner.destination = "fd00:2::11";
  expect_dropped(frame(to_us(), ip(inner)), "foreign_destination");
}

TEST_F(Egress, without_known_services_inner_destinations_are_not_checked) {
  plane.services({});
  plane.publish();
  Ip inner = udp();
  inner.destination = "10.99.7.7";
  expect_delivered(to_us(), inner, one_hop_less(inner));
}

TEST_F(Egress, tunnel_packets_come_from_the_underlay_only) {
  for (const uint32_t side : {maps::SIDE_CLIENT, maps::SIDE_SERVICE}) {
    plane.interface_sides(side);
    expect_dropped(frame(to_us(), ip(udp())), "tunnel_from_outside");
    Geneve to_peer = to_us();
    to_peer.source = "10.255.0.3";
    to_peer.destination = "10.255.0.2";
    expect_dropped(frame(to_peer, ip(udp())), "tunnel_from_outside");
    to_peer.port = 6082;
    expect_passed(frame(to_peer, ip(udp())), "not_ours");
  }
}

TEST_F(Egress, frames_to_another_host_pass) {
  plane.interface_macs(kRouterMac);
  expect_delivered(to_us(), udp(), one_hop_less(udp()));
  plane.interface_macs(kInstanceMac);
  expect_passed(frame(to_us(), ip(udp())), "not_ours");
  expect_passed(from_client(ip(udp())), "martian");
}

TEST_F(Egress, frames_to_a_further_address_of_the_interface_are_for_us) {
  const Bytes other{2, 0, 0, 0, 0, 0x77};
  std::vector<Bytes> further(MAX_FURTHER_MACS, other);
  plane.interface_macs(kInstanceMac, further);
  expect_passed(from_client(ip(udp())), "martian");
  further.back() = kRouterMac;
  plane.interface_macs(kInstanceMac, further);
  expect_delivered(to_us(), udp(), one_hop_less(udp()));
  further.pop_back();
  plane.interface_macs(kInstanceMac, further);
  expect_passed(frame(to_us(), ip(udp())), "not_ours");
}

TEST_F(Egress, unresolved_instance_passes_with_a_mark_for_the_tc_program) {
  struct Case {
    Ip inner;
    uint32_t family;
  };
  plane.services({{.cs_id = 2, .locators = {{"10.99.0.1"}, {"fd00:99::1"}}, .ring = {}}});
  plane.publish();
  for (const Case &c : {Case{udp(), 2}, Case{six(udp()), 10}}) {
    const Answer answer = plane.xdp(frame(to_us(2, 2), ip(c.inner)));
    EXPECT_EQ(answer.outcome, "delivered_slow");
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_PASS));
    EXPECT_EQ(difference(ip(one_hop_less(c.inner)), Bytes(answer.packet.begin() + 14, answer.packet.end())), "");
    ASSERT_EQ(answer.metadata.size(), sizeof(maps::slow_mark));
    maps::slow_mark mark;
    std::memcpy(&mark, answer.metadata.data(), sizeof mark);
    EXPECT_EQ(mark.family, c.family);
    const Bytes next_hop{0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12};
    if (c.family == 2) {
      EXPECT_EQ(mark.next_hop4, 0x0c00020au);
    } else {
      EXPECT_EQ(std::memcmp(&mark.next_hop6, next_hop.data(), 16), 0);
    }
  }
}

TEST_F(Egress, what_the_ingress_sends_the_egress_takes) {
  publish_ring({1});
  for (const Ip &packet : {Ip{.flags = kSyn}, six(udp())}) {
    Bytes tunnel = plane.xdp(from_client(ip(packet))).packet;
    tunnel[29] = 2;  // as if from forwarder .2 to us
    tunnel[33] = 1;
    const Answer answer = plane.xdp(tunnel);
    EXPECT_EQ(answer.outcome, "delivered");
    EXPECT_EQ(
        difference(ip(one_hop_less(one_hop_less(packet))), Bytes(answer.packet.begin() + 14, answer.packet.end())), "");
  }
}

}  // namespace
}  // namespace catsbpf::test
