// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/translate.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "maps/tables.h"

namespace catsbpf::agent {

namespace {

constexpr uint32_t kDefaultTimeoutS = 300;
constexpr uint16_t kDefaultMtu = 1500;

maps::address mask_of(uint32_t bits) {
  unsigned char bytes[16];
  for (uint32_t byte = 0; byte < 16; ++byte) {
    const int rest = std::clamp(static_cast<int>(bits) - static_cast<int>(byte) * 8, 0, 8);
    bytes[byte] = static_cast<unsigned char>(0xff00 >> rest);
  }
  maps::address mask;
  std::memcpy(&mask, bytes, sizeof mask);
  return mask;
}

bool operator==(const maps::address &a, const maps::address &b) { return a.high == b.high && a.low == b.low; }

struct Prefix {
  maps::address address;
  uint8_t length;  // of the 128-bit address
};

Result<Prefix> parse_prefix(const std::string &text, const std::string &service) {
  const size_t slash = text.find('/');
  const auto address = maps::parse_address(text.substr(0, slash));
  if (!address)
    return Error{"locator '" + text + "' of service " + service + " is no address or prefix",
                 "write it as 10.99.0.1 or fd00:99::/64"};
  const uint32_t base = maps::is_ipv4(*address) ? 96 : 0;
  uint32_t length = 128 - base;
  if (slash != std::string::npos) {
    const char *first = text.data() + slash + 1, *last = text.data() + text.size();
    const auto parsed = std::from_chars(first, last, length);
    if (parsed.ec != std::errc() || parsed.ptr != last || length > 128 - base)
      return Error{"locator '" + text + "' of service " + service + " has no valid prefix length",
                   "0 to " + std::to_string(128 - base) + " bits"};
  }
  const maps::address mask = mask_of(base + length);
  const maps::address masked{address->high & mask.high, address->low & mask.low};
  if (!(masked == *address))
    return Error{"locator '" + text + "' of service " + service + " has bits beyond its length",
                 "write " + maps::format_address(masked) + "/" + std::to_string(length)};
  return Prefix{*address, static_cast<uint8_t>(base + length)};
}

Result<uint8_t> parse_protocol(const std::string &text, const std::string &service) {
  if (text.empty()) return uint8_t{0};
  if (text == "tcp") return uint8_t{IPPROTO_TCP};
  if (text == "udp") return uint8_t{IPPROTO_UDP};
  return Error{"protocol '" + text + "' of a locator of service " + service + " is unknown",
               "tcp, udp, or none for any"};
}

uint16_t checksum(const void *data, size_t bytes) {
  const auto *at = static_cast<const unsigned char *>(data);
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes; i += 2) sum += static_cast<uint32_t>(at[i] << 8 | at[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

uint32_t ipv4_of(const maps::address &address) {
  uint32_t value;
  std::memcpy(&value, reinterpret_cast<const char *>(&address) + 12, sizeof value);
  return value;
}

}  // namespace

std::string describe(const WantedService &service) {
  const std::string id = "CS-ID " + std::to_string(service.cs_id);
  return service.service_id.empty() ? id : service.service_id + " (" + id + ")";
}

maps::locator address_rule(const maps::address &address, uint8_t kind) {
  maps::locator rule{};
  rule.prefix = address;
  rule.length = 128;
  rule.kind = kind;
  rule.port_max = 65535;
  return rule;
}

Result<LocatorRules> locator_rules(const WantedService &service, uint32_t handle) {
  const std::string name = describe(service);
  LocatorRules rules;
  for (const v1::Locator &locator : service.locators) {
    auto prefix = parse_prefix(locator.prefix(), name);
    if (!prefix) return prefix.error();
    auto protocol = parse_protocol(locator.protocol(), name);
    if (!protocol) return protocol.error();
    const uint32_t low = locator.port_min(), high = locator.port_max() ? locator.port_max() : low;
    if (low > high || high > 65535)
      return Error{"locator '" + locator.prefix() + "' of service " + name + " has ports " + std::to_string(low) +
                       " to " + std::to_string(high),
                   "from low to high, at most 65535"};
    maps::locator rule = address_rule(prefix->address, maps::LOCATOR_SERVICE);
    rule.length = prefix->length;
    rule.protocol = *protocol;
    rule.port_min = static_cast<uint16_t>(low);
    rule.port_max = static_cast<uint16_t>(high ? high : 65535);
    rule.target = handle;
    rules.push_back(rule);
  }
  return rules;
}

Result<maps::service_record> service_record(const WantedService &service, uint32_t hz) {
  if (service.cs_id == 0) return Error{"service " + service.service_id + " has CS-ID 0", "1 to 4294967295"};
  const uint32_t bits4 = service.affinity.source_prefix4() ? service.affinity.source_prefix4() : 32;
  const uint32_t bits6 = service.affinity.source_prefix6() ? service.affinity.source_prefix6() : 128;
  if (bits4 > 32 || bits6 > 128)
    return Error{"affinity of service " + describe(service) + " has a source prefix of " + std::to_string(bits4) +
                     " and " + std::to_string(bits6) + " bits",
                 "at most 32 for ipv4, 128 for ipv6"};
  maps::service_record record{};
  record.cs_id = service.cs_id;
  const uint64_t timeout =
      uint64_t{service.affinity.timeout_s() ? service.affinity.timeout_s() : kDefaultTimeoutS} * hz;
  record.timeout = static_cast<uint32_t>(std::min<uint64_t>(timeout, INT32_MAX));  // jiffies are compared in 32 bits
  record.source_mask = mask_of(bits6);
  record.source_ignore4 = htonl(static_cast<uint32_t>((uint64_t{1} << (32 - bits4)) - 1));
  record.protocol_mask = service.affinity.ignore_protocol() ? 0 : 0xff;
  record.source_port_mask = record.destination_port_mask = service.affinity.ignore_ports() ? 0 : 0xffff;
  record.destination = service.affinity.ignore_ports() ? 0 : 1;
  return record;
}

uint8_t instance_state(InstanceWish wish) {
  switch (wish) {
    case InstanceWish::kActive: return maps::INSTANCE_ACTIVE;
    case InstanceWish::kDraining: return maps::INSTANCE_DRAINING;
    case InstanceWish::kDead: break;
  }
  return maps::INSTANCE_DEAD;
}

maps::instance instance_entry(uint32_t cs_id, const WantedInstance &instance) {
  maps::instance entry{};
  entry.cs_id = cs_id;
  entry.csci_id = instance.csci_id;
  entry.state = instance_state(instance.wish);
  entry.option_ids[0] = htonl(cs_id);
  entry.option_ids[1] = htonl(instance.csci_id);
  return entry;
}

maps::path path_entry(const maps::address &tunnel, const maps::address &egress, uint32_t vni, const NextHop &hop) {
  maps::path path{};
  unsigned char *at = path.header;

  std::memcpy(at, hop.mac.data(), ETH_ALEN);
  std::memcpy(at + ETH_ALEN, hop.source_mac.data(), ETH_ALEN);
  const uint16_t type = htons(ETH_P_IP);
  std::memcpy(at + 2 * ETH_ALEN, &type, sizeof type);
  at += ETH_HLEN;

  iphdr ip{};
  ip.version = 4;
  ip.ihl = 5;
  ip.frag_off = htons(0x4000);  // DF
  ip.ttl = 64;
  ip.protocol = IPPROTO_UDP;
  ip.saddr = ipv4_of(tunnel);
  ip.daddr = ipv4_of(egress);
  ip.check = checksum(&ip, sizeof ip);
  std::memcpy(at, &ip, sizeof ip);
  at += sizeof ip;

  udphdr udp{};
  udp.dest = htons(GENEVE_PORT);
  std::memcpy(at, &udp, sizeof udp);
  at += sizeof udp;

  const unsigned char geneve[8] = {sizeof(maps::cats_option) / 4,
                                   0,
                                   ETH_P_IP >> 8,
                                   ETH_P_IP & 0xff,
                                   static_cast<unsigned char>(vni >> 16),
                                   static_cast<unsigned char>(vni >> 8),
                                   static_cast<unsigned char>(vni),
                                   0};
  std::memcpy(at, geneve, sizeof geneve);
  at += sizeof geneve;

  maps::cats_option option{};
  option.option_class = htons(CATS_OPTION_CLASS);
  option.type = CATS_OPTION_TYPE;
  option.length = CATS_OPTION_WORDS;
  option.version = CATS_OPTION_VERSION;
  std::memcpy(at, &option, sizeof option);

  path.ifindex = hop.ifindex;
  if (const auto gateway = maps::parse_address(hop.gateway); gateway && maps::is_ipv4(*gateway))
    path.next_hop4 = ipv4_of(*gateway);
  path.mtu = static_cast<uint16_t>(hop.mtu == 0 ? kDefaultMtu : std::min<uint32_t>(hop.mtu, 65535));
  path.state = hop.resolved ? maps::PATH_RESOLVED : hop.routed && !hop.failed ? maps::PATH_UNRESOLVED : maps::PATH_DEAD;
  path.egress = egress;
  return path;
}

}  // namespace catsbpf::agent
