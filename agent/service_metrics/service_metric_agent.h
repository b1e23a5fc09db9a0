// SPDX-License-Identifier: Apache-2.0
// C-SMA: owner of one site's service model table and its ledger. In: the site's API (mutual TLS, role
// `site`) and reservations of the C-PSes. Out: one delta session per C-PS, the rows for the egress'
// deliveries, and a SQLite file from which a killed agent comes back with the same rows and leases.
//
// All calls and callbacks on the thread of `io`.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cmas/proto/api.pb.h"
#include "cmas/site_table.h"
#include "util/result.h"
#include "util/tls/identity.h"

namespace catsbpf::agent {

struct ServiceMetricAgentOptions {
  struct PathSelector {
    std::string name;     // of its certificate
    std::string address;  // "10.255.0.1:7900"
  };
  std::string name;  // of this node
  std::string site;
  std::vector<std::string> egresses;
  std::vector<PathSelector> path_selectors;
  std::chrono::milliseconds hold_time{30'000};
  tls::Files tls;
  std::string domain;
  std::string function_set = "none";
  std::string listen;                     // of the site's API: "10.2.0.1:7443"
  std::vector<std::string> site_clients;  // certificate names allowed; empty: the site's name
  std::string database;                   // path of the SQLite file, made if missing
  // CS-ID of a Service ID by the cached catalogue of the platform, where the agent has one. Without it
  // (or when it knows no such service) the site names both in its table.
  std::function<std::optional<uint32_t>(const std::string &service_id)> resolve_service;
  // Where this agent is the egress, too. Rows with other egresses are not its business.
  struct Egress {
    std::function<Result<>(const std::string &contact)> check_contact;  // fails when it cannot deliver there
    std::set<cmas::RowKey> configured;  // instances that it delivers to without a contact in the table
  };
  std::optional<Egress> egress;
};

class ServiceMetricAgent {
 public:
  // Fails naming the file (another schema version, not writable, not ours), the address or the TLS file.
  static Result<std::unique_ptr<ServiceMetricAgent>> open(boost::asio::io_context &io,
                                                          ServiceMetricAgentOptions options);
  virtual ~ServiceMetricAgent() = default;

  // Calls back at once with the rows in hand, then whenever a row comes, goes or changes its contact.
  virtual void on_rows(std::function<void(const std::vector<cmas::SiteRow> &rows)> callback) = 0;

  // All instances that the egress of this agent cannot deliver to: their rows take no new flows. Those with other
  // egresses are left alone.
  virtual void set_undeliverable(std::set<cmas::RowKey> instances) = 0;

  virtual const cmas::SiteTable &table() const = 0;
  virtual uint64_t epoch() const = 0;
  virtual std::vector<v1::SessionStatus> sessions() const = 0;
  virtual std::string endpoint() const = 0;  // of the site's API, "ADDRESS:PORT" (port 0: which)
  // What an operator should know: why nothing can be stored, which rows take no new flows for want of a contact.
  virtual std::vector<std::string> warnings() const = 0;
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
