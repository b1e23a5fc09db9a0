// SPDX-License-Identifier: Apache-2.0
// Publication under traffic, on the real kernel: the programmer changes rings as fast as grace periods
// allow, while packets of 10^5 flows go through the loaded program on both CPUs.
#include <bpf/bpf.h>
#include <net/if.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "agent/dataplane/fake.h"
#include "maps/map.h"
#include "maps/tables.h"
#include "tests/prog/steering_fixture.h"

namespace catsbpf::test {
namespace {

using agent::InstanceWish;
using agent::NextHop;

constexpr uint32_t kServiceA = (10 << 24) | (99 << 16) | 1, kServiceB = kServiceA + 1;
constexpr uint32_t kInstances = 8;    // of each service: A has CSCI-IDs 1..8, B has 101..108
constexpr uint32_t kFlows = 100'000;  // half of them to each service
constexpr uint32_t kChanges = 1000;
constexpr uint64_t kEpochs = 1 << 14;

// Members of the ring of epoch e, as bits of CSCI-ID - 1: two of eight, another pair for each of the services.
uint32_t members(uint64_t epoch, bool second) {
  const uint32_t shift = static_cast<uint32_t>(epoch + (second ? 4 : 0)) % kInstances;
  return 1u << shift | 1u << (shift + 3) % kInstances;
}

agent::WantedService wanted(uint64_t epoch, bool second) {
  agent::WantedService service;
  service.service_id = second ? "B" : "A";
  service.cs_id = second ? 2 : 1;
  service.locators.emplace_back().set_prefix(second ? "10.99.0.2" : "10.99.0.1");
  auto ring = std::make_shared<cmas::Ring>();
  for (uint32_t bit = 0; bit < kInstances; ++bit) {
    const uint32_t csci_id = (second ? 101 : 1) + bit;
    service.instances.push_back({csci_id, "f2", InstanceWish::kActive});
    if (members(epoch, second) >> bit & 1) ring->members.push_back({csci_id, 1});
  }
  for (uint32_t i = 0; i < 1021; ++i) ring->slots.push_back(i % 2);
  service.ring = ring;
  return service;
}

class PublicationTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    space = std::make_unique<Namespace>(unique("ns"));
    inside = std::make_unique<Namespace::Inside>(*space);
    auto opened =
        agent::open_kernel_dataplane(dataplane_options({{"lo", maps::SIDE_CLIENT | maps::SIDE_UNDERLAY, "generic"}}));
    ASSERT_TRUE(opened.ok()) << opened.error().text();
    dataplane = std::move(*opened);
    agent::ProgrammerOptions options;
    options.tunnel_address = "10.255.0.1";
    options.forwarders = {{"f2", "10.255.0.2"}};
    auto programming = agent::Programmer::open(io, *dataplane, next_hops, options);
    ASSERT_TRUE(programming.ok()) << programming.error().text();
    programmer = std::move(*programming);
    NextHop hop;
    hop.routed = hop.resolved = true;
    hop.ifindex = if_nametoindex("lo");
    hop.interface = "lo";
    hop.mtu = 1600;
    hop.mac = {2, 0, 0, 0, 0, 2};
    next_hops.set("10.255.0.2", hop);
    program = Fd(bpf_obj_get(maps::program_pin(pins, "catsbpf_xdp").c_str()));
    ASSERT_TRUE(program.valid());
    auto open_tables = maps::Tables::open(pins);
    ASSERT_TRUE(open_tables.ok()) << open_tables.error().text();
    tables = std::move(*open_tables);
  }
  void TearDown() override {
    programmer.reset();
    dataplane.reset();
    tables.reset();
    inside.reset();
    space.reset();
    KernelTest::TearDown();
  }
  uint64_t epoch() const { return __atomic_load_n(&tables->view_header().epoch, __ATOMIC_ACQUIRE); }
  // Publishes the rings of the next epoch; both services change in one flip.
  void publish_next() {
    const uint64_t next = epoch() + 1;
    programmer->put_service(wanted(next, false));
    programmer->put_service(wanted(next, true));
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (epoch() != next && std::chrono::steady_clock::now() < end) io.run_one_for(std::chrono::milliseconds(100));
    ASSERT_EQ(epoch(), next);
  }

  std::unique_ptr<Namespace> space;
  std::unique_ptr<Namespace::Inside> inside;
  boost::asio::io_context io;
  agent::FakeNextHops next_hops;
  std::unique_ptr<agent::Dataplane> dataplane;
  std::unique_ptr<agent::Programmer> programmer;
  std::unique_ptr<maps::Tables> tables;
  Fd program;
};

struct Tally {
  std::atomic<uint32_t> rounds{0};  // over all flows
  uint64_t packets = 0, not_forwarded = 0, wrong_service = 0, not_allowed = 0, moved = 0;
};

