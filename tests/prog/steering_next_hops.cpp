// SPDX-License-Identifier: Apache-2.0
// Next hops from the real kernel: routes, links and neighbours of a namespace of the test's own.
#include <chrono>
#include <optional>

#include "agent/netlink/next_hops.h"
#include "tests/prog/steering_fixture.h"

namespace catsbpf::test {
namespace {

using agent::NextHop;

class NextHopsTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    here = std::make_unique<Namespace>(unique("n"));
    there = std::make_unique<Namespace>(unique("p"));
    here->ip("link add u0 type veth peer name p0 netns " + there->name());
    here->ip("addr add 172.16.1.1/24 dev u0");
    here->ip("-6 addr add fd00:f1::1/64 dev u0 nodad");
    there->ip("addr add 172.16.1.2/24 dev p0");
    there->ip("-6 addr add fd00:f1::2/64 dev p0 nodad");
    here->ip("link set u0 address 02:00:00:00:01:01 mtu 1600 up");
    there->ip("link set p0 address 02:00:00:00:01:02 up");
    inside = std::make_unique<Namespace::Inside>(*here);
    auto opened = agent::open_kernel_next_hops(io);
    ASSERT_TRUE(opened.ok()) << opened.error().text();
    next_hops = std::move(*opened);
  }
  void TearDown() override {
    next_hops.reset();
    inside.reset();
    here.reset();
    there.reset();
    KernelTest::TearDown();
  }
  void watch(const std::string &address) {
    auto watched = next_hops->watch(address, [this](const NextHop &next) {
      hop = next;
      ++calls;
    });
    ASSERT_TRUE(watched.ok());
  }
  template <class Condition>
  bool run_until(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(4)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      io.restart();
      io.run_one_for(std::chrono::milliseconds(50));
    }
    return condition();
  }

  std::unique_ptr<Namespace> here, there;
  std::unique_ptr<Namespace::Inside> inside;
  boost::asio::io_context io;
  std::unique_ptr<agent::NextHops> next_hops;
  NextHop hop;
  int calls = 0;
};

TEST_F(NextHopsTest, an_on_link_address_is_resolved_without_traffic) {
  watch("172.16.1.2");
  ASSERT_TRUE(run_until([&] { return hop.resolved; }));
  EXPECT_EQ(hop.interface, "u0");
  EXPECT_EQ(hop.gateway, "");
  EXPECT_EQ(hop.mtu, 1600u);
  EXPECT_EQ(agent::format_mac(hop.source_mac), "02:00:00:00:01:01");
  EXPECT_EQ(agent::format_mac(hop.mac), "02:00:00:00:01:02");
  shell("ip -n " + here->name() + " -j neigh show 172.16.1.2 | grep -q managed");
}

TEST_F(NextHopsTest, an_ipv6_contact_is_resolved_too) {
  watch("fd00:f1::2");
  ASSERT_TRUE(run_until([&] { return hop.resolved; }));
  EXPECT_EQ(agent::format_mac(hop.mac), "02:00:00:00:01:02");
}

TEST_F(NextHopsTest, the_next_hop_follows_route_mac_mtu_and_link) {
  watch("10.255.0.2");
  ASSERT_TRUE(run_until([&] { return calls > 0; }));
  EXPECT_FALSE(hop.routed);
  here->ip("route add 10.255.0.2/32 via 172.16.1.2");
  ASSERT_TRUE(run_until([&] { return hop.resolved; }));
  EXPECT_EQ(hop.gateway, "172.16.1.2");
  here->ip("route change 10.255.0.2/32 via 172.16.1.2 mtu 1400");
  ASSERT_TRUE(run_until([&] { return hop.mtu == 1400; }));
  // The peer gets another MAC and says so by itself.
  there->ip("link set p0 down");
  ASSERT_TRUE(run_until([&] { return !hop.routed; })) << "no carrier";
  there->ip("link set p0 address 02:00:00:00:01:99 up");
  there->ip("addr replace 172.16.1.2/24 dev p0");
  here->ip("route replace 10.255.0.2/32 via 172.16.1.2");
  here->ip("neigh flush dev u0");
  ASSERT_TRUE(run_until([&] { return hop.resolved && hop.mac[5] == 0x99; }, std::chrono::seconds(10)));
  here->ip("link set u0 down");
  ASSERT_TRUE(run_until([&] { return !hop.routed; }));
}

