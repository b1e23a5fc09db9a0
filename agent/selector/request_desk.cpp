// SPDX-License-Identifier: Apache-2.0
#include "agent/selector/request_desk.h"

#include <sys/random.h>

#include <cmath>

#include "agent/selector/steering.h"
#include "util/log.h"

namespace catsbpf::agent {

using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

Error invalid(const std::string &field, const std::string &reason, const std::string &hint) {
  return Error{"request: " + field + " " + reason, hint, EINVAL};
}

uint32_t longest_lease(const v1::Service &service) {
  constexpr uint32_t kMost = kLongestLease / std::chrono::milliseconds(1s);
  return service.sla().max_session_s() ? std::min(service.sla().max_session_s(), kMost) : kLongestLeaseSeconds;
}

// `service`: null when the catalogue has forgotten it.
Result<uint32_t> lease_of(std::optional<uint32_t> asked, const v1::Service *service) {
  const uint32_t longest = service ? longest_lease(*service) : kLongestLeaseSeconds;
  const uint32_t usual = std::min(kDefaultLeaseSeconds, longest);
  if (asked == 0u) return invalid("lease_s", "0 would end at once", "leave it out for " + std::to_string(usual) + " s");
  if (asked <= longest) return asked.value_or(usual);
  return invalid("lease_s",
                 std::to_string(*asked) + " is longer than " +
                     (service ? "service " + service->service_id() : "this agent") + " allows",
                 "at most " + std::to_string(longest) + "; renew it before it ends");
}

}  // namespace

Result<cmas::Request> wish_of(const v1::ServiceRequest &request) {
  cmas::Request wish;
  if (request.has_gas()) wish.gas = request.gas();
  wish.cost = request.cost();
  if (wish.gas == 0) return invalid("gas", "0 asks for nothing", "leave it out for 1 slot");
  if (wish.gas > cmas::SiteTable::kMaxGas)
    return invalid("gas", std::to_string(wish.gas) + " is absurd",
                   "at most " + std::to_string(cmas::SiteTable::kMaxGas));
  if (!std::isfinite(request.cost()) || request.cost() < 0)
    return invalid("cost", "must be a finite number that is not negative", "leave it out for the lowest cost");
  if (!std::isfinite(request.delay_ms()) || request.delay_ms() < 0 || request.delay_ms() > 1e9)
    return invalid("delay_ms", "must be from 0 to 1000000000", "0, or leave it out, for any delay");
  if (request.delay_ms() > 0) wish.delay = cmas::Micros(std::max(std::llround(request.delay_ms() * 1000), 1LL));
  return wish;
}

RequestDesk::RequestDesk(asio::io_context &io, const cmas::WholeTable &table, SessionServer &sessions,
                         Programmer &programmer, std::set<std::string> forwarders, std::string file)
    : io_(io),
      table_(table),
      sessions_(sessions),
      programmer_(programmer),
      forwarders_(std::move(forwarders)),
      file_(std::move(file)),
      expiry_(io),
      saving_(io),
      worker_(io) {}

RequestDesk::~RequestDesk() {
  alive_.reset();
  save();
}

uint64_t RequestDesk::new_id() const {
  // Below 2^53, so that every JSON reader keeps it whole. Random, so that it is unique for ever among C-PSes
  // that know nothing of each other, and nobody guesses another's.
  uint64_t id = 0;
  do {
    if (getrandom(&id, sizeof id, 0) != sizeof id) continue;
    id &= (uint64_t{1} << 52) - 1;
  } while (id == 0 || grants_.contains(id));
  return id;
}

asio::awaitable<Result<>> RequestDesk::reserve_one(const cmas::Verdict &verdict, uint32_t gas, uint32_t lease_s,
                                                   const std::string &client, uint64_t reservation) {
  const cmas::RowKey key = verdict.candidate.key;
  const auto owner = table_.owner(key);
  if (!owner) co_return Error{"its row has just gone"};
  const auto asked = cmas::Clock::now();
  const auto granted = co_await sessions_.reserve(owner->first, key, reservation, gas, std::chrono::seconds(lease_s));
  if (!granted) co_return granted.error();

  Grant grant;
  grant.cs_id = key.cs_id;
  grant.origin = owner->first;
  grant.expires = asked + std::chrono::seconds(lease_s);
  grant.shown.set_id(reservation);
  if (const auto *service = table_.service(key.cs_id)) grant.shown.set_service_id(service->service_id());
  grant.shown.set_csci_id(key.csci_id);
  grant.shown.set_client(client);
  grant.shown.set_gas(gas);
  grant.shown.set_real_cost(verdict.candidate.cost);
  const auto delay = verdict.candidate.real_delay().value_or(verdict.candidate.computing_time);
  grant.shown.set_real_delay_ms(static_cast<double>(delay.count()) / 1000.0);
  if (const auto put = put_session(grant); !put) {
    sessions_.release(grant.origin, reservation);
    co_return put.error();
  }
  add(std::move(grant));
  co_return done();
}

