// SPDX-License-Identifier: Apache-2.0
#include "agent/network_metrics/udp_socket.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace catsbpf::agent {

namespace {

constexpr int kTtl = 255;

stamp::WallTime wall_time(const timespec &at) {
  return stamp::WallTime(std::chrono::seconds(at.tv_sec) + std::chrono::nanoseconds(at.tv_nsec));
}

template <class T>
T data_of(cmsghdr *message) {
  T value;
  std::memcpy(&value, CMSG_DATA(message), sizeof value);
  return value;
}

void read_control(msghdr &header, Datagram &datagram) {
  for (cmsghdr *m = CMSG_FIRSTHDR(&header); m; m = CMSG_NXTHDR(&header, m)) {
    if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_TIMESTAMPNS) {
      datagram.received = wall_time(data_of<timespec>(m));
      datagram.kernel_timestamp = true;
    } else if ((m->cmsg_level == IPPROTO_IP && m->cmsg_type == IP_TTL) ||
               (m->cmsg_level == IPPROTO_IPV6 && m->cmsg_type == IPV6_HOPLIMIT)) {
      datagram.ttl = static_cast<uint8_t>(data_of<int>(m));
    } else if (m->cmsg_level == IPPROTO_IP && m->cmsg_type == IP_PKTINFO) {
      const auto info = data_of<in_pktinfo>(m);
      std::memcpy(&datagram.local, &info.ipi_addr, sizeof info.ipi_addr);
    } else if (m->cmsg_level == IPPROTO_IPV6 && m->cmsg_type == IPV6_PKTINFO) {
      datagram.local = data_of<in6_pktinfo>(m).ipi6_addr;
    }
  }
}

template <class Info>
void put_control(msghdr &header, int level, int type, const Info &info) {
  cmsghdr *message = CMSG_FIRSTHDR(&header);
  message->cmsg_level = level;
  message->cmsg_type = type;
  message->cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(CMSG_DATA(message), &info, sizeof info);
  header.msg_controllen = CMSG_SPACE(sizeof info);
}

}  // namespace

stamp::WallTime wall_now() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return wall_time(now);
}

Result<UdpAddress> UdpAddress::make(const std::string &text, uint16_t port, int family) {
  UdpAddress address;
  auto &v4 = reinterpret_cast<sockaddr_in &>(address.storage);
  auto &v6 = reinterpret_cast<sockaddr_in6 &>(address.storage);
  if ((text.empty() && family == AF_INET) || (!text.empty() && ::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1)) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address.size = sizeof v4;
  } else if ((text.empty() && family == AF_INET6) ||
             (!text.empty() && ::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1)) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    address.size = sizeof v6;
  } else {
    return Error{"'" + text + "' is not an IPv4 or IPv6 address"};
  }
  return address;
}

uint16_t UdpAddress::port() const {
  return ntohs(family() == AF_INET ? reinterpret_cast<const sockaddr_in &>(storage).sin_port
                                   : reinterpret_cast<const sockaddr_in6 &>(storage).sin6_port);
}

std::string UdpAddress::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  const void *address = family() == AF_INET
                            ? static_cast<const void *>(&reinterpret_cast<const sockaddr_in &>(storage).sin_addr)
                            : &reinterpret_cast<const sockaddr_in6 &>(storage).sin6_addr;
  ::inet_ntop(family(), address, text, sizeof text);
  return text;
}

Result<UdpSocket> UdpSocket::open(const UdpAddress &local) {
  const int family = local.family();
  UdpSocket socket(Fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), family);
  if (!socket.fd_.valid()) return system_error("cannot open a UDP socket", errno);
  const auto set = [&](int level, int option, int value) {
    return ::setsockopt(socket.fd(), level, option, &value, sizeof value) == 0;
  };
  // Without kernel timestamps we take our own.
  (void)set(SOL_SOCKET, SO_TIMESTAMPNS, 1);
  const bool v4 = family == AF_INET;
  const bool ready =
      v4 ? set(IPPROTO_IP, IP_RECVTTL, 1) && set(IPPROTO_IP, IP_PKTINFO, 1) && set(IPPROTO_IP, IP_TTL, kTtl)
         : set(IPPROTO_IPV6, IPV6_V6ONLY, 1) && set(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1) &&
               set(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) && set(IPPROTO_IPV6, IPV6_UNICAST_HOPS, kTtl);
  if (!ready) return system_error("cannot set options of a UDP socket", errno);
  if (::bind(socket.fd(), local.raw(), local.size) != 0) {
    const int code = errno;
    std::string hint;
    if (code == EACCES)
      hint = "allow it by sysctl -w net.ipv4.ip_unprivileged_port_start=" + std::to_string(local.port());
    if (code == EADDRINUSE) hint = "another program has this port; stop it or configure another port at both ends";
    if (code == EADDRNOTAVAIL) hint = "no interface of this host has this address";
    return system_error("cannot bind UDP port " + std::to_string(local.port()) + " of " + local.host(), code,
                        std::move(hint));
  }
  return socket;
}

Result<> UdpSocket::connect(const UdpAddress &peer) {
  if (::connect(fd(), peer.raw(), peer.size) == 0) return done();
  return system_error("cannot send to " + peer.host(), errno);
}

Result<std::optional<Datagram>> UdpSocket::receive() {
  Datagram datagram;
  alignas(cmsghdr) char control[256];
  iovec part{buffer_.data(), buffer_.size()};
  msghdr header{};
  header.msg_name = datagram.source.raw();
  header.msg_namelen = sizeof datagram.source.storage;
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t size = ::recvmsg(fd(), &header, 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return std::optional<Datagram>();
  if (size < 0) return system_error("cannot receive", errno);
  datagram.received = wall_now();
  datagram.source.size = header.msg_namelen;
  datagram.bytes = std::span<const uint8_t>(buffer_.data(), static_cast<std::size_t>(size));
  read_control(header, datagram);
  return std::optional(datagram);
}

Result<> UdpSocket::reply(const Datagram &to, std::span<const uint8_t> bytes) {
  UdpAddress peer = to.source;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))] = {};
  iovec part{const_cast<uint8_t *>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_name = peer.raw();
  header.msg_namelen = peer.size;
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  if (family_ == AF_INET) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, &to.local, sizeof info.ipi_spec_dst);
    put_control(header, IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info{};
    info.ipi6_addr = to.local;
    put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  if (::sendmsg(fd(), &header, 0) >= 0) return done();
  return system_error("cannot send to " + peer.host(), errno);
}

Result<> UdpSocket::send(std::span<const uint8_t> bytes) {
  if (::send(fd(), bytes.data(), bytes.size(), 0) >= 0) return done();
  return system_error("cannot send", errno);
}

uint16_t UdpSocket::port() const {
  UdpAddress local;
  local.size = sizeof local.storage;
  if (::getsockname(fd(), local.raw(), &local.size) != 0) return 0;
  return local.port();
}

}  // namespace catsbpf::agent