TEST_F(NextHopsTest, what_follows_from_one_event_is_told_together) {
  std::map<std::string, NextHop> hops;
  std::vector<std::string> events;
  for (const std::string address : {"10.255.0.2", "10.255.0.3"}) {
    here->ip("route add " + address + "/32 via 172.16.1.2");
    ASSERT_TRUE(next_hops->watch(address, [&, address](const NextHop &next) {
      hops[address] = next;
      events.push_back(address);
    }));
  }
  next_hops->on_told([&] { events.push_back("told"); });
  ASSERT_TRUE(run_until([&] { return events.size() >= 3; }));
  events.resize(3);
  EXPECT_EQ(events, (std::vector<std::string>{"10.255.0.2", "10.255.0.3", "told"}));
  ASSERT_TRUE(run_until([&] { return hops["10.255.0.2"].resolved && hops["10.255.0.3"].resolved; }));
  events.clear();
  here->ip("link set u0 down");
  ASSERT_TRUE(run_until([&] { return !hops["10.255.0.2"].routed && events.back() == "told"; }));
  EXPECT_FALSE(hops["10.255.0.3"].routed);
  events.erase(events.begin(), events.end() - 3);
  EXPECT_EQ(events, (std::vector<std::string>{"10.255.0.2", "10.255.0.3", "told"}));
}

TEST_F(NextHopsTest, a_neighbour_that_does_not_answer_has_failed_until_it_does) {
  watch("172.16.1.77");
  ASSERT_TRUE(run_until([&] { return calls > 0; }));
  EXPECT_FALSE(hop.failed) << "it is being asked for";
  ASSERT_TRUE(run_until([&] { return hop.failed; }, std::chrono::seconds(12)));
  const int before = calls;
  // The kernel asks again, and somebody may flush its table: neither is an answer.
  run_until([] { return false; }, std::chrono::milliseconds(500));
  here->ip("neigh flush dev u0");
  here->ip("neigh del 172.16.1.77 dev u0 2> /dev/null; true");
  run_until([] { return false; }, std::chrono::milliseconds(500));
  EXPECT_EQ(calls, before);
  EXPECT_TRUE(hop.routed && hop.failed && !hop.resolved);
  there->ip("addr add 172.16.1.77/24 dev p0");
  EXPECT_TRUE(run_until([&] { return hop.resolved; }, std::chrono::seconds(12))) << "the kernel tries on its own";
  EXPECT_FALSE(hop.failed);
}

// An operator's static entry. Asked to manage it, the kernel would forget the MAC that was set.
TEST_F(NextHopsTest, a_neighbour_that_somebody_fixed_stays_as_it_is) {
  here->ip("neigh add 172.16.1.2 lladdr 02:00:00:00:00:77 dev u0 nud permanent");
  watch("172.16.1.2");
  ASSERT_TRUE(run_until([&] { return hop.resolved; }));
  EXPECT_EQ(agent::format_mac(hop.mac), "02:00:00:00:00:77");
  next_hops.reset();
  shell("ip -n " + here->name() + " neigh show 172.16.1.2 | grep -q '02:00:00:00:00:77 PERMANENT'");
}

TEST_F(NextHopsTest, a_kernel_that_manages_no_neighbours_is_asked_again_and_again) {
  auto opened = agent::open_kernel_next_hops(io, false);
  ASSERT_TRUE(opened.ok());
  next_hops = std::move(*opened);
  watch("172.16.1.2");
  ASSERT_TRUE(run_until([&] { return hop.resolved; }));
  shell("! ip -n " + here->name() + " neigh show 172.16.1.2 | grep -q managed");
  here->ip("neigh flush dev u0");
  ASSERT_TRUE(run_until([&] { return !hop.resolved; }));
  EXPECT_TRUE(run_until([&] { return hop.resolved; }, std::chrono::seconds(8))) << "it was asked for once more";
}

TEST_F(NextHopsTest, an_unwatched_address_is_silent) {
  auto watched = next_hops->watch("172.16.1.2", [this](const NextHop &) { ++calls; });
  ASSERT_TRUE(watched.ok());
  next_hops->unwatch(*watched);
  run_until([] { return false; }, std::chrono::milliseconds(200));
  EXPECT_EQ(calls, 0);
  EXPECT_FALSE(next_hops->watch("nonsense", [](const NextHop &) {}).ok());
}

TEST_F(NextHopsTest, a_storm_of_events_is_survived) {
  watch("172.16.1.2");
  ASSERT_TRUE(run_until([&] { return hop.resolved; }));
  // Far more events than the socket holds, while nobody reads.
  std::string batch = "/tmp/" + unique("batch");
  shell(
      "for i in $(seq 1 60000); do echo route add 10.$((100 + i / 16384)).$((i / 64 % 256)).$((i % 64 * 4))/30 dev u0; "
      "done > " +
      batch);
  here->ip("-force -batch " + batch + " > /dev/null 2>&1; true");
  here->ip("link set u0 mtu 1550");
  EXPECT_TRUE(run_until([&] { return hop.mtu == 1550; }));
  shell("rm " + batch);
}

}  // namespace
}  // namespace catsbpf::test
