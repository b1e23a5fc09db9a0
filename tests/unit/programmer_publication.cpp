// SPDX-License-Identifier: Apache-2.0
// What packets see: views, rings, locators. The fake fails the test when a flip shows an incomplete view or
// the side in force was touched.
#include <algorithm>
#include <set>

#include "tests/unit/programmer_fixture.h"

namespace catsbpf::agent {
namespace {

TEST_F(ProgrammerTest, a_service_is_seen_whole_after_one_flip) {
  start();
  programmer->put_service(service(1, {"10.99.0.1", "fd00:99::1"}, {1, 3}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.flips.size(), 1u);
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 1u);
  EXPECT_EQ(dataplane.service_at("fd00:99::1", 17, 53), 1u);
  EXPECT_EQ(dataplane.service_at("10.99.0.2", 6, 80), 0u);
  const auto ring = dataplane.ring_of(1);
  ASSERT_EQ(ring.size(), 251u);
  EXPECT_EQ(ring[0], programmer->slot(1, 1));
  EXPECT_EQ(ring[1], programmer->slot(1, 3));
  EXPECT_NE(programmer->slot(1, 1), 0);
}

TEST_F(ProgrammerTest, changes_of_one_turn_of_the_loop_are_one_publication) {
  start();
  for (uint32_t cs_id = 1; cs_id <= 50; ++cs_id)
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {1, 2}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.flips.size(), 1u);
}

TEST_F(ProgrammerTest, changes_coalesce_while_a_grace_period_lasts) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  dataplane.hold_grace(true);
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(run_until([&] { return dataplane.flips.size() == 2; }));
  for (uint32_t slots : {509u, 1021u, 2039u}) {
    programmer->put_service(service(1, {"10.99.0.1"}, {3}, slots));
    run_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(dataplane.flips.size(), 2u) << "the other side is not written before packets have left it";
  EXPECT_NE(programmer->state(), "in sync");
  dataplane.hold_grace(false);
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.flips.size(), 3u);
  EXPECT_EQ(dataplane.ring_of(1).size(), 2039u);
}

TEST_F(ProgrammerTest, both_sides_catch_up_with_changes_of_different_services) {
  start();
  for (uint32_t cs_id : {1, 2, 3})
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {1, 2}));
  ASSERT_TRUE(settle());
  for (int round = 0; round < 12; ++round) {
    const uint32_t cs_id = 1 + round % 3;
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {round % 2 ? 1u : 2u}));
    ASSERT_TRUE(settle());
    const auto ring = dataplane.ring_of(cs_id);
    EXPECT_EQ(std::set<uint16_t>(ring.begin(), ring.end()),
              std::set<uint16_t>{programmer->slot(cs_id, round % 2 ? 1 : 2)});
    for (uint32_t other : {1, 2, 3}) EXPECT_EQ(dataplane.ring_of(other).size(), 251u);
  }
}

TEST_F(ProgrammerTest, only_services_that_changed_are_written) {
  start();
  for (uint32_t cs_id = 1; cs_id <= 100; ++cs_id)
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {1, 2}));
  ASSERT_TRUE(settle());
  programmer->put_service(service(7, {"10.99.0.7"}, {1}));
  ASSERT_TRUE(settle());  // the second side is filled for the first time
  const auto before = programmer->totals();
  programmer->put_service(service(7, {"10.99.0.7"}, {2}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(programmer->totals().services_written - before.services_written, 1u);
}

TEST_F(ProgrammerTest, only_ring_slots_that_differ_are_written) {
  start();
  auto wanted = service(1, {"10.99.0.1"}, {1, 3});
  programmer->put_service(wanted);
  ASSERT_TRUE(settle());
  auto moved = std::make_shared<cmas::Ring>(*wanted.ring);
  moved->slots[10] ^= 1;
  wanted.ring = moved;
  programmer->put_service(wanted);
  ASSERT_TRUE(settle());  // takes a run of its own
  const auto before = programmer->totals().slots_written;
  auto again = std::make_shared<cmas::Ring>(*moved);
  again->slots[20] ^= 1;
  wanted.ring = again;
  programmer->put_service(wanted);
  ASSERT_TRUE(settle());  // goes into the run before: slots 10 and 20 differ from it
  EXPECT_EQ(programmer->totals().slots_written - before, 2u);
}

TEST_F(ProgrammerTest, a_wish_that_changes_nothing_flips_nothing) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  const auto flips = dataplane.flips.size();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.flips.size(), flips);
}

