// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/path_table.h"

#include <algorithm>
#include <cstring>

#include "agent/programmer/translate.h"
#include "maps/tables.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

bool same(const maps::address &a, const maps::address &b) { return a.high == b.high && a.low == b.low; }

// Equal but for what changes in place.
bool same_header(maps::path a, const maps::path &b) {
  a.mtu = b.mtu;
  a.state = b.state;
  return std::memcmp(&a, &b, sizeof a) == 0;
}

const char *state_name(uint8_t state) {
  switch (state) {
    case maps::PATH_RESOLVED: return "resolved";
    case maps::PATH_UNRESOLVED: return "unresolved";
    case maps::PATH_DEAD: return "dead";
    default: return "free";
  }
}

}  // namespace

PathTable::PathTable(Dataplane &dataplane, NextHops &next_hops, Slots &slots, std::function<void()> freed)
    : dataplane_(dataplane), next_hops_(next_hops), slots_(slots), freed_(std::move(freed)) {
  const auto paths = dataplane_.paths();
  for (uint32_t index = 1; index < paths.size(); ++index)
    if (paths[index].state != maps::PATH_FREE) pool_.reserve(index);
}

PathTable::~PathTable() {
  next_hops_.on_told([] {});
  for (const Forwarder &forwarder : forwarders_)
    if (forwarder.watch) next_hops_.unwatch(forwarder.watch);
}

Result<uint16_t> PathTable::adopt_or_make(const maps::address &egress) {
  const auto paths = dataplane_.paths();
  // Of the template all but the MACs is ours to say: another tunnel address or VNI makes it anew.
  const maps::path fresh = path_entry(tunnel_, egress, vni_, NextHop{});
  const auto fits = [&](const maps::path &path) {
    return path.state != maps::PATH_FREE && same(path.egress, egress) &&
           std::memcmp(path.header + 12, fresh.header + 12, GENEVE_HEADROOM - 12) == 0;
  };
  // An agent that died while it replaced one has left two: the one that instances use counts.
  for (uint16_t slot : slots_.used())
    if (const uint16_t index = slots_.entry(slot).path; index < paths.size() && fits(paths[index])) return index;
  for (uint32_t index = 1; index < paths.size(); ++index)
    if (fits(paths[index])) return static_cast<uint16_t>(index);
  const auto index = pool_.allocate();
  if (!index) return Error{"all " + std::to_string(MAX_PATHS) + " paths are in use"};
  paths[*index] = fresh;
  paths[*index].state = maps::PATH_UNRESOLVED;  // nothing is known yet
  return static_cast<uint16_t>(*index);
}

Result<> PathTable::open(const maps::address &tunnel, uint32_t vni, const std::vector<ForwarderAddress> &forwarders) {
  tunnel_ = tunnel;
  vni_ = vni;
  forwarders_.resize(forwarders.size());
  for (size_t i = 0; i < forwarders.size(); ++i) {
    Forwarder &forwarder = forwarders_[i];
    forwarder.name = forwarders[i];
    const auto address = maps::parse_address(forwarders[i].address);
    if (!address || !maps::is_ipv4(*address))
      return Error{"forwarder " + forwarders[i].name + " has address '" + forwarders[i].address + "'",
                   "give its IPv4 tunnel address"};
    forwarder.address = *address;
    auto index = adopt_or_make(*address);
    if (!index) return index.error();
    forwarder.index = *index;
    forwarder.outage.update(false);
    auto watch = next_hops_.watch(forwarder.name.address, [this, i](const NextHop &hop) {
      forwarders_[i].hop = hop;
      forwarders_[i].news = true;
    });
    if (!watch) return watch.error();
    forwarder.watch = *watch;
  }
  next_hops_.on_told([this] { follow(); });
  bury_orphans();
  return done();
}

// Instances of the last agent may still be behind a forwarder that the configuration names no more.
void PathTable::bury_orphans() {
  for (maps::path &path : dataplane_.paths()) {
    if (path.state == maps::PATH_FREE) continue;
    if (std::none_of(forwarders_.begin(), forwarders_.end(),
                     [&](const Forwarder &forwarder) { return same(forwarder.address, path.egress); }))
      __atomic_store_n(&path.state, maps::PATH_DEAD, __ATOMIC_RELEASE);
  }
}

uint16_t PathTable::index(const std::string &egress) const {
  for (const Forwarder &forwarder : forwarders_)
    if (forwarder.name.name == egress) return forwarder.index;
  return 0;
}

