// SPDX-License-Identifier: Apache-2.0
// Packets too large for the path: answered, never lost in silence.
#include <sched.h>

#include "tests/prog/world.h"

namespace catsbpf::test {
namespace {

class Mtu : public World {
 protected:
  Mtu() {
    publish_ring({1});
    plane.path(1, "10.255.0.2", 1500);
  }
  static Ip sized(size_t ip_bytes, bool v6 = false) {
    Ip packet = udp();
    packet.payload_bytes = ip_bytes - 28 - (v6 ? 20 : 0);
    return v6 ? six(packet) : packet;
  }
  // `packet` is one byte too large: the answer to the client is `expected`, an IP packet.
  void expect_answered(const Bytes &packet, uint16_t type, const Bytes &expected) {
    const Answer answer = plane.xdp(from_client(packet));
    EXPECT_EQ(answer.outcome, "packet_too_big");
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_REDIRECT));
    EXPECT_EQ(difference(ethernet(kClientMac, kRouterMac, type, expected), answer.packet), "");
  }
};

TEST_F(Mtu, the_largest_packet_that_fits_is_forwarded) {
  expect_forwarded(sized(1448), 1);
  expect_forwarded(sized(1448, true), 1);
}

TEST_F(Mtu, one_byte_more_is_answered_with_fragmentation_needed) {
  const Bytes packet = ip(sized(1449));
  Bytes expected = ip({.source = "10.1.0.1",
                       .destination = "10.1.0.2",
                       .protocol = kIcmp,
                       .icmp_type = 3,
                       .icmp_code = 4,
                       .icmp_value = 1448,
                       .ttl = 64,
                       .traffic_class = 0xc0,
                       .fragment = 0,
                       .payload = truncated(packet, 512)});
  write16(expected, 4, 0);
  write16(expected, 10, 0);
  write16(expected, 10, checksum(truncated(expected, 20)));
  expect_answered(packet, kIpv4Type, expected);
}

TEST_F(Mtu, one_byte_more_of_ipv6_is_answered_with_packet_too_big) {
  const Bytes packet = ip(sized(1449, true));
  Bytes expected = ip({.source = "fd00:1::1",
                       .destination = "fd00:1::2",
                       .protocol = kIcmp6,
                       .icmp_type = 2,
                       .icmp_value = 1448,
                       .ttl = 64,
                       .traffic_class = 0xc0,
                       .payload = truncated(packet, 1232)});
  expected[1] &= 0xf0;  // no flow label
  write16(expected, 2, 0);
  expect_answered(packet, kIpv6Type, expected);
  EXPECT_LE(expected.size(), 1280u);
}

TEST_F(Mtu, without_an_address_to_answer_from_it_is_an_alarm) {
  plane.control().icmp_source4 = plane.control().icmp_source6 = {};
  for (const bool v6 : {false, true}) {
    const Answer answer = plane.xdp(from_client(ip(sized(1449, v6))));
    EXPECT_EQ(answer.outcome, "packet_too_big_dropped");
    EXPECT_EQ(answer.verdict, static_cast<uint32_t>(XDP_DROP));
  }
}

TEST_F(Mtu, ipv6_is_never_told_less_than_its_minimum) {
  plane.path(1, "10.255.0.2", 1300);
  EXPECT_EQ(plane.xdp(from_client(ip(sized(1281, true)))).outcome, "packet_too_big");
  EXPECT_EQ(read32(plane.xdp(from_client(ip(sized(1281, true)))).packet, 14 + 40 + 4), 1280u);
  EXPECT_EQ(plane.xdp(from_client(ip(sized(1280, true)))).outcome, "packet_too_big_dropped");
}

// By a clock of so many ticks a second that the bucket does not fill while the test looks.
TEST_F(Mtu, more_answers_than_the_burst_are_dropped_until_time_has_passed) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);  // a bucket is a CPU's
  const uint32_t hz = plane.control().hz;
  plane.control().hz = 1'000'000'000;
  for (int i = 0; i < ICMP_ERRORS_BURST; ++i)
    EXPECT_EQ(plane.xdp(from_client(ip(sized(1449, i % 2)))).outcome, "packet_too_big") << i;
  for (const bool v6 : {false, true}) expect_dropped(from_client(ip(sized(1449, v6))), "packet_too_big_dropped");
  expect_forwarded(sized(1448), 1);
  plane.control().hz = hz;
  for (const uint64_t now = plane.jiffies(); plane.jiffies() <= now;) {
  }
  EXPECT_EQ(plane.xdp(from_client(ip(sized(1449)))).outcome, "packet_too_big");
  sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace catsbpf::test