TEST_F(ProgrammerTest, a_removed_service_leaves_the_table_and_frees_its_ring) {
  start();
  for (int round = 0; round < 200; ++round) {  // far more than the pool holds at once
    programmer->put_service(service(1, {"10.99.0.1"}, {1}, 16381));
    ASSERT_TRUE(settle()) << programmer->state();
    EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 1u);
    programmer->remove_service(1);
    ASSERT_TRUE(run_until([&] { return dataplane.service_at("10.99.0.1", 6, 80) == 0; }));
    ASSERT_TRUE(settle());
  }
  EXPECT_TRUE(dataplane.ring_of(1).empty());
}

TEST_F(ProgrammerTest, an_exhausted_pool_is_an_error_and_keeps_the_old_ring) {
  start();  // 4096 lines = 131072 slots
  programmer->put_service(service(1, {"10.99.0.1"}, {1}, 65537));
  ASSERT_TRUE(settle());
  programmer->put_service(service(2, {"10.99.0.2"}, {1}, 65537));
  ASSERT_TRUE(run_until([&] { return programmer->state().starts_with("dirty (no room"); })) << programmer->state();
  EXPECT_EQ(dataplane.service_at("10.99.0.2", 6, 80), 0u);
  EXPECT_EQ(dataplane.ring_of(1).size(), 65537u);
  programmer->put_service(service(3, {"10.99.0.3"}, {1}, 251));  // others are not held up
  ASSERT_TRUE(run_until([&] { return dataplane.service_at("10.99.0.3", 6, 80) == 3; }));
  programmer->put_service(service(1, {"10.99.0.1"}, {1}, 251));  // room again: the retry finds it
  ASSERT_TRUE(settle()) << programmer->state();
  EXPECT_EQ(dataplane.ring_of(2).size(), 65537u);
}

TEST_F(ProgrammerTest, two_services_with_one_address_are_refused_by_name) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(settle());
  programmer->put_service(service(2, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(run_until([&] {
    return programmer->state().starts_with("dirty (service S") || programmer->state().starts_with("dirty (egress");
  }));
  EXPECT_EQ(programmer->state(),
            "dirty (service S2 (CS-ID 2) claims 10.99.0.1, which belongs to service S1 (CS-ID 1))");
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 1u);
  programmer->remove_service(1);
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 2u);
}

TEST_F(ProgrammerTest, services_share_an_address_by_port_and_the_narrower_rule_wins) {
  start();
  WantedService web = service(1, {}, {1}), game = service(2, {}, {1}), rest = service(3, {"10.99.0.0/24"}, {1});
  auto add = [](WantedService &to, const std::string &protocol, uint32_t low, uint32_t high) {
    v1::Locator &locator = to.locators.emplace_back();
    locator.set_prefix("10.99.0.1");
    locator.set_protocol(protocol);
    locator.set_port_min(low);
    locator.set_port_max(high);
  };
  add(web, "tcp", 80, 0);
  add(game, "", 0, 0);
  for (const auto &wanted : {game, web, rest}) programmer->put_service(wanted);
  ASSERT_TRUE(settle()) << programmer->state();
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 1u);
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 81), 2u);
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 17, 80), 2u);
  EXPECT_EQ(dataplane.service_at("10.99.0.9", 17, 80), 3u);
  EXPECT_EQ(dataplane.service_at("10.99.1.1", 17, 80), 0u);
}

