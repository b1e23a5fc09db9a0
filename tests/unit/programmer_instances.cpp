// SPDX-License-Identifier: Apache-2.0
// Instance slots, paths, deliveries, sessions.
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "agent/programmer/slots.h"
#include "agent/programmer/translate.h"
#include "maps/tables.h"
#include "tests/unit/programmer_fixture.h"

namespace catsbpf::agent {
namespace {

TEST_F(ProgrammerTest, draining_and_dead_count_at_once_without_a_flip) {
  start();
  WantedService wanted = service(1, {"10.99.0.1"}, {1, 3});
  programmer->put_service(wanted);
  ASSERT_TRUE(settle());
  dataplane.hold_grace(true);
  programmer->put_service(service(2, {"10.99.0.2"}, {1}));  // the programmer is busy with a grace now
  ASSERT_TRUE(run_until([&] { return dataplane.service_at("10.99.0.2", 6, 80) == 2; }));
  wanted.instances[0].wish = InstanceWish::kDraining;
  wanted.instances[1].wish = InstanceWish::kDead;
  programmer->put_service(wanted);
  EXPECT_EQ(instance(1, 1).state, maps::INSTANCE_DRAINING);
  EXPECT_EQ(instance(1, 3).state, maps::INSTANCE_DEAD);
}

TEST_F(ProgrammerTest, an_instance_that_left_keeps_its_slot_until_no_flow_holds_it) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  const uint16_t slot = programmer->slot(1, 3);
  dataplane.put_flow(42, slot);
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(run_until([&] { return dataplane.instances()[slot].state == maps::INSTANCE_RETIRED; }));
  run_for(std::chrono::milliseconds(100));  // several scans
  EXPECT_EQ(dataplane.instances()[slot].state, maps::INSTANCE_RETIRED);
  EXPECT_EQ(programmer->slot(1, 3), 0);
  dataplane.clear_flows();
  ASSERT_TRUE(run_until([&] { return dataplane.instances()[slot].state == maps::INSTANCE_FREE; }));
  EXPECT_EQ(dataplane.cleared, std::vector<uint16_t>{slot});
}

TEST_F(ProgrammerTest, an_instance_that_comes_back_gets_its_slot_back) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  const uint16_t slot = programmer->slot(1, 3);
  dataplane.put_flow(42, slot);
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(run_until([&] { return dataplane.instances()[slot].state == maps::INSTANCE_RETIRED; }));
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(programmer->slot(1, 3), slot);
  EXPECT_EQ(dataplane.instances()[slot].state, maps::INSTANCE_ACTIVE);
}

// The handle is part of a masked flow, the slot is where its packets go: with both as before it stays.
TEST_F(ProgrammerTest, a_service_that_comes_back_gets_its_handle_and_its_slots_back) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  const uint16_t slot = programmer->slot(1, 3), handle = instance(1, 3).service;
  dataplane.put_flow(42, slot);
  programmer->remove_service(1);
  ASSERT_TRUE(run_until([&] { return dataplane.instances()[slot].state == maps::INSTANCE_RETIRED; }));
  ASSERT_TRUE(settle());
  programmer->put_service(service(2, {"10.99.0.2"}, {1}));
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(instance(1, 3).service, handle);
  EXPECT_EQ(programmer->slot(1, 3), slot);

  programmer->remove_service(1);
  ASSERT_TRUE(settle());
  start();
  programmer->put_service(service(2, {"10.99.0.2"}, {1}));
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(instance(1, 3).service, handle) << "by another agent, too";
  EXPECT_EQ(programmer->slot(1, 3), slot);
}

TEST_F(ProgrammerTest, a_service_that_comes_back_before_its_removal_is_published_keeps_its_handle) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(settle());
  const uint16_t handle = instance(1, 1).service;
  dataplane.hold_grace(true);
  programmer->put_service(service(2, {"10.99.0.2"}, {1}));
  ASSERT_TRUE(run_until([&] { return dataplane.service_at("10.99.0.2", 6, 80) == 2; }));
  programmer->remove_service(1);  // staged when the grace ends, published after one more
  dataplane.hold_grace(false);
  run_for(std::chrono::milliseconds(2));
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(settle());
  EXPECT_EQ(instance(1, 1).service, handle);
  EXPECT_EQ(dataplane.service_at("10.99.0.1", 6, 80), 1u);
}

