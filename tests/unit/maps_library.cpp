// SPDX-License-Identifier: Apache-2.0
// What of maps/ needs no kernel: outcomes, addresses, jiffies, pin names.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "maps/map.h"
#include "maps/tables.h"

namespace catsbpf::maps {
namespace {

TEST(outcomes, each_has_a_name_of_its_own_a_kind_and_a_sentence) {
  std::set<std::string> names;
  for (const OutcomeInfo &outcome : outcome_list()) {
    EXPECT_TRUE(names.insert(outcome.name).second) << outcome.name;
    EXPECT_TRUE(std::string(outcome.kind) == "normal" || std::string(outcome.kind) == "alarm") << outcome.name;
    EXPECT_GT(std::string(outcome.sentence).size(), 10u) << outcome.name;
  }
  EXPECT_EQ(std::string(outcome_list()[OUTCOME_forwarded].name), "forwarded");
}

TEST(addresses, ipv4_lives_in_the_mapped_prefix) {
  const auto v4 = parse_address("10.99.0.1"), v6 = parse_address("fd00:99::1");
  ASSERT_TRUE(v4 && v6);
  EXPECT_TRUE(is_ipv4(*v4));
  EXPECT_FALSE(is_ipv4(*v6));
  EXPECT_EQ(format_address(*v4), "10.99.0.1");
  EXPECT_EQ(format_address(*v6), "fd00:99::1");
  for (const char *wrong : {"", "10.99.0", "10.99.0.1/32", "fd00::99::1", "host"})
    EXPECT_FALSE(parse_address(wrong)) << wrong;
}

TEST(shapes, say_their_flags_where_they_differ) {
  const MapShape mapped{BPF_MAP_TYPE_ARRAY, 4, 64, 7, BPF_F_MMAPABLE}, plain{BPF_MAP_TYPE_ARRAY, 4, 64, 7, 0};
  EXPECT_EQ(describe(mapped, mapped), "array, key 4, value 64, 7 entries");
  EXPECT_EQ(describe(mapped, plain), "array, key 4, value 64, 7 entries, flags 0x400");
  EXPECT_EQ(describe(plain, mapped), "array, key 4, value 64, 7 entries, flags 0");
}

TEST(jiffies, begin_five_minutes_before_they_wrap) {
  EXPECT_EQ(estimate_jiffies(0, 250), (1ULL << 32) - 75'000);
  EXPECT_EQ(estimate_jiffies(300'000'000'000ULL, 1000), 1ULL << 32);
  // A machine that is up for ten years.
  const uint64_t ten_years_ns = 10ULL * 365 * 86400 * 1'000'000'000;
  EXPECT_EQ(estimate_jiffies(ten_years_ns, 1000), (1ULL << 32) - 300'000 + 10ULL * 365 * 86400 * 1000);
}

TEST(tables, nothing_pinned_is_said_so) {
  auto tables = Tables::open("/nonexistent/h2");
  ASSERT_FALSE(tables.ok());
  EXPECT_EQ(tables.error().what, "nothing is pinned at /nonexistent/h2");
  EXPECT_FALSE(tables.error().hint.empty());
}

TEST(pins, are_named_by_what_they_hold) {
  EXPECT_EQ(map_pin("/p", "flows"), "/p/flows");
  EXPECT_EQ(program_pin("/p", "catsbpf_xdp"), "/p/programs/catsbpf_xdp");
  EXPECT_EQ(link_pin("/p", "xdp_core0"), "/p/links/xdp_core0");
}

}  // namespace
}  // namespace catsbpf::maps
