// SPDX-License-Identifier: Apache-2.0
// Selection (R041-R045, R087): pure functions from a snapshot to a decision. The reasons for all
// candidates come from the same run that decides.
#pragma once

#include <string>
#include <vector>

#include "cmas/model.h"
#include "cmas/proto/service.pb.h"
#include "cmas/ring.h"
#include "cmas/ring_keeper.h"
#include "util/result.h"

namespace catsbpf::cmas {

// R042: (Service ID, Gas, Cost, Delay); the service is given beside it.
struct Request {
  uint32_t gas = 1;  // 0 means 1
  double cost = 0;
  std::optional<Micros> delay{};  // empty: any
};

// What selection says of one candidate. Of a request, the candidate's computing time is that for the
// asked Gas (decision X5), so that candidate.real_delay() is the Real-Delay of the answer.
struct Verdict {
  Candidate candidate;
  bool eligible = false;
  double score = 0;      // request: the figure that the policy compares; ring: weight
  std::string reason{};  // "free 0 < 1 asked", "real delay 25.1 ms > 20 ms asked", "cost distance 0.5"
};

struct Decision {
  std::string policy{};  // its name
  std::string rule{};    // one sentence: which rule decided
  // Request: the best. Ring: the only eligible one, else empty. Index into verdicts.
  std::optional<std::size_t> winner{};
  std::vector<Verdict> verdicts{};  // all candidates, best first; then those not eligible, by CSCI-ID
};

// Request policies: "closest-cost" (R043, default), "cheapest", "fastest". Ties: lower real delay, more
// free GAS, lower CSCI-ID. Eligible: takes new flows; free >= Gas; real delay within what is asked and
// what the service's SLA says; measured, or nobody is and no bound is set.
// Fails on an unknown policy name, naming the known ones, and on a cost or delay that is negative or not
// finite.
// Gas scales the computing time by the service's parallel fraction (decision X5).
Result<Decision> select_for_request(const v1::Service &service, const std::vector<Candidate> &candidates,
                                    const Request &request);

// Ring policy "balanced" (default): weight = free^a / (real_delay^b * cost^c), R127 hysteresis is the
// caller's (see RingKeeper). Candidates not measured yet are not eligible while another one is.
// A real delay below 1 us counts as 1 us; a cost of 0 as a tenth of the lowest cost above 0 among the
// eligible (as 1 when none is). Fails on an unknown policy, or exponents that are negative or not finite.
Result<std::vector<RingMember>> ring_members(const v1::Service &service, const std::vector<Candidate> &candidates);
// The same, explained: also those that are not eligible, with all reasons (which cost more than the weights do).
Result<Decision> weigh_for_ring(const v1::Service &service, const std::vector<Candidate> &candidates);

// R043 with decision X5: computing time of the service for `gas` slots.
Micros computing_time(const v1::Service &service, uint32_t gas);

}  // namespace catsbpf::cmas
