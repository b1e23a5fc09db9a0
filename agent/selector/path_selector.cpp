// SPDX-License-Identifier: Apache-2.0
#include "agent/selector/path_selector.h"

#include <time.h>

#include <boost/asio/post.hpp>

#include "util/log.h"

namespace catsbpf::agent {

using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

constexpr auto kLogSpacing = 1s;  // between two lines on one service
constexpr auto kNoCatalogue = "the catalogue: platform away and no cached copy";

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

PathSelector::PathSelector(asio::io_context &io, cmas::WholeTable &table, SessionServer &sessions,
                           Programmer &programmer, SelectorOptions options)
    : io_(io),
      table_(table),
      sessions_(sessions),
      programmer_(programmer),
      options_(std::move(options)),
      desk_(io, table, sessions, programmer, options_.forwarders, file("requests.json")),
      log_timer_(io),
      hold_timer_(io),
      dead_timer_(io) {
  table_.set_forwarders(options_.forwarders);
  std::map<uint32_t, std::vector<Share>> shares;
  for (const auto &[key, egress, share] : options_.programmed) {
    inherited_[key.cs_id][key.csci_id] = egress;
    shares[key.cs_id].push_back({key.csci_id, share});
  }
  for (const auto &[cs_id, all] : shares) in_force_[cs_id] = text(all);
}

Result<std::unique_ptr<PathSelector>> PathSelector::open(asio::io_context &io, cmas::WholeTable &table,
                                                         SessionServer &sessions, Programmer &programmer,
                                                         SelectorOptions options) {
  std::unique_ptr<PathSelector> selector(new PathSelector(io, table, sessions, programmer, std::move(options)));
  selector->load();
  auto *self = selector.get();
  sessions.on_touched([self](const auto &services, const std::string &origin, uint64_t epoch, uint64_t sequence) {
    self->heard(origin, epoch, sequence, services);
  });
  sessions.on_finished(
      [self](uint64_t reservation, const std::string &reason) { self->desk_.ended(reservation, reason); });
  programmer.on_path([self](const auto &egress, bool alive) { self->put_path(egress, alive); });
  programmer.on_published([self](uint64_t epoch, uint64_t published_ns) { self->published(epoch, published_ns); });
  selector->begin_hold();
  return selector;
}

std::string PathSelector::file(const char *name) const {
  return options_.state_directory.empty() ? "" : options_.state_directory + "/" + name;
}

void PathSelector::stop() { desk_.save(); }

// ---- what comes in ----

void PathSelector::put_service(const v1::Service &service) { touch(table_.put_service(service)); }

void PathSelector::remove_service(const std::string &service_id) { touch(table_.remove_service(service_id)); }

void PathSelector::put_metric(const std::string &egress, const cmas::NetworkMetric &metric) {
  const bool first = !table_.metric(egress), was_silent = table_.silent_egresses().contains(egress);
  touch(table_.put_metric(egress, metric));
  if (was_silent == metric.answers) {
    if (metric.answers)
      log::info("egress answers probes again: egress={} loss={:.0f}%", egress, metric.loss * 100);
    else
      log::warn("egress answers no probe: it takes no new flows and keeps those it has egress={}", egress);
  }
  if ((first || !metric.answers) && holding_) check_hold();
}

void PathSelector::put_path(const std::string &egress, bool alive) {
  touch(table_.put_path(egress, alive));
  if (!alive && holding_) check_hold();
}

void PathSelector::heard(const std::string &origin, uint64_t epoch, uint64_t sequence,
                         const cmas::WholeTable::Services &services) {
  journal_.received(origin, epoch, sequence, monotonic_ns());
  touch(services);
  if (silent_sites_.empty()) return;
  for (const auto &session : sessions_.sessions())
    if (session.peer() == origin && session.state() == "up") forget_withdrawn(session.site());
}

void PathSelector::published(uint64_t epoch, uint64_t published_ns) {
  journal_.published(epoch, published_ns);
  if (sessions_due_) sessions_due_ = !desk_.restore_sessions();
}

void PathSelector::touch(const cmas::WholeTable::Services &services) {
  touched_.insert(services.begin(), services.end());
  if (recompute_posted_ || touched_.empty()) return;
  recompute_posted_ = true;
  asio::post(io_, [this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) recompute();
  });
}

void PathSelector::recompute() {
  recompute_posted_ = false;
  const auto touched = std::exchange(touched_, {});
  for (const uint32_t cs_id : touched) recompute_one(cs_id);
  journal_.handed_over();
}

