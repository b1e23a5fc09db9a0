// SPDX-License-Identifier: Apache-2.0
// C-PS: decides where new flows go. Comes in: touched services of the whole service table (rows, services,
// network delay, drains), requests of clients, questions of the operator. Goes out: WantedServices and sessions
// to the programmer, answers with reasons. However many deltas come in one turn of the event loop,
// each service is computed once.
//
// All calls on the thread of `io`.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/programmer/programmer.h"
#include "agent/selector/journal.h"
#include "agent/selector/request_desk.h"
#include "agent/selector/steering.h"
#include "agent/session/session_server.h"
#include "cmas/whole_table.h"

namespace catsbpf::agent {

struct SelectorOptions {
  std::string state_directory;  // drains.json, requests.json; "" : nothing is kept
  double ring_threshold = 0.1;
  std::set<std::string> forwarders;  // egresses to which a path is configured
  std::set<std::string> sites;       // of the configured C-SMAs
  std::chrono::milliseconds restart_hold{30'000};
  // No view is in force: the first one waits so long for the catalogue, all rows and all paths' delays. And
  // after a restart, once catalogue and rows are known, so long for the delays. 0: not at all.
  std::chrono::milliseconds start_hold{2'000};
  bool measures = false;  // a C-NMA feeds put_metric()
  // Packets see the view of an agent before this one: it stays in force until this agent knows as much.
  bool hold = false;
  // Instances of that view. Those that no row names keep their flows until all origins have spoken.
  struct Programmed {
    cmas::RowKey key;
    std::string egress;
    double share = 0;  // of the ring in force, 0..1
  };
  std::vector<Programmed> programmed{};
  std::chrono::milliseconds forget_dead{10'000};  // a removed row is shown as dead for so long
};

class PathSelector {
 public:
  // Takes over the callbacks of `sessions` and `programmer`. Kept state that makes no sense is put aside.
  static Result<std::unique_ptr<PathSelector>> open(boost::asio::io_context &io, cmas::WholeTable &table,
                                                    SessionServer &sessions, Programmer &programmer,
                                                    SelectorOptions options);

  // ---- from the platform client and the C-NMA ----
  void put_service(const v1::Service &service);
  void remove_service(const std::string &service_id);
  void platform_known();  // the catalogue is complete, from the platform or its cached copy
  void put_metric(const std::string &egress, const cmas::NetworkMetric &metric);

  // ---- drains, kept over restarts ----
  // Fails naming the field: not exactly one of three, unknown instance, site or egress.
  Result<> drain(const v1::Drain &drain, bool on);
  v1::DrainList drains() const;

  // ---- for people ----
  // The ring's view, or with `request` the view of that request. Error: unknown service (ENOENT), bad request.
  Result<v1::Explanation> explain(const std::string &service, const std::optional<cmas::Request> &request) const;
  const ServiceSteering *steering(uint32_t cs_id) const;
  const cmas::WholeTable &table() const { return table_; }
  const SelectorOptions &options() const { return options_; }
  RequestDesk &requests() { return desk_; }
  const Journal &journal() const { return journal_; }
  // What an operator should know: policies that do not exist, rows no path leads to.
  std::vector<std::string> warnings() const;
  bool holding() const { return holding_; }

  // Writes what is kept.
  void stop();

 private:
  PathSelector(boost::asio::io_context &io, cmas::WholeTable &table, SessionServer &sessions, Programmer &programmer,
               SelectorOptions options);
  void load();
  void begin_hold();
  void end_hold_after(std::chrono::milliseconds limit);
  void check_hold();
  void release_hold(const std::string &why);
  void publish_first(const std::string &why);
  std::string waiting_for() const;

  void touch(const cmas::WholeTable::Services &services);
  void put_path(const std::string &egress, bool alive);
  void heard(const std::string &origin, uint64_t epoch, uint64_t sequence, const cmas::WholeTable::Services &services);
  void published(uint64_t epoch, uint64_t published_ns);
  void recompute();
  void recompute_one(uint32_t cs_id);
  ServiceSteering &steering_of(uint32_t cs_id);
  void forget_withdrawn(const std::string &site);
  void notice_dead(const std::vector<cmas::Candidate> &candidates);
  void forget_dead();

  // One line per change of where new flows go; of a service that changes often one line per second.
  void log_shift(const v1::Service &service, const std::string &from, const std::string &to, const std::string &why);
  // The first one of this agent: compared with the view of the agent before.
  void log_first_shift(uint32_t cs_id);
  void log_pending();

  Result<cmas::RowKey> row_to_drain(const v1::Drain &drain) const;
  Result<> save_drains() const;
  std::string file(const char *name) const;

  struct Shift {
    std::string service_id, from, to, why;
    uint32_t changes = 0;  // since the last line; 0: nothing to say
    cmas::TimePoint said{};
  };

  boost::asio::io_context &io_;
  cmas::WholeTable &table_;
  SessionServer &sessions_;
  Programmer &programmer_;
  SelectorOptions options_;
  RequestDesk desk_;
  Journal journal_;
  std::map<uint32_t, ServiceSteering> steerings_;
  std::map<uint32_t, std::string> policy_errors_;
  std::map<uint32_t, std::map<uint32_t, std::string>> inherited_;  // CS-ID -> CSCI-ID -> egress
  std::map<uint32_t, std::string> in_force_;      // CS-ID -> shares in the last agent's view, until ours is
  std::set<std::string> silent_sites_;            // have withdrawn instances
  std::map<cmas::RowKey, cmas::TimePoint> dead_;  // since when
  cmas::WholeTable::Services touched_;
  bool recompute_posted_ = false;
  std::map<uint32_t, Shift> shifts_;
  boost::asio::steady_timer log_timer_, hold_timer_, dead_timer_;
  bool log_armed_ = false, sessions_due_ = false;
  bool holding_ = false, platform_known_ = false, measuring_ = false;
  bool catalogue_missing_ = false;  // publishing, but the last agent's services are not judged yet
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace catsbpf::agent