TEST_F(PublicationTest, flows_stay_while_rings_change_1000_times) {
  publish_next();  // the tunnel's own rules
  publish_next();
  const uint64_t first = epoch();
  std::vector<uint32_t> instance_of(kFlows, 0);
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> begun{0};  // flows that may be sent by now: new ones come through all the changes
  const uint32_t ifindex = if_nametoindex("lo");

  // Sends packet after packet over its share of the flows.
  auto send = [&](uint32_t begin, Tally &tally) {
    const Namespace::Inside here(*space);
    while (!stop) {
      const bool all = begun == kFlows;
      for (uint32_t flow = begin; flow < begun && !stop; flow += 2) {
        const bool second = flow / 2 % 2;
        auto frame = udp_frame((10u << 24) + 256 + flow / 256, static_cast<uint16_t>(1024 + flow % 256),
                               second ? kServiceB : kServiceA);
        const uint64_t before = epoch();
        const int verdict = run_packet(program.get(), ifindex, frame);
        const uint64_t after = epoch();
        ++tally.packets;
        const OptionIds ids = option_ids(frame);
        if (verdict != XDP_REDIRECT || ids.cs_id == 0) {
          ++tally.not_forwarded;
          continue;
        }
        if (ids.cs_id != (second ? 2u : 1u)) ++tally.wrong_service;
        if (instance_of[flow] == 0) {
          uint32_t allowed = 0;
          for (uint64_t e = before; e <= after; ++e) allowed |= members(e, second);
          if (!(allowed >> (ids.csci_id - (second ? 101 : 1)) & 1)) ++tally.not_allowed;
          instance_of[flow] = ids.csci_id;
        } else if (instance_of[flow] != ids.csci_id) {
          ++tally.moved;
        }
      }
      tally.rounds += all;
    }
  };
  Tally tallies[2];
  const auto begin = std::chrono::steady_clock::now();
  std::thread sender0([&] { send(0, tallies[0]); }), sender1([&] { send(1, tallies[1]); });
  for (uint32_t change = 0; change < kChanges && !HasFatalFailure(); ++change) {
    begun = kFlows / kChanges * (change + 1);
    publish_next();
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  for (const Tally &tally : tallies)  // the last flows send again
    while (tally.rounds < 2) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  stop = true;
  sender0.join();
  sender1.join();

  EXPECT_GE(epoch() - first, kChanges);
  uint64_t packets = 0;
  for (const Tally &tally : tallies) {
    EXPECT_GE(tally.packets, kFlows) << "each flow is sent twice";
    EXPECT_EQ(tally.not_forwarded, 0u);
    EXPECT_EQ(tally.wrong_service, 0u);
    EXPECT_EQ(tally.not_allowed, 0u) << "of " << tally.packets;
    EXPECT_EQ(tally.moved, 0u) << "of " << tally.packets;
    packets += tally.packets;
  }
  EXPECT_EQ(std::count(instance_of.begin(), instance_of.end(), 0u), 0);
  EXPECT_EQ(std::set<uint32_t>(instance_of.begin(), instance_of.end()).size(), 2 * kInstances)
      << "rings did change under the flows";
  auto counters = tables->flow_counters();
  ASSERT_TRUE(counters.ok());
  EXPECT_EQ(counters->moved, 0u);
  EXPECT_EQ(counters->displaced, 0u);
  std::printf("            %u ring changes in %.1f s, %.2f ms each; %lu packets of %u flows\n", kChanges, took.count(),
              took.count() * 1000 / kChanges, packets, kFlows);
}

TEST_F(PublicationTest, flows_of_a_dead_instance_move_at_once_and_no_others) {
  publish_next();
  publish_next();
  const uint64_t now = epoch();
  const uint32_t ifindex = if_nametoindex("lo");
  std::vector<uint32_t> before;
  auto instance = [&](uint32_t flow) {
    auto frame = udp_frame((10u << 24) + 512 + flow, 5000, kServiceA);
    EXPECT_EQ(run_packet(program.get(), ifindex, frame), XDP_REDIRECT);
    return option_ids(frame).csci_id;
  };
  for (uint32_t flow = 0; flow < 200; ++flow) before.push_back(instance(flow));
  agent::WantedService service = wanted(now, false);
  const uint32_t dead = before[0];
  for (agent::WantedInstance &candidate : service.instances)
    if (candidate.csci_id == dead) candidate.wish = InstanceWish::kDead;
  programmer->put_service(service);  // the ring still names it; no turn of the loop between
  for (uint32_t flow = 0; flow < 200; ++flow) {
    const uint32_t after = instance(flow);
    if (before[flow] == dead)
      EXPECT_NE(after, dead);
    else
      EXPECT_EQ(after, before[flow]);
  }
}

TEST_F(PublicationTest, tables_show_what_packets_meet_and_jiffies_agree) {
  publish_next();
  const auto services = tables->services();
  uint32_t found = 0;
  for (const maps::service_record &record : services) found += record.cs_id == 1 || record.cs_id == 2;
  EXPECT_EQ(found, 2u);
  EXPECT_EQ(tables->instances()[programmer->slot(1, 1)].csci_id, 1u);
  auto infos = tables->maps();
  ASSERT_TRUE(infos.ok()) << infos.error().text();
  EXPECT_EQ(infos->size(), 20u);
  for (const auto &info : *infos) EXPECT_GT(info.memory_bytes, 0u) << info.name;
  const auto frame_before = tables->outcomes();
  ASSERT_TRUE(frame_before.ok());
  auto frame = udp_frame((10u << 24) + 7, 5000, kServiceA);
  ASSERT_EQ(run_packet(program.get(), if_nametoindex("lo"), frame), XDP_REDIRECT);
  const auto frame_after = tables->outcomes();
  EXPECT_EQ((*frame_after)[OUTCOME_forwarded].packets - (*frame_before)[OUTCOME_forwarded].packets, 1u);
  // The program's own clock, the agent's, and the estimate without the agent.
  maps::clock_reading reading{};
  const Fd clock(bpf_obj_get(maps::program_pin(pins, "read_jiffies").c_str()));
  LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &reading, .ctx_size_in = sizeof reading);
  ASSERT_EQ(bpf_prog_test_run_opts(clock.get(), &run), 0);
  EXPECT_NEAR(static_cast<double>(dataplane->jiffies()), static_cast<double>(reading.jiffies), 3);
  EXPECT_NEAR(static_cast<double>(maps::estimate_jiffies(reading.monotonic_ns, dataplane->control().hz)),
              static_cast<double>(reading.jiffies), dataplane->control().hz);
}

}  // namespace
}  // namespace catsbpf::test
