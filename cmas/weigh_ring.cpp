// SPDX-License-Identifier: Apache-2.0
// In: a service's candidates. Out: their weights for its ring, with reasons.
#include <algorithm>
#include <cmath>

#include "cmas/eligibility.h"

namespace catsbpf::cmas {

namespace {

struct Exponents {
  double a, b, c;
};

Result<Exponents> exponents_of(const v1::Service &service) {
  const auto &policy = service.policy();
  for (const double exponent : {policy.a(), policy.b(), policy.c()})
    if (!(exponent >= 0 && std::isfinite(exponent)))
      return Error{"cannot weigh for " + service.service_id() + ": exponent " + text(exponent) +
                       " of its policy is not a number from 0 up",
                   "set a, b and c of the policy to numbers > 0, or leave them out for 1"};
  const auto or_one = [](double exponent) { return exponent == 0 ? 1.0 : exponent; };
  return Exponents{or_one(policy.a()), or_one(policy.b()), or_one(policy.c())};
}

// pow() may differ between C libraries in the last bit; 1, the usual exponent, must not.
double power(double base, double exponent) { return exponent == 1 ? base : std::pow(base, exponent); }

double delay_us(const Candidate &candidate) {
  const Micros delay = candidate.real_delay().value_or(candidate.computing_time);
  return static_cast<double>(std::max(delay, Micros(1)).count());
}

// What a cost of 0 counts as.
double floor_of_cost(const std::vector<Verdict> &verdicts) {
  double lowest = HUGE_VAL;
  for (const auto &verdict : verdicts)
    if (verdict.eligible && verdict.candidate.cost > 0) lowest = std::min(lowest, verdict.candidate.cost);
  return std::isfinite(lowest) ? lowest / 10 : 1;
}

double weight_of(const Candidate &candidate, double cost_floor, const Exponents &exponents) {
  const double cost = candidate.cost > 0 ? candidate.cost : cost_floor;
  const double weight =
      power(candidate.gas, exponents.a) / (power(delay_us(candidate) / 1000, exponents.b) * power(cost, exponents.c));
  // Large exponents must not end in 0 or infinity.
  return std::isnan(weight) ? 1e-150 : std::clamp(weight, 1e-150, 1e150);
}

std::string reason_of(const Verdict &verdict) {
  const Candidate &candidate = verdict.candidate;
  const auto delay = candidate.real_delay();
  return "weight " + text(verdict.score) + " from free " + std::to_string(candidate.gas) + ", " +
         (delay ? "real delay " + text(*delay) : std::string("delay not measured yet")) + ", cost " +
         text(candidate.cost);
}

// A verdict per candidate, in their order; those that are eligible have their weight as score.
Result<std::vector<Verdict>> weigh(const v1::Service &service, const std::vector<Candidate> &candidates) {
  const std::string &policy = service.policy().ring();
  if (!policy.empty() && policy != "balanced") return unknown_policy(service, "ring", policy, "balanced");
  const auto exponents = exponents_of(service);
  if (!exponents) return exponents.error();

  auto verdicts = judge(service, candidates, {});
  const double cost_floor = floor_of_cost(verdicts);
  for (auto &verdict : verdicts)
    if (verdict.eligible) verdict.score = weight_of(verdict.candidate, cost_floor, *exponents);
  return verdicts;
}

}  // namespace

Result<std::vector<RingMember>> ring_members(const v1::Service &service, const std::vector<Candidate> &candidates) {
  const auto verdicts = weigh(service, candidates);
  if (!verdicts) return verdicts.error();
  std::vector<RingMember> members;
  for (const auto &verdict : *verdicts)
    if (verdict.eligible) members.push_back({verdict.candidate.key.csci_id, verdict.score});
  return members;
}

Result<Decision> weigh_for_ring(const v1::Service &service, const std::vector<Candidate> &candidates) {
  auto verdicts = weigh(service, candidates);
  if (!verdicts) return verdicts.error();
  Decision decision{.policy = "balanced", .verdicts = std::move(*verdicts)};
  for (auto &verdict : decision.verdicts)
    if (verdict.eligible) verdict.reason = reason_of(verdict);
  rank(decision.verdicts, Order::kHighestScore);
  const std::size_t eligible = count_eligible(decision.verdicts);
  if (eligible == 0) {
    decision.rule = rule_of_none(service, decision.verdicts);
  } else if (eligible == 1) {
    decision.winner = 0;
    decision.rule = "balanced: all new flows go to CSCI-ID " +
                    std::to_string(decision.verdicts[0].candidate.key.csci_id) + ", the only instance that takes any";
  } else {
    decision.rule = "balanced: new flows are spread over " + std::to_string(eligible) +
                    " instances by weight = free / (real delay x cost)";
  }
  return decision;
}

}  // namespace catsbpf::cmas
