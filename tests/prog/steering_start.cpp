// SPDX-License-Identifier: Apache-2.0
// Starts of the data plane on a host that is not as the agent left it: starts that fail leave it as it was, and what
// people did to pins and interfaces meanwhile is told.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "agent/dataplane/pins.h"
#include "maps/map.h"
#include "tests/prog/steering_fixture.h"
#include "tests/unit/util_loop.h"

namespace catsbpf::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

uint32_t xdp_on(const std::string &interface) {
  uint32_t id = 0;
  bpf_xdp_query_id(static_cast<int>(if_nametoindex(interface.c_str())), 0, &id);
  return id;
}

// A program that passes everything, of somebody else.
Fd foreign_program() {
  const bpf_insn pass[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
                           {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  return Fd(bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", pass, 2, nullptr));
}

class StartTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    host = std::make_unique<Namespace>(unique("s"));
    for (const std::string name : {"c0", "u0", "d0"}) {
      host->ip("link add " + name + " type veth peer name p" + name);
      host->ip("link set " + name + " up");
    }
    inside = std::make_unique<Namespace::Inside>(*host);
  }
  void TearDown() override {
    KernelTest::TearDown();
    inside.reset();
    host.reset();
  }
  static agent::InterfaceOptions native(const std::string &name) { return {name, maps::SIDE_CLIENT, "native"}; }
  Result<std::unique_ptr<agent::Dataplane>> open(const std::vector<agent::InterfaceOptions> &interfaces) const {
    return agent::open_kernel_dataplane(dataplane_options(interfaces));
  }
  // An agent that came and went.
  void earlier_agent(const std::vector<agent::InterfaceOptions> &interfaces) const {
    auto dataplane = open(interfaces);
    ASSERT_TRUE(dataplane.ok()) << dataplane.error().text();
    (*dataplane)->mend();
  }
  bool pinned(const std::string &name) const { return access((pins + "/" + name).c_str(), F_OK) == 0; }
  static bool clean(const std::string &interface) {
    const std::string no_clsact = "! tc qdisc show dev " + interface + " | grep -q clsact";
    return xdp_on(interface) == 0 && std::system(no_clsact.c_str()) == 0;
  }

  std::unique_ptr<Namespace> host;
  std::unique_ptr<Namespace::Inside> inside;
};

TEST_F(StartTest, first_start_that_fails_leaves_nothing) {
  auto failed = open({native("c0"), native("u0"), native("lo")});  // lo has no native XDP
  ASSERT_FALSE(failed.ok());
  EXPECT_TRUE(clean("c0") && clean("u0"));
  EXPECT_NE(access(pins.c_str(), F_OK), 0);
}

TEST_F(StartTest, first_start_that_fails_after_the_data_plane_leaves_nothing) {
  {
    auto dataplane = open({native("c0"), native("u0")});
    ASSERT_TRUE(dataplane.ok()) << dataplane.error().text();
    EXPECT_NE(xdp_on("c0"), 0u);
    (*dataplane)->undo();
  }
  EXPECT_TRUE(clean("c0") && clean("u0"));
  EXPECT_NE(access(pins.c_str(), F_OK), 0);
}

TEST_F(StartTest, pin_directory_with_pins_of_others_is_refused_and_not_removed) {
  const Fd foreign = foreign_program();
  std::filesystem::create_directory(pins);
  const std::string pin = pins + "/foreign";
  ASSERT_EQ(bpf_obj_pin(foreign.get(), pin.c_str()), 0);
  auto opened = open({native("c0")});
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().what, "pin directory " + pins + " holds 'foreign', which is none of catsbpf's");
  EXPECT_FALSE(agent::uninstall_dataplane(pins).ok());
  EXPECT_THAT(agent::list_pins(pins), ElementsAre("foreign"));
  EXPECT_EQ(xdp_on("c0"), 0u);
  std::filesystem::remove_all(pins);
}

TEST_F(StartTest, start_that_fails_leaves_what_an_earlier_agent_left) {
  earlier_agent({native("c0"), native("u0")});
  const auto before = agent::list_pins(pins);
  auto failed = open({native("c0"), native("d0"), native("lo")});  // u0 is no longer wanted, d0 is new
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(xdp_on("c0"), 0u);
  EXPECT_NE(xdp_on("u0"), 0u) << "not before the start has succeeded";
  EXPECT_TRUE(clean("d0"));
  EXPECT_FALSE(pinned("links/xdp_d0"));
  EXPECT_EQ(agent::list_pins(pins), before);
  auto table = maps::Array<maps::interface>::open_pinned(pins, "interfaces");
  ASSERT_TRUE(table.ok());
  const auto entries = table->span();
  EXPECT_TRUE(std::any_of(entries.begin(), entries.end(),
                          [](const auto &entry) { return entry.ifindex == if_nametoindex("u0"); }));

  earlier_agent({native("c0"), native("d0")});
  EXPECT_TRUE(clean("u0")) << "now it has";
  EXPECT_NE(xdp_on("d0"), 0u);
}

