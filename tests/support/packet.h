// SPDX-License-Identifier: Apache-2.0
// Packets for tests. In: what a packet says, field by field with sane defaults. Out: its bytes, with
// lengths and checksums computed from scratch (never incrementally, as the data plane does).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace catsbpf::test {

using Bytes = std::vector<uint8_t>;

inline constexpr uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kIcmp6 = 58;
inline constexpr uint8_t kSyn = 0x02, kAck = 0x10, kSynAck = 0x12;
inline constexpr uint16_t kIpv4Type = 0x0800, kIpv6Type = 0x86dd, kArpType = 0x0806, kVlanType = 0x8100;

inline const Bytes kClientMac{0x02, 0, 0, 0, 0, 0xc1}, kRouterMac{0x02, 0, 0, 0, 0, 0x01};
inline const Bytes kCoreMac{0x02, 0, 0, 0, 0, 0xc0}, kInstanceMac{0x02, 0, 0, 0, 0, 0x51};

// An IP packet; the family follows from `source`.
struct Ip {
  std::string source = "10.1.0.2", destination = "10.99.0.1";
  uint8_t protocol = kTcp;
  uint16_t source_port = 40000, destination_port = 80;  // ICMP echo: identifier, sequence number
  uint8_t flags = kAck;                                 // TCP
  uint8_t icmp_type = 0;                                // 0: echo request of the family
  uint8_t icmp_code = 0;
  uint32_t icmp_value = 0;  // rest of the ICMP header, for types other than echo
  uint8_t ttl = 64;
  uint8_t traffic_class = 0;                            // DSCP and ECN
  uint16_t fragment = 0x4000;                           // IPv4: flags and offset
  Bytes options{};                                      // IPv4, a multiple of 4 bytes
  std::vector<std::pair<uint8_t, Bytes>> extensions{};  // IPv6: header type and body (first two bytes are set here)
  size_t payload_bytes = 32;
  Bytes payload{};  // used instead of a pattern of payload_bytes, if not empty
};
Bytes ip(const Ip &spec);

Bytes ethernet(const Bytes &destination, const Bytes &source, uint16_t type, const Bytes &payload);
// An IP packet from the client to the router; the type follows from the version.
Bytes from_client(const Bytes &ip_packet);

struct Geneve {
  std::string source = "10.255.0.1", destination = "10.255.0.2";
  uint32_t vni = 0xca75;
  uint16_t source_port = 50000, port = 6081;
  uint8_t traffic_class = 0;
  uint8_t ttl = 64;
  uint32_t cs_id = 1, csci_id = 1;
  uint16_t option_class = 0xff0c;
  uint8_t option_type = 1, option_version = 1;
  uint8_t geneve_flags = 0;
  Bytes more_options{};
  uint16_t udp_checksum = 0;
  uint16_t inner_type = 0;  // 0: by the inner packet's version
  uint8_t outer_protocol = kUdp;
};
// The outer IPv4 packet around `inner`.
Bytes geneve(const Geneve &spec, const Bytes &inner);

// Without padding; for what a checksum must be.
uint16_t checksum(const Bytes &data, uint32_t start = 0);
Bytes concat(const Bytes &a, const Bytes &b);
Bytes truncated(Bytes bytes, size_t length);
uint16_t read16(const Bytes &bytes, size_t at);
uint32_t read32(const Bytes &bytes, size_t at);
void write16(Bytes &bytes, size_t at, uint16_t value);
// First difference and both contents around it, for a test's message; "" when equal.
std::string difference(const Bytes &expected, const Bytes &found);

}  // namespace catsbpf::test