TEST_F(ProgrammerTest, a_slot_never_means_two_instances_while_flows_hold_it) {
  start();
  std::map<uint16_t, uint32_t> meaning;  // of slots that a flow holds
  for (uint32_t round = 1; round <= 40; ++round) {
    programmer->put_service(service(1, {"10.99.0.1"}, {2 * round, 2 * round + 1}));
    ASSERT_TRUE(settle()) << programmer->state();
    for (uint32_t csci_id : {2 * round, 2 * round + 1}) {
      const uint16_t slot = programmer->slot(1, csci_id);
      ASSERT_TRUE(meaning.emplace(slot, csci_id).second) << "slot " << slot << " was CSCI-ID " << meaning[slot];
      dataplane.put_flow(csci_id, slot);
    }
  }
}

TEST(slots, all_taken_gives_none) {
  std::vector<maps::instance> instances(MAX_INSTANCES);
  Slots slots(instances);
  for (uint32_t csci_id = 1; csci_id < MAX_INSTANCES; ++csci_id) {
    const uint16_t slot = slots.take(1, csci_id);
    ASSERT_NE(slot, 0);
    slots.write(slot, instance_entry(1, {csci_id, "f2", InstanceWish::kActive}));
  }
  EXPECT_EQ(slots.take(1, MAX_INSTANCES), 0);
  slots.set_state(77, maps::INSTANCE_RETIRED);
  const uint32_t was = instances[77].csci_id;
  SlotSet held;
  EXPECT_EQ(slots.reclaim(slots.retired(), held), std::vector<uint16_t>{77});
  EXPECT_EQ(slots.take(1, MAX_INSTANCES), 77);
  EXPECT_EQ(slots.find(1, was), 0);
}

TEST_F(ProgrammerTest, the_outer_header_is_complete_but_for_what_packets_fill_in) {
  start();
  next_hops.set("10.255.0.2", hop(9));
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(settle());
  const maps::path &path = dataplane.paths()[instance(1, 1).path];
  EXPECT_EQ(path.state, maps::PATH_RESOLVED);
  EXPECT_EQ(path.ifindex, 7u);
  EXPECT_EQ(path.mtu, 1600);
  EXPECT_EQ(path.next_hop4, inet_addr("172.16.1.254"));
  const unsigned char *header = path.header;
  EXPECT_EQ(header[5], 9);   // destination MAC
  EXPECT_EQ(header[11], 1);  // source MAC
  EXPECT_EQ(header[12] << 8 | header[13], 0x0800);
  EXPECT_EQ(header[14], 0x45);
  EXPECT_EQ(header[20] << 8 | header[21], 0x4000);  // DF
  EXPECT_EQ(header[22], 64);
  uint32_t sum = 0;
  for (int i = 14; i < 34; i += 2) sum += static_cast<uint32_t>(header[i] << 8 | header[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  EXPECT_EQ(sum, 0xffffu);  // checksum over length 0
  EXPECT_EQ(header[36] << 8 | header[37], 6081);
  EXPECT_EQ(header[42], 4);  // option words
  EXPECT_EQ(header[46] << 16 | header[47] << 8 | header[48], CATS_VNI);
  EXPECT_EQ(header[50] << 8 | header[51], CATS_OPTION_CLASS);
  EXPECT_EQ(header[52], CATS_OPTION_TYPE);
  EXPECT_EQ(header[53], CATS_OPTION_WORDS);
  EXPECT_EQ(header[54], CATS_OPTION_VERSION);
}

TEST_F(ProgrammerTest, a_new_mac_is_a_new_path_entry_and_instances_move_to_it) {
  start();
  next_hops.set("10.255.0.2", hop(9));
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 2}));
  ASSERT_TRUE(settle());
  const uint16_t before = instance(1, 1).path, other = instance(1, 2).path;
  const auto flips = dataplane.flips.size();
  const maps::path content = dataplane.paths()[before];
  dataplane.hold_grace(true);
  next_hops.set("10.255.0.2", hop(10));
  const uint16_t after = instance(1, 1).path;
  EXPECT_NE(after, before);
  EXPECT_EQ(instance(1, 2).path, other);
  EXPECT_EQ(dataplane.paths()[after].header[5], 10);
  run_for(std::chrono::milliseconds(10));
  EXPECT_EQ(std::memcmp(&dataplane.paths()[before], &content, sizeof content), 0) << "packets may still read it";
  dataplane.hold_grace(false);
  ASSERT_TRUE(run_until([&] { return dataplane.paths()[before].state == maps::PATH_FREE; }));
  EXPECT_EQ(dataplane.flips.size(), flips);
}

