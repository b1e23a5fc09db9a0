// SPDX-License-Identifier: Apache-2.0
// What becomes of packets after the XDP program: redirects that fail are counted, marked packets leave by
// the tc program. Real frames on a veth pair in a network namespace of the test's own.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <cstdlib>
#include <functional>
#include <thread>

#include "maps/outcomes.h"
#include "tests/prog/world.h"
#include "util/fd.h"

namespace catsbpf::test {
namespace {

void shell(const std::string &command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

// Runs `body` in a thread with a network namespace of its own, with lo up and h1a--h1b; all of it ends with the thread.
void in_namespace(const std::function<void()> &body) {
  std::thread([&] {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    shell(
        "ip link set lo up; ip link add h1a type veth peer name h1b; ip link set h1a up; ip link set h1b up;"
        "sysctl -qw net.ipv6.conf.h1b.disable_ipv6=1");
    body();
  }).join();
}

void describe(Plane &plane, uint32_t out) {
  plane.tunnel("10.255.0.1", 0xca75, {"10.255.0.2"});
  plane.path(1, "10.255.0.2");
  plane.path_at(1).ifindex = out;
  plane.instance(1, 1, 1, 1);
  plane.services({{.cs_id = 1, .locators = {{"10.99.0.1"}}, .ring = {1}}});
  plane.publish();
}

Bytes some_packet() { return from_client(ip({.protocol = kUdp})); }

// All frames that come in by an interface.
class Listener {
 public:
  explicit Listener(const char *name) : socket_(::socket(AF_PACKET, SOCK_RAW, htons(0x0003))) {
    sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(0x0003);
    address.sll_ifindex = static_cast<int>(if_nametoindex(name));
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
  }
  // The next frame to `mac`, or none within two seconds.
  Bytes next(const Bytes &mac) const {
    for (pollfd ready{socket_.get(), POLLIN, 0}; poll(&ready, 1, 2000) == 1;) {
      Bytes frame(2048);
      const ssize_t n = recv(socket_.get(), frame.data(), frame.size(), 0);
      frame.resize(n > 0 ? static_cast<size_t>(n) : 0);
      if (truncated(frame, 6) == mac) return frame;
    }
    return {};
  }

 private:
  Fd socket_;
};

TEST(HandedOver, redirect_to_an_interface_that_is_down_is_an_alarm) {
  in_namespace([] {
    shell("ip link set h1a down");
    Plane plane(64), other(64);
    plane.attach_error_counters();
    other.attach_error_counters();
    describe(plane, if_nametoindex("h1a"));
    plane.receive(some_packet(), kLoopback, 10);
    EXPECT_EQ(plane.outcome_packets(OUTCOME_forwarded), 10u);
    EXPECT_EQ(plane.outcome_packets(OUTCOME_redirect_failed), 10u);
    EXPECT_EQ(plane.outcome_packets(OUTCOME_redirect_dropped), 0u);
    EXPECT_EQ(other.outcome_packets(OUTCOME_redirect_failed), 10u);  // same interface, same namespace
    other.interface_sides(0);                                        // no longer described
    plane.receive(some_packet(), kLoopback, 10);
    EXPECT_EQ(plane.outcome_packets(OUTCOME_redirect_failed), 20u);
    EXPECT_EQ(other.outcome_packets(OUTCOME_redirect_failed), 10u);
  });
}

TEST(HandedOver, frames_that_the_interface_drops_are_an_alarm) {
  in_namespace([] {
    shell("ethtool -K h1b gro on; ip link set h1b down");  // h1a is up, and nobody takes its frames
    Plane plane(64);
    plane.attach_error_counters();
    describe(plane, if_nametoindex("h1a"));
    plane.receive(some_packet(), kLoopback, 20);
    EXPECT_EQ(plane.outcome_packets(OUTCOME_forwarded), 20u);
    EXPECT_EQ(plane.outcome_packets(OUTCOME_redirect_dropped) + plane.outcome_packets(OUTCOME_redirect_failed), 20u);
    EXPECT_GT(plane.outcome_packets(OUTCOME_redirect_dropped), 0u);
  });
}

TEST(HandedOver, errors_of_other_network_namespaces_are_not_ours) {
  in_namespace([] {
    Plane plane(64);  // of this namespace
    plane.attach_error_counters();
    std::thread([] {
      ASSERT_EQ(unshare(CLONE_NEWNET), 0);
      shell("ip link add h1c type veth peer name h1d");
      Plane elsewhere(64);
      elsewhere.attach_error_counters();
      describe(elsewhere, if_nametoindex("h1c"));
      elsewhere.receive(some_packet(), kLoopback, 5);
      EXPECT_EQ(elsewhere.outcome_packets(OUTCOME_redirect_failed), 5u);
    }).join();
    EXPECT_EQ(plane.outcome_packets(OUTCOME_redirect_failed), 0u);
  });
}

TEST(HandedOver, frames_to_a_working_interface_arrive_as_they_were_made) {
  in_namespace([] {
    shell("ethtool -K h1b gro on");
    Plane plane(64);
    plane.attach_error_counters();
    describe(plane, if_nametoindex("h1a"));
    Listener listener("h1b");
    const Bytes expected = plane.xdp(some_packet()).packet;
    plane.receive(some_packet(), kLoopback, 1);
    EXPECT_EQ(difference(expected, listener.next(kCoreMac)), "");
    EXPECT_EQ(plane.outcome_packets(OUTCOME_redirect_failed) + plane.outcome_packets(OUTCOME_redirect_dropped), 0u);
  });
}

// Marked by XDP on h1a, sent by tc to the neighbour that the kernel knows there.
void expect_sent_by_kernel(Plane &plane, const Bytes &frame, const std::string &outcome, uint32_t listed,
                           size_t ip_bytes) {
  const uint32_t in = if_nametoindex("h1a");
  plane.interface_sides(maps::SIDE_CLIENT | maps::SIDE_UNDERLAY, in);
  plane.attach_slow(in);
  Listener listener("h1b");
  plane.receive(frame, in, 1);
  const Bytes got = listener.next(kInstanceMac);
  EXPECT_EQ(plane.outcome_packets(listed), 1u) << outcome;
  EXPECT_EQ(plane.outcome_packets(OUTCOME_slow_sent), 1u);
  EXPECT_EQ(plane.outcome_packets(OUTCOME_slow_failed), 0u);
  EXPECT_EQ(got.size(), 14 + ip_bytes);
}

TEST(HandedOver, unresolved_next_hop_of_a_path_is_found_by_the_kernel) {
  for (const char *route : {"", "ip route add 10.255.0.2 via 172.16.1.254"}) {
    in_namespace([route] {
      shell(
          "ip address add 172.16.1.1/24 dev h1a; ip route add 10.255.0.0/24 dev h1a; "
          "ip neigh add 10.255.0.2 lladdr 02:00:00:00:00:51 dev h1a; ip neigh add 172.16.1.254 lladdr "
          "02:00:00:00:00:51 dev h1a;" +
          std::string(route));
      Plane plane(64);
      describe(plane, *route ? 0 : if_nametoindex("h1a"));  // the path's interface, or left to the kernel's routes
      plane.path_at(1).state = maps::PATH_UNRESOLVED;
      shell("sysctl -qw net.ipv4.ip_forward=1");
      expect_sent_by_kernel(plane, some_packet(), "forwarded_slow", OUTCOME_forwarded_slow,
                            some_packet().size() - 14 + 52);
    });
  }
}

TEST(HandedOver, unresolved_instance_is_found_by_the_kernel) {
  for (const bool v6 : {false, true}) {
    in_namespace([v6] {
      shell(
          "ip address add 10.2.0.1/24 dev h1a; ip address add fd00:2::1/64 dev h1a nodad;"
          "ip neigh add 10.2.0.11 lladdr 02:00:00:00:00:51 dev h1a; ip neigh add fd00:2::11 lladdr 02:00:00:00:00:51 "
          "dev h1a");
      Plane plane(64);
      describe(plane, 0);
      plane.services({{.cs_id = 1, .locators = {{"10.99.0.1"}, {"fd00:99::1"}}, .ring = {}}});
      plane.publish();
      plane.delivery(1, 1, "10.2.0.11", maps::DELIVERY_UNRESOLVED, "fd00:2::11");
      plane.delivery_at(1).ifindex = if_nametoindex("h1a");
      Ip inner{.protocol = kUdp};
      if (v6) {
        inner.source = "fd00:1::2";
        inner.destination = "fd00:99::1";
      }
      const Bytes frame = ethernet(kRouterMac, kCoreMac, kIpv4Type,
                                   geneve({.source = "10.255.0.2", .destination = "10.255.0.1"}, ip(inner)));
      expect_sent_by_kernel(plane, frame, "delivered_slow", OUTCOME_delivered_slow, ip(inner).size());
    });
  }
}

// An operator's filter with a priority after ours: sends all that it sees out by the interface.
void attach_second_filter(uint32_t ifindex) {
  const bpf_insn sends_back[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .src_reg = 0, .off = 0, .imm = static_cast<int>(ifindex)},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_redirect},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const Fd program(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sends_back", "GPL", sends_back, std::size(sends_back), nullptr));
  ASSERT_TRUE(program.valid());
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program.get(), .handle = 1, .priority = 2);
  ASSERT_EQ(bpf_tc_attach(&hook, &options), 0);
}

TEST(HandedOver, tc_filters_behind_ours_see_what_is_not_ours) {
  in_namespace([] {
    Plane plane(64);
    const uint32_t in = if_nametoindex("h1a");
    plane.interface_sides(maps::SIDE_CLIENT, in);
    plane.attach_slow(in);
    attach_second_filter(in);
    Listener listener("h1b");
    plane.receive(some_packet(), in, 1);
    EXPECT_EQ(plane.outcome_packets(OUTCOME_not_ours), 1u);
    EXPECT_EQ(difference(some_packet(), listener.next(kRouterMac)), "");
  });
}

}  // namespace
}  // namespace catsbpf::test