void PathSelector::recompute_one(uint32_t cs_id) {
  const v1::Service *service = table_.service(cs_id);
  if (!service) {
    policy_errors_.erase(cs_id);
    if (steerings_.erase(cs_id)) {
      programmer_.remove_service(cs_id);
      log::info("service removed: cs_id={}", cs_id);
    }
    return;
  }
  auto &steering = steering_of(cs_id);
  auto candidates = table_.candidates(cs_id);
  notice_dead(candidates);
  auto outcome = steering.update(*service, std::move(candidates), options_.forwarders);
  if (!outcome) {
    const std::string said = "service " + service->service_id() + ": " + outcome.error().what;
    if (auto &known = policy_errors_[cs_id]; known != said) {
      known = said;
      log::error("{}; its ring stays as it is", said);
    }
    return;
  }
  policy_errors_.erase(cs_id);
  for (const auto &[csci_id, kept] : steering.withdrawn()) silent_sites_.insert(kept.site);
  if (outcome->wanted) programmer_.put_service(std::move(*outcome->wanted));
  if (holding_) return;  // not in force; what is then is said when it is released
  if (in_force_.contains(cs_id)) return log_first_shift(cs_id);
  const std::size_t arrow = outcome->shift.find(" -> ");
  if (arrow != std::string::npos)
    log_shift(*service, outcome->shift.substr(0, arrow), outcome->shift.substr(arrow + 4), outcome->why);
}

ServiceSteering &PathSelector::steering_of(uint32_t cs_id) {
  const auto [steering, fresh] = steerings_.try_emplace(cs_id, options_.ring_threshold);
  if (!fresh) return steering->second;
  for (const auto &[csci_id, egress] : inherited_[cs_id]) steering->second.inherit(csci_id, egress);
  inherited_.erase(cs_id);
  return steering->second;
}

// ---- instances that no row names any more ----

void PathSelector::forget_withdrawn(const std::string &site) {
  silent_sites_.erase(site);
  for (auto &[cs_id, steering] : steerings_)
    if (steering.forget_withdrawn(site)) touch({cs_id});
}

void PathSelector::notice_dead(const std::vector<cmas::Candidate> &candidates) {
  bool fresh = false;
  for (const auto &candidate : candidates)
    if (candidate.state == cmas::RowState::kDead) fresh |= dead_.try_emplace(candidate.key, cmas::Clock::now()).second;
  if (!fresh || dead_timer_.expiry() > cmas::Clock::now()) return;
  dead_timer_.expires_after(options_.forget_dead);
  dead_timer_.async_wait([this](const boost::system::error_code &error) {
    if (!error) forget_dead();
  });
}

// Their flows have moved, or move with their next packet: a retired instance has none.
void PathSelector::forget_dead() {
  auto next = cmas::TimePoint::max();
  for (auto dead = dead_.begin(); dead != dead_.end();) {
    const auto due = dead->second + options_.forget_dead;
    if (due > cmas::Clock::now()) {
      next = std::min(next, due);
      ++dead;
      continue;
    }
    touch(table_.forget(dead->first));  // a row that came back is not dead, and stays
    dead = dead_.erase(dead);
  }
  if (next == cmas::TimePoint::max()) return;
  dead_timer_.expires_at(next);
  dead_timer_.async_wait([this](const boost::system::error_code &error) {
    if (!error) forget_dead();
  });
}

// ---- the log ----

void PathSelector::log_first_shift(uint32_t cs_id) {
  const v1::Service *service = table_.service(cs_id);
  const auto steering = steerings_.find(cs_id);
  if (!service || steering == steerings_.end()) return;
  const auto before = in_force_.extract(cs_id);
  const std::string from = before.empty() ? "none" : before.mapped(), to = steering->second.shares();
  if (from != to) log_shift(*service, from, to, "first view after the restart");
}

void PathSelector::log_shift(const v1::Service &service, const std::string &from, const std::string &to,
                             const std::string &why) {
  Shift &shift = shifts_[service.cs_id()];
  if (shift.changes++ == 0) shift.from = from;
  shift.service_id = service.service_id();
  shift.to = to;
  shift.why = why;
  if (log_armed_ && shift.said + kLogSpacing > cmas::Clock::now()) return;
  log_pending();
}

