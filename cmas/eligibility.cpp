// SPDX-License-Identifier: Apache-2.0
#include "cmas/eligibility.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cmas/limits.h"

namespace catsbpf::cmas {

namespace {

// X5: t * ((1 - p) + p / gas).
Micros scaled(Micros time, const v1::Service &service, uint32_t gas) {
  const double asked = service.computing_time().parallel_fraction();
  const double p = asked > 0 ? std::min(asked, 1.0) : 0.0;  // NaN and negative: fixed
  if (p == 0 || gas <= 1) return time;
  return Micros(std::llround(static_cast<double>(time.count()) * ((1 - p) + p / gas)));
}

// Empty when the candidate may be used, as far as it can be judged without the others.
std::string objection(const v1::Service &service, const Candidate &candidate, const Demand &demand) {
  switch (candidate.state) {
    case RowState::kActive: break;
    case RowState::kDraining: return "draining: keeps its flows, takes no new ones";
    case RowState::kFrozen: return "frozen: its site is silent";
    case RowState::kSilent: return "silent: its egress answers no probe; keeps its flows, takes no new ones";
    case RowState::kUnreachable: return "unreachable: the path to its egress is dead";
    case RowState::kDead: return "dead: removed by its site";
  }
  if (candidate.gas < demand.gas)
    return "free " + std::to_string(candidate.gas) + " < " + std::to_string(demand.gas) + " asked";
  if (!(candidate.cost >= 0 && std::isfinite(candidate.cost))) return "its cost is not a number from 0 up";
  const Micros sla(service.sla().max_delay_us());
  const auto delay = candidate.real_delay();
  if (!delay) {
    if (demand.delay) return "delay not measured yet, at most " + text(*demand.delay) + " asked";
    if (sla.count() > 0) return "delay not measured yet, the service's SLA allows " + text(sla);
    return "";
  }
  if (demand.delay && *delay > *demand.delay)
    return "real delay " + text(*delay) + " > " + text(*demand.delay) + " asked";
  if (sla.count() > 0 && *delay > sla)
    return "real delay " + text(*delay) + " > " + text(sla) + " of the service's SLA";
  return "";
}

// Lower is better: real delay (not measured: last), less free GAS last, CSCI-ID.
auto tie_break(const Candidate &candidate) {
  return std::tuple(candidate.real_delay().value_or(Micros::max()), ~candidate.gas, candidate.key.csci_id);
}

}  // namespace

std::vector<Verdict> judge(const v1::Service &service, const std::vector<Candidate> &candidates, const Demand &demand) {
  std::vector<Verdict> verdicts;
  verdicts.reserve(candidates.size());
  bool measured = false;
  for (const auto &candidate : candidates) {
    Verdict verdict{.candidate = candidate};
    verdict.candidate.computing_time = scaled(candidate.computing_time, service, demand.gas);
    verdict.reason = objection(service, verdict.candidate, demand);
    verdict.eligible = verdict.reason.empty();
    measured |= verdict.eligible && candidate.network_delay.has_value();
    verdicts.push_back(std::move(verdict));
  }
  for (auto &verdict : verdicts)
    if (verdict.eligible && measured && !verdict.candidate.network_delay) {
      verdict.eligible = false;
      verdict.reason = "delay not measured yet, that of others is";
    }
  return verdicts;
}

void rank(std::vector<Verdict> &verdicts, Order order) {
  const double sign = order == Order::kLowestScore ? 1 : -1;
  std::sort(verdicts.begin(), verdicts.end(), [&](const Verdict &a, const Verdict &b) {
    if (a.eligible != b.eligible) return a.eligible;
    if (!a.eligible) return a.candidate.key < b.candidate.key;
    if (a.score != b.score) return sign * a.score < sign * b.score;
    return tie_break(a.candidate) < tie_break(b.candidate);
  });
}

std::size_t count_eligible(const std::vector<Verdict> &verdicts) {
  return static_cast<std::size_t>(
      std::count_if(verdicts.begin(), verdicts.end(), [](const Verdict &verdict) { return verdict.eligible; }));
}

std::string rule_of_none(const v1::Service &service, const std::vector<Verdict> &verdicts) {
  if (verdicts.empty()) return "no instance: no site offers " + service.service_id();
  std::string rule = "no instance: ";
  for (std::size_t v = 0; v < verdicts.size() && v < 3; ++v)
    rule +=
        (v ? "; " : "") + ("CSCI-ID " + std::to_string(verdicts[v].candidate.key.csci_id)) + " " + verdicts[v].reason;
  if (verdicts.size() > 3) rule += "; and " + std::to_string(verdicts.size() - 3) + " more";
  return rule;
}

std::string text(Micros delay) {
  const auto us = static_cast<double>(delay.count());
  return us != 0 && us < 100 ? text(us) + " us" : text(us / 1000) + " ms";
}

std::string text(double number) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", number);
  return buffer;
}

Error unknown_policy(const v1::Service &service, const std::string &kind, const std::string &policy,
                     const std::string &known) {
  return Error{"cannot select for " + service.service_id() + ": " + kind + " policy '" + policy + "' does not exist",
               "known " + kind + " policies: " + known};
}

Micros computing_time(const v1::Service &service, uint32_t gas) {
  const auto &time = service.computing_time();
  return scaled(Micros(std::max(time.max_us(), time.min_us())), service, gas);
}

}  // namespace catsbpf::cmas
