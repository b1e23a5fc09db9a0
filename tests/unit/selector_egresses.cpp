// SPDX-License-Identifier: Apache-2.0
// Rows that name an egress to which this agent has no path.
#include <gmock/gmock.h>

#include "agent/selector/path_selector.h"
#include "tests/unit/selector_fakes.h"

using namespace catsbpf;
using namespace catsbpf::test;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

namespace {

class Egresses : public SelectorTest {
 protected:
  Egresses() {
    v1::SessionStatus up;
    up.set_peer("f2");
    up.set_site("site-2");
    up.set_state("up");
    owners_.statuses = {up};
  }
  // Site 2 says that its instances are behind `egresses`.
  void site2_moves(const std::vector<std::string> &egresses, const std::vector<cmas::Row> &rows, uint64_t sequence) {
    const auto services = table_.put_rows("f2", "site-2", egresses, rows);
    ASSERT_TRUE(services) << services.error().text();
    owners_.touched(*services, "f2", 1, sequence);
    turn();
  }
  // Flows of CSCI-ID 1 stay by f2, and new ones go elsewhere.
  void expect_kept() {
    ASSERT_THAT(programmer_.instances(1), ElementsAre(1, 3));
    EXPECT_EQ(programmer_.services.at(1).instances[0].egress, "f2");
    EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining);
    EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  }
  std::string state(uint32_t csci_id) {
    for (const auto &candidate : table_.all())
      if (candidate.key.csci_id == csci_id) return cmas::name(candidate.state);
    return "no row";
  }
};

TEST_F(Egresses, flows_stay_by_the_last_egress_that_had_a_path_as_long_as_the_row_is_there) {
  open();
  figure1();
  for (uint64_t sequence = 2; sequence < 6; ++sequence) {
    site2_moves({"f9"}, {row(1, 1, static_cast<uint32_t>(sequence), 4), row(2, 2, 6, 5)}, sequence);
    expect_kept();
  }
  owners_.touched({1}, "f2", 1, 6);  // a delta on other rows
  turn();
  expect_kept();
  site2_moves({"f3"}, {row(1, 1, 3, 4), row(2, 2, 6, 5)}, 7);
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kActive);
  EXPECT_EQ(programmer_.services.at(1).instances[0].egress, "f3");
}

TEST_F(Egresses, a_row_without_a_path_that_is_removed_is_gone) {
  open();
  figure1();
  site2_moves({"f9"}, {row(1, 1, 3, 4)}, 2);
  expect_kept();
  owners_.touched(table_.remove_rows("f2", {{1, 1}}), "f2", 1, 3);
  turn();
  EXPECT_THAT(programmer_.instances(1), ElementsAre(3));
}

TEST_F(Egresses, a_silent_site_that_comes_back_without_a_path_keeps_its_flows) {
  open();
  figure1();
  owners_.touched(table_.withdraw("f2"), "f2", 1, 1);
  turn();
  expect_kept();
  site2_moves({"f9"}, {row(1, 1, 3, 4)}, 2);
  expect_kept();
  EXPECT_THAT(programmer_.instances(2), IsEmpty()) << "its row has gone";
}

TEST_F(Egresses, after_a_restart_flows_stay_where_the_last_agent_had_them) {
  auto o = options();
  o.hold = true;
  o.programmed = {{{1, 1}, "f2", 0.5}, {{1, 3}, "f3", 0.5}, {{1, 4}, "f3", 0}};
  owners_.not_synced = {"f2", "f3"};
  open(o);
  ASSERT_TRUE(table_.put_rows("f2", "site-2", {"f9"}, {row(1, 1, 3, 4)}));
  ASSERT_TRUE(table_.put_rows("f3", "site-3", {"f3"}, {row(1, 3, 4, 6)}));
  owners_.not_synced.clear();
  selector_->put_service(service("AR1", 1));
  selector_->platform_known();  // before the event loop has run
  turn();
  expect_kept();
}

TEST_F(Egresses, one_with_a_path_is_preferred_and_the_state_says_when_there_is_none) {
  open();
  figure1();
  EXPECT_EQ(state(1), "active");
  site2_moves({"f9", "f3"}, {row(1, 1, 3, 4)}, 2);
  EXPECT_EQ(programmer_.services.at(1).instances[0].egress, "f3");
  EXPECT_EQ(state(1), "active");
  site2_moves({"f9"}, {row(1, 1, 3, 4)}, 3);
  EXPECT_EQ(state(1), "unreachable");
}

}  // namespace
