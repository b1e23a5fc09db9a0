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
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/programmer/programmer.h"
#include "agent/session/session_server.h"
#include "cmas/proto/api.pb.h"
#include "cmas/selection.h"
#include "cmas/site_table.h"
#include "cmas/whole_table.h"
#include "util/worker.h"

namespace catsbpf::agent {

constexpr uint32_t kDefaultLeaseSeconds = 60;    // of a request that names none
constexpr uint32_t kLongestLeaseSeconds = 3600;  // of a service whose SLA names none
constexpr std::size_t kMaxGrants = 60'000;       // below MAX_SESSIONS of the data plane
constexpr std::size_t kMaxGrantsPerClient = 256;

// What a client wishes, checked: a number too large, negative or 0 is named, with what to write instead.
Result<cmas::Request> wish_of(const v1::ServiceRequest &request);

class RequestDesk {
 public:
  // `file`: where grants are kept, "" : nowhere. All references outlive the desk.
  RequestDesk(boost::asio::io_context &io, const cmas::WholeTable &table, SessionServer &sessions,
              Programmer &programmer, std::set<std::string> forwarders, std::string file);
  ~RequestDesk();
  RequestDesk(const RequestDesk &) = delete;

  struct Outcome {
    v1::SelectionAnswer answer;  // R044; success = false: no instance would have it
    uint64_t reservation = 0;
    uint32_t lease_s = 0;
    std::string reason{};  // when not successful: every candidate's
    std::string told{};    // the same for the client, who is told neither CSCI-IDs nor sites (R045)
  };
  // What is granted is on disk before this ends. Error: the request itself is wrong (code EINVAL), the service
  // unknown (ENOENT), too many grants (EBUSY), the grant cannot be kept (EAGAIN; nothing stays reserved).
  boost::asio::awaitable<Result<Outcome>> request(v1::ServiceRequest request, std::string client);
  // Extends the lease. Error: unknown (ENOENT), not that client's (EPERM), refused by the owner (EBUSY), extended
  // but not kept (EAGAIN).
  boost::asio::awaitable<Result<v1::Reservation>> renew(uint64_t reservation, std::string client,
                                                        std::optional<uint32_t> lease_s);
  // The client is done (`client` empty: the operator says so).
  Result<> finish(uint64_t reservation, const std::optional<std::string> &client);
  // The owner says that it has ended.
  void ended(uint64_t reservation, const std::string &reason);

  Result<v1::Reservation> reservation(uint64_t id, const std::optional<std::string> &client) const;
  v1::ReservationList list() const;
  // All granted by that C-SMA.
  std::vector<uint64_t> held_of(const std::string &origin) const;
  // The grant that pins this client's new flows of that service.
  std::optional<v1::Reservation> pinned(const std::string &client, uint32_t cs_id) const;

  // Reads the kept grants; sessions of those still running are put by `restore_sessions()`, once the
  // programmer knows the instances.
  // A file that makes no sense is put aside, as is one entry of it: no grant keeps the agent from starting.
  void load();
  bool restore_sessions();  // false: not all instances are programmed yet
  // Writes the file now, and waits for it (stop). What fails is tried again until it succeeds.
  void save();
  // Why changes are not kept at present, "" : they are.
  const std::string &not_kept() const { return not_kept_; }
  uint64_t writes() const { return writes_; }  // of the file so far

 private:
  struct Grant {
    v1::Reservation shown;  // expires_in_s is filled on demand
    uint32_t cs_id = 0;
    std::string origin;
    cmas::TimePoint expires;
    uint64_t order = 0;  // of granting: of several for one client and service the newest is in force
    std::string kept;    // its entry of the file, up to the time that it expires
  };
  // Grants that wait for the same write.
  struct Batch {
    explicit Batch(boost::asio::io_context &io) : written(io, cmas::TimePoint::max()) {}
    boost::asio::steady_timer written;  // cancelled then
    std::optional<Result<>> result;
    void settle(Result<> how) {
      result = std::move(how);
      written.cancel();
    }
  };
  // Requests that are being answered, by client. Outlives the desk with the last of them.
  struct Pending {
    std::map<std::string, std::size_t> by_client;
    std::size_t total = 0;
  };
  class Place;
  using Grants = std::map<uint64_t, Grant>;

  boost::asio::awaitable<Result<>> reserve_one(const cmas::Verdict &verdict, uint32_t gas, uint32_t lease_s,
                                               const std::string &client, uint64_t reservation);
  Result<Grants::const_iterator> find(uint64_t id, const std::optional<std::string> &client) const;
  void end(Grants::iterator grant, const std::string &reason, bool tell_owner);
  void add(Grant grant);
  // The newest grant of this client for this service.
  const Grant *in_force(const std::string &client, uint32_t cs_id) const;
  Result<> put_session(const Grant &grant);
  Result<> room_for(const std::string &client) const;
  static Result<Grant> read_grant(const std::string &entry);
  static std::string entry_of(const Grant &grant);
  boost::asio::awaitable<Result<>> stored();
  void changed();
  void save_at(cmas::TimePoint due);
  void begin_save();
  std::string take_text();
  void saved(const Result<> &written);
  std::string text() const;
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
  cmas::TimePoint save_at_ = cmas::TimePoint::max();  // of the armed timer
  bool saving_now_ = false;                           // by the worker
  cmas::TimePoint composed_{};                        // the last text
  cmas::Clock::duration composing_took_{0};
  std::string not_kept_;
  uint64_t writes_ = 0;
  std::shared_ptr<Batch> batch_;
  Worker worker_;
  std::shared_ptr<Pending> pending_ = std::make_shared<Pending>();
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace catsbpf::agent
