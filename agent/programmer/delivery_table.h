// SPDX-License-Identifier: Apache-2.0
// Deliveries: the local instances of an egress. In: what the control plane wants, by source, and next
// hops from netlink. Out: entries of `deliveries`. A changed MAC is a second entry beside the first (packets
// read all probes); the first goes then, and its place is used again after a grace period.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "agent/netlink/next_hops.h"
#include "agent/programmer/outage.h"
#include "agent/programmer/wanted.h"
#include "util/result.h"

namespace catsbpf::agent {

class DeliveryTable {
 public:
  // `freed`: a place is out of use, call collect() after a grace period. `changed`: undeliverable() did.
  DeliveryTable(Dataplane &dataplane, NextHops &next_hops, std::function<void()> freed, std::function<void()> changed);
  ~DeliveryTable();
  DeliveryTable(const DeliveryTable &) = delete;
  DeliveryTable &operator=(const DeliveryTable &) = delete;

  // What `source` wants, whole. Not programmed before apply().
  void put(const std::string &source, std::vector<WantedDelivery> deliveries);
  // Programs what is wanted and removes what is not, entries of an earlier agent included.
  void apply();
  void collect();
  // What could not be programmed.
  std::vector<std::string> errors() const;
  // Instances that no packet can reach from here: there is no way to the contact, or none without a gateway. One whose
  // neighbour does not answer, or of which nothing is known yet, is not among them.
  const std::set<cmas::RowKey> &undeliverable() const { return undeliverable_; }
  // One text for each delivery whose contact has not been resolved for longer than `patience`; the first time it is
  // logged.
  std::vector<std::string> outages(std::chrono::milliseconds patience);

 private:
  using Key = cmas::RowKey;
  struct Delivery {
    WantedDelivery wanted;
    maps::address contact{}, contact6{};
    uint64_t watch = 0;
    std::string error;
    NextHop hop;
    Outage outage;
  };
  void start(const Key &key, const WantedDelivery &wanted);
  void stop(const Key &key);
  void follow(const Key &key, const NextHop &hop);
  void set_deliverable(const Key &key, bool deliverable);
  Result<> program(const Key &key, const maps::delivery &entry);
  int find(const Key &key) const;
  int free_place(uint32_t csci_id) const;
  void drop(int index);
  void drop_others(const Key &key, int keep);

  Dataplane &dataplane_;
  NextHops &next_hops_;
  std::function<void()> freed_, changed_;
  std::map<std::string, std::vector<WantedDelivery>> wanted_;  // by source
  std::map<Key, Delivery> deliveries_;
  std::set<Key> undeliverable_;
  std::vector<std::string> conflicts_;
  std::set<int> cooling_;  // free, but a packet may still read them
};

}  // namespace catsbpf::agent
