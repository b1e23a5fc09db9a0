// SPDX-License-Identifier: Apache-2.0
// C-NMA: one STAMP Session-Sender (RFC 8762) per egress. In: replies of the egresses' reflectors. Out: per
// egress the median round trip, jitter and loss of a window of probes. Loss of all probes ages the
// metric and makes the egress silent: a reflector that stands still is not a dead path.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/network_metrics/stamp.h"
#include "cmas/whole_table.h"
#include "util/result.h"

namespace catsbpf::agent {

struct NetworkMetricAgentOptions {
  struct Egress {
    std::string name;
    std::string address;  // IPv4 or IPv6
  };
  std::vector<Egress> egresses;
  std::string source;  // address to send from (the tunnel's); "": by routing
  std::chrono::milliseconds interval{100};
  uint32_t window = 32;                            // probes
  uint16_t port = stamp::kPort;                    // of the reflectors
  std::chrono::milliseconds reply_timeout{1'000};  // later replies count as lost and late
};

class NetworkMetricAgent {
 public:
  // Fails naming the address that is none, or the socket that cannot be had.
  static Result<std::unique_ptr<NetworkMetricAgent>> open(boost::asio::io_context &io,
                                                          NetworkMetricAgentOptions options);
  virtual ~NetworkMetricAgent() = default;

  // After each reply, and when loss changed. Before the first reply of that egress only to say that it is
  // silent. `measured` is the moment of the newest reply.
  virtual void on_metric(
      std::function<void(const std::string &egress, const cmas::NetworkMetric &metric)> callback) = 0;

  struct Probes {
    std::string egress, address;
    uint64_t sent = 0, answered = 0, lost = 0, late = 0, duplicate = 0, foreign = 0, send_failed = 0,
             refused = 0;            // by ICMP: the host is there, its reflector is not
    bool kernel_timestamps = false;  // of the newest reply
  };
  virtual std::vector<Probes> probes() const = 0;
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
