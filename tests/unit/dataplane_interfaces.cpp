// SPDX-License-Identifier: Apache-2.0
// Which frames are for this host, and the map `interfaces` that says so to the programs.
#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <set>
#include <vector>

#include "agent/dataplane/interface_table.h"
#include "agent/dataplane/own_address_table.h"
#include "agent/netlink/own_macs.h"
#include "maps/tables.h"

namespace catsbpf::agent {
namespace {

MacAddress mac(uint8_t last) { return {2, 0, 0, 0, 0, last}; }

Link link(uint32_t ifindex, const std::string &kind, uint32_t lower = 0, uint32_t master = 0) {
  Link link;
  link.ifindex = ifindex;
  link.kind = kind;
  link.up = true;
  link.mac = mac(static_cast<uint8_t>(ifindex));
  link.lower = lower;
  link.master = master;
  return link;
}

TEST(OwnMacs, macvlans_over_the_interface_are_this_host) {
  std::vector<Link> links{link(2, ""), link(3, ""), link(7, "macvlan", 2), link(8, "macvlan", 2),
                          link(9, "macvlan", 3)};
  EXPECT_EQ(own_macs(links, 2), (std::vector<MacAddress>{mac(2), mac(7), mac(8)}));
  links[2].up = false;
  links[3].mac = mac(2);
  EXPECT_EQ(own_macs(links, 2), std::vector<MacAddress>{mac(2)}) << "one is down, one has the interface's own address";
}

TEST(OwnMacs, what_stands_on_the_interface_for_others_is_not_this_host) {
  const std::vector<Link> links{link(2, ""), link(5, "bridge"), link(7, "macvtap", 2), link(8, "macvlan", 2, 5),
                                link(9, "vlan", 2)};
  EXPECT_EQ(own_macs(links, 2), std::vector<MacAddress>{mac(2)}) << "a guest's, a guest's bridge, tagged frames";
}

TEST(OwnMacs, a_member_of_a_bond_or_bridge_takes_its_frames) {
  for (const char *kind : {"bond", "bridge", "team"}) {
    const std::vector<Link> links{link(2, "", 0, 5), link(5, kind), link(7, "macvlan", 5)};
    EXPECT_EQ(own_macs(links, 2), (std::vector<MacAddress>{mac(2), mac(5), mac(7)})) << kind;
  }
  const std::vector<Link> routed{link(2, "", 0, 5), link(5, "vrf"), link(7, "macvlan", 2, 5)};
  EXPECT_EQ(own_macs(routed, 2), (std::vector<MacAddress>{mac(2), mac(7)})) << "in the same VRF";
  EXPECT_TRUE(own_macs(routed, 99).empty());
}

class InterfaceTable : public ::testing::Test {
 protected:
  const maps::interface *find(uint32_t ifindex) const {
    const auto found =
        std::find_if(table.begin(), table.end(), [&](const auto &entry) { return entry.ifindex == ifindex; });
    return found == table.end() ? nullptr : &*found;
  }
  static MacAddress as_mac(const uint8_t (&bytes)[6]) {
    MacAddress mac;
    std::copy_n(bytes, 6, mac.begin());
    return mac;
  }
  std::vector<maps::interface> table{MAX_INTERFACES};
};

TEST_F(InterfaceTable, says_what_is_wanted_and_nothing_else) {
  ASSERT_TRUE(describe_interfaces(
                  table,
                  {{"a", 2, maps::SIDE_CLIENT, {mac(1), mac(2), mac(3)}}, {"b", 258, maps::SIDE_UNDERLAY, {mac(4)}}},
                  Others::kGo)
                  .ok());
  ASSERT_TRUE(find(2) && find(258)) << "both begin at the same place";
  EXPECT_EQ(find(2)->sides, maps::SIDE_CLIENT);
  EXPECT_EQ(as_mac(find(2)->mac), mac(1));
  ASSERT_EQ(find(2)->further_macs, 2);
  EXPECT_EQ(as_mac(find(2)->further_mac[1]), mac(3));
  EXPECT_EQ(find(258)->further_macs, 0);

  ASSERT_TRUE(describe_interfaces(table, {{"a", 0, maps::SIDE_CLIENT, {}}, {"b", 258, maps::SIDE_UNDERLAY, {mac(5)}}},
                                  Others::kGo)
                  .ok());
  EXPECT_FALSE(find(2)) << "gone";
  EXPECT_EQ(as_mac(find(258)->mac), mac(5)) << "changed";
  ASSERT_TRUE(describe_interfaces(table, {{"c", 4, maps::SIDE_CLIENT, {}}}, Others::kStay).ok());
  EXPECT_TRUE(find(4) && find(258)) << "others stay";
}

TEST_F(InterfaceTable, what_finds_no_place_is_named) {
  std::vector<DescribedInterface> crowd;
  for (uint32_t i = 0; i <= INTERFACE_PROBES; ++i)
    crowd.push_back({"i" + std::to_string(i), 3 + i * MAX_INTERFACES, maps::SIDE_CLIENT, {}});
  auto described = describe_interfaces(table, crowd, Others::kGo);
  ASSERT_FALSE(described.ok());
  EXPECT_NE(described.error().what.find("interface i8"), std::string::npos) << described.error().what;
  for (uint32_t i = 0; i < INTERFACE_PROBES; ++i) EXPECT_TRUE(find(3 + i * MAX_INTERFACES)) << i;

  auto many = describe_interfaces(
      table, {{"a", 2, maps::SIDE_CLIENT, std::vector<MacAddress>(2 + MAX_FURTHER_MACS, mac(1))}}, Others::kGo);
  ASSERT_FALSE(many.ok());
  EXPECT_NE(many.error().what.find("interface a has 9"), std::string::npos) << many.error().what;
  EXPECT_EQ(find(2)->further_macs, MAX_FURTHER_MACS);
}

std::set<uint64_t> low_words(const std::vector<maps::address> &table) {
  std::set<uint64_t> all;
  for (const maps::address &entry : table)
    if (entry.low) all.insert(entry.low);
  return all;
}

TEST(OwnAddresses, table_has_this_host_s_and_no_others) {
  std::vector<maps::address> table(MAX_OWN_ADDRESSES);
  ASSERT_TRUE(put_own_addresses(table, {{0, 1}, {0, 2}, {0, 3}}));
  ASSERT_TRUE(put_own_addresses(table, {{0, 2}, {0, 4}, {0, 2}}));
  EXPECT_EQ(low_words(table), (std::set<uint64_t>{2, 4}));
}

// 1 000 each of what hosts have many of.
TEST(OwnAddresses, neighbours_and_strangers_find_their_places) {
  const auto numbered = [](const char *format, int i) {
    char text[64];
    std::snprintf(text, sizeof text, format, i >> 8, i & 0xff);
    return *maps::parse_address(text);
  };
  std::mt19937_64 random(1);
  std::vector<maps::address> sequential4, sequential6, random6;
  for (int i = 1; i <= 1000; ++i) {
    sequential4.push_back(numbered("10.20.%d.%d", i));
    sequential6.push_back(numbered("fd00:20::%x%02x", i));
    random6.push_back({random(), random()});
  }
  for (const auto &own : {sequential4, sequential6, random6}) {
    std::vector<maps::address> table(MAX_OWN_ADDRESSES);
    ASSERT_TRUE(put_own_addresses(table, own));
    EXPECT_EQ(low_words(table).size(), own.size());
  }
  std::vector<maps::address> table(MAX_OWN_ADDRESSES), dual = sequential4;
  dual.insert(dual.end(), sequential6.begin(), sequential6.end());
  EXPECT_TRUE(put_own_addresses(table, dual));
}

TEST(OwnAddresses, too_many_are_one_warning_however_many_and_most_are_there) {
  std::vector<maps::address> table(MAX_OWN_ADDRESSES), own;
  for (uint64_t i = 1; i <= MAX_OWN_ADDRESSES + 1; ++i) own.push_back({i, i});
  const auto put = put_own_addresses(table, own);
  ASSERT_FALSE(put);
  EXPECT_GT(low_words(table).size(), size_t{MAX_OWN_ADDRESSES / 10 * 8});
  own.push_back({0, 1});
  const auto once_more = put_own_addresses(table, own);
  ASSERT_FALSE(once_more);
  EXPECT_EQ(once_more.error().what, put.error().what);
}

}  // namespace
}  // namespace catsbpf::agent