// Why the candidates of one request would not have it, in the order in which they were asked.
class Refusals {
 public:
  void add(uint32_t csci_id, const std::string &why, const std::string &told) {
    const bool first = count_++ == 0;
    reason_ += (first ? "csci " : "; csci ") + std::to_string(csci_id) + ": " + why;
    const auto same = std::find_if(told_.begin(), told_.end(), [&](const auto &one) { return one.first == told; });
    if (same != told_.end())
      ++same->second;
    else
      told_.emplace_back(told, 1);
  }
  const std::string &reason() const { return reason_; }
  // Without CSCI-IDs, for the client: "free 0 < 1 asked (2 instances); no path leads to it (1 instance)".
  std::string told() const {
    std::string all;
    for (const auto &[why, count] : told_)
      all +=
          (all.empty() ? "" : "; ") + why + " (" + std::to_string(count) + (count == 1 ? " instance)" : " instances)");
    return all;
  }

 private:
  std::size_t count_ = 0;
  std::string reason_;
  std::vector<std::pair<std::string, std::size_t>> told_;
};

// A request that is being answered counts like a grant until it is one.
class RequestDesk::Place {
 public:
  Place(std::shared_ptr<Pending> pending, std::string client)
      : pending_(std::move(pending)), client_(std::move(client)) {
    pending_->by_client[client_]++;
    pending_->total++;
  }
  Place(const Place &) = delete;
  ~Place() { leave(); }
  void leave() {
    if (!pending_) return;
    if (const auto mine = pending_->by_client.find(client_); --mine->second == 0) pending_->by_client.erase(mine);
    pending_->total--;
    pending_.reset();
  }

 private:
  std::shared_ptr<Pending> pending_;
  std::string client_;
};

Result<> RequestDesk::room_for(const std::string &client) const {
  if (grants_.size() + pending_->total >= kMaxGrants)
    return Error{"too many requests are granted here", "finish some or try later", EBUSY};
  const auto granted = by_client_.find(client);
  const auto pending = pending_->by_client.find(client);
  const std::size_t mine = (granted == by_client_.end() ? 0 : granted->second.size()) +
                           (pending == pending_->by_client.end() ? 0 : pending->second);
  if (mine < kMaxGrantsPerClient) return done();
  return Error{client + " holds " + std::to_string(mine) + " requests already", "finish some of them", EBUSY};
}

