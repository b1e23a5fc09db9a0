// SPDX-License-Identifier: Apache-2.0
// The contract's locator hash must spread what operators use: neighbouring addresses.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "maps/tables.h"

namespace catsbpf::maps {
namespace {

// The most addresses that share one home slot.
size_t fullest_slot(const std::vector<std::string> &addresses) {
  std::vector<size_t> homes(MAX_LOCATORS, 0);
  for (const std::string &text : addresses) ++homes[locator_hash(*parse_address(text), 128, 12345) % MAX_LOCATORS];
  return *std::max_element(homes.begin(), homes.end());
}

TEST(locator_hash, spreads_neighbouring_ipv4_addresses) {
  std::vector<std::string> addresses;
  for (int i = 0; i < 1000; ++i)
    addresses.push_back("10.99." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250));
  EXPECT_LE(fullest_slot(addresses), 4u);
}

TEST(locator_hash, spreads_neighbouring_ipv6_addresses) {
  std::vector<std::string> addresses;
  char text[32];
  for (int i = 0; i < 1000; ++i) {
    std::snprintf(text, sizeof text, "fd00:99::%x", i + 1);
    addresses.emplace_back(text);
  }
  EXPECT_LE(fullest_slot(addresses), 4u);
}

}  // namespace
}  // namespace catsbpf::maps
