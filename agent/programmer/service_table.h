// SPDX-License-Identifier: Apache-2.0
// Services as they are staged for the next view: records, locators, rings and instance slots. In: wanted
// services. Out: contents of view sides; nothing here flips. Staging touches only what no packet can see
// yet, except for the states of instances, which count at once.
//
// What the view in force holds is freed in two steps: leave() collects what the view about to be flipped
// away from used, and the caller runs what it returns after the grace of that flip.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "agent/programmer/locator_index.h"
#include "agent/programmer/path_table.h"
#include "agent/programmer/pools.h"
#include "agent/programmer/programmer.h"
#include "agent/programmer/slots.h"
#include "agent/programmer/wanted.h"
#include "util/result.h"

namespace catsbpf::agent {

class ServiceTable {
 public:
  ServiceTable(Dataplane &dataplane, Slots &slots, PathTable &paths, Programmer::Totals &totals);

  // Adopts the view in force. On failure the table must not be used.
  Result<> open();
  // This forwarder's own rules: its tunnel address and its peers.
  Result<> set_own_rules(const LocatorRules &rules);

  void put(WantedService service);
  void remove(uint32_t cs_id);
  // Draining, dead, another egress: of instances that are programmed already, without a new view. Of one service, of
  // all.
  void apply_states(uint32_t cs_id);
  void apply_states();
  // Services of an earlier agent that nobody wanted by now are removed by the next stage().
  void forget_unwanted();

  // Makes what is wanted ready to publish; what fails keeps what it had, and its error; it is tried again
  // when it is put anew or with `retry`. False: something failed just now.
  bool stage(bool retry);
  bool dirty() const { return !pending_.empty(); }
  // The next view differs from the one in force.
  bool changed() const { return changed_; }
  // Writes the side that packets do not see. On failure the side must not be flipped to.
  Result<> write_side(int side);
  // After the flip: what to do when its grace is over.
  std::function<void()> leave();

  std::vector<std::string> errors() const;
  size_t pending() const { return pending_.size(); }

 private:
  struct Service {
    std::string name;
    bool kept = false;                    // wanted by this agent
    bool gone = false;                    // to be removed
    std::optional<WantedService> wanted;  // not staged yet
    std::string error;
    bool staged = false;
    uint32_t handle = 0;
    maps::service_record record{};
    LocatorRules rules;
    std::vector<uint16_t> slots;
    Run run, spare;  // spare: the ring before this one, which no packet sees
  };
  struct Staging;

  Result<> stage_service(Service &service);
  std::optional<uint32_t> take_handle(uint32_t cs_id);
  Result<> take_slots(const WantedService &wanted, Staging &staging);
  Result<> take_run(Service &service, const WantedService &wanted, Staging &staging);
  void undo(Service &service, Staging &staging);
  void write_ring(Run run, const std::vector<uint16_t> &slots);
  bool ring_is(Run run, uint32_t ring_slots, const std::vector<uint16_t> &slots) const;
  void commit(Service &service, Staging &staging);
  void stage_removal(uint32_t cs_id, Service &service);
  void free_spares();
  LocatorRules own_rules() const;  // of the view in force
  void adopt(uint32_t handle, const maps::service_record &record, LocatorRules rules);

  Dataplane &dataplane_;
  Slots &slots_;
  PathTable &paths_;
  Programmer::Totals &totals_;
  LocatorIndex locators_;
  IndexPool handles_{0, MAX_SERVICES};
  RunPool rings_;
  std::unordered_map<uint32_t, Service> services_;  // by CS-ID
  std::set<uint32_t> pending_;                      // CS-IDs with something to stage

  bool changed_ = false;
  std::set<uint32_t> stale_[2];       // handles whose record on that side is old
  bool stale_all_[2] = {true, true};  // the side as a whole is
  uint64_t locator_version_ = 1;
  uint64_t side_locators_[2] = {0, 0};
  std::unordered_map<uint32_t, maps::service_record> records_;  // by handle, as the next view has them
  std::vector<std::pair<uint32_t, Run>> left_runs_;             // (CS-ID, run) that the next flip leaves
  std::map<uint32_t, uint32_t> left_handles_;                   // CS-ID -> handle, the same
};

}  // namespace catsbpf::agent
