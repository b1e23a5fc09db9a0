// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/fake.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "maps/tables.h"

namespace catsbpf::agent {

namespace {

std::string key_text(const maps::session_key &key) { return {reinterpret_cast<const char *>(&key), sizeof key}; }

void mix(uint64_t &hash, const void *data, size_t bytes) {
  const auto *at = static_cast<const unsigned char *>(data);
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ at[i]) * 0x100000001b3ULL;
}

}  // namespace

FakeDataplane::FakeDataplane(uint32_t ring_lines, uint32_t flow_lines)
    : view_headers_(2),
      locators_(2 * MAX_LOCATORS),
      services_(2 * MAX_SERVICES),
      rings_(ring_lines),
      instances_(MAX_INSTANCES),
      paths_(MAX_PATHS),
      deliveries_(MAX_DELIVERIES),
      flows_(flow_lines),
      flow_records_(flow_lines * FLOW_LINE_ENTRIES) {
  control_.layout = CATSBPF_LAYOUT;
  control_.hz = 250;
  in_force_ = fingerprint(0);
}

Result<> FakeDataplane::put_session(const maps::session_key &key, const maps::session &session) {
  sessions_[key_text(key)] = {key, session};
  return done();
}

Result<> FakeDataplane::remove_session(const maps::session_key &key) {
  if (sessions_.erase(key_text(key)) == 0) return system_error("cannot remove from map sessions", ENOENT);
  return done();
}

Result<std::vector<std::pair<maps::session_key, maps::session>>> FakeDataplane::sessions() {
  std::vector<std::pair<maps::session_key, maps::session>> all;
  for (const auto &[text, entry] : sessions_) all.push_back(entry);
  return all;
}

Result<> FakeDataplane::clear_instance_counter(uint16_t slot) {
  cleared.push_back(slot);
  return done();
}

Result<> FakeDataplane::wait_grace() {
  std::unique_lock lock(mutex_);
  ++graces_;
  changed_.wait(lock, [this] { return !grace_held_; });
  if (grace_fails_) return Error{"cannot wait for a grace period"};
  return done();
}

void FakeDataplane::hold_grace(bool hold) {
  {
    std::lock_guard lock(mutex_);
    grace_held_ = hold;
  }
  changed_.notify_all();
}

void FakeDataplane::fail_grace(bool fail) {
  std::lock_guard lock(mutex_);
  grace_fails_ = fail;
}

int FakeDataplane::graces() const {
  std::lock_guard lock(mutex_);
  return graces_;
}

// All that packets reach from a side: locators, records, rings and the identity of instances.
uint64_t FakeDataplane::fingerprint(uint32_t side) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  const auto locators = this->locators(static_cast<int>(side));
  const auto services = this->services(static_cast<int>(side));
  mix(hash, locators.data(), locators.size_bytes());
  mix(hash, services.data(), services.size_bytes());
  mix(hash, &view_headers_[side], sizeof view_headers_[side]);
  for (const maps::service_record &record : services) {
    if (record.cs_id == 0) continue;
    for (uint16_t slot : ring_of(side, record.cs_id)) {
      mix(hash, &slot, sizeof slot);
      mix(hash, &instances_[slot].csci_id, sizeof instances_[slot].csci_id);
    }
  }
  return hash;
}

void FakeDataplane::check_complete(uint32_t side) {
  for (const maps::service_record &record : services(static_cast<int>(side))) {
    if (record.cs_id == 0) continue;
    const std::string name = "CS-ID " + std::to_string(record.cs_id);
    const uint32_t lines = (record.ring_slots + RING_LINE_SLOTS - 1) / RING_LINE_SLOTS;
    if (record.ring_first + lines > rings_.size()) {
      broken.push_back(name + ": ring beyond the pool");
      continue;
    }
    for (uint16_t slot : ring_of(side, record.cs_id)) {
      const maps::instance &instance = instances_[slot];
      if (instance.cs_id != record.cs_id || instance.state == maps::INSTANCE_FREE ||
          instance.state == maps::INSTANCE_RETIRED)
        broken.push_back(name + ": ring names slot " + std::to_string(slot) + " that is not its instance");
      else if (instance.path == 0 || paths_[instance.path].state == maps::PATH_FREE)
        broken.push_back(name + ": slot " + std::to_string(slot) + " has no path");
    }
  }
  for (const maps::locator &locator : locators(static_cast<int>(side)))
    if (locator.kind == maps::LOCATOR_SERVICE && services(static_cast<int>(side))[locator.target].cs_id == 0)
      broken.push_back("locator of no service: record " + std::to_string(locator.target));
}

