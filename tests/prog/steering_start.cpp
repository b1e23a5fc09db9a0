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

}  // namespace
}  // namespace catsbpf::test
