// SPDX-License-Identifier: Apache-2.0
// STAMP Session-Reflector (RFC 8762): stateful, unauthenticated, IPv4 and IPv6. In: test packets on a UDP
// port. Out: their reflection, of the same size. Never answers a packet that comes from its own port
// (two reflectors would play for ever), nor more than `packets_per_second` of one session.
#pragma once

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <vector>

#include "agent/network_metrics/stamp.h"
#include "util/result.h"

namespace catsbpf::agent {

struct ReflectorOptions {
  std::string address;                  // "" : all, IPv4 and IPv6
  uint16_t port = stamp::kPort;         // 0: any free one
  std::vector<std::string> sources{};   // addresses answered; empty: all
  uint32_t packets_per_second = 1'000;  // of one session (source address and port)
  std::size_t max_sessions = 4'096;     // the idlest makes room
};

class Reflector {
 public:
  // Fails naming address and port; the hint says how to allow ports below 1024.
  static Result<std::unique_ptr<Reflector>> open(boost::asio::io_context &io, ReflectorOptions options);
  virtual ~Reflector() = default;

  struct Counts {
    uint64_t reflected = 0, malformed = 0, refused = 0, limited = 0, send_failed = 0;
  };
  virtual Counts counts() const = 0;
  virtual uint16_t port() const = 0;
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
