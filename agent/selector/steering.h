// SPDX-License-Identifier: Apache-2.0
// Where the new flows of one service go. Comes in: the service and its candidates, as the whole service
// table has them. Goes out: a WantedService whenever the data plane must change, and one sentence on
// what changed and why. No I/O.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/programmer/wanted.h"
#include "cmas/selection.h"

namespace catsbpf::agent {

// What is said of a service's instances names at most so many, then "and 3 more".
inline constexpr std::size_t kMostNamed = 8;

struct Share {
  uint32_t csci_id = 0;
  double share = 0;  // of the ring, 0..1
};
// "csci 1 75%, csci 3 25%" in order of CSCI-ID, the largest ones where there are many; "none".
std::string text(std::vector<Share> shares);

class ServiceSteering {
 public:
  explicit ServiceSteering(double ring_threshold) : keeper_(ring_threshold) {}

  struct Outcome {
    std::optional<WantedService> wanted;  // the data plane must change
    std::string shift;                    // "csci 1 75%, csci 3 25% -> csci 3 100%", "" : new flows go as before
    std::string why;                      // "csci 1 free 3 -> 0", at most kMostNamed instances
  };
  // `forwarders`: egresses to which a path is configured. Fails on a policy that does not exist; nothing changed.
  Result<Outcome> update(const v1::Service &service, std::vector<cmas::Candidate> candidates,
                         const std::set<std::string> &forwarders);

  // Instances that keep their flows though no row leads to them: their origin was silent beyond its hold time
  // (site: its), their row names an egress without a path now (egress: the last one that had a path), or an agent
  // before this one programmed them (site: "").
  struct Withdrawn {
    std::string egress, site;
    bool gone = false;  // unless the next update finds a row of it
  };
  void inherit(uint32_t csci_id, const std::string &egress) { withdrawn_[csci_id] = {egress, ""}; }
  const std::map<uint32_t, Withdrawn> &withdrawn() const { return withdrawn_; }
  // The site has spoken again (or all have, ""): what it does not name is gone, and its flows move with the
  // next update. True when there was any.
  bool forget_withdrawn(const std::string &site);

  const std::shared_ptr<const cmas::Ring> &ring() const { return ring_; }
  // Share of the ring, 0..1.
  double share(uint32_t csci_id) const;
  bool in_ring(uint32_t csci_id) const { return share(csci_id) > 0; }
  std::string shares() const;  // as text() has them

 private:
  struct Seen {  // what the last update saw of a candidate
    uint32_t gas = 0;
    double cost = 0;
    cmas::RowState state = cmas::RowState::kActive;
    std::optional<cmas::Micros> real_delay;
    std::string egress, site;
  };
  std::string differences(const std::map<uint32_t, Seen> &now) const;
  std::vector<WantedInstance> instances(const std::vector<cmas::Candidate> &candidates,
                                        const std::set<std::string> &forwarders) const;
  void keep_withdrawn(const std::map<uint32_t, Seen> &now, const std::vector<cmas::Verdict> &pathless,
                      const std::set<std::string> &forwarders);

  cmas::RingKeeper keeper_;
  std::shared_ptr<const cmas::Ring> ring_;
  std::map<uint32_t, Seen> seen_;
  std::map<uint32_t, Withdrawn> withdrawn_;
  std::vector<WantedInstance> programmed_;
  std::string definition_;  // locators and affinity, serialized
  bool handed_over_ = false;
};

// The candidates that a path leads to, and verdicts on the others, which selection need not see.
struct Reachable {
  std::vector<cmas::Candidate> candidates;
  std::vector<cmas::Verdict> unreachable;
};
Reachable reachable(std::vector<cmas::Candidate> candidates, const std::set<std::string> &forwarders);

}  // namespace catsbpf::agent
