// SPDX-License-Identifier: Apache-2.0
// Two agents, each with a pin directory of its own, want one interface: who has it keeps all of it, and the other is
// told whose it is.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "agent/dataplane/pins.h"
#include "agent/dataplane/place.h"
#include "maps/map.h"
#include "tests/prog/steering_fixture.h"

namespace catsbpf::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TwoAgentsTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    others = pins + "-other";
    host = std::make_unique<Namespace>(unique("t"));
    inside = std::make_unique<Namespace::Inside>(*host);
    make("c0");
    make("u0");
  }
  void TearDown() override {
    if (host) {
      EXPECT_TRUE(agent::uninstall_dataplane(others).ok());
    }
    KernelTest::TearDown();
    inside.reset();
    host.reset();
  }
  void make(const std::string &name) const {
    host->ip("link add " + name + " type veth peer name p" + name);
    host->ip("link set " + name + " up");
  }
  Result<std::unique_ptr<agent::Dataplane>> open(const std::string &pin_directory,
                                                 const std::vector<std::string> &interfaces) const {
    agent::DataplaneOptions options;
    options.pin_directory = pin_directory;
    for (const std::string &name : interfaces) options.interfaces.push_back({name, maps::SIDE_CLIENT, "native"});
    return agent::open_kernel_dataplane(options);
  }
  // Programs on an interface: XDP, tc.
  struct Programs {
    uint32_t xdp = 0, tc = 0;
    bool operator==(const Programs &) const = default;
  };
  static Programs on(const std::string &interface) {
    const uint32_t ifindex = if_nametoindex(interface.c_str());
    Programs found;
    bpf_xdp_query_id(static_cast<int>(ifindex), 0, &found.xdp);
    found.tc = agent::slow_program(ifindex);
    return found;
  }

  std::string others;
  std::unique_ptr<Namespace> host;
  std::unique_ptr<Namespace::Inside> inside;
};

TEST_F(TwoAgentsTest, the_second_is_refused_and_the_first_keeps_both_programs) {
  auto first = open(pins, {"c0"});
  ASSERT_TRUE(first.ok()) << first.error().text();
  (*first)->mend();
  const Programs before = on("c0");
  ASSERT_NE(before.xdp, 0u);
  ASSERT_NE(before.tc, 0u);
  for (const bool running : {true, false}) {
    if (!running) *first = nullptr;
    auto second = open(others, {"u0", "c0"});
    ASSERT_FALSE(second.ok());
    EXPECT_THAT(second.error().what, HasSubstr("cannot attach xdp to c0 in native mode: Device or resource busy"));
    EXPECT_THAT(second.error().hint, AllOf(HasSubstr("the agent with the pins at " + pins + " has it"),
                                           HasSubstr("an interface has one agent")));
    EXPECT_EQ(on("c0"), before) << running;
    EXPECT_EQ(on("u0"), Programs{}) << "nothing is attached before all is known to be free";
    EXPECT_NE(access(others.c_str(), F_OK), 0);
  }
}

TEST_F(TwoAgentsTest, a_filter_without_its_xdp_program_is_not_taken_away) {
  ASSERT_TRUE(open(pins, {"c0"}).ok());
  {
    const Fd link(bpf_obj_get(maps::link_pin(pins, "xdp_c0").c_str()));
    ASSERT_EQ(bpf_link_detach(link.get()), 0);
  }
  const Programs before = on("c0");
  ASSERT_EQ(before.xdp, 0u);
  ASSERT_NE(before.tc, 0u);
  auto second = open(others, {"c0"});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().what, "cannot attach the tc program to c0: another filter is in its place");
  EXPECT_THAT(second.error().hint, HasSubstr("the agent with the pins at " + pins + " has it"));
  EXPECT_EQ(on("c0"), before);
  ASSERT_TRUE(open(pins, {"c0"}).ok()) << "it is its own";
  EXPECT_NE(on("c0").xdp, 0u);
  EXPECT_NE(on("c0").tc, before.tc);
}

