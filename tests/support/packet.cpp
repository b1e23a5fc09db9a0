// SPDX-License-Identifier: Apache-2.0
#include "tests/support/packet.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace catsbpf::test {
namespace {

void put8(Bytes &b, uint8_t v) { b.push_back(v); }
void put16(Bytes &b, uint16_t v) {
  put8(b, static_cast<uint8_t>(v >> 8));
  put8(b, static_cast<uint8_t>(v));
}
void put32(Bytes &b, uint32_t v) {
  put16(b, static_cast<uint16_t>(v >> 16));
  put16(b, static_cast<uint16_t>(v));
}
void put(Bytes &b, const Bytes &more) { b.insert(b.end(), more.begin(), more.end()); }

Bytes address_bytes(const std::string &text) {
  Bytes v4(4), v6(16);
  if (inet_pton(AF_INET, text.c_str(), v4.data()) == 1) return v4;
  if (inet_pton(AF_INET6, text.c_str(), v6.data()) == 1) return v6;
  std::fprintf(stderr, "test packet: bad address %s\n", text.c_str());
  std::abort();
}

Bytes pattern(size_t bytes) {
  Bytes result(bytes);
  for (size_t i = 0; i < bytes; ++i) result[i] = static_cast<uint8_t>(i * 7 + 1);
  return result;
}

uint32_t pseudo_sum(const Bytes &source, const Bytes &destination, uint8_t protocol, size_t length) {
  Bytes pseudo = concat(source, destination);
  put32(pseudo, static_cast<uint32_t>(length));
  put32(pseudo, protocol);
  uint32_t sum = 0;
  for (size_t i = 0; i < pseudo.size(); i += 2) sum += read16(pseudo, i);
  return sum;
}

// The transport header and payload, checksummed.
Bytes transport(const Ip &spec, const Bytes &source, const Bytes &destination) {
  const Bytes payload = spec.payload.empty() ? pattern(spec.payload_bytes) : spec.payload;
  Bytes b;
  size_t checksum_at = 0;
  bool pseudo = true;
  switch (spec.protocol) {
    case kTcp:
      put16(b, spec.source_port);
      put16(b, spec.destination_port);
      put32(b, 0x01020304);
      put32(b, 0x05060708);
      put8(b, 5 << 4);
      put8(b, spec.flags);
      put16(b, 0xffff);
      checksum_at = b.size();
      put32(b, 0);
      break;
    case kUdp:
      put16(b, spec.source_port);
      put16(b, spec.destination_port);
      put16(b, static_cast<uint16_t>(8 + payload.size()));
      checksum_at = b.size();
      put16(b, 0);
      break;
    case kIcmp:
    case kIcmp6: {
      const bool v4 = spec.protocol == kIcmp;
      pseudo = !v4;
      put8(b, spec.icmp_type ? spec.icmp_type : v4 ? 8 : 128);
      put8(b, spec.icmp_code);
      checksum_at = b.size();
      put16(b, 0);
      if (spec.icmp_type && spec.icmp_type != 8 && spec.icmp_type != 128) {
        put32(b, spec.icmp_value);
      } else {
        put16(b, spec.source_port);
        put16(b, spec.destination_port);
      }
      break;
    }
    default: put(b, payload); return b;
  }
  put(b, payload);
  const uint32_t start = pseudo ? pseudo_sum(source, destination, spec.protocol, b.size()) : 0;
  write16(b, checksum_at, checksum(b, start));
  return b;
}

Bytes ipv4(const Ip &spec, const Bytes &source, const Bytes &destination, const Bytes &body) {
  Bytes b;
  put8(b, static_cast<uint8_t>(0x40 | (5 + spec.options.size() / 4)));
  put8(b, spec.traffic_class);
  put16(b, static_cast<uint16_t>(20 + spec.options.size() + body.size()));
  put16(b, 0x1234);
  put16(b, spec.fragment);
  put8(b, spec.ttl);
  put8(b, spec.protocol);
  put16(b, 0);
  put(b, source);
  put(b, destination);
  put(b, spec.options);
  write16(b, 10, checksum(b));
  return concat(b, body);
}

Bytes ipv6(const Ip &spec, const Bytes &source, const Bytes &destination, const Bytes &body) {
  Bytes chain;
  for (size_t i = 0; i < spec.extensions.size(); ++i) {
    Bytes extension = spec.extensions[i].second;
    const bool last = i + 1 == spec.extensions.size();
    extension[0] = last ? spec.protocol : spec.extensions[i + 1].first;
    if (spec.extensions[i].first == 51)
      extension[1] = static_cast<uint8_t>(extension.size() / 4 - 2);
    else if (spec.extensions[i].first != 44)
      extension[1] = static_cast<uint8_t>(extension.size() / 8 - 1);
    put(chain, extension);
  }
  Bytes b;
  put32(b, 6u << 28 | uint32_t{spec.traffic_class} << 20 | 0xabcde);
  put16(b, static_cast<uint16_t>(chain.size() + body.size()));
  put8(b, spec.extensions.empty() ? spec.protocol : spec.extensions[0].first);
  put8(b, spec.ttl);
  put(b, source);
  put(b, destination);
  return concat(concat(b, chain), body);
}

}  // namespace

