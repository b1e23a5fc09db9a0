// SPDX-License-Identifier: Apache-2.0
// A new agent on the tables of one that died.
#include <cstring>

#include "tests/unit/programmer_fixture.h"

namespace catsbpf::agent {
namespace {

TEST_F(ProgrammerTest, a_restart_with_the_same_wishes_changes_nothing_that_packets_see) {
  start();
  next_hops.set("10.255.0.2", hop(9));
  for (uint32_t cs_id : {1, 2, 3})
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {1, 2}));
  ASSERT_TRUE(settle());
  const auto flips = dataplane.flips.size();
  const auto ring = dataplane.ring_of(2);
  const uint16_t slot = programmer->slot(2, 1), path = instance(2, 1).path;

  start();
  programmer->hold("f2");
  EXPECT_EQ(programmer->state(), "starting (waiting for f2)");
  for (uint32_t cs_id : {1, 2, 3})
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {1, 2}));
  run_for(std::chrono::milliseconds(20));
  EXPECT_EQ(dataplane.flips.size(), flips);
  programmer->release();
  next_hops.set("10.255.0.2", hop(9));
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.flips.size(), flips);
  EXPECT_EQ(programmer->slot(2, 1), slot);
  EXPECT_EQ(instance(2, 1).path, path);
  EXPECT_EQ(dataplane.ring_of(2), ring);
}

TEST_F(ProgrammerTest, a_restart_writes_only_what_is_wanted_otherwise_now) {
  start();
  for (uint32_t cs_id : {1, 2, 3})
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {1, 2}));
  ASSERT_TRUE(settle());
  const uint16_t slot = programmer->slot(1, 1);

  start();
  programmer->hold("f2");
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 2}));
  programmer->put_service(service(2, {"10.99.0.2"}, {1}));
  run_for(std::chrono::milliseconds(10));
  EXPECT_EQ(dataplane.service_at("10.99.0.3", 6, 80), 3u);
  programmer->release();
  ASSERT_TRUE(settle()) << programmer->state();
  EXPECT_EQ(programmer->slot(1, 1), slot);
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 1u);
  EXPECT_EQ(dataplane.service_at("10.99.0.3", 6, 80), 0u) << "nobody wants it any more";
  EXPECT_EQ(programmer->slot(2, 2), 0);
}

TEST_F(ProgrammerTest, services_that_nobody_knows_yet_stay_while_others_are_published) {
  start();
  for (uint32_t cs_id : {1, 2, 3})
    programmer->put_service(service(cs_id, {"10.99.0." + std::to_string(cs_id)}, {1, 2}));
  ASSERT_TRUE(settle());
  const uint16_t slot = programmer->slot(2, 1);
  const auto ring = dataplane.ring_of(2);

  start();
  programmer->hold("f2");
  run_for(std::chrono::milliseconds(10));
  programmer->release_known("the catalogue");
  programmer->put_service(service(1, {"10.99.0.9"}, {1}));
  ASSERT_TRUE(run_until([&] { return dataplane.service_at("10.99.0.9", 6, 80) == 1; }));
  ASSERT_TRUE(run_until([&] { return programmer->state() == "starting (waiting for the catalogue)"; }))
      << programmer->state();
  for (uint32_t cs_id : {2, 3}) EXPECT_EQ(dataplane.service_at("10.99.0." + std::to_string(cs_id), 6, 80), cs_id);
  EXPECT_EQ(programmer->slot(2, 1), slot);
  EXPECT_EQ(dataplane.ring_of(2), ring);
  programmer->put_service(service(2, {"10.99.0.2"}, {1, 2}));
  programmer->release();
  ASSERT_TRUE(settle()) << programmer->state();
  EXPECT_EQ(dataplane.service_at("10.99.0.2", 6, 80), 2u);
  EXPECT_EQ(dataplane.service_at("10.99.0.3", 6, 80), 0u) << "the catalogue does not have it";
}

TEST_F(ProgrammerTest, a_view_half_written_by_the_agent_before_is_never_seen) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 2}));
  ASSERT_TRUE(settle());
  programmer.reset();
  // It died while it wrote the other side, and after it had made an instance valid for it.
  const int other = 1 - static_cast<int>(dataplane.control().view);
  dataplane.services(other)[9].cs_id = 99;
  dataplane.services(other)[9].ring_slots = 1u << 30;
  std::memset(dataplane.locators(other).data(), 0xff, dataplane.locators(other).size_bytes() / 2);
  dataplane.instances()[500].cs_id = 99;
  dataplane.instances()[500].state = maps::INSTANCE_ACTIVE;

  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.services(other)[9].cs_id, 0u);
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 1u);
  EXPECT_TRUE(run_until([&] { return dataplane.instances()[500].state == maps::INSTANCE_FREE; }));
}

