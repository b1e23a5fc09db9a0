// SPDX-License-Identifier: Apache-2.0
// Selection (R041-R045, R087): pure functions from a snapshot to a decision. The reasons for all
// candidates come from the same run that decides.
#pragma once

#include <string>
#include <vector>

#include "cmas/model.h"
#include "cmas/ring.h"
#include "cmas/proto/service.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

// R042: (Service ID, Gas, Cost, Delay); the service is given beside it.
struct Request {
  uint32_t gas = 1;
  double cost = 0;
  std::optional<Micros> delay;  // empty: any
};

// What selection says of one candidate.
struct Verdict {
  Candidate candidate;
  bool eligible = false;
  double score = 0;     // request: the figure that the policy compares; ring: weight
  std::string reason;   // "free 0 < 1 asked", "real delay 25.1 ms > 20 ms asked", "cost distance 0.5"
};

struct Decision {
  std::string policy;            // its name
  std::string rule;              // one sentence: which rule decided
  std::optional<std::size_t> winner;  // index into verdicts
  std::vector<Verdict> verdicts;  // all candidates, best first
};

// Request policies: "closest-cost" (R043, default), "cheapest", "fastest". Ties: lower real delay, more
// free GAS, lower CSCI-ID. Fails on an unknown policy name, naming the known ones.
// Gas scales the computing time by the service's parallel fraction (decision X5).
Result<Decision> select_for_request(const v1::Service &service, const std::vector<Candidate> &candidates,
                                    const Request &request);

// Ring policy "balanced" (default): weight = free^a / (real_delay^b * cost^c), R127 hysteresis is the
// caller's (see RingKeeper). Candidates not measured yet are not eligible while another one is.
Result<Decision> weigh_for_ring(const v1::Service &service, const std::vector<Candidate> &candidates);

// The members that weigh_for_ring made eligible.
std::vector<RingMember> members_of(const Decision &decision);

// R043 with decision X5: computing time of the service for `gas` slots.
Micros computing_time(const v1::Service &service, uint32_t gas);

// Keeps the ring of one service and its hysteresis (R127): a new weighing changes the ring only where
// the set of members changes or a member's share moves by more than `threshold` of itself.
class RingKeeper {
 public:
  explicit RingKeeper(double threshold = 0.1) : threshold_(threshold) {}

  // True when the ring changed.
  bool update(const std::vector<RingMember> &members);
  const Ring &ring() const { return ring_; }

 private:
  double threshold_;
  Ring ring_;
  std::vector<RingMember> weighed_;  // that ring_ was built from
};

}  // namespace catsbpf::cmas
