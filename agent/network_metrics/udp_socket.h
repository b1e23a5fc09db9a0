// SPDX-License-Identifier: Apache-2.0
// A UDP socket as a measurement needs it: with each packet the time at which the kernel had it, its TTL and
// the local address it came to; packets leave with TTL 255 (RFC 5357) and, if wished, from that address.
#pragma once

#include <netinet/in.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/network_metrics/stamp.h"
#include "util/fd.h"
#include "util/result.h"

namespace catsbpf::agent {

// An IPv4 or IPv6 address with port, as the socket calls want it.
struct UdpAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  // text "" : any address of `family`.
  static Result<UdpAddress> make(const std::string &text, uint16_t port, int family = AF_UNSPEC);
  int family() const { return storage.ss_family; }
  uint16_t port() const;
  std::string host() const;
  const sockaddr *raw() const { return reinterpret_cast<const sockaddr *>(&storage); }
  sockaddr *raw() { return reinterpret_cast<sockaddr *>(&storage); }
};

struct Datagram {
  std::span<const uint8_t> bytes;  // valid until the next receive
  UdpAddress source;
  in6_addr local{};  // address it came to, IPv4 in the first four bytes
  stamp::WallTime received{};
  bool kernel_timestamp = false;  // else `received` is when we read it
  uint8_t ttl = 255;              // 255 also when not known
};

class UdpSocket {
 public:
  static Result<UdpSocket> open(const UdpAddress &local);
  // Only packets of `peer` are received from now on, and only there do they go.
  Result<> connect(const UdpAddress &peer);

  // The next packet; empty when there is none now. Error: a failed system call, ICMP errors included.
  Result<std::optional<Datagram>> receive();
  // Back where it came from, from the address that it came to.
  Result<> reply(const Datagram &to, std::span<const uint8_t> bytes);
  // To the connected peer.
  Result<> send(std::span<const uint8_t> bytes);

  int fd() const { return fd_.get(); }
  uint16_t port() const;

 private:
  UdpSocket(Fd fd, int family) : fd_(std::move(fd)), family_(family), buffer_(65'536) {}
  Fd fd_;
  int family_;
  std::vector<uint8_t> buffer_;
};

stamp::WallTime wall_now();

}  // namespace catsbpf::agent