TEST_F(ProgrammerTest, a_lost_neighbour_makes_the_path_unresolved_in_place) {
  start();
  next_hops.set("10.255.0.2", hop(9));
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(settle());
  const uint16_t path = instance(1, 1).path;
  NextHop lost = hop(9);
  lost.resolved = false;
  next_hops.set("10.255.0.2", lost);
  EXPECT_EQ(instance(1, 1).path, path);
  EXPECT_EQ(dataplane.paths()[path].state, maps::PATH_UNRESOLVED);
  next_hops.set("10.255.0.2", hop(9));
  EXPECT_EQ(dataplane.paths()[path].state, maps::PATH_RESOLVED);
  NextHop smaller = hop(9);
  smaller.mtu = 1400;
  next_hops.set("10.255.0.2", smaller);
  EXPECT_EQ(instance(1, 1).path, path);
  EXPECT_EQ(dataplane.paths()[path].mtu, 1400);
  EXPECT_EQ(programmer->paths()[0].mac, "02:00:00:00:00:09");
}

maps::delivery *delivery_of(FakeDataplane &dataplane, uint32_t csci_id) {
  for (maps::delivery &entry : dataplane.deliveries())
    if (entry.state != maps::DELIVERY_FREE && entry.csci_id == csci_id) return &entry;
  return nullptr;
}

TEST_F(ProgrammerTest, a_delivery_follows_its_contact) {
  start();
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", "fd00:3::11"}});
  ASSERT_TRUE(settle());
  EXPECT_EQ(delivery_of(dataplane, 3), nullptr);
  next_hops.set("10.3.0.11", hop(5, ""));
  maps::delivery *first = delivery_of(dataplane, 3);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->state, maps::DELIVERY_RESOLVED);
  EXPECT_EQ(first->ethernet[5], 5);
  EXPECT_EQ(maps::format_address(first->contact), "10.3.0.11");
  EXPECT_EQ(maps::format_address(first->contact6), "fd00:3::11");
  next_hops.set("10.3.0.11", hop(6, ""));
  maps::delivery *second = delivery_of(dataplane, 3);
  ASSERT_NE(second, nullptr);
  EXPECT_NE(second, first) << "packets may still read the first";
  EXPECT_EQ(second->ethernet[5], 6);
  programmer->put_deliveries("site", {});
  EXPECT_EQ(delivery_of(dataplane, 3), nullptr);
  EXPECT_EQ(next_hops.watched(), 2u);  // the forwarders
}

TEST_F(ProgrammerTest, a_contact_that_is_not_on_link_is_refused) {
  start();
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", ""}});
  ASSERT_TRUE(settle());
  next_hops.set("10.3.0.11", hop(5, "10.2.0.254"));
  EXPECT_EQ(delivery_of(dataplane, 3), nullptr);
  EXPECT_EQ(programmer->state(),
            "dirty (contact 10.3.0.11 of CSCI-ID 3 of CS-ID 1 is not on-link, the route leads by 10.2.0.254)");
}