void FakeDataplane::flip(uint32_t side) {
  if (side == control_.view) broken.push_back("flip to the side in force");
  if (fingerprint(control_.view) != in_force_) broken.push_back("the side in force was changed while packets saw it");
  check_complete(side);
  Dataplane::flip(side);
  flips.push_back(side);
  in_force_ = fingerprint(side);
  if (at_flip) at_flip();
}

std::vector<uint16_t> FakeDataplane::ring_of(uint32_t side, uint32_t cs_id) {
  std::vector<uint16_t> slots;
  for (const maps::service_record &record : services(static_cast<int>(side))) {
    if (record.cs_id != cs_id || record.ring_first + record.ring_slots / RING_LINE_SLOTS >= rings_.size()) continue;
    for (uint32_t i = 0; i < record.ring_slots; ++i)
      slots.push_back(rings_[record.ring_first + i / RING_LINE_SLOTS].slot[i % RING_LINE_SLOTS]);
  }
  return slots;
}

std::vector<uint16_t> FakeDataplane::ring_of(uint32_t cs_id) { return ring_of(control_.view, cs_id); }

uint32_t FakeDataplane::service_at(const std::string &text, uint8_t protocol, uint16_t port) {
  const auto address = maps::parse_address(text);
  if (!address) return 0;
  const maps::view_header &header = view_headers_[control_.view];
  const auto table = locators(static_cast<int>(control_.view));
  const bool v4 = maps::is_ipv4(*address);
  for (uint32_t i = 0; i < (v4 ? header.lengths4 : header.lengths6); ++i) {
    const maps::prefix_length &length = v4 ? header.length4[i] : header.length6[i];
    const maps::address prefix{address->high & length.mask_high, address->low & length.mask_low};
    for (uint32_t probe = 0; probe < LOCATOR_PROBES; ++probe) {
      uint32_t at = (maps::locator_hash(prefix, length.length, header.locator_seed) + probe) % MAX_LOCATORS;
      if (table[at].kind == maps::LOCATOR_FREE) break;
      if (table[at].chained || table[at].length != length.length ||
          std::memcmp(&table[at].prefix, &prefix, sizeof prefix) != 0)
        continue;
      for (uint32_t step = 0; step < LOCATOR_CHAIN; ++step) {
        const maps::locator &rule = table[at];
        if ((rule.protocol == 0 || rule.protocol == protocol) && rule.port_min <= port && port <= rule.port_max)
          return rule.kind == maps::LOCATOR_SERVICE ? services(static_cast<int>(control_.view))[rule.target].cs_id : 0;
        if (rule.next == 0) break;
        at = rule.next - 1;
      }
      break;
    }
  }
  return 0;
}

void FakeDataplane::put_flow(uint64_t tag, uint16_t slot) {
  maps::flow_entry &entry = flows_[tag % flows_.size()].entry[0];
  __atomic_store_n(&entry.word, tag << FLOW_TAG_SHIFT | FLOW_STATE_USED << FLOW_STATE_SHIFT | slot, __ATOMIC_RELAXED);
}

void FakeDataplane::clear_flows() {
  for (maps::flow_line &line : flows_)
    for (maps::flow_entry &entry : line.entry) __atomic_store_n(&entry.word, uint64_t{0}, __ATOMIC_RELAXED);
}

Result<uint64_t> FakeNextHops::watch(const std::string &address, Callback callback) {
  watches_[next_] = {address, std::move(callback)};
  return next_++;
}

void FakeNextHops::set(const std::map<std::string, NextHop> &hops) {
  std::vector<std::pair<Callback, NextHop>> calls;
  for (const auto &[id, watch] : watches_)
    if (const auto hop = hops.find(watch.first); hop != hops.end()) calls.emplace_back(watch.second, hop->second);
  for (const auto &[callback, hop] : calls) callback(hop);
  told_();
}

}  // namespace catsbpf::agent