TEST_F(ProgrammerTest, a_locator_on_the_tunnel_address_is_refused) {
  start();
  programmer->put_service(service(1, {"10.255.0.1"}, {1}));
  ASSERT_TRUE(run_until([&] {
    return programmer->state().starts_with("dirty (service S") || programmer->state().starts_with("dirty (egress");
  }));
  EXPECT_NE(programmer->state().find("belongs to the tunnel of this forwarder"), std::string::npos)
      << programmer->state();
}

TEST_F(ProgrammerTest, an_unknown_egress_is_named) {
  start();
  WantedService wanted = service(1, {"10.99.0.1"}, {1});
  wanted.instances[0].egress = "f9";
  programmer->put_service(wanted);
  ASSERT_TRUE(run_until([&] {
    return programmer->state().starts_with("dirty (service S") || programmer->state().starts_with("dirty (egress");
  }));
  EXPECT_EQ(programmer->state(), "dirty (egress 'f9' of CSCI-ID 1 of service S1 (CS-ID 1) is no configured forwarder)");
  EXPECT_EQ(programmer->slot(1, 1), 0);
}

TEST_F(ProgrammerTest, a_failed_grace_period_stops_publication_until_it_succeeds) {
  start();
  ASSERT_TRUE(settle());
  dataplane.fail_grace(true);
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(run_until([&] { return programmer->state().starts_with("dirty (cannot wait"); }));
  const auto flips = dataplane.flips.size();
  programmer->put_service(service(2, {"10.99.0.2"}, {1}));
  run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(dataplane.flips.size(), flips);
  dataplane.fail_grace(false);
  ASSERT_TRUE(settle()) << programmer->state();
  EXPECT_EQ(dataplane.service_at("10.99.0.2", 6, 80), 2u);
}

TEST_F(ProgrammerTest, what_keeps_failing_is_tried_less_and_less_often) {
  start();
  ASSERT_TRUE(settle());
  dataplane.fail_grace(true);
  const int before = dataplane.graces();
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  run_for(std::chrono::milliseconds(700));  // after 0, 20, 60, 140, 300, 620 ms; with a steady 20 ms 35 times
  EXPECT_LE(dataplane.graces() - before, 6);
  EXPECT_GE(dataplane.graces() - before, 3);
  dataplane.fail_grace(false);
  ASSERT_TRUE(settle()) << programmer->state();
  // And soon again when something else fails later.
  dataplane.fail_grace(true);
  const int later = dataplane.graces();
  programmer->put_service(service(1, {"10.99.0.1"}, {2}));
  ASSERT_TRUE(run_until([&] { return dataplane.graces() - later >= 1; }));
  const auto first = std::chrono::steady_clock::now();
  ASSERT_TRUE(run_until([&] { return dataplane.graces() - later >= 2; }));
  EXPECT_LT(std::chrono::steady_clock::now() - first, std::chrono::milliseconds(200));
  dataplane.fail_grace(false);
}

TEST_F(ProgrammerTest, subscribers_hear_epoch_and_time_of_each_flip) {
  start();
  ASSERT_TRUE(settle());
  std::vector<uint64_t> epochs;
  programmer->on_published([&](uint64_t epoch, uint64_t ns) {
    epochs.push_back(epoch);
    EXPECT_EQ(dataplane.view_header(static_cast<int>(dataplane.control().view)).published_ns, ns);
  });
  for (uint32_t member : {1, 3, 1}) {
    programmer->put_service(service(1, {"10.99.0.1"}, {member}));
    ASSERT_TRUE(settle());
  }
  ASSERT_EQ(epochs.size(), 3u);
  EXPECT_TRUE(epochs[0] < epochs[1] && epochs[1] < epochs[2]);
}

}  // namespace
}  // namespace catsbpf::agent