TEST_F(ProgrammerTest, what_cannot_be_delivered_to_is_told_until_it_can) {
  start();
  std::vector<std::set<cmas::RowKey>> told;
  programmer->on_undeliverable([&](const auto &instances) { told.push_back(instances); });
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", ""}, {2, 4, "10.3.0.12", ""}, {2, 5, "10.9.0.1", ""}});
  ASSERT_TRUE(settle());
  EXPECT_TRUE(told.empty()) << "nothing is known yet";
  auto silent = hop(5, "");
  silent.resolved = false;
  silent.failed = true;
  next_hops.set("10.3.0.11", silent);
  next_hops.set("10.3.0.12", hop(5, ""));
  run_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(told.empty()) << "a neighbour that does not answer may come back";
  next_hops.set("10.3.0.11", {});  // no interface that is up
  next_hops.set("10.9.0.1", hop(5, "10.2.0.254"));
  run_for(std::chrono::milliseconds(5));
  ASSERT_EQ(told.size(), 1u) << "once for all that changed";
  EXPECT_EQ(told.back(), (std::set<cmas::RowKey>{{1, 3}, {2, 5}}));
  next_hops.set("10.3.0.11", silent);
  run_for(std::chrono::milliseconds(5));
  EXPECT_EQ(told.back(), (std::set<cmas::RowKey>{{2, 5}}));
  programmer->put_deliveries("site", {{2, 5, "10.3.0.13", ""}});
  run_for(std::chrono::milliseconds(5));
  EXPECT_EQ(told.back(), std::set<cmas::RowKey>{}) << "another contact";
  EXPECT_EQ(told.size(), 3u);
}

TEST_F(ProgrammerTest, deliveries_with_colliding_hashes_all_find_a_place) {
  start();
  std::vector<WantedDelivery> wanted;
  for (uint32_t i = 0; i < 5; ++i)
    wanted.push_back({1, 1 + i * MAX_DELIVERIES, "10.3.0." + std::to_string(10 + i), ""});
  programmer->put_deliveries("site", wanted);
  ASSERT_TRUE(settle());
  for (const auto &delivery : wanted) next_hops.set(delivery.contact, hop(5, ""));
  for (const auto &delivery : wanted) EXPECT_NE(delivery_of(dataplane, delivery.csci_id), nullptr);
}

TEST_F(ProgrammerTest, a_session_pins_until_its_lease_ends) {
  start();
  EXPECT_FALSE(programmer->put_session({7, "10.1.0.2", 1, 3, std::chrono::seconds(10)}).ok());
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  ASSERT_TRUE(programmer->put_session({7, "10.1.0.2", 1, 3, std::chrono::seconds(10)}).ok());
  auto sessions = dataplane.sessions();
  ASSERT_EQ(sessions->size(), 1u);
  EXPECT_EQ((*sessions)[0].second.slot, programmer->slot(1, 3));
  EXPECT_EQ((*sessions)[0].second.expires, dataplane.now + 2500);
  // A later reservation of the same client takes over; the end of the earlier one does not end it.
  ASSERT_TRUE(programmer->put_session({8, "10.1.0.2", 1, 1, std::chrono::seconds(10)}).ok());
  programmer->remove_session(7);
  ASSERT_EQ(dataplane.sessions()->size(), 1u);
  dataplane.now += 2501;
  ASSERT_TRUE(run_until([&] { return dataplane.sessions()->empty(); }));
}

TEST_F(ProgrammerTest, sessions_go_with_their_instance) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 3}));
  ASSERT_TRUE(settle());
  ASSERT_TRUE(programmer->put_session({7, "10.1.0.2", 1, 3, std::chrono::hours(1)}).ok());
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  EXPECT_TRUE(run_until([&] { return dataplane.sessions()->empty(); }));
}

TEST_F(ProgrammerTest, bypass_is_one_store_and_survives_a_restart) {
  start();
  ASSERT_TRUE(programmer->set_bypass(true).ok());
  EXPECT_EQ(dataplane.control().bypass, 1u);
  start();
  EXPECT_TRUE(programmer->bypass());
}

