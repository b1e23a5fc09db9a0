// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/host_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <cerrno>
#include <memory>

namespace catsbpf::agent {

Result<bool> host_has(const std::string &address) {
  in_addr wanted{};
  if (inet_pton(AF_INET, address.c_str(), &wanted) != 1) return false;
  ifaddrs *first = nullptr;
  if (getifaddrs(&first) != 0) return system_error("cannot list the addresses of this host", errno);
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(first, freeifaddrs);
  for (const ifaddrs *one = first; one; one = one->ifa_next)
    if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET &&
        reinterpret_cast<const sockaddr_in *>(one->ifa_addr)->sin_addr.s_addr == wanted.s_addr)
      return true;
  return false;
}

}  // namespace catsbpf::agent
