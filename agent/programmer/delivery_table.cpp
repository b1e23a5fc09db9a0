// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/delivery_table.h"

#include <cstring>

#include "maps/tables.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

std::string describe(const WantedDelivery &wanted) {
  return "CSCI-ID " + std::to_string(wanted.csci_id) + " of CS-ID " + std::to_string(wanted.cs_id);
}

void store_state(maps::delivery &entry, uint8_t state) { __atomic_store_n(&entry.state, state, __ATOMIC_RELEASE); }

bool same_but_state(maps::delivery a, const maps::delivery &b) {
  a.state = b.state;
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace

DeliveryTable::DeliveryTable(Dataplane &dataplane, NextHops &next_hops, std::function<void()> freed,
                             std::function<void()> changed)
    : dataplane_(dataplane), next_hops_(next_hops), freed_(std::move(freed)), changed_(std::move(changed)) {}

DeliveryTable::~DeliveryTable() {
  for (const auto &[key, delivery] : deliveries_)
    if (delivery.watch) next_hops_.unwatch(delivery.watch);
}

int DeliveryTable::find(const Key &key) const {
  const auto table = dataplane_.deliveries();
  for (uint32_t probe = 0; probe < DELIVERY_PROBES; ++probe) {
    const uint32_t index = (maps::delivery_hash(key.csci_id) + probe) % MAX_DELIVERIES;
    const maps::delivery &entry = table[index];
    if (entry.state != maps::DELIVERY_FREE && entry.cs_id == key.cs_id && entry.csci_id == key.csci_id)
      return static_cast<int>(index);
  }
  return -1;
}

// The entry before, and what an agent left that died between the two.
void DeliveryTable::drop_others(const Key &key, int keep) {
  const auto table = dataplane_.deliveries();
  for (uint32_t probe = 0; probe < DELIVERY_PROBES; ++probe) {
    const int index = static_cast<int>((maps::delivery_hash(key.csci_id) + probe) % MAX_DELIVERIES);
    const maps::delivery &entry = table[index];
    if (index != keep && entry.state != maps::DELIVERY_FREE && entry.cs_id == key.cs_id && entry.csci_id == key.csci_id)
      drop(index);
  }
}

int DeliveryTable::free_place(uint32_t csci_id) const {
  for (uint32_t probe = 0; probe < DELIVERY_PROBES; ++probe) {
    const int index = static_cast<int>((maps::delivery_hash(csci_id) + probe) % MAX_DELIVERIES);
    if (dataplane_.deliveries()[index].state == maps::DELIVERY_FREE && !cooling_.contains(index)) return index;
  }
  return -1;
}

void DeliveryTable::drop(int index) {
  store_state(dataplane_.deliveries()[index], maps::DELIVERY_FREE);
  cooling_.insert(index);
  freed_();
}

void DeliveryTable::collect() { cooling_.clear(); }

void DeliveryTable::put(const std::string &source, std::vector<WantedDelivery> deliveries) {
  wanted_[source] = std::move(deliveries);
}

void DeliveryTable::apply() {
  std::map<Key, WantedDelivery> wanted;
  conflicts_.clear();
  for (const auto &[source, list] : wanted_)
    for (const WantedDelivery &delivery : list) {
      auto [it, fresh] = wanted.emplace(Key{delivery.cs_id, delivery.csci_id}, delivery);
      if (!fresh && it->second != delivery)
        conflicts_.push_back("two contacts for " + describe(delivery) + ": " + it->second.contact + " and " +
                             delivery.contact);
    }

  std::vector<Key> gone;
  for (const auto &[key, delivery] : deliveries_)
    if (auto it = wanted.find(key); it == wanted.end() || it->second != delivery.wanted) gone.push_back(key);
  for (const Key &key : gone) stop(key);
  for (const auto &[key, delivery] : wanted)
    if (!deliveries_.contains(key)) start(key, delivery);

  // What nobody wants, entries of an earlier agent among them.
  const auto table = dataplane_.deliveries();
  for (uint32_t index = 0; index < table.size(); ++index)
    if (table[index].state != maps::DELIVERY_FREE && !deliveries_.contains({table[index].cs_id, table[index].csci_id}))
      drop(static_cast<int>(index));
}

void DeliveryTable::stop(const Key &key) {
  if (deliveries_[key].watch) next_hops_.unwatch(deliveries_[key].watch);
  set_deliverable(key, true);
  deliveries_.erase(key);  // the entry itself goes in apply(), or is replaced by what the key wants now
}

void DeliveryTable::start(const Key &key, const WantedDelivery &wanted) {
  Delivery &delivery = deliveries_[key];
  delivery.wanted = wanted;
  const auto contact = maps::parse_address(wanted.contact);
  if (!contact) {
    delivery.error = "contact '" + wanted.contact + "' of " + describe(wanted) + " is no address";
    set_deliverable(key, false);
    return;
  }
  delivery.contact = *contact;
  if (!maps::is_ipv4(*contact)) delivery.contact6 = *contact;
  if (const auto contact6 = maps::parse_address(wanted.contact6)) delivery.contact6 = *contact6;
  delivery.outage.update(false);
  auto watch = next_hops_.watch(wanted.contact, [this, key](const NextHop &hop) { follow(key, hop); });
  if (watch)
    delivery.watch = *watch;
  else
    delivery.error = watch.error().what;
  set_deliverable(key, watch.ok());
}

void DeliveryTable::set_deliverable(const Key &key, bool deliverable) {
  const bool differs = deliverable ? undeliverable_.erase(key) > 0 : undeliverable_.insert(key).second;
  if (differs) changed_();
}

void DeliveryTable::follow(const Key &key, const NextHop &hop) {
  auto it = deliveries_.find(key);
  if (it == deliveries_.end()) return;
  Delivery &delivery = it->second;
  delivery.hop = hop;
  delivery.outage.update(hop.resolved || !hop.gateway.empty());  // a gateway is an error of its own
  if (!hop.gateway.empty()) {
    delivery.error = "contact " + delivery.wanted.contact + " of " + describe(delivery.wanted) +
                     " is not on-link, the route leads by " + hop.gateway;
    log::error("{}; delivery is direct only: give an address on a service interface of this egress", delivery.error);
    if (const int index = find(key); index >= 0) drop(index);
    set_deliverable(key, false);
    return;
  }
  maps::delivery entry{};
  entry.cs_id = key.cs_id;
  entry.csci_id = key.csci_id;
  entry.contact = delivery.contact;
  entry.contact6 = delivery.contact6;
  entry.ifindex = hop.ifindex;
  entry.state = hop.resolved ? maps::DELIVERY_RESOLVED : maps::DELIVERY_UNRESOLVED;
  std::memcpy(entry.ethernet, hop.mac.data(), 6);
  std::memcpy(entry.ethernet + 6, hop.source_mac.data(), 6);
  auto programmed = program(key, entry);
  delivery.error = programmed ? "" : programmed.error().what;
  set_deliverable(key, hop.routed && programmed.ok());
}

Result<> DeliveryTable::program(const Key &key, const maps::delivery &entry) {
  const auto table = dataplane_.deliveries();
  const int current = find(key);
  if (current >= 0 && (same_but_state(table[current], entry) ||
                       (entry.state == maps::DELIVERY_UNRESOLVED && table[current].ifindex == entry.ifindex))) {
    if (table[current].state != entry.state)
      log::info("delivery changed cs_id={} csci_id={} resolved={}", key.cs_id, key.csci_id,
                entry.state == maps::DELIVERY_RESOLVED);
    store_state(table[current], entry.state);
    drop_others(key, current);
    return done();
  }
  const int place = free_place(key.csci_id);
  if (place < 0)
    return Error{"no place for the delivery of CSCI-ID " + std::to_string(key.csci_id) + " within " +
                 std::to_string(DELIVERY_PROBES) + " probes"};
  maps::delivery waiting = entry;
  waiting.state = maps::DELIVERY_FREE;
  table[place] = waiting;
  store_state(table[place], entry.state);
  drop_others(key, place);
  log::info("delivery programmed cs_id={} csci_id={} contact={} resolved={}", key.cs_id, key.csci_id,
            maps::format_address(entry.contact), entry.state == maps::DELIVERY_RESOLVED);
  return done();
}

std::vector<std::string> DeliveryTable::outages(std::chrono::milliseconds patience) {
  std::vector<std::string> all;
  for (auto &[key, delivery] : deliveries_) {
    if (!delivery.outage.lasts(patience)) continue;
    all.push_back(
        "delivery to " + describe(delivery.wanted) + " is unresolved: contact " + delivery.wanted.contact +
        (delivery.hop.routed ? " does not answer on " + delivery.hop.interface : " is on no interface that is up"));
    delivery.outage.say(all.back());
  }
  return all;
}

std::vector<std::string> DeliveryTable::errors() const {
  std::vector<std::string> errors = conflicts_;
  for (const auto &[key, delivery] : deliveries_)
    if (!delivery.error.empty()) errors.push_back(delivery.error);
  return errors;
}

}  // namespace catsbpf::agent