// What lost probes say is the selector's affair: only what this router knows itself makes a path dead.
TEST_F(ProgrammerTest, a_path_is_dead_without_route_or_next_hop_and_unresolved_while_it_is_asked_for) {
  start();
  std::map<std::string, bool> alive;
  programmer->on_path([&](const std::string &egress, bool is) { alive[egress] = is; });
  programmer->put_service(service(1, {"10.99.0.1"}, {1}));
  ASSERT_TRUE(settle());
  const auto state = [&] { return dataplane.paths()[instance(1, 1).path].state; };
  EXPECT_EQ(state(), maps::PATH_UNRESOLVED) << "the kernel has not said anything yet";
  NextHop asked = hop(2);
  asked.resolved = false;
  next_hops.set("10.255.0.2", asked);
  EXPECT_EQ(state(), maps::PATH_UNRESOLVED);
  EXPECT_TRUE(alive.at("f2"));
  next_hops.set("10.255.0.2", hop(2));
  EXPECT_EQ(state(), maps::PATH_RESOLVED);

  asked.failed = true;
  for (const NextHop &gone : {asked, NextHop{}}) {
    next_hops.set("10.255.0.2", gone);
    EXPECT_EQ(state(), maps::PATH_DEAD);
    EXPECT_FALSE(alive.at("f2"));
    EXPECT_EQ(programmer->paths()[0].state, "dead");
    next_hops.set("10.255.0.2", hop(2));
    EXPECT_EQ(state(), maps::PATH_RESOLVED);
    EXPECT_TRUE(alive.at("f2"));
  }
}

TEST_F(ProgrammerTest, a_dead_path_is_a_warning_at_once) {
  start();
  next_hops.set("10.255.0.2", NextHop{});
  next_hops.set("10.255.0.3", hop(3));
  ASSERT_TRUE(run_until([&] { return !programmer->warnings().empty(); }));
  EXPECT_EQ(
      programmer->warnings(),
      (std::vector<std::string>{"path to f2 (10.255.0.2) is dead: no route leads there by an interface that is up"}));
}

TEST_F(ProgrammerTest, flows_behind_a_forwarder_that_was_removed_move_before_anything_is_published) {
  start();
  programmer->put_service(service(1, {"10.99.0.1"}, {1, 2}));
  next_hops.set("10.255.0.2", hop(2));
  next_hops.set("10.255.0.3", hop(3));
  ASSERT_TRUE(settle());
  const uint16_t by_f2 = programmer->slot(1, 1), by_f3 = programmer->slot(1, 2);
  auto options = default_options();
  options.forwarders = {{"f3", "10.255.0.3"}};
  start(options);
  programmer->hold("the rest");
  run_for(std::chrono::milliseconds(5));
  EXPECT_EQ(dataplane.paths()[dataplane.instances()[by_f2].path].state, maps::PATH_DEAD);
  EXPECT_EQ(dataplane.paths()[dataplane.instances()[by_f3].path].state, maps::PATH_RESOLVED);
}

TEST_F(ProgrammerTest, a_next_hop_that_stays_away_is_a_warning_until_it_answers) {
  auto options = default_options();
  options.patience = std::chrono::milliseconds(900);
  start(options);
  ASSERT_TRUE(settle());
  next_hops.set("10.255.0.2", hop(2));
  NextHop silent = hop(3);
  silent.resolved = false;
  next_hops.set("10.255.0.3", silent);
  programmer->put_deliveries("site", {{1, 3, "10.3.0.11", ""}, {1, 4, "10.3.0.12", ""}});
  next_hops.set("10.3.0.11", NextHop{});
  next_hops.set("10.3.0.12", hop(4, ""));
  run_for(std::chrono::milliseconds(550));  // looked at once by now
  EXPECT_TRUE(programmer->warnings().empty()) << "a moment is no outage";
  ASSERT_TRUE(run_until([&] { return !programmer->warnings().empty(); }));
  EXPECT_EQ(programmer->warnings(),
            (std::vector<std::string>{
                "path to f3 (10.255.0.3) is unresolved: next hop 172.16.1.254 on core0 does not answer",
                "delivery to CSCI-ID 3 of CS-ID 1 is unresolved: contact 10.3.0.11 is on no interface that is up"}));
  next_hops.set("10.255.0.3", hop(3));
  next_hops.set("10.3.0.11", hop(5, ""));
  ASSERT_TRUE(run_until([&] { return programmer->warnings().empty(); }));
}

}  // namespace
}  // namespace catsbpf::agent