TEST_F(TwoAgentsTest, a_filter_of_something_else_is_named_with_the_command_that_removes_it) {
  const bpf_insn pass[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = TC_ACT_OK},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "foreign", "GPL", pass, 2, nullptr));
  ASSERT_TRUE(program.valid());
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(if_nametoindex("c0")), .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program.get(), .handle = agent::kSlowHandle,
              .priority = agent::kSlowPriority);
  ASSERT_EQ(bpf_tc_hook_create(&hook), 0);
  ASSERT_EQ(bpf_tc_attach(&hook, &options), 0);
  const Programs before = on("c0");
  auto refused = open(pins, {"c0"});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(on("c0"), before);
  const std::string number = std::to_string(before.tc), &hint = refused.error().hint;
  EXPECT_THAT(hint, HasSubstr("program " + number + " is there (`bpftool prog show id " + number + "`): tc filter"));
  shell(hint.substr(hint.find("tc filter")));
  auto opened = open(pins, {"c0"});
  EXPECT_TRUE(opened.ok()) << opened.error().text();
}

TEST_F(TwoAgentsTest, a_filter_whose_pins_were_removed_is_nobodys) {
  ASSERT_TRUE(open(others, {"c0"}).ok());
  std::filesystem::remove_all(others);
  while (on("c0").xdp != 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the kernel ends the link later
  const Programs before = on("c0");
  ASSERT_NE(before.tc, 0u);
  auto opened = open(pins, {"c0"});
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  EXPECT_NE(on("c0").xdp, 0u);
  EXPECT_NE(on("c0").tc, before.tc);
}

TEST_F(TwoAgentsTest, a_filter_for_one_protocol_at_our_priority_is_named) {
  shell("tc qdisc add dev c0 clsact");
  shell("tc filter add dev c0 ingress pref 1 protocol ip bpf bytecode '1,6 0 0 0'");
  auto refused = open(pins, {"c0"});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().hint, HasSubstr("a filter for one protocol has priority 1"));
  EXPECT_EQ(on("c0"), Programs{});
  shell("tc filter del dev c0 ingress pref 1");
  EXPECT_TRUE(open(pins, {"c0"}).ok());
}

TEST_F(TwoAgentsTest, an_agent_that_was_killed_while_it_started_is_no_other_agent) {
  ASSERT_TRUE(open(pins, {"c0"}).ok());
  ASSERT_EQ(unlink(maps::program_pin(pins, "catsbpf_slow").c_str()), 0);  // pinned last of all
  const Programs before = on("c0");
  auto again = open(pins, {"c0"});
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_NE(on("c0").tc, before.tc);
}

TEST_F(TwoAgentsTest, an_interface_that_is_made_anew_is_the_first_comers) {
  auto first = open(pins, {"c0"});
  ASSERT_TRUE(first.ok()) << first.error().text();
  (*first)->mend();
  host->ip("link del c0");
  make("c0");
  auto second = open(others, {"c0"});
  ASSERT_TRUE(second.ok()) << second.error().text();
  const Programs before = on("c0");
  (*first)->mend();
  const auto whose = HasSubstr("(the agent with the pins at " + others + " has it");
  EXPECT_THAT((*first)->warnings(), ElementsAre(AllOf(HasSubstr("cannot attach xdp to c0"), whose),
                                                AllOf(HasSubstr("cannot attach the tc program to c0"), whose)));
  EXPECT_EQ(on("c0"), before);
  (*second)->mend();
  EXPECT_THAT((*second)->warnings(), IsEmpty());
  *first = nullptr;
  ASSERT_TRUE(agent::uninstall_dataplane(pins).ok());
  EXPECT_EQ(on("c0"), before) << "it was not the first one's to take away";
}

}  // namespace
}  // namespace catsbpf::test