uint16_t read16(const Bytes &bytes, size_t at) { return static_cast<uint16_t>(bytes.at(at) << 8 | bytes.at(at + 1)); }
uint32_t read32(const Bytes &bytes, size_t at) { return uint32_t{read16(bytes, at)} << 16 | read16(bytes, at + 2); }
void write16(Bytes &bytes, size_t at, uint16_t value) {
  bytes.at(at) = static_cast<uint8_t>(value >> 8);
  bytes.at(at + 1) = static_cast<uint8_t>(value);
}
Bytes concat(const Bytes &a, const Bytes &b) {
  Bytes result = a;
  put(result, b);
  return result;
}
Bytes truncated(Bytes bytes, size_t length) {
  bytes.resize(std::min(length, bytes.size()));
  return bytes;
}

uint16_t checksum(const Bytes &data, uint32_t start) {
  uint64_t sum = start;
  for (size_t i = 0; i < data.size(); ++i) sum += i % 2 ? data[i] : uint64_t{data[i]} << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

Bytes ip(const Ip &spec) {
  const Bytes source = address_bytes(spec.source), destination = address_bytes(spec.destination);
  const Bytes body = transport(spec, source, destination);
  return source.size() == 4 ? ipv4(spec, source, destination, body) : ipv6(spec, source, destination, body);
}

Bytes ethernet(const Bytes &destination, const Bytes &source, uint16_t type, const Bytes &payload) {
  Bytes b = concat(destination, source);
  put16(b, type);
  return concat(b, payload);
}

Bytes from_client(const Bytes &ip_packet) {
  return ethernet(kRouterMac, kClientMac, ip_packet.at(0) >> 4 == 4 ? kIpv4Type : kIpv6Type, ip_packet);
}

Bytes geneve(const Geneve &spec, const Bytes &inner) {
  Bytes option;
  put16(option, spec.option_class);
  put8(option, spec.option_type);
  put8(option, 3);
  put8(option, spec.option_version);
  put8(option, 0);
  put16(option, 0);
  put32(option, spec.cs_id);
  put32(option, spec.csci_id);
  put(option, spec.more_options);
  Bytes tunnel;
  put8(tunnel, static_cast<uint8_t>(option.size() / 4));
  put8(tunnel, spec.geneve_flags);
  put16(tunnel, spec.inner_type ? spec.inner_type : inner.empty() || inner[0] >> 4 == 4 ? kIpv4Type : kIpv6Type);
  put32(tunnel, spec.vni << 8);
  put(tunnel, option);
  put(tunnel, inner);
  Bytes udp;
  put16(udp, spec.source_port);
  put16(udp, spec.port);
  put16(udp, static_cast<uint16_t>(8 + tunnel.size()));
  put16(udp, spec.udp_checksum);
  put(udp, tunnel);
  Ip outer{.source = spec.source,
           .destination = spec.destination,
           .protocol = spec.outer_protocol,
           .ttl = spec.ttl,
           .traffic_class = spec.traffic_class};
  Bytes result = ipv4(outer, address_bytes(spec.source), address_bytes(spec.destination), udp);
  write16(result, 4, 0);  // identification
  write16(result, 10, 0);
  write16(result, 10, checksum(truncated(result, 20)));
  return result;
}

std::string difference(const Bytes &expected, const Bytes &found) {
  if (expected == found) return {};
  size_t at = 0;
  while (at < expected.size() && at < found.size() && expected[at] == found[at]) ++at;
  auto around = [at](const Bytes &bytes) {
    std::string text;
    char hex[4];
    for (size_t i = at < 4 ? 0 : at - 4; i < std::min(bytes.size(), at + 12); ++i) {
      std::snprintf(hex, sizeof hex, "%02x ", bytes[i]);
      text += hex;
    }
    return text;
  };
  return "lengths " + std::to_string(expected.size()) + " and " + std::to_string(found.size()) + ", first differ at " +
         std::to_string(at) + ": expected " + around(expected) + "found " + around(found);
}

}  // namespace catsbpf::test
