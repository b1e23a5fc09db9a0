// SPDX-License-Identifier: Apache-2.0
// The C-PS' end of the delta sessions: listens, admits the configured C-SMAs over mutual TLS 1.3, and
// keeps their rows in the whole service table. In: sessions of C-SMAs. Out: rows in `table`, callbacks
// on what was touched, and reservations asked of the owners of rows.
//
// All calls and callbacks on the thread of `io`.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cmas/proto/api.pb.h"
#include "cmas/whole_table.h"
#include "util/result.h"
#include "util/tls/identity.h"

namespace catsbpf::agent {

// What a Reserve or Renew can carry; longer leases are cut to it.
constexpr std::chrono::milliseconds kLongestLease{UINT32_MAX};

struct SessionServerOptions {
  struct Agent {
    std::string name;  // of its certificate
    std::string site;  // the one site that it may speak for
  };
  std::string listen;  // "10.255.0.1:7900", "[::1]:0"
  tls::Files tls;
  std::string domain;
  std::string name;  // of this node
  std::chrono::milliseconds hold_time{30'000};
  std::chrono::milliseconds freeze_after{3'000};
  std::vector<Agent> agents;
  // To which tunnels are configured. What rows name beside them and this node is said in the log. Empty: all are known.
  std::set<std::string> forwarders;
  std::string function_set = "none";
  std::chrono::milliseconds answer_timeout{1'000};     // of Reserve and Renew
  std::chrono::milliseconds handshake_timeout{5'000};  // from accept to Open
  std::size_t max_unauthenticated = 64;                // connections before their Open is accepted
  std::size_t max_unauthenticated_per_source = 4;      // of them, of one IPv4 address or IPv6 /64
  // All reservations at that origin that this C-PS knows of; asked when a session comes up, so that the owner
  // releases the others that it granted to us. Null: nothing is said, they end with their lease.
  std::function<std::vector<uint64_t>(const std::string &origin)> held;
};

class SessionServer {
 public:
  // Fails naming the address or the TLS file, and why.
  static Result<std::unique_ptr<SessionServer>> open(boost::asio::io_context &io, SessionServerOptions options,
                                                     cmas::WholeTable &table);
  virtual ~SessionServer() = default;

  // After each change of the table that the sessions made; epoch and sequence: newest message of that
  // origin that the table holds.
  using Touched = std::function<void(const cmas::WholeTable::Services &services, const std::string &origin,
                                     uint64_t epoch, uint64_t sequence)>;
  virtual void on_touched(Touched callback) = 0;
  // A reservation ended at its owner: service finished or lease over.
  virtual void on_finished(std::function<void(uint64_t reservation, const std::string &reason)> callback) = 0;

  // Asks the owner of the row. Error: refused (why), no session with it, or no answer in time (what may
  // have been granted meanwhile is released). Idempotent by `reservation`.
  virtual boost::asio::awaitable<Result<>> reserve(std::string origin, cmas::RowKey key, uint64_t reservation,
                                                   uint32_t gas, std::chrono::milliseconds lease) = 0;
  virtual boost::asio::awaitable<Result<>> renew(std::string origin, uint64_t reservation,
                                                 std::chrono::milliseconds lease) = 0;
  // The client is done. Said again in each session until the origin has confirmed it.
  virtual void release(const std::string &origin, uint64_t reservation) = 0;

  // Every configured agent has sent a Snapshot since this server opened.
  virtual bool all_synced() const = 0;
  virtual std::vector<std::string> unsynced() const = 0;  // names of those that have not
  // Called once, when all_synced() has become true; soon (posted) when it is true already.
  virtual void on_synced(std::function<void()> callback) = 0;

  // One per configured agent.
  virtual std::vector<v1::SessionStatus> sessions() const = 0;
  // Connections and messages refused so far, those of unknown peers included.
  virtual uint64_t refused() const = 0;
  virtual std::string endpoint() const = 0;  // where it listens (port 0: which)
  // Tells the peers, closes. Rows stay in the table.
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