void PathTable::replace(Forwarder &forwarder, const maps::path &entry) {
  const auto index = pool_.allocate();
  if (!index) {
    log::error("no free path for a new next hop forwarder={} paths={}", forwarder.name.name, MAX_PATHS);
    return;
  }
  maps::path waiting = entry;
  waiting.state = maps::PATH_FREE;
  maps::path &target = dataplane_.paths()[*index];
  target = waiting;
  __atomic_store_n(&target.state, entry.state, __ATOMIC_RELEASE);
  const uint16_t old = forwarder.index;
  forwarder.index = static_cast<uint16_t>(*index);
  for (uint16_t slot : slots_.used())
    if (slots_.entry(slot).path == old) __atomic_store_n(&slots_.entry(slot).path, forwarder.index, __ATOMIC_RELEASE);
  freed_();
}

std::vector<PathTable::Change> PathTable::changes() {
  std::vector<Change> all;
  for (Forwarder &forwarder : forwarders_) {
    if (!std::exchange(forwarder.news, false)) continue;
    const NextHop &hop = forwarder.hop;
    maps::path &current = dataplane_.paths()[forwarder.index];
    Change change{&forwarder, path_entry(tunnel_, forwarder.address, vni_, hop), current.state};
    // Unresolved, the header may stay as it was: the tc program makes its own Ethernet header.
    if (hop.resolved)
      change.replaced = !same_header(current, change.entry);
    else
      change.replaced =
          hop.routed && (current.ifindex != change.entry.ifindex || current.next_hop4 != change.entry.next_hop4);
    if (hop.routed && !change.replaced) __atomic_store_n(&current.mtu, change.entry.mtu, __ATOMIC_RELEASE);
    // A header that is about to be replaced is not resolved by that; a dead one lives from now on.
    if (!(hop.resolved && change.replaced))
      change.in_place = change.entry.state;
    else if (change.before == maps::PATH_DEAD)
      change.in_place = maps::PATH_UNRESOLVED;
    else
      change.in_place = change.before;
    all.push_back(change);
  }
  std::stable_partition(all.begin(), all.end(),
                        [](const Change &change) { return change.in_place == maps::PATH_DEAD; });
  return all;
}

void PathTable::follow() {
  const auto all = changes();
  for (const Change &change : all)
    __atomic_store_n(&dataplane_.paths()[change.forwarder->index].state, change.in_place, __ATOMIC_RELEASE);
  for (const Change &change : all)
    if (change.replaced) replace(*change.forwarder, change.entry);
  for (const Change &change : all) {
    Forwarder &forwarder = *change.forwarder;
    const NextHop &hop = forwarder.hop;
    forwarder.outage.update(hop.resolved);
    const uint8_t after = dataplane_.paths()[forwarder.index].state;
    if (change.before != after)
      log::info("path changed forwarder={} address={} state={} interface={} next_hop={} mac={}", forwarder.name.name,
                forwarder.name.address, state_name(after), hop.interface, hop.gateway, format_mac(hop.mac));
    change_(forwarder.name.name, after != maps::PATH_DEAD);
  }
}

void PathTable::collect() {
  const auto paths = dataplane_.paths();
  std::vector<bool> used(paths.size(), false);
  for (const Forwarder &forwarder : forwarders_) used[forwarder.index] = true;
  for (uint16_t slot : slots_.used())
    if (slots_.entry(slot).path < used.size()) used[slots_.entry(slot).path] = true;
  for (uint32_t index = 1; index < paths.size(); ++index) {
    if (used[index] || !pool_.used(index)) continue;
    __atomic_store_n(&paths[index].state, maps::PATH_FREE, __ATOMIC_RELEASE);
    pool_.release(index);
  }
}

std::vector<std::string> PathTable::outages(std::chrono::milliseconds patience) {
  std::vector<std::string> all;
  for (Forwarder &forwarder : forwarders_) {
    const bool dead = dataplane_.paths()[forwarder.index].state == maps::PATH_DEAD;
    if (!dead && !forwarder.outage.lasts(patience)) continue;
    const NextHop &hop = forwarder.hop;
    const std::string next_hop = hop.gateway.empty() ? forwarder.name.address : hop.gateway;
    all.push_back("path to " + forwarder.name.name + " (" + forwarder.name.address + ") is " +
                  (dead ? "dead" : "unresolved") + ": " +
                  (hop.routed ? "next hop " + next_hop + " on " + hop.interface + " does not answer"
                              : "no route leads there by an interface that is up"));
    forwarder.outage.say(all.back());
  }
  return all;
}

std::vector<Programmer::PathView> PathTable::views() const {
  std::vector<Programmer::PathView> views;
  for (const Forwarder &forwarder : forwarders_) {
    const maps::path &path = dataplane_.paths()[forwarder.index];
    const NextHop &hop = forwarder.hop;
    views.push_back({forwarder.name.name, forwarder.name.address, hop.interface,
                     hop.gateway.empty() && hop.routed ? forwarder.name.address : hop.gateway,
                     hop.resolved ? format_mac(hop.mac) : "", state_name(path.state), path.mtu});
  }
  return views;
}

}  // namespace catsbpf::agent