asio::awaitable<Result<RequestDesk::Outcome>> RequestDesk::request(v1::ServiceRequest request, std::string client) {
  const v1::Service *service = table_.service(request.service_id());
  if (!service)
    co_return Error{"unknown service '" + request.service_id() + "'",
                    "the platform's catalogue has the Service IDs: catsbpf services", ENOENT};
  const auto wish = wish_of(request);
  if (!wish) co_return wish.error();
  const auto lease = lease_of(request.has_lease_s() ? std::optional(request.lease_s()) : std::nullopt, service);
  if (!lease) co_return lease.error();
  if (const auto room = room_for(client); !room) co_return room.error();
  Place place(pending_, client);

  auto [candidates, unreachable] = reachable(table_.candidates(service->cs_id()), forwarders_);
  const auto decision = cmas::select_for_request(*service, candidates, *wish);
  if (!decision) co_return decision.error();

  Outcome outcome;
  outcome.answer.set_service_id(service->service_id());
  outcome.answer.set_gas(wish->gas);
  outcome.lease_s = *lease;
  const std::string service_id = service->service_id();
  Refusals refusals;
  for (const auto &verdict : decision->verdicts) {
    const uint32_t csci_id = verdict.candidate.key.csci_id;
    if (!verdict.eligible) {
      refusals.add(csci_id, verdict.reason, verdict.reason);
      continue;
    }
    const uint64_t id = new_id();
    const auto reserved = co_await reserve_one(verdict, wish->gas, *lease, client, id);
    if (!reserved) {
      refusals.add(csci_id, reserved.error().what, "its site does not grant it at the moment");
      continue;
    }
    place.leave();
    const v1::Reservation shown = grants_.at(id).shown;
    const std::weak_ptr<bool> alive = alive_;
    const auto kept = co_await stored();
    if (alive.expired()) co_return Error{"this agent stops", "try again", EAGAIN};
    const auto grant = grants_.find(id);
    if (!kept) {
      if (grant != grants_.end()) end(grant, "it cannot be kept", true);
      co_return Error{"the request is not granted, because it cannot be kept: " + kept.error().what, kept.error().hint,
                      EAGAIN};
    }
    if (grant == grants_.end()) {
      refusals.add(csci_id, "ended at once", "its site ended it at once");
      continue;
    }
    outcome.answer.set_csci_id(csci_id);
    outcome.answer.set_real_cost(shown.real_cost());
    outcome.answer.set_real_delay_ms(shown.real_delay_ms());
    outcome.answer.set_success(true);
    outcome.reservation = id;
    log::info(
        "request granted: reservation={} client={} service={} csci={} gas={} cost={} real_delay={} ms lease={} s "
        "why=\"{}\"{}",
        id, client, service_id, csci_id, wish->gas, shown.real_cost(), shown.real_delay_ms(), *lease,
        decision->policy + ", " + verdict.reason,
        refusals.reason().empty() ? "" : " passed over: " + refusals.reason());
    co_return outcome;
  }
  for (const auto &verdict : unreachable)
    refusals.add(verdict.candidate.key.csci_id, verdict.reason, "no path leads to it");
  const std::string none = "service " + service_id + " has no instance";
  outcome.reason = refusals.reason().empty() ? none : refusals.reason();
  outcome.told = refusals.told().empty() ? none : refusals.told();
  log::info("request refused: client={} service={} gas={} cost={} delay={} ms reason=\"{}\"", client, service_id,
            wish->gas, wish->cost, request.delay_ms(), outcome.reason);
  co_return outcome;
}

asio::awaitable<Result<v1::Reservation>> RequestDesk::renew(uint64_t reservation, std::string client,
                                                            std::optional<uint32_t> lease_s) {
  const auto found = find(reservation, client);
  if (!found) co_return found.error();
  const Grant &grant = (*found)->second;
  const auto lease = lease_of(lease_s, table_.service(grant.cs_id));
  if (!lease) co_return lease.error();
  const auto asked = cmas::Clock::now();
  const auto renewed = co_await sessions_.renew(grant.origin, reservation, std::chrono::seconds(*lease));
  if (!renewed)
    co_return Error{"request " + std::to_string(reservation) + " is not renewed: " + renewed.error().what,
                    renewed.error().hint, EBUSY};
  const auto again = grants_.find(reservation);  // it may have ended meanwhile
  if (again == grants_.end()) co_return Error{"request " + std::to_string(reservation) + " has ended", {}, ENOENT};
  by_expiry_.erase({again->second.expires, reservation});
  again->second.expires = asked + std::chrono::seconds(*lease);
  by_expiry_.insert({again->second.expires, reservation});
  changed();
  if (in_force(client, again->second.cs_id) == &again->second)
    if (const auto put = put_session(again->second); !put) co_return put.error();
  const std::weak_ptr<bool> alive = alive_;
  const auto kept = co_await stored();
  if (alive.expired()) co_return Error{"this agent stops", "try again", EAGAIN};
  if (!kept)
    co_return Error{"request " + std::to_string(reservation) +
                        " is renewed, but a restart of this agent may forget that: " + kept.error().what,
                    kept.error().hint, EAGAIN};
  co_return this->reservation(reservation, client);
}

Result<> RequestDesk::finish(uint64_t reservation, const std::optional<std::string> &client) {
  const auto found = find(reservation, client);
  if (!found) return found.error();
  end(grants_.find(reservation), client ? "finished by the client" : "finished by the operator", true);
  return done();
}

void RequestDesk::ended(uint64_t reservation, const std::string &reason) {
  if (const auto grant = grants_.find(reservation); grant != grants_.end()) end(grant, reason, false);
}

