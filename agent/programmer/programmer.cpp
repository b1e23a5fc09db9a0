// SPDX-License-Identifier: Apache-2.0
// The loop: stage what is wanted, write the side that packets do not see, flip, wait one grace period in
// the worker, free what the flip left behind, again. Everything that must wait for a grace is a function in
// `after_grace_`.
#include "agent/programmer/programmer.h"

#include <time.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "agent/programmer/delivery_table.h"
#include "agent/programmer/path_table.h"
#include "agent/programmer/service_table.h"
#include "agent/programmer/session_table.h"
#include "agent/programmer/slots.h"
#include "agent/programmer/translate.h"
#include "maps/tables.h"
#include "util/log.h"
#include "util/worker.h"

namespace catsbpf::agent {

namespace {

constexpr int kMostRetry = 30;  // x retry

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

class LoopProgrammer final : public Programmer {
 public:
  // `own`: next hops that live as long as the programmer, or none.
  LoopProgrammer(boost::asio::io_context &io, Dataplane &dataplane, NextHops &next_hops, std::unique_ptr<NextHops> own,
                 ProgrammerOptions options)
      : own_next_hops_(std::move(own)),
        io_(io),
        dataplane_(dataplane),
        options_(std::move(options)),
        slots_(dataplane.instances()),
        paths_(dataplane, next_hops, slots_, [this] { after_grace([this] { paths_.collect(); }); }),
        services_(dataplane, slots_, paths_, totals_),
        deliveries_(
            dataplane, next_hops, [this] { after_grace([this] { deliveries_.collect(); }); },
            [this] { tell_undeliverable(); }),
        sessions_(dataplane),
        housekeeping_(io),
        retry_(io),
        reclaim_(io),
        worker_(io) {}
  ~LoopProgrammer() override { *alive_ = false; }

  Result<> open();

  void hold(const std::string &waiting_for) override { held_ = waiting_for; }
  void release() override;
  void release_known(const std::string &waiting_for) override;
  void put_service(WantedService service) override;
  void remove_service(uint32_t cs_id) override;
  void put_deliveries(const std::string &source, std::vector<WantedDelivery> deliveries) override;
  Result<> put_session(const WantedSession &session) override;
  void remove_session(uint64_t reservation) override { sessions_.remove(reservation); }
  void keep_sessions(const std::set<uint64_t> &reservations) override { sessions_.keep(reservations); }
  Result<> set_bypass(bool on) override;
  bool bypass() const override { return dataplane_.control().bypass != 0; }
  void on_path(std::function<void(const std::string &, bool)> callback) override {
    paths_.on_change(std::move(callback));
  }
  void on_undeliverable(std::function<void(const std::set<cmas::RowKey> &)> callback) override {
    undeliverable_ = std::move(callback);
  }
  void on_published(std::function<void(uint64_t, uint64_t)> callback) override {
    published_.push_back(std::move(callback));
  }

  std::string state() const override;
  uint16_t slot(uint32_t cs_id, uint32_t csci_id) const override { return slots_.find(cs_id, csci_id); }
  std::vector<PathView> paths() const override { return paths_.views(); }
  std::vector<std::string> warnings() const override { return warnings_; }
  Totals totals() const override { return totals_; }

 private:
  Result<> open_tunnel();
  void begin();
  void begin_publishing();
  void schedule();
  void step();
  void publish();
  void after_grace(std::function<void()> action);
  void wait_for(std::function<Result<>()> job, std::function<void(Result<>)> then);
  void start_grace();
  void start_reclaim();
  void retire();
  void back_off();
  void keep_house();
  void keep_reclaiming();
  void notice_outages();
  void tell_undeliverable();
  void succeeded();
  std::vector<std::string> errors() const;

  std::unique_ptr<NextHops> own_next_hops_;  // first: outlives those that watch
  boost::asio::io_context &io_;
  Dataplane &dataplane_;
  ProgrammerOptions options_;
  Totals totals_;
  Slots slots_;
  PathTable paths_;
  ServiceTable services_;
  DeliveryTable deliveries_;
  SessionTable sessions_;
  std::vector<std::function<void(uint64_t, uint64_t)>> published_;
  std::function<void(const std::set<cmas::RowKey> &)> undeliverable_;

