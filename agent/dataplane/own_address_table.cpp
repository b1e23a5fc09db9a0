// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/own_address_table.h"

#include <algorithm>

#include "maps/tables.h"

namespace catsbpf::agent {

namespace {

bool same(const maps::address &a, const maps::address &b) { return a.high == b.high && a.low == b.low; }

bool is_free(const maps::address &entry) { return same(entry, {}); }

// A packet that meets an address half written meets one that nobody has.
void write(maps::address &entry, const maps::address &address) {
  __atomic_store_n(&entry.high, address.high, __ATOMIC_RELEASE);
  __atomic_store_n(&entry.low, address.low, __ATOMIC_RELEASE);
}

// False: all its probes are others'.
bool put(std::span<maps::address> table, const maps::address &address) {
  maps::address *free = nullptr;
  for (uint32_t probe = 0; probe < OWN_ADDRESS_PROBES; ++probe) {
    maps::address &entry = table[(maps::own_address_hash(address) + probe) % table.size()];
    if (same(entry, address)) return true;
    if (is_free(entry) && !free) free = &entry;
  }
  if (free) write(*free, address);
  return free;
}

}  // namespace

Result<> put_own_addresses(std::span<maps::address> table, const std::vector<maps::address> &own) {
  for (maps::address &entry : table)
    if (!is_free(entry) && std::none_of(own.begin(), own.end(), [&](const auto &a) { return same(a, entry); }))
      write(entry, {});
  Result<> result = done();
  for (const maps::address &address : own)
    if (!put(table, address))
      result = Error{"no place for " + maps::format_address(address) + " among the " + std::to_string(own.size()) +
                         " addresses of this host",
                     "packets that come in from it are steered, not dropped as martian"};
  return result;
}

}  // namespace catsbpf::agent
