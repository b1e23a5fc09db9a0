// SPDX-License-Identifier: Apache-2.0
// What an operator hears when a service says anew what a flow is.
#include <gmock/gmock.h>

#include "tests/unit/programmer_fixture.h"
#include "tests/unit/util_loop.h"

namespace catsbpf::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Affinity : public ProgrammerTest {
 protected:
  // What is said of it.
  std::vector<std::string> put(const WantedService &wanted) {
    test::CapturedLog log;
    programmer->put_service(wanted);
    EXPECT_TRUE(settle());
    std::vector<std::string> said;
    for (const auto &line : log.all())
      if (line.find("affinity") != std::string::npos) said.push_back(line);
    return said;
  }
};

TEST_F(Affinity, a_change_that_makes_other_flows_is_a_warning) {
  start();
  WantedService wanted = service(1, {"10.99.0.1"}, {1, 2});
  EXPECT_THAT(put(wanted), IsEmpty());
  wanted.affinity.set_timeout_s(7);
  wanted.instances.pop_back();
  wanted.ring = ring_in_turn({1}, 251);
  EXPECT_THAT(put(wanted), IsEmpty()) << "flows are the same";
  const auto warned = "affinity changed service=S1 cs_id=1: its established flows are placed anew";
  wanted.affinity.set_source_prefix4(24);
  EXPECT_THAT(put(wanted), ElementsAre(warned));
  EXPECT_THAT(put(wanted), IsEmpty());
  wanted.affinity.set_ignore_ports(true);
  EXPECT_THAT(put(wanted), ElementsAre(warned));
  start();  // another agent
  EXPECT_THAT(put(wanted), IsEmpty());
  start();
  wanted.affinity.clear_ignore_ports();
  EXPECT_THAT(put(wanted), ElementsAre(warned)) << "changed while no agent ran";
}

TEST_F(Affinity, where_no_flow_is_steered_nothing_is_said) {
  start();
  WantedService wanted = service(1, {"10.99.0.1"}, {});
  EXPECT_THAT(put(wanted), IsEmpty());
  wanted.affinity.set_ignore_ports(true);
  EXPECT_THAT(put(wanted), IsEmpty());
}

}  // namespace
}  // namespace catsbpf::agent
