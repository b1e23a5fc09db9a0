// SPDX-License-Identifier: Apache-2.0
// What makes a public service acceptable: pure rules, for the platform (on put) and for agents (which trust nobody).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cmas/proto/service.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

struct Problem {
  std::string field;   // "locators[1].prefix"
  std::string reason;  // "'10.99.0' is not an address or a prefix"
  std::string hint{};
};

// All problems of one service, in order of its fields; empty: it is fine.
std::vector<Problem> check(const v1::Service &service);

// An address or a prefix; an address is a prefix of full length.
struct Prefix {
  bool ipv6 = false;
  std::array<std::uint8_t, 16> bytes{};  // IPv4 in the first four
  unsigned length = 0;
  auto operator<=>(const Prefix &) const = default;
};
std::optional<Prefix> parse_prefix(const std::string &text);

// The first pair of locators that claim the same packets: the same prefix with protocols and ports that meet.
// (A longer prefix within a shorter one is no conflict: the longer wins.) Empty: there is none.
std::optional<std::string> conflict(const v1::Service &mine, const v1::Service &other);
std::string to_text(const v1::Locator &locator);  // "10.99.0.1 tcp 80-90"

// All problems as one Error: "service AR1 is refused: cs_id: 0 is not allowed; locators[0].prefix: ...".
Error refusal(const std::string &service_id, const std::vector<Problem> &problems);

}  // namespace catsbpf::cmas
