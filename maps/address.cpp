// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>

#include <cstring>

#include "maps/tables.h"

namespace catsbpf::maps {

namespace {
constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
}

std::optional<address> parse_address(const std::string &text) {
  unsigned char bytes[16];
  std::memcpy(bytes, kMapped, sizeof kMapped);
  if (inet_pton(AF_INET, text.c_str(), bytes + 12) != 1 && inet_pton(AF_INET6, text.c_str(), bytes) != 1)
    return std::nullopt;
  address a;
  std::memcpy(&a, bytes, sizeof a);
  return a;
}

bool is_ipv4(const address &a) { return std::memcmp(&a, kMapped, sizeof kMapped) == 0; }

std::string format_address(const address &a) {
  char text[INET6_ADDRSTRLEN];
  const auto *bytes = reinterpret_cast<const unsigned char *>(&a);
  if (is_ipv4(a)) return inet_ntop(AF_INET, bytes + 12, text, sizeof text);
  return inet_ntop(AF_INET6, bytes, text, sizeof text);
}

}  // namespace catsbpf::maps