TEST_F(StartTest, mode_that_does_not_work_leaves_the_former_one) {
  earlier_agent({{"lo", maps::SIDE_CLIENT, "generic"}});
  ASSERT_NE(xdp_on("lo"), 0u);
  ASSERT_FALSE(open({native("lo")}).ok());
  EXPECT_NE(xdp_on("lo"), 0u);
  EXPECT_TRUE(pinned("links/xdp_lo"));
}

TEST_F(StartTest, removed_pin_is_told_with_what_goes_with_it) {
  CapturedLog log;
  earlier_agent({native("c0")});
  EXPECT_THAT(log.all(), Not(Contains(HasSubstr("was removed")))) << "a first start misses nothing";
  for (const std::string name : {"flows", "secret"}) {
    log.clear();
    ASSERT_EQ(unlink((pins + "/" + name).c_str()), 0);
    earlier_agent({native("c0")});
    EXPECT_THAT(log.all(), Contains(AllOf(HasSubstr("pin " + pins + "/" + name + " was removed and is made anew"),
                                          HasSubstr("flows begin anew"))));
    EXPECT_TRUE(pinned(name));
  }
}

TEST_F(StartTest, renamed_interface_keeps_its_programs_and_is_told) {
  CapturedLog log;
  auto dataplane = open({native("c0"), native("u0")});
  ASSERT_TRUE(dataplane.ok()) << dataplane.error().text();
  (*dataplane)->mend();
  const uint32_t program = xdp_on("c0"), ifindex = if_nametoindex("c0");
  host->ip("link set c0 down");
  host->ip("link set c0 name lan0");
  host->ip("link set lan0 up");
  for (int i = 0; i < 2; ++i) (*dataplane)->mend();
  EXPECT_EQ(xdp_on("lan0"), program);
  shell("tc filter show dev lan0 ingress | grep -q direct-action");
  EXPECT_EQ((*dataplane)->interfaces()[0].ifindex, ifindex);
  EXPECT_EQ((*dataplane)->interfaces()[0].mode, "native");
  const auto warned = AllOf(HasSubstr("interface c0 is called lan0 now and keeps its programs"),
                            HasSubstr("write `name: lan0` under `interfaces`"));
  EXPECT_THAT((*dataplane)->warnings(), ElementsAre(warned));
  const auto lines = log.all();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), [](const auto &line) { return line.find("lan0") != line.npos; }),
            1);

  // Another interface takes the name: that one is meant.
  host->ip("link set d0 down");
  host->ip("link set d0 name c0");
  (*dataplane)->mend();
  EXPECT_TRUE(clean("lan0"));
  EXPECT_NE(xdp_on("c0"), 0u);
  EXPECT_TRUE((*dataplane)->warnings().empty());
}

TEST_F(StartTest, start_under_new_names_takes_the_programs_over) {
  earlier_agent({native("c0"), native("u0")});
  const uint32_t c0 = if_nametoindex("c0"), u0 = if_nametoindex("u0");
  for (const char *change : {"c0 name x0", "u0 name c0", "x0 name u0"}) {
    host->ip("link set " + std::string(change).substr(0, 2) + " down");
    host->ip("link set " + std::string(change));
  }
  host->ip("link set d0 down");
  earlier_agent({native("c0"), native("u0")});  // names that changed places
  host->ip("link set u0 name lan0");
  ASSERT_EQ(if_nametoindex("lan0"), c0);
  ASSERT_EQ(if_nametoindex("c0"), u0);
  earlier_agent({native("c0"), native("lan0")});
  EXPECT_NE(xdp_on("c0"), 0u);
  EXPECT_NE(xdp_on("lan0"), 0u);
  EXPECT_EQ(agent::list_pins(pins + "/links").size(), 2u + 2u) << "two interfaces, two tracepoints";
  EXPECT_TRUE(pinned("links/xdp_lan0"));
  host->ip("link set lan0 name lan1");
  ASSERT_TRUE(agent::uninstall_dataplane(pins).ok());
  EXPECT_TRUE(clean("c0") && clean("lan1")) << "whatever it is called by now";
}

TEST_F(StartTest, whoever_holds_the_interface_is_named_with_the_way_to_end_it) {
  const Fd program = foreign_program();
  ASSERT_TRUE(program.valid());
  const int c0 = static_cast<int>(if_nametoindex("c0"));
  const std::string number = "program " + std::to_string(agent::object_id(program.get()).id) + " is there";
  {
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
    const Fd link(bpf_link_create(program.get(), c0, BPF_XDP, &options));
    ASSERT_TRUE(link.valid());
    auto refused = open({native("c0")});
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().hint, AllOf(HasSubstr(number), HasSubstr("bpftool link"), Not(HasSubstr("xdp off"))));
    EXPECT_EQ(xdp_on("c0"), agent::object_id(program.get()).id) << "asking changed nothing";
  }
  for (const uint32_t mode : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE}) {
    ASSERT_EQ(bpf_xdp_attach(c0, program.get(), mode, nullptr), 0);
    auto refused = open({native("c0")});
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().hint, AllOf(HasSubstr(number), HasSubstr("ip link set dev c0 xdp")));
    EXPECT_EQ(xdp_on("c0"), agent::object_id(program.get()).id);
    ASSERT_EQ(bpf_xdp_detach(c0, mode, nullptr), 0);
  }
}

}  // namespace
}  // namespace catsbpf::test
