// SPDX-License-Identifier: Apache-2.0
#include "agent/selector/steering.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

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

std::string figure(double value, int digits = 4) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

std::string delay(const std::optional<cmas::Micros> &d) {
  return d ? figure(static_cast<double>(d->count()) / 1000.0) + " ms" : "unmeasured";
}

std::string percent(double share) {
  return share >= 0.01 ? std::to_string(std::lround(share * 100)) + "%" : figure(share * 100, 1) + "%";
}

// "csci 1 free 3 -> 0, csci 2 new": of the first few instances, then how many more.
class Sentence {
 public:
  void say(uint32_t csci_id, const std::string &what) {
    if (csci_id != last_ || instances_ == 0) ++instances_;
    last_ = csci_id;
    if (instances_ <= kMostNamed) text_ += (text_.empty() ? "csci " : ", csci ") + std::to_string(csci_id) + " " + what;
  }
  std::string text(const char *nothing) const {
    if (instances_ <= kMostNamed) return text_.empty() ? nothing : text_;
    return text_ + ", and " + std::to_string(instances_ - kMostNamed) + " more";
  }

 private:
  std::string text_;
  uint32_t last_ = 0;
  std::size_t instances_ = 0;
};

std::vector<Share> shares_of(const cmas::Ring *ring) {
  std::vector<Share> shares;
  for (std::size_t m = 0; ring && m < ring->members.size(); ++m)
    shares.push_back(
        {ring->members[m].csci_id, static_cast<double>(ring->counts[m]) / static_cast<double>(ring->slots.size())});
  return shares;
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

std::string text(std::vector<Share> shares) {
  std::erase_if(shares, [](const Share &share) { return share.share <= 0; });
  const auto named = shares.begin() + static_cast<std::ptrdiff_t>(std::min(kMostNamed, shares.size()));
  std::partial_sort(shares.begin(), named, shares.end(), [](const Share &a, const Share &b) {
    return a.share != b.share ? a.share > b.share : a.csci_id < b.csci_id;
  });
  std::sort(shares.begin(), named, [](const Share &a, const Share &b) { return a.csci_id < b.csci_id; });
  Sentence sentence;
  for (auto share = shares.begin(); share != shares.end(); ++share)
    sentence.say(share->csci_id, share < named ? percent(share->share) : "");
  return sentence.text("none");
}

double ServiceSteering::share(uint32_t csci_id) const {
  if (!ring_ || ring_->slots.empty()) return 0;
  const auto &members = ring_->members;  // in order of csci_id
  const auto member = std::lower_bound(members.begin(), members.end(), csci_id,
                                       [](const auto &m, uint32_t id) { return m.csci_id < id; });
  if (member == members.end() || member->csci_id != csci_id) return 0;
  return static_cast<double>(ring_->counts[static_cast<std::size_t>(member - members.begin())]) /
         static_cast<double>(ring_->slots.size());
}

std::string ServiceSteering::shares() const { return text(shares_of(ring_.get())); }

std::string ServiceSteering::differences(const std::map<uint32_t, Seen> &now) const {
  Sentence sentence;
  const auto say = [&](uint32_t csci_id, const std::string &what) { sentence.say(csci_id, what); };
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
  return sentence.text("small changes added up");
}

void ServiceSteering::keep_withdrawn(const std::map<uint32_t, Seen> &now, const std::vector<cmas::Verdict> &pathless,
                                     const std::set<std::string> &forwarders) {
  for (const auto &[csci_id, seen] : seen_)
    if (seen.state != cmas::RowState::kDead && !now.contains(csci_id) && forwarders.contains(seen.egress))
      withdrawn_[csci_id] = {seen.egress, seen.site};
  // A row without a path still says that its instance lives.
  for (const auto &verdict : pathless) {
    const auto kept = withdrawn_.find(verdict.candidate.key.csci_id);
    if (kept == withdrawn_.end()) continue;
    kept->second.site = verdict.candidate.site;
    kept->second.gone = verdict.candidate.state == cmas::RowState::kDead;
  }
  std::erase_if(withdrawn_, [&](const auto &entry) { return entry.second.gone || now.contains(entry.first); });
  while (withdrawn_.size() > kMaxWithdrawn) withdrawn_.erase(withdrawn_.begin());
}

std::vector<WantedInstance> ServiceSteering::instances(const std::vector<cmas::Candidate> &candidates,
                                                       const std::set<std::string> &forwarders) const {
  std::vector<WantedInstance> all;
  for (const auto &candidate : candidates)
    all.push_back({candidate.key.csci_id, candidate.egress, wish(candidate.state)});
  for (const auto &[csci_id, kept] : withdrawn_)
    if (forwarders.contains(kept.egress)) all.push_back({csci_id, kept.egress, InstanceWish::kDraining});
  std::sort(all.begin(), all.end(), [](const auto &a, const auto &b) { return a.csci_id < b.csci_id; });
  return all;
}

bool ServiceSteering::forget_withdrawn(const std::string &site) {
  bool any = false;
  for (auto &[csci_id, kept] : withdrawn_)
    if (kept.site == site) any = kept.gone = true;
  return any;
}

Result<ServiceSteering::Outcome> ServiceSteering::update(const v1::Service &service,
                                                         std::vector<cmas::Candidate> candidates,
                                                         const std::set<std::string> &forwarders) {
  const auto [with_path, pathless] = reachable(std::move(candidates), forwarders);
  const auto members = cmas::ring_members(service, with_path);
  if (!members) return members.error();

  Outcome outcome;
  std::map<uint32_t, Seen> now;
  for (const auto &c : with_path) now[c.key.csci_id] = {c.gas, c.cost, c.state, c.real_delay(), c.egress, c.site};
  const bool ring_changed = keeper_.update(*members, with_path.size());
  const auto before = std::exchange(ring_, keeper_.shared());
  if (ring_changed) {
    outcome.shift = text(shares_of(before.get())) + " -> " + shares();
    outcome.why = differences(now);
  }
  keep_withdrawn(now, pathless, forwarders);
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
