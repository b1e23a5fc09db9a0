// SPDX-License-Identifier: Apache-2.0
#include "agent/selector/steering.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace catsbpf::agent {

namespace {

// Withdrawn instances of one service that still keep flows. More than that have come and gone only
// where a site churns without end; those with the lowest ids then lose their place.
constexpr std::size_t kMaxWithdrawn = 256;

// Only its site says that an instance is dead. That its path is, the data plane knows first, and moves its flows.
InstanceWish wish(cmas::RowState state) {
  switch (state) {
    case cmas::RowState::kActive: return InstanceWish::kActive;
    case cmas::RowState::kDead: return InstanceWish::kDead;
    case cmas::RowState::kDraining:
    case cmas::RowState::kFrozen:
    case cmas::RowState::kSilent:
    case cmas::RowState::kUnreachable: break;
  }
  return InstanceWish::kDraining;
}

std::string figure(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string delay(const std::optional<cmas::Micros> &d) {
  return d ? figure(static_cast<double>(d->count()) / 1000.0) + " ms" : "unmeasured";
}

// Delays move a little all the time; only what may move a ring is worth a word.
bool differs(const std::optional<cmas::Micros> &a, const std::optional<cmas::Micros> &b) {
  if (a.has_value() != b.has_value()) return true;
  return a && std::abs((*a - *b).count()) > a->count() / 20;
}

std::string definition_of(const v1::Service &service) {
  v1::Service part;
  *part.mutable_locators() = service.locators();
  *part.mutable_affinity() = service.affinity();
  part.set_service_id(service.service_id());
  return part.SerializeAsString();
}

}  // namespace

Reachable reachable(std::vector<cmas::Candidate> candidates, const std::set<std::string> &forwarders) {
  Reachable result;
  for (auto &candidate : candidates) {
    if (forwarders.contains(candidate.egress)) {
      result.candidates.push_back(std::move(candidate));
      continue;
    }
    cmas::Verdict verdict;
    verdict.reason = "no path to egress " + candidate.egress + ": it is not among this agent's forwarders";
    verdict.candidate = std::move(candidate);
    result.unreachable.push_back(std::move(verdict));
  }
  return result;
}

double ServiceSteering::share(uint32_t csci_id) const {
  if (!ring_ || ring_->slots.empty()) return 0;
  for (std::size_t i = 0; i < ring_->members.size(); i++)
    if (ring_->members[i].csci_id == csci_id)
      return static_cast<double>(ring_->counts[i]) / static_cast<double>(ring_->slots.size());
  return 0;
}

std::string ServiceSteering::shares() const {
  std::string text;
  if (ring_)
    for (const auto &member : ring_->members)
      if (const double part = share(member.csci_id); part > 0)
        text += (text.empty() ? "csci " : ", csci ") + std::to_string(member.csci_id) + " " +
                figure(std::round(part * 100)) + "%";
  return text.empty() ? "none" : text;
}

std::string ServiceSteering::differences(const std::map<uint32_t, Seen> &now) const {
  std::string text;
  const auto say = [&](uint32_t csci_id, const std::string &what) {
    text += (text.empty() ? "csci " : ", csci ") + std::to_string(csci_id) + " " + what;
  };
  for (const auto &[csci_id, seen] : now) {
    const auto old = seen_.find(csci_id);
    if (old == seen_.end()) {
      say(csci_id, std::string("new, ") + cmas::name(seen.state) + ", free " + std::to_string(seen.gas));
      continue;
    }
    if (old->second.state != seen.state)
      say(csci_id, std::string(cmas::name(old->second.state)) + " -> " + cmas::name(seen.state));
    if (old->second.gas != seen.gas)
      say(csci_id, "free " + std::to_string(old->second.gas) + " -> " + std::to_string(seen.gas));
    if (old->second.cost != seen.cost) say(csci_id, "cost " + figure(old->second.cost) + " -> " + figure(seen.cost));
    if (old->second.egress != seen.egress) say(csci_id, "egress " + old->second.egress + " -> " + seen.egress);
    if (differs(old->second.real_delay, seen.real_delay))
      say(csci_id, "real delay " + delay(old->second.real_delay) + " -> " + delay(seen.real_delay));
  }
  for (const auto &[csci_id, seen] : seen_)
    if (!now.contains(csci_id)) say(csci_id, "withdrawn");
  return text.empty() ? "small changes added up" : text;
}

void ServiceSteering::keep_withdrawn(const std::vector<cmas::Candidate> &candidates,
                                     const std::set<std::string> &forwarders) {
  for (const auto &candidate : candidates) withdrawn_.erase(candidate.key.csci_id);
  for (const auto &[csci_id, seen] : seen_)
    if (seen.state != cmas::RowState::kDead && forwarders.contains(seen.egress) &&
        std::none_of(candidates.begin(), candidates.end(), [&](const auto &c) { return c.key.csci_id == csci_id; }))
      withdrawn_[csci_id] = {seen.egress, seen.site};
  while (withdrawn_.size() > kMaxWithdrawn) withdrawn_.erase(withdrawn_.begin());
}

std::vector<WantedInstance> ServiceSteering::instances(const std::vector<cmas::Candidate> &candidates,
                                                       const std::set<std::string> &forwarders) {
  keep_withdrawn(candidates, forwarders);
  std::vector<WantedInstance> all;
  for (const auto &candidate : candidates)
    all.push_back({candidate.key.csci_id, candidate.egress, wish(candidate.state)});
  for (const auto &[csci_id, kept] : withdrawn_)
    if (forwarders.contains(kept.egress)) all.push_back({csci_id, kept.egress, InstanceWish::kDraining});
  std::sort(all.begin(), all.end(), [](const auto &a, const auto &b) { return a.csci_id < b.csci_id; });
  return all;
}

bool ServiceSteering::forget_withdrawn(const std::string &site) {
  return std::erase_if(withdrawn_, [&](const auto &entry) { return entry.second.site == site; }) > 0;
}

Result<ServiceSteering::Outcome> ServiceSteering::update(const v1::Service &service,
                                                         std::vector<cmas::Candidate> candidates,
                                                         const std::set<std::string> &forwarders) {
  const auto with_path = reachable(std::move(candidates), forwarders).candidates;
  const auto decision = cmas::weigh_for_ring(service, with_path);
  if (!decision) return decision.error();

  Outcome outcome;
  std::map<uint32_t, Seen> now;
  for (const auto &c : with_path) now[c.key.csci_id] = {c.gas, c.cost, c.state, c.real_delay(), c.egress, c.site};
  const std::string before = shares();
  const bool ring_changed = keeper_.update(cmas::members_of(*decision), with_path.size());
  ring_ = keeper_.shared();
  if (ring_changed) {
    outcome.shift = before + " -> " + shares();
    outcome.why = differences(now);
  }
  auto wanted = instances(with_path, forwarders);
  auto definition = definition_of(service);
  if (ring_changed || !handed_over_ || wanted != programmed_ || definition != definition_) {
    WantedService all;
    all.service_id = service.service_id();
    all.cs_id = service.cs_id();
    all.locators.assign(service.locators().begin(), service.locators().end());
    all.affinity = service.affinity();
    all.instances = wanted;
    all.ring = ring_;
    outcome.wanted = std::move(all);
    programmed_ = std::move(wanted);
    definition_ = std::move(definition);
    handed_over_ = true;
  }
  seen_ = std::move(now);
  return outcome;
}

}  // namespace catsbpf::agent
