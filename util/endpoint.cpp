// SPDX-License-Identifier: Apache-2.0
#include "util/endpoint.h"

#include <boost/asio/ip/address.hpp>

#include <charconv>

namespace catsbpf {

namespace {

Error not_an_endpoint(const std::string &text) {
  return Error{"'" + text + "' is not ADDRESS:PORT", "write 10.0.0.1:8443, or [fd00::1]:8443 for IPv6"};
}

}  // namespace

Result<HostPort> parse_host_port(const std::string &text, std::uint16_t default_port) {
  const bool bracketed = !text.empty() && text.front() == '[';
  const auto bracket = bracketed ? text.find(']') : std::string::npos;
  if (bracketed && bracket == std::string::npos) return not_an_endpoint(text);
  const auto colon = bracketed ? (bracket + 1 < text.size() ? bracket + 1 : std::string::npos) : text.find(':');
  if (colon != std::string::npos && (text[colon] != ':' || text.find(':', colon + 1) != std::string::npos))
    return not_an_endpoint(text);

  HostPort result;
  result.host = bracketed ? text.substr(1, bracket - 1) : text.substr(0, colon);
  if (result.host.empty()) return not_an_endpoint(text);
  if (colon == std::string::npos) {
    if (default_port == 0) return not_an_endpoint(text);
    result.port = default_port;
    return result;
  }
  const char *first = text.data() + colon + 1, *last = text.data() + text.size();
  const auto [end, error] = std::from_chars(first, last, result.port);
  if (error != std::errc{} || end != last) return not_an_endpoint(text);
  return result;
}

Result<boost::asio::ip::tcp::endpoint> parse_endpoint(const std::string &text) {
  auto parts = parse_host_port(text);
  if (!parts) return parts.error();
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(parts->host, error);
  if (error) return not_an_endpoint(text);
  return boost::asio::ip::tcp::endpoint(address, parts->port);
}

std::string to_text(const HostPort &host_port) {
  const bool ipv6 = host_port.host.find(':') != std::string::npos;
  return (ipv6 ? "[" + host_port.host + "]" : host_port.host) + ":" + std::to_string(host_port.port);
}

std::string to_text(const boost::asio::ip::tcp::endpoint &endpoint) {
  return to_text(HostPort{endpoint.address().to_string(), endpoint.port()});
}

}  // namespace catsbpf