TEST_F(ProgrammerTest, a_starting_agent_waits_one_grace_before_it_writes) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 2}));
  ASSERT_TRUE(settle());
  programmer.reset();
  dataplane.hold_grace(true);
  const auto flips = dataplane.flips.size();
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  run_for(std::chrono::milliseconds(30));
  EXPECT_EQ(dataplane.flips.size(), flips);
  dataplane.hold_grace(false);
  ASSERT_TRUE(settle());
  EXPECT_EQ(dataplane.flips.size(), flips + 1);
}

TEST_F(ProgrammerTest, sessions_and_deliveries_of_the_agent_before_stay_in_force) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", ""}});
  ASSERT_TRUE(settle());
  next_hops.set("10.3.0.11", hop(5, ""));
  ASSERT_TRUE(programmer->put_session({7, "10.1.0.2", 1, 3, std::chrono::hours(1)}).ok());

  start();
  programmer->hold("f2");
  auto resolved = [&] {
    int count = 0;
    for (const maps::delivery &entry : dataplane.deliveries()) count += entry.state == maps::DELIVERY_RESOLVED;
    return count;
  };
  run_for(std::chrono::milliseconds(10));
  EXPECT_EQ(resolved(), 1);
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", ""}});
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  programmer->release();
  next_hops.set("10.3.0.11", hop(5, ""));
  ASSERT_TRUE(settle());
  EXPECT_EQ(resolved(), 1);
  EXPECT_EQ(dataplane.sessions()->size(), 1u);
  programmer->remove_session(7);
  EXPECT_TRUE(dataplane.sessions()->empty());
}

TEST_F(ProgrammerTest, a_session_of_the_agent_before_whose_grant_is_forgotten_ends) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  ASSERT_TRUE(programmer->put_session({7, "10.1.0.2", 1, 3, std::chrono::hours(1)}).ok());
  ASSERT_TRUE(programmer->put_session({8, "10.1.0.3", 1, 3, std::chrono::hours(1)}).ok());

  start();
  EXPECT_EQ(dataplane.sessions()->size(), 2u);
  programmer->keep_sessions({8, 9});
  ASSERT_EQ(dataplane.sessions()->size(), 1u);
  EXPECT_EQ(dataplane.sessions()->front().second.reservation, 8u);
}

TEST_F(ProgrammerTest, an_agent_that_died_between_two_entries_leaves_no_stale_one) {
  start();
  next_hops.set("10.255.0.2", hop(9));
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", ""}});
  ASSERT_TRUE(settle());
  next_hops.set("10.3.0.11", hop(5, ""));
  programmer.reset();
  const uint16_t used = dataplane.instances()[1].path;
  dataplane.paths()[used - 1 ? used - 1 : 50] = dataplane.paths()[used];  // the old one, not freed yet
  const uint32_t home = maps::delivery_hash(3) % MAX_DELIVERIES;
  maps::delivery second = dataplane.deliveries()[home];
  second.ethernet[5] = 4;
  dataplane.deliveries()[home + 1] = second;

  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", ""}});
  ASSERT_TRUE(settle());
  EXPECT_EQ(instance(1, 1).path, used);
  next_hops.set("10.3.0.11", hop(6, ""));
  ASSERT_TRUE(settle());
  int macs = 0;
  for (const maps::delivery &entry : dataplane.deliveries())
    if (entry.state != maps::DELIVERY_FREE) macs += entry.ethernet[5] == 6 ? 1 : 100;
  EXPECT_EQ(macs, 1);
}

TEST_F(ProgrammerTest, a_ring_out_of_range_in_the_pins_is_made_anew) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  programmer.reset();
  FakeDataplane damaged;
  damaged.control().view = 0;
  damaged.services(0)[0] = dataplane.services(static_cast<int>(dataplane.control().view))[0];
  damaged.services(0)[0].ring_first = 1u << 20;
  boost::asio::io_context loop;
  auto opened = Programmer::open(loop, damaged, next_hops, default_options());
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  (*opened)->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  loop.run_for(std::chrono::milliseconds(100));
  EXPECT_EQ((*opened)->state(), "in sync");
  EXPECT_EQ(damaged.ring_of(1).size(), 251u);
}

}  // namespace
}  // namespace catsbpf::agent
