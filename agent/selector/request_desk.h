// SPDX-License-Identifier: Apache-2.0
// Requests of CMAS section 6. Comes in: (Service ID, Gas, Cost, Delay) from a client's address. Goes out: a
// reservation at the owner of the row and a session in the data plane, or why not. A grant ends when the
// client or its owner says so, or with its lease; each way removes the session, whatever was lost.
//
// Grants are kept in the state directory: a restarted agent still knows whom to release.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/programmer/programmer.h"
#include "agent/session/session_server.h"
#include "cmas/selection.h"
#include "cmas/site_table.h"
#include "cmas/whole_table.h"
#include "cmas/proto/api.pb.h"

namespace catsbpf::agent {

constexpr uint32_t kDefaultLeaseSeconds = 60;     // of a request that names none
constexpr uint32_t kLongestLeaseSeconds = 3600;   // of a service whose SLA names none
constexpr std::size_t kMaxGrants = 60'000;        // below MAX_SESSIONS of the data plane
constexpr std::size_t kMaxGrantsPerClient = 256;

class RequestDesk {
 public:
  // `file`: where grants are kept, "" : nowhere. All references outlive the desk.
  RequestDesk(boost::asio::io_context &io, const cmas::WholeTable &table, SessionServer &sessions, Programmer &programmer,
              std::set<std::string> forwarders, std::string file);
  ~RequestDesk();
  RequestDesk(const RequestDesk &) = delete;

  struct Outcome {
    v1::SelectionAnswer answer;  // R044; success = false: no instance would have it
    uint64_t reservation = 0;
    uint32_t lease_s = 0;
    std::string reason;          // when not successful: every candidate's
  };
  // Error: the request itself is wrong (code EINVAL), the service unknown (ENOENT), too many grants (EBUSY).
  boost::asio::awaitable<Result<Outcome>> request(v1::ServiceRequest request, std::string client);
  // Extends the lease. Error: unknown (ENOENT), not that client's (EPERM), refused by the owner (EBUSY).
  boost::asio::awaitable<Result<v1::Reservation>> renew(uint64_t reservation, std::string client, uint32_t lease_s);
  // The client is done (`client` empty: the operator says so).
  Result<> finish(uint64_t reservation, const std::optional<std::string> &client);
  // The owner says that it has ended.
  void ended(uint64_t reservation, const std::string &reason);

  Result<v1::Reservation> reservation(uint64_t id, const std::optional<std::string> &client) const;
  v1::ReservationList list() const;
  // All granted by that C-SMA.
  std::vector<uint64_t> held_of(const std::string &origin) const;
  // CSCI-ID that a grant of this client pins it to.
  std::optional<uint32_t> pinned(const std::string &client, uint32_t cs_id) const;

  // Reads the kept grants; sessions of those still running are put by `restore_sessions()`, once the
  // programmer knows the instances.
  Result<> load();
  bool restore_sessions();  // false: not all instances are programmed yet
  // Writes the file now (stop).
  void save();

 private:
  struct Grant {
    v1::Reservation shown;  // expires_in_s is filled on demand
    uint32_t cs_id = 0;
    std::string origin;
    cmas::TimePoint expires;
    uint64_t order = 0;  // of granting: of several for one client and service the newest is in force
  };
  using Grants = std::map<uint64_t, Grant>;

  boost::asio::awaitable<Result<>> reserve_one(const cmas::Verdict &verdict, uint32_t gas, uint32_t lease_s,
                                               const std::string &client, uint64_t reservation);
  Result<Grants::const_iterator> find(uint64_t id, const std::optional<std::string> &client) const;
  void end(Grants::iterator grant, const std::string &reason, bool tell_owner);
  void add(Grant grant);
  // The newest grant of this client for this service.
  const Grant *in_force(const std::string &client, uint32_t cs_id) const;
  Result<> put_session(const Grant &grant);
  void changed();
  void arm();
  void expire();
  uint64_t new_id() const;

  boost::asio::io_context &io_;
  const cmas::WholeTable &table_;
  SessionServer &sessions_;
  Programmer &programmer_;
  std::set<std::string> forwarders_;
  std::string file_;
  Grants grants_;
  std::map<std::string, std::set<uint64_t>> by_client_;
  std::set<std::pair<cmas::TimePoint, uint64_t>> by_expiry_;
  uint64_t next_order_ = 1;
  boost::asio::steady_timer expiry_, saving_;
  bool save_due_ = false;
  cmas::TimePoint saved_{};
};

}  // namespace catsbpf::agent
