// SPDX-License-Identifier: Apache-2.0
#include "cli/from_maps.h"

#include <endian.h>
#include <net/if.h>

#include <algorithm>

#include "cli/arguments.h"

namespace catsbpf::cli {

bool in_use(const maps::instance &instance) {
  return instance.state == maps::INSTANCE_ACTIVE || instance.state == maps::INSTANCE_DRAINING ||
         instance.state == maps::INSTANCE_DEAD;
}

bool is_ingress(const maps::Tables &tables) {
  return std::ranges::any_of(tables.interfaces(), [](const auto &i) { return i.sides & maps::SIDE_CLIENT; }) ||
         std::ranges::any_of(tables.instances(), in_use);
}

std::string interface_name(uint32_t ifindex) {
  char name[IF_NAMESIZE];
  if (ifindex != 0 && if_indextoname(ifindex, name)) return name;
  return "if" + std::to_string(ifindex);
}

std::string format_prefix(const maps::address &prefix, unsigned bits) {
  const auto text = maps::format_address(prefix);
  if (bits >= 128) return text;
  return text + "/" + std::to_string(maps::is_ipv4(prefix) && bits >= 96 ? bits - 96 : bits);
}

std::optional<maps::address> parse_prefix(const std::string &text, unsigned &bits) {
  const auto slash = text.find('/');
  const auto address = maps::parse_address(text.substr(0, slash));
  bits = 128;
  if (!address || slash == std::string::npos) return address;
  const unsigned offset = maps::is_ipv4(*address) ? 96 : 0;
  const auto length = parse_number("prefix length", text.substr(slash + 1), 128 - offset);
  if (!length) return std::nullopt;
  bits = offset + static_cast<unsigned>(*length);
  return address;
}

bool in_prefix(const maps::address &a, const maps::address &prefix, unsigned bits) {
  const auto mask = [](unsigned count) { return count == 0 ? 0 : count >= 64 ? ~0ULL : ~0ULL << (64 - count); };
  return !(be64toh(a.high ^ prefix.high) & mask(bits)) &&
         !(be64toh(a.low ^ prefix.low) & mask(bits > 64 ? bits - 64 : 0));
}

double jiffies_to_seconds(const maps::Tables &tables, int64_t jiffies) {
  const auto hz = tables.control().hz;
  return hz == 0 ? -1 : std::max<double>(0, static_cast<double>(jiffies)) / hz;
}

double heartbeat_age_s(const maps::Tables &tables) {
  const auto heartbeat = tables.control().heartbeat;
  return heartbeat == 0 ? -1 : jiffies_to_seconds(tables, static_cast<int64_t>(tables.jiffies() - heartbeat));
}

bool shows_life(double heartbeat_age_s) {
  constexpr double kSilent = 3;  // seconds; the agent writes its heartbeat twice a second
  return heartbeat_age_s >= 0 && heartbeat_age_s < kSilent;
}

std::map<uint16_t, uint32_t> ring_shares(const maps::Tables &tables, const maps::service_record &record) {
  std::map<uint16_t, uint32_t> shares;
  const auto lines = tables.rings();
  for (uint32_t i = 0; i < record.ring_slots; ++i) {
    const std::size_t line = record.ring_first + i / RING_LINE_SLOTS;
    if (line >= lines.size()) break;
    ++shares[lines[line].slot[i % RING_LINE_SLOTS]];
  }
  return shares;
}

}  // namespace catsbpf::cli
