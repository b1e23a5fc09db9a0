// SPDX-License-Identifier: Apache-2.0
// Paths that one event changes together.
#include <gmock/gmock.h>

#include "tests/unit/programmer_fixture.h"

namespace catsbpf::agent {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

class Paths : public ProgrammerTest {
 protected:
  void SetUp() override {
    start();
    next_hops.set({{"10.255.0.2", hop(9)}, {"10.255.0.3", hop(9)}});
    programmer->put_service(service(1, {"10.99.0.1"}, {1, 2}));  // behind f2 and f3
    ASSERT_TRUE(settle());
    programmer->on_path([this](const std::string &egress, bool alive) {
      told.push_back(egress + (alive ? " alive" : " dead"));
      seen.push_back({state(1), state(2)});
    });
  }
  // What a packet finds behind the instance.
  uint8_t state(uint32_t csci_id) { return dataplane.paths()[instance(1, csci_id).path].state; }

  std::vector<std::string> told;
  std::vector<std::vector<uint8_t>> seen;  // of both paths, by each callback
};

TEST_F(Paths, states_that_follow_from_one_event_are_stored_before_anybody_is_told) {
  next_hops.set({{"10.255.0.2", NextHop{}}, {"10.255.0.3", NextHop{}}});
  EXPECT_THAT(told, ElementsAre("f2 dead", "f3 dead"));
  EXPECT_THAT(seen, Each(ElementsAre(maps::PATH_DEAD, maps::PATH_DEAD)));
  seen.clear();
  next_hops.set({{"10.255.0.2", hop(9)}, {"10.255.0.3", hop(9)}});
  EXPECT_THAT(seen, Each(ElementsAre(maps::PATH_RESOLVED, maps::PATH_RESOLVED)));
  EXPECT_EQ(seen.size(), 2u);
}

TEST_F(Paths, those_that_come_back_with_another_mac_are_alive_together_too) {
  next_hops.set({{"10.255.0.2", NextHop{}}, {"10.255.0.3", NextHop{}}});
  seen.clear();
  next_hops.set({{"10.255.0.2", hop(10)}, {"10.255.0.3", hop(10)}});
  EXPECT_THAT(seen, Each(ElementsAre(maps::PATH_RESOLVED, maps::PATH_RESOLVED)));
  EXPECT_EQ(dataplane.paths()[instance(1, 2).path].header[5], 10);
}

TEST_F(Paths, deaths_are_stored_before_what_comes_to_life) {
  next_hops.set("10.255.0.2", NextHop{});
  told.clear();
  next_hops.set({{"10.255.0.2", hop(9)}, {"10.255.0.3", NextHop{}}});
  EXPECT_THAT(told, ElementsAre("f3 dead", "f2 alive"));
}

}  // namespace
}  // namespace catsbpf::agent
