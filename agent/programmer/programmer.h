// SPDX-License-Identifier: Apache-2.0
// Programmer: wanted state, programmed state, dirty keys, one loop for start, change, retry and
// reconcile. Kernel first, memory second: what we believe is programmed changes only after the write
// succeeded. Publication: writes the side that packets do not see, flips, then waits one grace period
// in a thread of its own while further changes coalesce (DESIGN property 4).
//
// All calls from the agent's one event-loop thread.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "agent/dataplane/dataplane.h"
#include "agent/netlink/next_hops.h"
#include "agent/programmer/wanted.h"
#include "util/result.h"

namespace catsbpf::agent {

struct ForwarderAddress {
  std::string name;
  std::string address;  // tunnel address, IPv4
};

struct ProgrammerOptions {
  std::string tunnel_address;                // "" : neither encapsulates nor decapsulates
  uint32_t vni = 0;                          // 0: CATS_VNI
  std::string icmp_source4;                  // source of ICMP errors; "": the tunnel address
  std::string icmp_source6;                  // "": none
  std::vector<ForwarderAddress> forwarders;  // peers
  std::chrono::milliseconds retry{1000};     // after a failed write; doubled with each further one, up to 30 times
  std::chrono::milliseconds patience{3000};  // paths and deliveries that stay unresolved for longer are warnings
  std::chrono::milliseconds reclaim{5000};   // how often retired slots are looked for in the flow table
};

class Programmer {
 public:
  // Reads what is programmed already (slots, handles, rings, view) and carries on from it: nothing
  // that packets see changes before the first publish.
  // Next hops come from the kernel (agent/netlink), or from `next_hops`, which must outlive the programmer.
  static Result<std::unique_ptr<Programmer>> open(boost::asio::io_context &io, Dataplane &dataplane,
                                                  ProgrammerOptions options);
  static Result<std::unique_ptr<Programmer>> open(boost::asio::io_context &io, Dataplane &dataplane,
                                                  NextHops &next_hops, ProgrammerOptions options);
  virtual ~Programmer() = default;

  // Until `release()`, services and deliveries are collected but not published: at start, so that the
  // view of the last agent stays in force until the control plane knows as much again. Without a hold
  // before the event loop runs, what the last agent left and nobody wants is removed at once.
  virtual void hold(const std::string &waiting_for) = 0;
  virtual void release() = 0;
  // As release(), but services of the last agent that nobody has put yet stay in force as they are, until
  // they are put, or until release(). Meanwhile state() is "starting (waiting for ...)".
  virtual void release_known(const std::string &waiting_for) = 0;

  virtual void put_service(WantedService service) = 0;
  virtual void remove_service(uint32_t cs_id) = 0;
  virtual void put_deliveries(const std::string &source, std::vector<WantedDelivery> deliveries) = 0;
  virtual Result<> put_session(const WantedSession &session) = 0;
  virtual void remove_session(uint64_t reservation) = 0;
  virtual Result<> set_bypass(bool on) = 0;
  virtual bool bypass() const = 0;

  // Called with each news of a path: whether this router has a way to the egress. Packets know at once.
  virtual void on_path(std::function<void(const std::string &egress, bool alive)> callback) = 0;
  // Called with all deliveries that no packet can reach from here, when they change.
  virtual void on_undeliverable(std::function<void(const std::set<cmas::RowKey> &)> callback) = 0;
  // Called after each flip with (view epoch, CLOCK_MONOTONIC ns of the flip).
  virtual void on_published(std::function<void(uint64_t, uint64_t)> callback) = 0;

  // For people.
  virtual std::string state() const = 0;  // "in sync", "starting (waiting for ...)", "dirty (reason)"
  virtual uint16_t slot(uint32_t cs_id, uint32_t csci_id) const = 0;  // 0: not programmed
  struct PathView {
    std::string egress, address, interface, next_hop, mac, state;
    uint32_t mtu = 0;
  };
  virtual std::vector<PathView> paths() const = 0;
  // Dead paths, and paths and deliveries that stay unresolved: packets of those count as sent and may all be lost.
  virtual std::vector<std::string> warnings() const = 0;

  // What was done since the start.
  struct Totals {
    uint64_t publications = 0;
    uint64_t services_written = 0;  // records, both sides counted
    uint64_t slots_written = 0;     // ring slots that differed
    uint64_t slots_reclaimed = 0;   // retired instance slots that no flow holds any more
  };
  virtual Totals totals() const = 0;

  // Ends the sessions that are none of these reservations: the last agent's whose grants are not known any more. They
  // would go on pinning clients until their lease ends.
  virtual void keep_sessions(const std::set<uint64_t> &reservations) = 0;
};

}  // namespace catsbpf::agent
