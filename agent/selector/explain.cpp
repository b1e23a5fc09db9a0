// SPDX-License-Identifier: Apache-2.0
// Why new flows of a service go where they go: the same pure functions that decide, run again on the
// table as it is, with the verdicts on all candidates.
#include "agent/selector/path_selector.h"

namespace catsbpf::agent {

namespace {

void add(v1::Explanation &explanation, const cmas::Verdict &verdict, double share) {
  const auto &c = verdict.candidate;
  auto &out = *explanation.add_candidates();
  out.set_csci_id(c.key.csci_id);
  out.set_site(c.site);
  out.set_egress(c.egress);
  out.set_gas(c.state == cmas::RowState::kDead ? 0 : c.gas);
  out.set_cost(c.cost);
  const auto delay = c.real_delay();
  out.set_real_delay_ms(delay ? static_cast<double>(delay->count()) / 1000.0 : -1);
  out.set_eligible(verdict.eligible);
  out.set_score(verdict.score);
  out.set_share(share);
  out.set_reason(verdict.reason);
}

}  // namespace

const ServiceSteering *PathSelector::steering(uint32_t cs_id) const {
  const auto found = steerings_.find(cs_id);
  return found == steerings_.end() ? nullptr : &found->second;
}

Result<v1::Explanation> PathSelector::explain(const std::string &name,
                                              const std::optional<cmas::Request> &request) const {
  const auto *service = table_.service(name);
  if (!service) return Error{"unknown service '" + name + "'", "see catsbpf services", ENOENT};
  auto [candidates, unreachable] = reachable(table_.candidates(service->cs_id()), options_.forwarders);
  auto decision =
      request ? cmas::select_for_request(*service, candidates, *request) : cmas::weigh_for_ring(*service, candidates);
  if (!decision) return decision.error();

  v1::Explanation explanation;
  explanation.set_service_id(service->service_id());
  explanation.set_cs_id(service->cs_id());
  explanation.set_policy(decision->policy);
  explanation.set_rule(decision->rule);
  explanation.set_decided_by(request ? "request" : "ring");
  const auto *ring = steering(service->cs_id());
  uint32_t members = 0, only = 0;
  for (const auto &verdict : decision->verdicts) {
    const uint32_t csci_id = verdict.candidate.key.csci_id;
    const double share = ring ? ring->share(csci_id) : 0;
    if (share > 0) members++, only = csci_id;
    add(explanation, verdict, share);
  }
  for (const auto &verdict : unreachable) add(explanation, verdict, 0);
  if (request && decision->winner)
    explanation.set_csci_id(decision->verdicts[*decision->winner].candidate.key.csci_id);
  else if (!request && members == 1)
    explanation.set_csci_id(only);
  return explanation;
}

std::vector<std::string> PathSelector::warnings() const {
  std::vector<std::string> all;
  if (catalogue_missing_)
    all.push_back(
        "the platform is away and no cached copy of its catalogue is there: services of the agent before this one stay "
        "as they were");
  if (!desk_.not_kept().empty()) all.push_back("granted requests are not kept: " + desk_.not_kept());
  for (const auto &[cs_id, text] : policy_errors_) all.push_back(text);
  for (const auto &egress : table_.silent_egresses())
    if (!table_.dead_paths().contains(egress))
      all.push_back("egress " + egress + " answers no probe: it takes no new flows and keeps those it has");
  std::set<std::string> without_path;
  for (const auto &candidate : table_.all())
    if (!options_.forwarders.contains(candidate.egress)) without_path.insert(candidate.egress);
  for (const auto &egress : without_path)
    all.push_back(
        "rows name egress " + egress +
        ", which is not among this agent's forwarders: add it there (an agent steers to others, not to itself)");
  return all;
}

}  // namespace catsbpf::agent