void RequestDesk::add(Grant grant) {
  const uint64_t id = grant.shown.id();
  grant.order = next_order_++;
  grant.kept = entry_of(grant);
  by_client_[grant.shown.client()].insert(id);
  by_expiry_.insert({grant.expires, id});
  grants_.emplace(id, std::move(grant));
  arm();
}

const RequestDesk::Grant *RequestDesk::in_force(const std::string &client, uint32_t cs_id) const {
  const Grant *newest = nullptr;
  const auto mine = by_client_.find(client);
  if (mine == by_client_.end()) return nullptr;
  for (const uint64_t id : mine->second)
    if (const Grant &grant = grants_.at(id); grant.cs_id == cs_id && (!newest || grant.order > newest->order))
      newest = &grant;
  return newest;
}

void RequestDesk::end(Grants::iterator position, const std::string &reason, bool tell_owner) {
  const bool was_in_force = in_force(position->second.shown.client(), position->second.cs_id) == &position->second;
  const Grant grant = std::move(position->second);
  const auto &[id, client] = std::pair(grant.shown.id(), grant.shown.client());
  grants_.erase(position);
  by_expiry_.erase({grant.expires, id});
  if (auto &mine = by_client_[client]; mine.erase(id) && mine.empty()) by_client_.erase(client);
  programmer_.remove_session(id);
  if (tell_owner) sessions_.release(grant.origin, id);
  log::info("request ended: reservation={} client={} service={} csci={} reason=\"{}\"", id, client,
            grant.shown.service_id(), grant.shown.csci_id(), reason);
  // The data plane has one session per client and service: an older grant comes back into force.
  if (const Grant *other = in_force(client, grant.cs_id); was_in_force && other)
    if (const auto put = put_session(*other); !put)
      log::warn("session of request {} is not restored: {}", other->shown.id(), put.error().what);
  changed();
}

Result<RequestDesk::Grants::const_iterator> RequestDesk::find(uint64_t id,
                                                              const std::optional<std::string> &client) const {
  const auto found = grants_.find(id);
  if (found == grants_.end())
    return Error{"no request " + std::to_string(id), "it may have ended: leases run out", ENOENT};
  if (client && found->second.shown.client() != *client)
    return Error{"request " + std::to_string(id) + " was not made from " + *client,
                 "only the address that made it may change it", EPERM};
  return found;
}

Result<v1::Reservation> RequestDesk::reservation(uint64_t id, const std::optional<std::string> &client) const {
  const auto found = find(id, client);
  if (!found) return found.error();
  v1::Reservation shown = (*found)->second.shown;
  shown.set_expires_in_s(std::chrono::duration<double>((*found)->second.expires - cmas::Clock::now()).count());
  return shown;
}

v1::ReservationList RequestDesk::list() const {
  v1::ReservationList all;
  for (const auto &[id, grant] : grants_) *all.add_requests() = *reservation(id, std::nullopt);
  return all;
}

std::vector<uint64_t> RequestDesk::held_of(const std::string &origin) const {
  std::vector<uint64_t> held;
  for (const auto &[id, grant] : grants_)
    if (grant.origin == origin) held.push_back(id);
  return held;
}

std::optional<v1::Reservation> RequestDesk::pinned(const std::string &client, uint32_t cs_id) const {
  const Grant *grant = in_force(client, cs_id);
  return grant ? std::optional(*reservation(grant->shown.id(), std::nullopt)) : std::nullopt;
}

Result<> RequestDesk::put_session(const Grant &grant) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(grant.expires - cmas::Clock::now());
  return programmer_.put_session({grant.shown.id(), grant.shown.client(), grant.cs_id, grant.shown.csci_id(), left});
}

void RequestDesk::arm() {
  if (by_expiry_.empty()) {
    expiry_.cancel();
    return;
  }
  expiry_.expires_at(by_expiry_.begin()->first);
  expiry_.async_wait([this](const boost::system::error_code &error) {
    if (!error) expire();
  });
}

void RequestDesk::expire() {
  const auto now = cmas::Clock::now();
  // The owner's lease ends by itself; telling it costs one message and saves it the wait.
  while (!by_expiry_.empty() && by_expiry_.begin()->first <= now)
    end(grants_.find(by_expiry_.begin()->second), "lease over", true);
  arm();
}

}  // namespace catsbpf::agent
