// SPDX-License-Identifier: Apache-2.0
#include "agent/api/new_flow.h"

#include <cmath>

namespace catsbpf::agent {

namespace {

void decide(v1::Explanation &explanation, const char *by, uint32_t csci_id, const std::string &rule) {
  explanation.set_decided_by(by);
  explanation.set_csci_id(csci_id);
  explanation.set_rule(rule);
}

// As is_alive() of bpf/select.h: where packets can be sent.
bool takes_packets(const Parts &parts, uint32_t cs_id, uint32_t csci_id) {
  const uint16_t slot = parts.programmer->slot(cs_id, csci_id);
  if (slot == SLOT_PLAIN) return false;
  const auto &instance = parts.dataplane->instances()[slot];
  if (instance.state != maps::INSTANCE_ACTIVE && instance.state != maps::INSTANCE_DRAINING) return false;
  const auto &path = parts.dataplane->paths()[instance.path];
  return path.state == maps::PATH_RESOLVED || path.state == maps::PATH_UNRESOLVED;
}

void session_of_client(v1::Explanation &explanation, const Parts &parts) {
  const auto pinned = parts.selector->requests().pinned(explanation.client(), explanation.cs_id());
  if (!pinned) return;
  const std::string request = "request " + std::to_string(pinned->id());
  const std::string instance = "CSCI-ID " + std::to_string(pinned->csci_id());
  if (!takes_packets(parts, explanation.cs_id(), pinned->csci_id())) {
    explanation.set_rule(explanation.rule() + "; " + request + " pins this client to " + instance + ", which is dead");
    return;
  }
  const auto left_s = std::llround(std::max(0.0, pinned->expires_in_s()));
  decide(explanation, "session", pinned->csci_id(),
         "session: " + request + " pins new flows of " + explanation.client() + " to " + instance + " for another " +
             std::to_string(left_s) + " s; the ring has no say");
}

}  // namespace

void what_comes_first(v1::Explanation &explanation, const Parts &parts) {
  const bool bypass = parts.programmer->bypass();
  if (explanation.decided_by() == "request") {  // what would be granted, whatever becomes of the flows
    if (bypass) explanation.set_rule(explanation.rule() + "; bypass is on: a grant pins nothing until it is off");
    return;
  }
  if (bypass)
    return decide(explanation, "bypass", 0,
                  "bypass is on: new flows follow plain routing; neither session nor ring has a say");
  if (!explanation.client().empty()) session_of_client(explanation, parts);
  const std::string state = parts.programmer->state();
  if (explanation.decided_by() == "ring" && state != "in sync")
    explanation.set_rule(explanation.rule() + "; the data plane is not there yet: " + state);
}

}  // namespace catsbpf::agent
