// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/own_address_table.h"

#include <algorithm>
#include <tuple>

namespace catsbpf::agent {

namespace {

bool before(const maps::address &a, const maps::address &b) {
  return std::tie(a.high, a.low) < std::tie(b.high, b.low);
}

bool same(const maps::address &a, const maps::address &b) { return a.high == b.high && a.low == b.low; }

bool is_free(const maps::address &entry) { return same(entry, {}); }

// A packet that meets an address half written meets one that nobody has.
void write(maps::address &entry, const maps::address &address) {
  __atomic_store_n(&entry.high, address.high, __ATOMIC_RELEASE);
  __atomic_store_n(&entry.low, address.low, __ATOMIC_RELEASE);
}

// Into the emptier of its two lines. False: both are full of others.
bool put(std::span<maps::address> table, const maps::address &address) {
  const uint32_t hash = maps::own_address_hash(address);
  struct {
    maps::address *free = nullptr;
    int room = 0;
  } lines[OWN_ADDRESS_PROBES / OWN_ADDRESS_LINE];
  for (uint32_t probe = 0; probe < OWN_ADDRESS_PROBES; ++probe) {
    maps::address &entry = table[maps::own_address_place(hash, probe)];
    auto &line = lines[probe / OWN_ADDRESS_LINE];
    if (same(entry, address)) return true;
    if (!is_free(entry)) continue;
    line.free = &entry;
    ++line.room;
  }
  const auto &emptier = lines[1].room > lines[0].room ? lines[1] : lines[0];
  if (emptier.free) write(*emptier.free, address);
  return emptier.free;
}

}  // namespace

Result<> put_own_addresses(std::span<maps::address> table, std::vector<maps::address> own) {
  std::sort(own.begin(), own.end(), before);
  for (maps::address &entry : table)
    if (!is_free(entry) && !std::binary_search(own.begin(), own.end(), entry, before)) write(entry, {});
  bool all = true;
  for (const maps::address &address : own) all = put(table, address) && all;
  if (all) return done();
  return Error{
      "this host has more addresses than the map own_addresses has room for: packets that come in from one without a "
      "place there are steered, not taken for martian"};
}

}  // namespace catsbpf::agent
