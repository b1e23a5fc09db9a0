// SPDX-License-Identifier: Apache-2.0
// Which candidates may take new flows, with the reason where one may not: the same rules for requests
// and for rings. Private to cmas.
#pragma once

#include <string>
#include <vector>

#include "cmas/selection.h"

namespace catsbpf::cmas {

struct Demand {
  uint32_t gas = 1;
  std::optional<Micros> delay{};  // what a request asks
};

// A verdict per candidate: eligible, or the reason why not. Computing times become those for demand.gas.
std::vector<Verdict> judge(const v1::Service &service, const std::vector<Candidate> &candidates, const Demand &demand);

// Eligible ones by `better`, ties by lower real delay, more free GAS, lower CSCI-ID; then the others by CSCI-ID.
enum class Order { kLowestScore, kHighestScore };
void rank(std::vector<Verdict> &verdicts, Order order);
std::size_t count_eligible(const std::vector<Verdict> &verdicts);

// Why nobody is eligible, in one sentence.
std::string rule_of_none(const v1::Service &service, const std::vector<Verdict> &verdicts);

// For people: "25.1 ms", "20 us"; "0.5", "7".
std::string text(Micros delay);
std::string text(double number);
// Error for a policy that does not exist.
Error unknown_policy(const v1::Service &service, const std::string &kind, const std::string &policy,
                     const std::string &known);

}  // namespace catsbpf::cmas
