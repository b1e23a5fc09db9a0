// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/locator_index.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "maps/tables.h"

namespace catsbpf::agent {

namespace {

constexpr uint32_t kFree = ~0u;
constexpr int kSeeds = 256;

bool is_v4(const maps::locator &rule) { return rule.length >= 96 && maps::is_ipv4(rule.prefix); }

std::string describe(const maps::locator &rule) {
  std::string text = maps::format_address(rule.prefix);
  const int width = is_v4(rule) ? 32 : 128, length = is_v4(rule) ? rule.length - 96 : rule.length;
  if (length != width) text += "/" + std::to_string(length);
  text += rule.protocol == IPPROTO_TCP ? " tcp" : rule.protocol == IPPROTO_UDP ? " udp" : "";
  if (rule.port_min == 0 && rule.port_max == 65535) return text;
  text += " port " + std::to_string(rule.port_min);
  if (rule.port_max != rule.port_min) text += "-" + std::to_string(rule.port_max);
  return text;
}

bool covers(const maps::locator &outer, const maps::locator &inner) {
  return (outer.protocol == 0 || outer.protocol == inner.protocol) && outer.port_min <= inner.port_min &&
         outer.port_max >= inner.port_max;
}

bool meet(const maps::locator &a, const maps::locator &b) {
  return (a.protocol == 0 || b.protocol == 0 || a.protocol == b.protocol) && a.port_min <= b.port_max &&
         b.port_min <= a.port_max;
}

// Rules of one prefix may meet when one is strictly narrower: it goes first.
bool conflict(const maps::locator &a, const maps::locator &b) {
  if (!meet(a, b)) return false;
  const bool a_covers = covers(a, b), b_covers = covers(b, a);
  return a_covers == b_covers;
}

bool narrower(const maps::locator &a, const maps::locator &b) {
  const auto rank = [](const maps::locator &rule) {
    return std::pair(rule.protocol == 0 ? 1 : 0, rule.port_max - rule.port_min);
  };
  return rank(a) < rank(b);
}

maps::prefix_length prefix_length_of(uint8_t length) {
  maps::prefix_length entry{};
  unsigned char mask[16];
  for (int byte = 0; byte < 16; ++byte) {
    const int bits = std::clamp(length - byte * 8, 0, 8);
    mask[byte] = static_cast<unsigned char>(0xff00 >> bits);
  }
  std::memcpy(&entry.mask_high, mask, 8);
  std::memcpy(&entry.mask_low, mask + 8, 8);
  entry.length = length;
  return entry;
}

}  // namespace

bool same_rules(LocatorRules a, LocatorRules b) {
  const auto less = [](const maps::locator &x, const maps::locator &y) { return std::memcmp(&x, &y, sizeof x) < 0; };
  std::sort(a.begin(), a.end(), less);
  std::sort(b.begin(), b.end(), less);
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
}

std::string LocatorIndex::subject(uint32_t owner, const std::string &name) {
  return owner == kOwnerSelf ? "the tunnel of this forwarder" : "service " + name;
}

std::string LocatorIndex::name_of(uint32_t owner) const {
  auto it = names_.find(owner);
  return subject(owner, it == names_.end() ? "CS-ID " + std::to_string(owner) : it->second);
}

Result<> LocatorIndex::check(uint32_t owner, const std::string &name, const LocatorRules &rules,
                             const maps::locator &rule) const {
  const auto on_prefix = [&](const maps::locator &other) { return key_of(other) == key_of(rule); };
  auto count = static_cast<size_t>(std::count_if(rules.begin(), rules.end(), on_prefix));
  static const Chain kNone;
  const auto it = chains_.find(key_of(rule));
  for (const Owned &owned : it == chains_.end() ? kNone : it->second) {
    if (owned.owner == owner) continue;
    ++count;
    if (owned.rule.kind != maps::LOCATOR_SERVICE || rule.kind != maps::LOCATOR_SERVICE || conflict(owned.rule, rule))
      return Error{subject(owner, name) + " claims " + describe(rule) + ", which belongs to " + name_of(owned.owner),
                   "give the services different addresses, protocols or ports"};
  }
  if (count > LOCATOR_CHAIN)
    return Error{subject(owner, name) + " claims " + describe(rule) + ": with it " + std::to_string(count) +
                     " locators have that prefix, packets are looked up among " + std::to_string(LOCATOR_CHAIN),
                 "join port ranges, or spread the services over more addresses"};
  return done();
}

Result<> LocatorIndex::check_lengths(const std::string &name) const {
  std::set<uint8_t> lengths[2];
  for (const auto &[key, chain] : chains_) lengths[is_v4(chain.front().rule)].insert(key.length);
  for (int family = 0; family < 2; ++family)
    if (lengths[family].size() > MAX_PREFIX_LENGTHS)
      return Error{"service " + name + " needs a prefix length beyond the " + std::to_string(MAX_PREFIX_LENGTHS) +
                       " different ones of " + (family ? "ipv4" : "ipv6") + " that the data plane can look up",
                   "use prefix lengths that other services use"};
  return done();
}

void LocatorIndex::insert(uint32_t owner, const LocatorRules &rules) {
  for (const maps::locator &rule : rules) {
    Chain &chain = chains_[key_of(rule)];
    const auto at =
        std::find_if(chain.begin(), chain.end(), [&](const Owned &other) { return narrower(rule, other.rule); });
    chain.insert(at, {rule, owner});
  }
  count_ += rules.size();
  rules_[owner] = rules;
}

void LocatorIndex::remove(uint32_t owner) {
  auto it = rules_.find(owner);
  if (it == rules_.end()) return;
  for (const maps::locator &rule : it->second) {
    auto chain = chains_.find(key_of(rule));
    if (chain == chains_.end()) continue;
    std::erase_if(chain->second, [&](const Owned &owned) { return owned.owner == owner; });
    if (chain->second.empty()) chains_.erase(chain);
  }
  count_ -= it->second.size();
  rules_.erase(it);
}

Result<> LocatorIndex::claim(uint32_t owner, const std::string &name, const LocatorRules &rules) {
  for (size_t i = 0; i < rules.size(); ++i) {
    if (auto checked = check(owner, name, rules, rules[i]); !checked) return checked;
    for (size_t j = 0; j < i; ++j)
      if (key_of(rules[i]) == key_of(rules[j]) && conflict(rules[i], rules[j]))
        return Error{"service " + name + " claims " + describe(rules[i]) + " twice", "remove one of the two locators"};
  }
  auto old = rules_.find(owner);
  const LocatorRules before = old == rules_.end() ? LocatorRules{} : old->second;
  if (count_ - before.size() + rules.size() > kMaxRules)
    return Error{
        "service " + name + " does not fit: the locator table takes " + std::to_string(kMaxRules) + " locators",
        "use prefixes instead of single addresses"};
  remove(owner);
  insert(owner, rules);
  if (auto lengths = check_lengths(name); !lengths) {
    remove(owner);
    if (!before.empty()) insert(owner, before);
    return lengths;
  }
  names_[owner] = name;
  return done();
}

void LocatorIndex::release(uint32_t owner) {
  remove(owner);
  names_.erase(owner);
}

// Robin Hood order: whoever is farther from its home keeps the slot, so the longest probe stays short.
bool LocatorIndex::place(std::vector<uint32_t> &slots, const std::vector<const Chain *> &chains, uint64_t seed) const {
  std::fill(slots.begin(), slots.end(), kFree);
  auto home = [&](uint32_t chain) {
    const maps::locator &rule = chains[chain]->front().rule;
    return maps::locator_hash(rule.prefix, rule.length, seed) % MAX_LOCATORS;
  };
  for (uint32_t next = 0; next < chains.size(); ++next) {
    uint32_t moving = next, at = home(next), distance = 0;
    for (;; at = (at + 1) % MAX_LOCATORS, ++distance) {
      if (distance >= LOCATOR_PROBES) return false;
      if (slots[at] == kFree) break;
      const uint32_t other = (at + MAX_LOCATORS - home(slots[at])) % MAX_LOCATORS;
      if (other >= distance) continue;
      std::swap(slots[at], moving);
      distance = other;
    }
    slots[at] = moving;
  }
  return true;
}

Result<> LocatorIndex::write(std::span<maps::locator> table, maps::view_header &header) const {
  std::vector<const Chain *> chains;
  chains.reserve(chains_.size());
  for (const auto &[key, chain] : chains_) chains.push_back(&chain);
  std::vector<uint32_t> slots(MAX_LOCATORS);
  uint64_t seed = 0;
  int tried = 0;
  while (!place(slots, chains, seed)) {
    if (++tried == kSeeds)
      return Error{"no locator table for " + std::to_string(count_) + " locators within " +
                       std::to_string(LOCATOR_PROBES) + " probes",
                   "use fewer locators"};
    seed += 0x9e3779b97f4a7c15ULL;
  }

  std::memset(table.data(), 0, table.size_bytes());
  uint32_t spare = 0;  // chained rules go where nobody is
  auto take_spare = [&] {
    while (slots[spare] != kFree) ++spare;
    return spare++;
  };
  for (uint32_t at = 0; at < MAX_LOCATORS; ++at) {
    if (slots[at] == kFree) continue;
    uint32_t index = at;
    const Chain &chain = *chains[slots[at]];
    for (size_t i = 0; i < chain.size(); ++i) {
      maps::locator &entry = table[index];
      entry = chain[i].rule;
      entry.chained = i > 0;
      index = i + 1 < chain.size() ? take_spare() : 0;
      entry.next = i + 1 < chain.size() ? index + 1 : 0;
    }
  }

  std::set<uint8_t, std::greater<>> lengths[2];
  for (const auto &[key, chain] : chains_) lengths[is_v4(chain.front().rule)].insert(key.length);
  header.locator_seed = seed;
  header.lengths4 = header.lengths6 = header.services = 0;
  for (const auto &[key, chain] : chains_)
    header.services += static_cast<uint32_t>(
        std::count_if(chain.begin(), chain.end(), [](const Owned &o) { return o.rule.kind == maps::LOCATOR_SERVICE; }));
  for (uint8_t length : lengths[1]) header.length4[header.lengths4++] = prefix_length_of(length);
  for (uint8_t length : lengths[0]) header.length6[header.lengths6++] = prefix_length_of(length);
  return done();
}

std::map<uint32_t, LocatorRules> LocatorIndex::read(std::span<const maps::locator> table, uint8_t kind) {
  std::map<uint32_t, LocatorRules> rules;
  for (const maps::locator &entry : table) {
    if (entry.kind != kind) continue;
    maps::locator rule = entry;
    rule.chained = 0;
    rule.next = 0;
    rules[entry.target].push_back(rule);
  }
  return rules;
}

}  // namespace catsbpf::agent
