// SPDX-License-Identifier: Apache-2.0
// Which addresses the kernel has for its own, and that a host may have any number of them.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "agent/netlink/query.h"
#include "agent/programmer/service_networks.h"
#include "maps/tables.h"
#include "tests/prog/steering_fixture.h"

namespace catsbpf::test {
namespace {

class OwnAddressesTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    here = std::make_unique<Namespace>(unique("n"));
    there = std::make_unique<Namespace>(unique("p"));
    here->ip("link add u0 type veth peer name p0 netns " + there->name());
    here->ip("link set u0 up");
    inside = std::make_unique<Namespace::Inside>(*here);
  }
  void TearDown() override {
    inside.reset();
    here.reset();
    there.reset();
    KernelTest::TearDown();
  }
  std::set<std::string> own() const {
    auto netlink = agent::NetlinkQuery::open();
    EXPECT_TRUE(netlink.ok());
    const auto addresses = netlink->own_addresses();
    EXPECT_TRUE(addresses.ok());
    std::set<std::string> all;
    for (const agent::IpAddress &address : *addresses) all.insert(agent::format_ip(address));
    return all;
  }

  std::unique_ptr<Namespace> here, there;
  std::unique_ptr<Namespace::Inside> inside;
};

TEST_F(OwnAddressesTest, broadcast_addresses_of_the_interfaces_are_nobody_else_s_either) {
  here->ip("addr add 10.1.0.1/24 dev u0");
  here->ip("addr add 10.2.0.1/23 brd 10.2.1.254 dev u0");
  here->ip("addr add 10.3.0.0/31 dev u0");
  here->ip("addr add 10.4.0.1/32 dev u0");
  here->ip("addr add 10.5.0.1 peer 10.5.0.2 dev u0");
  const auto found = own();
  for (const char *address :
       {"10.1.0.1", "10.1.0.255", "10.2.0.1", "10.2.1.254", "10.2.1.255", "10.3.0.0", "10.4.0.1", "10.5.0.1"})
    EXPECT_TRUE(found.contains(address)) << address;
  for (const char *address : {"10.1.0.0", "10.2.0.255", "10.3.0.1", "10.5.0.2", "10.5.0.255"})
    EXPECT_FALSE(found.contains(address)) << address;
}

TEST_F(OwnAddressesTest, ipv6_address_that_another_host_may_have_is_left_out) {
  shell("sysctl -qw net.ipv6.conf.u0.dad_transmits=10");  // the other's interface may miss the first
  // Without a carrier duplicate address detection does not begin.
  here->ip("-6 addr add fd00:1::1/64 dev u0");
  here->ip("-6 addr add fd00:1::2/64 dev u0 nodad");
  EXPECT_FALSE(own().contains("fd00:1::1"));
  EXPECT_TRUE(own().contains("fd00:1::2"));

  there->ip("-6 addr add fd00:1::1/64 dev p0 nodad");
  there->ip("link set p0 up");
  const std::string failed = "ip -n " + here->name() + " -6 addr show dev u0 dadfailed | grep -q fd00:1::1";
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::system(failed.c_str()) != 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  shell(failed);
  EXPECT_FALSE(own().contains("fd00:1::1"));
  EXPECT_TRUE(own().contains("fd00:1::2"));
}

TEST_F(OwnAddressesTest, host_with_more_than_the_map_holds_starts_with_one_warning) {
  const std::string batch = "/tmp/" + unique("batch");
  {
    std::ofstream lines(batch);
    for (int i = 0; i <= MAX_OWN_ADDRESSES; ++i)
      lines << "addr add 10.20." << i / 256 << "." << i % 256 << "/32 dev lo\n";
  }
  here->ip("-batch " + batch);
  shell("rm " + batch);
  auto opened = agent::open_kernel_dataplane(dataplane_options({{"u0", maps::SIDE_UNDERLAY, "native"}}));
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  ASSERT_EQ((*opened)->warnings().size(), 1u);
  const std::string warning = (*opened)->warnings()[0];
  EXPECT_NE(warning.find("more addresses than the map own_addresses has room for"), std::string::npos) << warning;
  here->ip("addr add 10.1.0.1/24 dev u0");
  (*opened)->mend();
  EXPECT_EQ((*opened)->warnings(), std::vector<std::string>{warning}) << "the same words: told once";
}

TEST_F(OwnAddressesTest, own_address_is_no_contact_also_while_a_service_interface_is_down) {
  here->ip("addr add 10.1.0.1/24 dev u0");
  here->ip("-6 addr add fd00:1::1/64 dev u0 nodad");
  there->ip("link set p0 up");
  for (const std::set<std::string> &services : {std::set<std::string>{"u0"}, {"u0", "u1"}}) {
    auto networks = agent::ServiceNetworks::open(services);
    ASSERT_TRUE(networks.ok());
    for (const char *address : {"10.1.0.1", "10.1.0.255", "fd00:1::1"}) {
      const auto checked = (*networks)->check(address);
      ASSERT_FALSE(checked.ok()) << address;
      EXPECT_NE(checked.error().what.find(std::string(address) + " is an address of this egress itself or a broadcast"),
                std::string::npos)
          << checked.error().what;
    }
    EXPECT_TRUE((*networks)->check("10.1.0.11").ok());
  }
}

}  // namespace
}  // namespace catsbpf::test
