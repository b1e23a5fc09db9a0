// SPDX-License-Identifier: Apache-2.0
// In: a request and the candidates. Out: the instance for it (R043), or why none.
#include <cmath>

#include "cmas/eligibility.h"

namespace catsbpf::cmas {

namespace {

struct RequestPolicy {
  const char *name;
  const char *figure;                                                   // what it compares
  double (*score)(const Candidate &candidate, const Request &request);  // lowest wins
};

double milliseconds(const Candidate &candidate) {
  const auto delay = candidate.real_delay();
  return delay ? static_cast<double>(delay->count()) / 1000 : 0;  // nobody is measured: all alike
}

constexpr RequestPolicy kPolicies[] = {
    {"closest-cost", "cost distance",
     [](const Candidate &candidate, const Request &request) { return std::abs(candidate.cost - request.cost); }},
    {"cheapest", "cost", [](const Candidate &candidate, const Request &) { return candidate.cost; }},
    {"fastest", "real delay", [](const Candidate &candidate, const Request &) { return milliseconds(candidate); }},
};

const RequestPolicy *find_policy(const std::string &name) {
  for (const auto &policy : kPolicies)
    if (name.empty() || name == policy.name) return &policy;
  return nullptr;
}

std::string figure(const RequestPolicy &policy, const Verdict &verdict) {
  std::string out = std::string(policy.figure) + " " + text(verdict.score);
  if (std::string(policy.name) == "fastest") out += " ms";
  if (!verdict.candidate.network_delay) out += ", delay not measured yet";
  return out;
}

// Which rule put the first before the second.
std::string tie_rule(const Verdict &first, const Verdict &second) {
  if (first.score != second.score) return "";
  if (first.candidate.real_delay() != second.candidate.real_delay()) return ", tie decided by lower real delay";
  if (first.candidate.gas != second.candidate.gas) return ", tie decided by more free GAS";
  return ", tie decided by lower CSCI-ID";
}

Result<> check_request(const v1::Service &service, const Request &request) {
  const std::string failed = "cannot select for " + service.service_id() + ": ";
  if (!(request.cost >= 0 && std::isfinite(request.cost)))
    return Error{failed + "asked cost " + text(request.cost) + " is not a number from 0 up", "give a cost >= 0"};
  if (request.delay && *request.delay < Micros(0))
    return Error{failed + "asked delay is negative", "give a delay > 0, or none for any"};
  return done();
}

}  // namespace

Result<Decision> select_for_request(const v1::Service &service, const std::vector<Candidate> &candidates,
                                    const Request &request) {
  const RequestPolicy *policy = find_policy(service.policy().request());
  if (!policy) return unknown_policy(service, "request", service.policy().request(), "closest-cost, cheapest, fastest");
  if (auto checked = check_request(service, request); !checked) return checked.error();

  Decision decision{.policy = policy->name};
  decision.verdicts = judge(service, candidates, {.gas = std::max(request.gas, 1u), .delay = request.delay});
  for (auto &verdict : decision.verdicts) {
    if (!verdict.eligible) continue;
    verdict.score = policy->score(verdict.candidate, request);
    verdict.reason = figure(*policy, verdict);
  }
  rank(decision.verdicts, Order::kLowestScore);
  const std::size_t eligible = count_eligible(decision.verdicts);
  if (eligible == 0) {
    decision.rule = rule_of_none(service, decision.verdicts);
    return decision;
  }
  decision.winner = 0;
  const Verdict &best = decision.verdicts[0];
  decision.rule = decision.policy + ": CSCI-ID " + std::to_string(best.candidate.key.csci_id) +
                  (eligible == 1 ? " is the only one that fits, " : " has the lowest ") + best.reason + " of " +
                  std::to_string(candidates.size()) + (candidates.size() == 1 ? " candidate" : " candidates");
  if (eligible > 1) decision.rule += tie_rule(best, decision.verdicts[1]);
  return decision;
}

}  // namespace catsbpf::cmas
