// SPDX-License-Identifier: Apache-2.0
// Who owns which prefix and ports, and the open-addressing table that packets are looked up in.
// In: the rules of each service and of this forwarder itself. Out: a view side's locator table, or an
// error that names both services when two claim the same packets.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "maps/contract.h"
#include "util/result.h"

namespace catsbpf::agent {

// A rule is a maps::locator whose `next` and `chained` do not count yet.
using LocatorRules = std::vector<maps::locator>;
// Equal but for their order.
bool same_rules(LocatorRules a, LocatorRules b);

class LocatorIndex {
 public:
  // Beyond this the table could be too full for LOCATOR_PROBES.
  static constexpr size_t kMaxRules = MAX_LOCATORS * 2 / 5;
  static constexpr uint32_t kOwnerSelf = 0;  // this forwarder; services go by CS-ID

  // Replaces the rules of an owner; `name` is for people. On failure nothing changes.
  Result<> claim(uint32_t owner, const std::string &name, const LocatorRules &rules);
  void release(uint32_t owner);

  // Fills a side's table and the locator part of its header. Fails when no seed gives a table within
  // LOCATOR_PROBES; the side is then unchanged.
  Result<> write(std::span<maps::locator> table, maps::view_header &header) const;

  // The rules that a table holds, by target, for kind `kind`.
  static std::map<uint32_t, LocatorRules> read(std::span<const maps::locator> table, uint8_t kind);

 private:
  struct Key {
    uint8_t length;
    uint64_t high, low;
    auto operator<=>(const Key &) const = default;
  };
  struct Owned {
    maps::locator rule;
    uint32_t owner;
  };
  using Chain = std::vector<Owned>;  // most specific rule first

  static Key key_of(const maps::locator &rule) { return {rule.length, rule.prefix.high, rule.prefix.low}; }
  Result<> check(uint32_t owner, const std::string &name, const LocatorRules &rules, const maps::locator &rule) const;
  Result<> check_lengths(const std::string &name) const;
  void insert(uint32_t owner, const LocatorRules &rules);
  void remove(uint32_t owner);
  static std::string subject(uint32_t owner, const std::string &name);
  std::string name_of(uint32_t owner) const;
  bool place(std::vector<uint32_t> &slots, const std::vector<const Chain *> &chains, uint64_t seed) const;

  std::map<Key, Chain> chains_;
  std::unordered_map<uint32_t, std::string> names_;
  std::unordered_map<uint32_t, LocatorRules> rules_;
  size_t count_ = 0;
};

}  // namespace catsbpf::agent