void PathSelector::log_pending() {
  const auto now = cmas::Clock::now();
  bool more = false;
  for (auto &[cs_id, shift] : shifts_) {
    if (shift.changes == 0) continue;
    if (shift.said + kLogSpacing > now) {
      more = true;
      continue;
    }
    log::info("new flows: service={} cs_id={} old=\"{}\" new=\"{}\" why=\"{}\"{}", shift.service_id, cs_id, shift.from,
              shift.to, shift.why, shift.changes > 1 ? " changes=" + std::to_string(shift.changes) : "");
    shift.said = now;
    shift.changes = 0;
  }
  if (!more || log_armed_) return;
  log_armed_ = true;
  log_timer_.expires_after(kLogSpacing);
  log_timer_.async_wait([this](const boost::system::error_code &error) {
    if (error) return;
    log_armed_ = false;
    log_pending();
  });
}

// ---- start ----

void PathSelector::platform_known() {
  platform_known_ = true;
  check_hold();
}

std::string PathSelector::waiting_for() const {
  std::string text = platform_known_ ? "" : "the platform's catalogue";
  const auto add = [&](const std::string &what) { text += (text.empty() ? "" : ", ") + what; };
  for (const auto &name : sessions_.unsynced()) add(name + "'s rows");
  // Else all new flows would go to whoever was measured first.
  if (options_.measures)
    for (const auto &egress : table_.egresses())
      if (options_.forwarders.contains(egress) && !table_.metric(egress) &&
          !table_.silent_egresses().contains(egress) && !table_.dead_paths().contains(egress))
        add("the delay to " + egress);
  return text;
}

void PathSelector::begin_hold() {
  const auto limit = options_.hold ? options_.restart_hold : options_.start_hold;
  if (limit.count() == 0) return;
  holding_ = true;
  programmer_.hold(waiting_for());
  log::info("{} until all is known: waiting for {}, at most {} s",
            options_.hold ? "the view in force stays" : "the first view waits", waiting_for(),
            std::chrono::duration<double>(limit).count());
  sessions_.on_synced([this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) check_hold();
  });
  end_hold_after(limit);
}

void PathSelector::end_hold_after(std::chrono::milliseconds limit) {
  hold_timer_.expires_after(limit);
  hold_timer_.async_wait([this](const boost::system::error_code &error) {
    if (!error) release_hold("waited long enough, still for " + waiting_for());
  });
}

void PathSelector::check_hold() {
  const bool known = platform_known_ && sessions_.all_synced();
  if (known) {
    // What no row names is judged with the next recompute, which has seen all rows.
    for (const auto &[cs_id, service] : table_.services()) steering_of(cs_id);
    inherited_.clear();
    forget_withdrawn("");
  }
  if (catalogue_missing_ && platform_known_) {
    catalogue_missing_ = false;
    publish_first("the catalogue has come");
  }
  if (!holding_) return;
  const auto waiting = waiting_for();
  if (waiting.empty()) return release_hold("all is known");
  programmer_.hold(waiting);
  // An egress that never answers must not keep the others waiting.
  if (!known || std::exchange(measuring_, true)) return;
  const auto left = hold_timer_.expiry() - cmas::Clock::now();
  if (left > options_.start_hold) end_hold_after(options_.start_hold);
}

void PathSelector::release_hold(const std::string &why) {
  if (!holding_) return;
  hold_timer_.cancel();
  if (platform_known_ || !options_.hold) return publish_first(why);
  // Services that the catalogue has not named yet are not services that it does not name: none is removed.
  catalogue_missing_ = true;
  log::error(
      "{}, the platform is away and no cached copy of its catalogue is there: {} services of the view in force stay as "
      "they are, "
      "and no change of theirs takes effect until the platform is back",
      why, in_force_.size());
  publish_first(why);
}

void PathSelector::publish_first(const std::string &why) {
  // What was heard in this turn belongs into the first view.
  recompute();
  log::info("publishing begins: {}", why);
  if (std::exchange(holding_, false))  // else recompute() has said it
    for (const auto &[cs_id, steering] : steerings_) log_first_shift(cs_id);
  if (catalogue_missing_) {
    programmer_.release_known(kNoCatalogue);
  } else {
    in_force_.clear();
    programmer_.release();
  }
  std::set<uint64_t> held;
  const v1::ReservationList grants = desk_.list();
  for (const auto &grant : grants.requests()) held.insert(grant.id());
  programmer_.keep_sessions(held);
  sessions_due_ = !desk_.restore_sessions();
}

}  // namespace catsbpf::agent
