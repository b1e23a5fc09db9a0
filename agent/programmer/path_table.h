// SPDX-License-Identifier: Apache-2.0
// Paths to the forwarders. In: next hops from netlink. Out: entries of `paths`, complete before they are
// pointed to. A changed header is a new entry to which the instances move; the old one is free after the
// grace. MTU and state change in place.
//
// Paths share interfaces and next hops, so that one event changes several: their states are stored back to back, deaths
// first. Else packets in between would move flows to the path whose turn has not come.
//
// A path is dead, and its flows move, when this router knows no way: no route by an interface that is up, a next hop
// that the kernel has given up on, or no forwarder of that address any more. It is unresolved, and packets take the
// tc way, while the kernel asks for the next hop. Lost probes say nothing of it: they are the selector's affair.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "agent/netlink/next_hops.h"
#include "agent/programmer/outage.h"
#include "agent/programmer/pools.h"
#include "agent/programmer/programmer.h"
#include "agent/programmer/slots.h"
#include "util/result.h"

namespace catsbpf::agent {

class PathTable {
 public:
  // `freed`: an entry is out of use, call collect() after a grace period.
  PathTable(Dataplane &dataplane, NextHops &next_hops, Slots &slots, std::function<void()> freed);
  ~PathTable();
  PathTable(const PathTable &) = delete;
  PathTable &operator=(const PathTable &) = delete;

  // Adopts the paths that are programmed, makes those that are missing (unresolved), and watches.
  Result<> open(const maps::address &tunnel, uint32_t vni, const std::vector<ForwarderAddress> &forwarders);

  // The path of a forwarder by name; 0: not configured.
  uint16_t index(const std::string &egress) const;
  // Frees entries that no forwarder and no instance uses. Only after a grace period.
  void collect();
  std::vector<Programmer::PathView> views() const;
  // With each news of a path.
  void on_change(std::function<void(const std::string &egress, bool alive)> callback) { change_ = std::move(callback); }
  // One text for each path that is dead, or has been unresolved for longer than `patience`; the first time it is
  // logged.
  std::vector<std::string> outages(std::chrono::milliseconds patience);

 private:
  struct Forwarder {
    ForwarderAddress name;
    maps::address address{};
    uint16_t index = 0;
    uint64_t watch = 0;
    NextHop hop;
    bool news = false;  // `hop` is not in the table yet
    Outage outage;
  };
  struct Change {
    Forwarder *forwarder;
    maps::path entry;
    uint8_t before = 0;
    uint8_t in_place = 0;   // state for the entry that packets use now
    bool replaced = false;  // then by another entry
  };
  std::vector<Change> changes();
  void bury_orphans();
  Result<uint16_t> adopt_or_make(const maps::address &egress);
  void follow();
  void replace(Forwarder &forwarder, const maps::path &entry);

  Dataplane &dataplane_;
  NextHops &next_hops_;
  Slots &slots_;
  std::function<void()> freed_;
  std::function<void(const std::string &, bool)> change_ = [](const std::string &, bool) {};
  maps::address tunnel_{};
  uint32_t vni_ = 0;
  IndexPool pool_{1, MAX_PATHS};
  std::vector<Forwarder> forwarders_;
};

}  // namespace catsbpf::agent
