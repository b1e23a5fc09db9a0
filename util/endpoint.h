// SPDX-License-Identifier: Apache-2.0
// Addresses as people write them: "10.0.0.1:8443", "[::1]:80", "platform.lab:8443".
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <string>

#include "util/result.h"

namespace catsbpf {

struct HostPort {
  std::string host;  // a name or an address, without brackets
  std::uint16_t port = 0;
};

// default_port is taken where the text has none; 0: a port is required (it may be 0 itself).
Result<HostPort> parse_host_port(const std::string &text, std::uint16_t default_port = 0);
// The same for an address and a port; names are refused.
Result<boost::asio::ip::tcp::endpoint> parse_endpoint(const std::string &text);
// "10.0.0.1:8443", "[::1]:80"
std::string to_text(const boost::asio::ip::tcp::endpoint &endpoint);
std::string to_text(const HostPort &host_port);

}  // namespace catsbpf
