// SPDX-License-Identifier: Apache-2.0
// The world of most prog tests: one router that is ingress and egress at once. Service 1 (10.99.0.1,
// fd00:99::1) has CSCI-ID 1 (slot 1, egress 10.255.0.2) and CSCI-ID 3 (slot 2, egress 10.255.0.3).
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <arpa/inet.h>

#include <cstring>
#include <set>

#include "tests/support/plane.h"

namespace catsbpf::test {

class World : public ::testing::Test {
 protected:
  World() : World(1024) {}
  explicit World(uint32_t flow_lines) : plane(flow_lines) {
    plane.tunnel("10.255.0.1", 0xca75, {"10.255.0.2", "10.255.0.3"});
    plane.path(1, "10.255.0.2");
    plane.path(2, "10.255.0.3");
    plane.instance(1, 1, 1, 1);
    plane.instance(2, 1, 3, 2);
    publish_ring({1, 2});
  }

  ServiceSpec service_one(std::vector<uint16_t> ring) const {
    return {.cs_id = 1, .locators = {{"10.99.0.1"}, {"fd00:99::1"}}, .ring = std::move(ring)};
  }
  void publish_ring(std::vector<uint16_t> ring) {
    plane.services({service_one(std::move(ring))});
    plane.publish();
  }

  // The packet came out as it went in.
  void expect_passed(const Bytes &frame, const std::string &outcome) {
    const Answer answer = plane.xdp(frame);
    EXPECT_EQ(answer.outcome, outcome);
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_PASS));
    EXPECT_EQ(difference(frame, answer.packet), "");
  }

  void expect_dropped(const Bytes &frame, const std::string &outcome) {
    const Answer answer = plane.xdp(frame);
    EXPECT_EQ(answer.outcome, outcome);
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_DROP));
  }

  // The packet came out in a tunnel to the instance, byte for byte; returns the outer source port.
  uint16_t expect_forwarded(const Ip &packet, uint32_t csci_id, const std::string &outcome = "forwarded",
                            uint32_t cs_id = 1) {
    const Answer answer = plane.xdp(from_client(ip(packet)));
    EXPECT_EQ(answer.outcome, outcome);
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_REDIRECT));
    if (answer.packet.size() < GENEVE_HEADROOM) return 0;
    const uint16_t port = read16(answer.packet, 34);
    EXPECT_GE(port, 49152);
    EXPECT_EQ(difference(tunnelled(packet, cs_id, csci_id, port), answer.packet), "");
    return port;
  }

  // What the ingress must make of it.
  Bytes tunnelled(Ip packet, uint32_t cs_id, uint32_t csci_id, uint16_t port) const {
    packet.ttl--;
    return ethernet(kCoreMac, kRouterMac, kIpv4Type,
                    geneve({.destination = csci_id == 1 ? "10.255.0.2" : "10.255.0.3",
                            .source_port = port,
                            .traffic_class = packet.traffic_class,
                            .cs_id = cs_id,
                            .csci_id = csci_id},
                           ip(packet)));
  }

  // CSCI-ID that a packet is sent to; 0: not forwarded.
  uint32_t chosen(const Ip &packet) {
    const Answer answer = plane.xdp(from_client(ip(packet)));
    return answer.verdict == XDP_REDIRECT ? read32(answer.packet, 62) : 0;
  }

  static Ip udp(uint16_t source_port = 40000) {
    return {.protocol = kUdp, .source_port = source_port, .destination_port = 5000};
  }
  static Ip six(Ip packet) {
    packet.source = "fd00:1::2";
    packet.destination = "fd00:99::1";
    return packet;
  }

  Plane plane;
};

}  // namespace catsbpf::test