  std::optional<std::string> held_;
  std::optional<std::string> unknown_;  // what the services of the last agent that stay are waiting for
  bool begun_ = false;                  // the event loop has run
  bool grace_owed_ = true;              // packets may still see the other side: of the last agent's flip, or of ours
  bool scheduled_ = false;
  bool waiting_ = false;  // for a grace period or a scan, on the worker's thread
  bool reclaim_due_ = false;
  bool telling_ = false;
  bool backing_off_ = false;
  bool retry_failed_ = false;
  int failures_ = 0;
  uint64_t epoch_ = 0;
  std::string view_error_;  // of the last publication or grace
  std::vector<std::string> warnings_;
  std::vector<std::function<void()>> after_grace_;

  boost::asio::steady_timer housekeeping_, retry_, reclaim_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  Worker worker_;  // last: joined first
};

Result<> LoopProgrammer::open_tunnel() {
  maps::control &control = dataplane_.control();
  const auto icmp4 =
      maps::parse_address(options_.icmp_source4.empty() ? options_.tunnel_address : options_.icmp_source4);
  const auto icmp6 = maps::parse_address(options_.icmp_source6);
  control.icmp_source4 = icmp4 ? *icmp4 : maps::address{};
  control.icmp_source6 = icmp6 ? *icmp6 : maps::address{};
  if (options_.tunnel_address.empty()) return services_.set_own_rules({});

  const auto tunnel = maps::parse_address(options_.tunnel_address);
  if (!tunnel || !maps::is_ipv4(*tunnel))
    return Error{"tunnel address '" + options_.tunnel_address + "' is no IPv4 address"};
  LocatorRules rules{address_rule(*tunnel, maps::LOCATOR_TUNNEL)};
  rules[0].target = options_.vni ? options_.vni : CATS_VNI;
  for (const ForwarderAddress &forwarder : options_.forwarders) {
    const auto address = maps::parse_address(forwarder.address);
    if (!address)
      return Error{"forwarder " + forwarder.name + " has address '" + forwarder.address + "'",
                   "give its IPv4 tunnel address"};
    rules.push_back(address_rule(*address, maps::LOCATOR_FORWARDER));
  }
  if (auto set = services_.set_own_rules(rules); !set) return set;
  return paths_.open(*tunnel, rules[0].target, options_.forwarders);
}

Result<> LoopProgrammer::open() {
  for (int side : {0, 1}) epoch_ = std::max<uint64_t>(epoch_, dataplane_.view_header(side).epoch);
  if (auto opened = sessions_.open(); !opened) return opened;
  if (auto opened = services_.open(); !opened) return opened;
  if (auto opened = open_tunnel(); !opened) return opened;
  keep_house();
  keep_reclaiming();
  // The last agent may have flipped just before it died: packets may still see the other side. What
  // belongs to no service now is what it had not published yet.
  after_grace_.push_back([this] {
    retire();
    paths_.collect();
  });
  start_grace();
  boost::asio::post(io_, [this, alive = alive_] {
    if (*alive) begin();
  });
  return done();
}

void LoopProgrammer::begin() {
  const bool released = std::exchange(begun_, true);
  if (!held_ && !released) release();
}

void LoopProgrammer::release() {
  unknown_.reset();
  services_.forget_unwanted();
  begin_publishing();
}

void LoopProgrammer::release_known(const std::string &waiting_for) {
  unknown_ = waiting_for;
  begin_publishing();
}

void LoopProgrammer::begin_publishing() {
  held_.reset();
  begun_ = true;
  services_.apply_states();
  deliveries_.apply();
  schedule();
}

void LoopProgrammer::put_service(WantedService service) {
  const uint32_t cs_id = service.cs_id;
  services_.put(std::move(service));
  if (held_ || !begun_) return;
  services_.apply_states(cs_id);
  schedule();
}

void LoopProgrammer::remove_service(uint32_t cs_id) {
  services_.remove(cs_id);
  if (!held_ && begun_) schedule();
}

void LoopProgrammer::put_deliveries(const std::string &source, std::vector<WantedDelivery> deliveries) {
  deliveries_.put(source, std::move(deliveries));
  if (!held_ && begun_) deliveries_.apply();
}

Result<> LoopProgrammer::put_session(const WantedSession &session) {
  const uint16_t slot = slots_.find(session.cs_id, session.csci_id);
  if (slot == 0)
    return Error{"CSCI-ID " + std::to_string(session.csci_id) + " of CS-ID " + std::to_string(session.cs_id) +
                 " is not programmed: " + state()};
  const uint64_t lease = static_cast<uint64_t>(session.lease.count()) * dataplane_.control().hz / 1000;
  return sessions_.put(session, slot, dataplane_.jiffies() + std::max<uint64_t>(lease, 1));
}

Result<> LoopProgrammer::set_bypass(bool on) {
  __atomic_store_n(&dataplane_.control().bypass, on ? 1u : 0u, __ATOMIC_RELEASE);
  log::info("bypass {}", on ? "on: new flows follow plain routing" : "off");
  return done();
}

void LoopProgrammer::schedule() {
  if (std::exchange(scheduled_, true)) return;
  boost::asio::post(io_, [this, alive = alive_] {
    if (*alive) step();
  });
}

void LoopProgrammer::step() {
  scheduled_ = false;
  if (waiting_) return;  // its end comes back here
  if (!held_ && begun_ && !services_.stage(std::exchange(retry_failed_, false))) back_off();
  if (services_.changed() && !grace_owed_ && view_error_.empty()) publish();
  if (!services_.changed() && after_grace_.empty()) succeeded();
  if (!after_grace_.empty() && view_error_.empty())
    start_grace();
  else if (std::exchange(reclaim_due_, false))
    start_reclaim();
}

void LoopProgrammer::publish() {
  const uint32_t side = 1 - (dataplane_.control().view & 1);
  if (auto written = services_.write_side(static_cast<int>(side)); !written) {
    view_error_ = written.error().text();
    return back_off();
  }
  maps::view_header &header = dataplane_.view_header(static_cast<int>(side));
  header.epoch = ++epoch_;
  header.published_ns = monotonic_ns();
  dataplane_.flip(side);
  ++totals_.publications;
  succeeded();
  grace_owed_ = true;
  after_grace_.push_back([this, freed = services_.leave()] {
    freed();
    retire();
  });
  for (const auto &callback : published_) callback(header.epoch, header.published_ns);
}

void LoopProgrammer::retire() {
  const auto retired = slots_.retire_unwanted();
  if (!retired.empty()) sessions_.remove_on(retired);
}

void LoopProgrammer::after_grace(std::function<void()> action) {
  after_grace_.push_back(std::move(action));
  schedule();
}

// A job that blocks, off the event loop; step() does nothing until it has ended.
void LoopProgrammer::wait_for(std::function<Result<>()> job, std::function<void(Result<>)> then) {
  waiting_ = true;
  worker_.run(std::move(job), [this, alive = alive_, then = std::move(then)](Result<> result) {
    if (!*alive) return;
    waiting_ = false;
    then(std::move(result));
  });
}

void LoopProgrammer::start_grace() {
  auto actions = std::make_shared<std::vector<std::function<void()>>>(std::exchange(after_grace_, {}));
  wait_for([this] { return dataplane_.wait_grace(); },
           [this, actions](Result<> waited) {
             if (!waited) {
               view_error_ = waited.error().text();
               after_grace_.insert(after_grace_.begin(), actions->begin(), actions->end());
               return back_off();
             }
             grace_owed_ = false;  // no flip happens meanwhile
             succeeded();
             for (const auto &action : *actions) action();
             schedule();
           });
}

void LoopProgrammer::start_reclaim() {
  struct Scan {
    std::vector<Slots::Retired> candidates;
    std::unique_ptr<SlotSet> held;
  };
  auto scan = std::make_shared<Scan>();
  scan->candidates = slots_.retired();
  if (scan->candidates.empty()) return;
  wait_for(
      [this, scan]() -> Result<> {
        if (auto waited = dataplane_.wait_grace(); !waited) return waited;
        scan->held = slots_in_use(dataplane_.flows());
        return done();
      },
      [this, scan](Result<> scanned) {
        if (scanned) {
          sessions_.hold(*scan->held);
          for (uint16_t slot : slots_.reclaim(scan->candidates, *scan->held)) {
            ++totals_.slots_reclaimed;
            if (auto cleared = dataplane_.clear_instance_counter(slot); !cleared) log::warn("{}", cleared.error().what);
          }
        } else {
          log::warn("retired slots stay: {}", scanned.error().what);
        }
        schedule();
      });
}

void LoopProgrammer::back_off() {
  if (std::exchange(backing_off_, true)) return;
  const auto wait = options_.retry * std::min(1 << std::min(failures_++, 5), kMostRetry);
  for (const std::string &error : errors()) log::error("{}; retry_ms={}", error, wait.count());
  retry_.expires_after(wait);
  retry_.async_wait([this, alive = alive_](const boost::system::error_code &error) {
    if (error || !*alive) return;
    backing_off_ = false;
    retry_failed_ = true;
    view_error_.clear();
    schedule();
  });
}

// What failed has succeeded since: what fails next is another failure, and is tried again soon.
void LoopProgrammer::succeeded() {
  if (view_error_.empty() && services_.errors().empty()) failures_ = 0;
}

void LoopProgrammer::notice_outages() {
  warnings_ = paths_.outages(options_.patience);
  for (std::string &text : deliveries_.outages(options_.patience)) warnings_.push_back(std::move(text));
}

// Once for all that a look at the kernel found.
void LoopProgrammer::tell_undeliverable() {
  if (std::exchange(telling_, true)) return;
  boost::asio::post(io_, [this, alive = alive_] {
    if (!*alive) return;
    telling_ = false;
    if (undeliverable_) undeliverable_(deliveries_.undeliverable());
  });
}

void LoopProgrammer::keep_house() {
  dataplane_.heartbeat();
  notice_outages();
  sessions_.expire(dataplane_.jiffies());
  housekeeping_.expires_after(kHeartbeat);
  housekeeping_.async_wait([this, alive = alive_](const boost::system::error_code &error) {
    if (!error && *alive) keep_house();
  });
}

void LoopProgrammer::keep_reclaiming() {
  reclaim_.expires_after(options_.reclaim);
  reclaim_.async_wait([this, alive = alive_](const boost::system::error_code &error) {
    if (error || !*alive) return;
    reclaim_due_ = true;
    schedule();
    keep_reclaiming();
  });
}

std::vector<std::string> LoopProgrammer::errors() const {
  std::vector<std::string> errors = services_.errors();
  if (!view_error_.empty()) errors.insert(errors.begin(), view_error_);
  for (std::string &error : deliveries_.errors()) errors.push_back(std::move(error));
  for (std::string &error : errors) error = error.substr(0, error.find('\n'));
  return errors;
}

std::string LoopProgrammer::state() const {
  if (held_) return "starting (waiting for " + *held_ + ")";
  const auto problems = errors();
  if (problems.size() == 1) return "dirty (" + problems[0] + ")";
  if (!problems.empty()) return "dirty (" + problems[0] + "; and " + std::to_string(problems.size() - 1) + " more)";
  if (services_.dirty())
    return "dirty (" + std::to_string(services_.pending()) + " services wait for the grace period)";
  if (services_.changed()) return "dirty (the next view waits for the grace period)";
  if (unknown_) return "starting (waiting for " + *unknown_ + ")";
  return "in sync";
}

Result<std::unique_ptr<Programmer>> opened(std::unique_ptr<LoopProgrammer> programmer) {
  if (auto opened = programmer->open(); !opened) return opened.error();
  return std::unique_ptr<Programmer>(std::move(programmer));
}

}  // namespace

Result<std::unique_ptr<Programmer>> Programmer::open(boost::asio::io_context &io, Dataplane &dataplane,
                                                     NextHops &next_hops, ProgrammerOptions options) {
  return opened(std::make_unique<LoopProgrammer>(io, dataplane, next_hops, nullptr, std::move(options)));
}

Result<std::unique_ptr<Programmer>> Programmer::open(boost::asio::io_context &io, Dataplane &dataplane,
                                                     ProgrammerOptions options) {
  auto next_hops = open_kernel_next_hops(io);
  if (!next_hops) return next_hops.error();
  NextHops &reference = **next_hops;
  return opened(std::make_unique<LoopProgrammer>(io, dataplane, reference, std::move(*next_hops), std::move(options)));
}

}  // namespace catsbpf::agent
