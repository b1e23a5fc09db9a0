// SPDX-License-Identifier: Apache-2.0
// In: services, rows, network metrics, the operator's drains. Out: candidates, and who is touched.
#include "cmas/whole_table.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cmas/limits.h"
#include "cmas/selection.h"

namespace catsbpf::cmas {

namespace {

// Below this a move of the delay is noise of the measurement.
constexpr Micros kDelayNoise{20};

bool same_but_revision(v1::Service a, v1::Service b) {
  a.set_revision(0);
  b.set_revision(0);
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

void merge(WholeTable::Services &into, const WholeTable::Services &from) { into.insert(from.begin(), from.end()); }

template <class Set, class Key>
bool flip(Set &set, const Key &key, bool on) {
  return on ? set.insert(key).second : set.erase(key) > 0;
}

}  // namespace

// ---- services ----

WholeTable::Services WholeTable::put_service(const v1::Service &service) {
  if (service.cs_id() == 0) return {};
  Services touched;
  if (const auto old = service_ids_.find(service.service_id());
      old != service_ids_.end() && old->second != service.cs_id())
    merge(touched, remove_service(service.service_id()));  // its CS-ID changed
  auto &kept = services_[service.cs_id()];
  if (kept.cs_id() != 0 && same_but_revision(kept, service)) {
    kept.set_revision(service.revision());
    return touched;
  }
  if (kept.service_id() != service.service_id()) service_ids_.erase(kept.service_id());
  kept = service;
  service_ids_[service.service_id()] = service.cs_id();
  touched.insert(service.cs_id());
  return touched;
}

WholeTable::Services WholeTable::remove_service(const std::string &service_id) {
  const auto found = service_ids_.find(service_id);
  if (found == service_ids_.end()) return {};
  const uint32_t cs_id = found->second;
  service_ids_.erase(found);
  services_.erase(cs_id);
  return {cs_id};
}

const v1::Service *WholeTable::service(uint32_t cs_id) const {
  const auto found = services_.find(cs_id);
  return found == services_.end() ? nullptr : &found->second;
}

const v1::Service *WholeTable::service(const std::string &service_id) const {
  if (const auto found = service_ids_.find(service_id); found != service_ids_.end()) return service(found->second);
  uint32_t cs_id = 0;
  const char *end = service_id.data() + service_id.size();
  const auto [stop, error] = std::from_chars(service_id.data(), end, cs_id);
  return error == std::errc{} && stop == end ? service(cs_id) : nullptr;
}

// ---- rows ----

Result<WholeTable::Services> WholeTable::put_rows(const std::string &origin, const std::string &site,
                                                  const std::vector<std::string> &egresses,
                                                  const std::vector<Row> &rows) {
  for (const auto &row : rows) {
    if (auto checked = check(row); !checked) return checked.error();
    const auto owned = rows_.find(row.key);
    if (owned != rows_.end() && owned->second.origin != origin && !owned->second.dead)
      return Error{"cannot take " + text(row.key) + " from " + origin + ": it belongs to " + owned->second.origin,
                   "give each service contact instance its own CSCI-ID"};
  }
  Services touched;
  auto &known = origins_[origin];
  if (known.frozen || known.site != site || known.egresses != egresses) {
    known = {.site = site, .egresses = egresses, .frozen = false};
    touched = services_of_origin(origin);
  }
  for (const auto &row : rows) {
    auto &owned = rows_[row.key];
    if (owned.origin == origin && owned.row == row && !owned.dead) continue;
    if (owned.dead) std::erase(dead_, row.key);
    owned = {.origin = origin, .row = row, .dead = false};
    touched.insert(row.key.cs_id);
  }
  return touched;
}

WholeTable::Services WholeTable::remove_rows(const std::string &origin, const std::set<RowKey> &keys) {
  Services touched;
  for (const auto &key : keys) {
    const auto owned = rows_.find(key);
    if (owned == rows_.end() || owned->second.origin != origin || owned->second.dead) continue;
    owned->second.dead = true;
    dead_.push_back(key);
    touched.insert(key.cs_id);
  }
  for (; dead_.size() > kMaxDead; dead_.pop_front()) {
    rows_.erase(dead_.front());
    touched.insert(dead_.front().cs_id);
  }
  return touched;
}

WholeTable::Services WholeTable::forget(const RowKey &key) {
  const auto owned = rows_.find(key);
  if (owned == rows_.end() || !owned->second.dead) return {};
  rows_.erase(owned);
  std::erase(dead_, key);
  return {key.cs_id};
}

WholeTable::Services WholeTable::freeze(const std::string &origin) { return set_frozen(origin, true); }
WholeTable::Services WholeTable::thaw(const std::string &origin) { return set_frozen(origin, false); }

WholeTable::Services WholeTable::set_frozen(const std::string &origin, bool frozen) {
  const auto known = origins_.find(origin);
  if (known == origins_.end() || known->second.frozen == frozen) return {};
  known->second.frozen = frozen;
  return services_of_origin(origin);
}

WholeTable::Services WholeTable::withdraw(const std::string &origin) {
  const Services touched = services_of_origin(origin);
  std::erase_if(dead_, [&](const RowKey &key) { return rows_.at(key).origin == origin; });
  std::erase_if(rows_, [&](const auto &entry) { return entry.second.origin == origin; });
  origins_.erase(origin);
  return touched;
}

// ---- network ----

WholeTable::Services WholeTable::put_metric(const std::string &egress, const NetworkMetric &metric) {
  Services touched;
  if (flip(silent_egresses_, egress, !metric.answers)) touched = services_by_egress(egress);
  if (metric.delay < Micros(0)) return touched;
  metrics_[egress] = metric;
  const auto [told, first] = steered_delay_.try_emplace(egress, metric.delay);
  const auto moved = std::chrono::abs(metric.delay - told->second);
  const double bound = delay_threshold_ * static_cast<double>(told->second.count());
  if (!first && (moved <= kDelayNoise || static_cast<double>(moved.count()) <= bound)) return touched;
  told->second = metric.delay;
  return services_by_egress(egress);
}

WholeTable::Services WholeTable::put_path(const std::string &egress, bool alive) {
  return flip(dead_paths_, egress, !alive) ? services_by_egress(egress) : Services{};
}

const NetworkMetric *WholeTable::metric(const std::string &egress) const {
  const auto found = metrics_.find(egress);
  return found == metrics_.end() ? nullptr : &found->second;
}

// ---- drain ----

WholeTable::Services WholeTable::drain(const RowKey &key, bool on) {
  if (!flip(drained_, key, on)) return {};
  return rows_.contains(key) ? Services{key.cs_id} : Services{};
}

WholeTable::Services WholeTable::drain_site(const std::string &site, bool on) {
  if (!flip(drained_sites_, site, on)) return {};
  return services_by([&](const Owned &owned) { return origins_.at(owned.origin).site == site; });
}

WholeTable::Services WholeTable::drain_egress(const std::string &egress, bool on) {
  return flip(drained_egresses_, egress, on) ? services_by_egress(egress) : Services{};
}

// ---- reading ----

std::vector<Candidate> WholeTable::candidates(uint32_t cs_id) const {
  std::vector<Candidate> out;
  for (auto row = rows_.lower_bound({cs_id, 0}); row != rows_.end() && row->first.cs_id == cs_id; ++row)
    out.push_back(join(row->second));
  return out;
}

std::vector<Candidate> WholeTable::all() const {
  std::vector<Candidate> out;
  out.reserve(rows_.size());
  for (const auto &[key, owned] : rows_) out.push_back(join(owned));
  return out;
}

std::set<std::string> WholeTable::egresses() const {
  std::set<std::string> all;
  for (const auto &[key, owned] : rows_)
    if (!owned.dead) all.insert(egresses_of(owned).begin(), egresses_of(owned).end());
  return all;
}

std::optional<std::pair<std::string, Row>> WholeTable::owner(const RowKey &key) const {
  const auto found = rows_.find(key);
  if (found == rows_.end()) return std::nullopt;
  return std::pair{found->second.origin, found->second.row};
}

Candidate WholeTable::join(const Owned &owned) const {
  const Origin &origin = origins_.at(owned.origin);
  const Row &row = owned.row;
  Candidate out{.key = row.key,
                .site = origin.site,
                .gas = row.free(),
                .offered = row.offered,
                .in_use = row.in_use,
                .cost = row.cost};
  if (const auto *known = service(row.key.cs_id)) out.computing_time = computing_time(*known, 1);

  const std::string *egress = choose_egress(egresses_of(owned));
  const bool egress_drains = egress && drained_egresses_.contains(*egress);
  if (egress) {
    out.egress = *egress;
    if (const auto *network = metric(*egress)) out.network_delay = network->delay + row.access_delay;
  }
  if (owned.dead)
    out.state = RowState::kDead;
  else if (egress && (dead_paths_.contains(*egress) || !has_forwarder(*egress)))
    out.state = RowState::kUnreachable;
  else if (egress && silent_egresses_.contains(*egress))
    out.state = RowState::kSilent;
  else if (origin.frozen)
    out.state = RowState::kFrozen;
  else if (row.draining || egress_drains || drained_.contains(row.key) || drained_sites_.contains(origin.site))
    out.state = RowState::kDraining;
  return out;
}

const std::vector<std::string> &WholeTable::egresses_of(const Owned &owned) const {
  return owned.row.egresses.empty() ? origins_.at(owned.origin).egresses : owned.row.egresses;
}

// By the site's order, not by the newest delay: flows of an instance share its path (R091), and must not
// change it with every measurement. No path is the last choice, after a dead one, a silent egress, a drained one.
const std::string *WholeTable::choose_egress(const std::vector<std::string> &egresses) const {
  const auto rank = [&](const std::string &egress) {
    return std::tuple(!has_forwarder(egress), dead_paths_.contains(egress), silent_egresses_.contains(egress),
                      drained_egresses_.contains(egress), !metrics_.contains(egress));
  };
  const auto best = std::min_element(egresses.begin(), egresses.end(),
                                     [&](const auto &a, const auto &b) { return rank(a) < rank(b); });
  return best == egresses.end() ? nullptr : &*best;
}

WholeTable::Services WholeTable::services_by_egress(const std::string &egress) const {
  return services_by([&](const Owned &owned) {
    const auto &reached_by = egresses_of(owned);
    return std::find(reached_by.begin(), reached_by.end(), egress) != reached_by.end();
  });
}

WholeTable::Services WholeTable::services_of_origin(const std::string &origin) const {
  return services_by([&](const Owned &owned) { return owned.origin == origin; });
}

}  // namespace catsbpf::cmas
