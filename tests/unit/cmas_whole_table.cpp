// SPDX-License-Identifier: Apache-2.0
// The C-PS' whole service table: joins, states, who is touched.
#include "cmas/whole_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace catsbpf::cmas {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::Service service(const std::string &id, uint32_t cs_id, uint32_t computing_us = 1000) {
  v1::Service out;
  out.set_service_id(id);
  out.set_cs_id(cs_id);
  out.mutable_computing_time()->set_max_us(computing_us);
  return out;
}

Row row(uint32_t cs_id, uint32_t csci_id, uint32_t gas = 3, double cost = 4) {
  return Row{.key = {cs_id, csci_id}, .offered = gas, .cost = cost, .access_delay = Micros(200)};
}

NetworkMetric metric(Micros delay) { return {.delay = delay}; }

// f2 speaks for site-2 (CSCI-ID 1, 2), sma3 for site-3 (CSCI-ID 3, 4).
WholeTable table() {
  WholeTable whole;
  whole.put_service(service("AR1", 1));
  whole.put_service(service("TP1", 2));
  whole.put_service(service("ST1", 3));
  EXPECT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1), row(2, 2)}).ok());
  EXPECT_TRUE(whole.put_rows("sma3", "site-3", {"f3"}, {row(1, 3), row(3, 4)}).ok());
  whole.put_metric("f2", metric(milliseconds(2)));
  whole.put_metric("f3", metric(milliseconds(5)));
  return whole;
}

const Candidate find(const WholeTable &whole, RowKey key) {
  for (const auto &candidate : whole.candidates(key.cs_id))
    if (candidate.key == key) return candidate;
  ADD_FAILURE() << "no row " << key.cs_id << " " << key.csci_id;
  return {};
}

RowState state(const WholeTable &whole, RowKey key) { return find(whole, key).state; }

// ---- join ----

TEST(WholeTable, joins_rows_with_computing_time_and_network_delay) {
  const WholeTable whole = table();
  const Candidate ar1 = find(whole, {1, 3});
  EXPECT_EQ(ar1.site, "site-3");
  EXPECT_EQ(ar1.egress, "f3");
  EXPECT_EQ(ar1.gas, 3u);
  EXPECT_EQ(ar1.cost, 4);
  EXPECT_EQ(ar1.computing_time, milliseconds(1));
  EXPECT_EQ(ar1.network_delay, Micros(5'200)) << "ingress to egress and egress to instance";
  EXPECT_EQ(ar1.real_delay(), Micros(6'200));
}

TEST(WholeTable, unmeasured_way_has_no_delay_and_unknown_service_no_computing_time) {
  WholeTable whole;
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {row(9, 1)}).ok());
  const Candidate candidate = find(whole, {9, 1});
  EXPECT_FALSE(candidate.network_delay);
  EXPECT_FALSE(candidate.real_delay());
  EXPECT_EQ(candidate.computing_time, Micros(0));
}

TEST(WholeTable, free_slots_are_offered_less_in_use) {
  WholeTable whole;
  Row used = row(1, 1, 3);
  used.in_use = 2;
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {used}).ok());
  EXPECT_EQ(find(whole, {1, 1}).gas, 1u);
  used.in_use = 5;
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {used}).ok());
  EXPECT_EQ(find(whole, {1, 1}).gas, 0u);
}

TEST(WholeTable, candidates_come_by_csci_id_and_of_one_service_only) {
  WholeTable whole;
  ASSERT_TRUE(whole.put_rows("f2", "s", {"f2"}, {row(2, 9), row(2, 1), row(1, 5), row(3, 2)}).ok());
  std::vector<uint32_t> ids;
  for (const auto &candidate : whole.candidates(2)) ids.push_back(candidate.key.csci_id);
  EXPECT_THAT(ids, ElementsAre(1, 9));
  EXPECT_THAT(whole.candidates(7), IsEmpty());
  EXPECT_EQ(whole.all().size(), 4u);
}

// ---- services ----

TEST(WholeTable, finds_services_by_id_and_by_number) {
  const WholeTable whole = table();
  ASSERT_NE(whole.service("TP1"), nullptr);
  EXPECT_EQ(whole.service("TP1")->cs_id(), 2u);
  EXPECT_EQ(whole.service("2"), whole.service("TP1"));
  EXPECT_EQ(whole.service(2), whole.service("TP1"));
  EXPECT_EQ(whole.service("9"), nullptr);
  EXPECT_EQ(whole.service("2x"), nullptr);
  EXPECT_EQ(whole.service("-2"), nullptr);
  EXPECT_EQ(whole.service(""), nullptr);
  EXPECT_EQ(whole.service("99999999999999999999"), nullptr);
}

TEST(WholeTable, service_put_again_unchanged_touches_nothing) {
  WholeTable whole = table();
  v1::Service again = service("AR1", 1);
  again.set_revision(99);
  EXPECT_THAT(whole.put_service(again), IsEmpty());
  EXPECT_EQ(whole.service(1)->revision(), 99u);
  again.mutable_policy()->set_request("cheapest");
  EXPECT_THAT(whole.put_service(again), ElementsAre(1));
}

TEST(WholeTable, changed_computing_time_shows_in_the_rows) {
  WholeTable whole = table();
  EXPECT_THAT(whole.put_service(service("AR1", 1, 7'000)), ElementsAre(1));
  EXPECT_EQ(find(whole, {1, 1}).computing_time, milliseconds(7));
}

TEST(WholeTable, service_that_changes_its_number_touches_both) {
  WholeTable whole = table();
  EXPECT_THAT(whole.put_service(service("AR1", 11)), ElementsAre(1, 11));
  EXPECT_EQ(whole.service(1), nullptr);
  EXPECT_EQ(whole.service("AR1")->cs_id(), 11u);
}

TEST(WholeTable, service_that_takes_another_s_number_replaces_it) {
  WholeTable whole = table();
  EXPECT_THAT(whole.put_service(service("AR2", 1)), ElementsAre(1));
  EXPECT_EQ(whole.service("AR1"), nullptr);
  EXPECT_EQ(whole.service("AR2")->cs_id(), 1u);
}

TEST(WholeTable, removed_service_keeps_its_rows) {
  WholeTable whole = table();
  EXPECT_THAT(whole.remove_service("AR1"), ElementsAre(1));
  EXPECT_THAT(whole.remove_service("AR1"), IsEmpty());
  EXPECT_EQ(whole.candidates(1).size(), 2u) << "the service may come back";
}

TEST(WholeTable, service_without_number_is_not_taken) {
  WholeTable whole;
  EXPECT_THAT(whole.put_service(service("X", 0)), IsEmpty());
  EXPECT_EQ(whole.services().size(), 0u);
}

// ---- rows and origins ----

TEST(WholeTable, only_changed_rows_touch_their_service) {
  WholeTable whole = table();
  auto touched = whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1), row(2, 2, 9)});
  ASSERT_TRUE(touched.ok());
  EXPECT_THAT(*touched, ElementsAre(2));
  EXPECT_EQ(find(whole, {1, 1}).gas, 3u);
}

TEST(WholeTable, row_of_another_origin_is_refused_and_nothing_changes) {
  WholeTable whole = table();
  const auto refused = whole.put_rows("sma3", "site-3", {"f3"}, {row(3, 4, 9), row(1, 1, 9)});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().what, "cannot take CSCI-ID 1 of CS-ID 1 from sma3: it belongs to f2");
  EXPECT_EQ(find(whole, {3, 4}).gas, 3u) << "all or nothing";
  EXPECT_EQ(find(whole, {1, 1}).site, "site-2");
  EXPECT_EQ(whole.owner({1, 1})->first, "f2");
}

TEST(WholeTable, refused_first_rows_leave_no_origin_behind) {
  WholeTable whole = table();
  EXPECT_FALSE(whole.put_rows("evil", "site-2", {"f9"}, {row(1, 1)}).ok());
  EXPECT_THAT(whole.withdraw("evil"), IsEmpty());
  EXPECT_EQ(whole.all().size(), 4u);
}

TEST(WholeTable, absurd_row_is_refused) {
  WholeTable whole;
  EXPECT_FALSE(whole.put_rows("f2", "s", {"f2"}, {row(0, 1)}).ok());
  EXPECT_FALSE(whole.put_rows("f2", "s", {"f2"}, {row(1, 1, 1, -3)}).ok());
  EXPECT_THAT(whole.all(), IsEmpty());
}

TEST(WholeTable, removed_row_is_dead_until_forgotten) {
  WholeTable whole = table();
  EXPECT_THAT(whole.remove_rows("f2", {{1, 1}, {9, 9}}), ElementsAre(1));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDead);
  EXPECT_THAT(whole.remove_rows("f2", {{1, 1}}), IsEmpty());
  EXPECT_THAT(whole.forget({1, 1}), ElementsAre(1));
  EXPECT_EQ(whole.candidates(1).size(), 1u);
  EXPECT_THAT(whole.forget({1, 3}), IsEmpty()) << "only the dead are forgotten";
}

TEST(WholeTable, origin_removes_its_own_rows_only) {
  WholeTable whole = table();
  EXPECT_THAT(whole.remove_rows("sma3", {{1, 1}}), IsEmpty());
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(WholeTable, dead_row_that_its_site_offers_again_lives) {
  WholeTable whole = table();
  whole.remove_rows("f2", {{1, 1}});
  EXPECT_THAT(*whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1)}), ElementsAre(1));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
  EXPECT_THAT(whole.forget({1, 1}), IsEmpty());
}

TEST(WholeTable, instance_may_move_to_another_origin_once_its_first_row_is_dead) {
  WholeTable whole = table();
  whole.remove_rows("f2", {{1, 1}});
  EXPECT_THAT(*whole.put_rows("sma3", "site-3", {"f3"}, {row(1, 1)}), ElementsAre(1));
  EXPECT_EQ(find(whole, {1, 1}).site, "site-3");
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(WholeTable, churning_site_does_not_fill_memory_with_dead_rows) {
  WholeTable whole;
  for (uint32_t id = 1; id <= 5'000; ++id) {
    ASSERT_TRUE(whole.put_rows("f2", "s", {"f2"}, {row(1, id)}).ok());
    whole.remove_rows("f2", {{1, id}});
  }
  EXPECT_EQ(whole.all().size(), WholeTable::kMaxDead);
  EXPECT_EQ(state(whole, {1, 5'000}), RowState::kDead) << "the oldest are forgotten first";
}

TEST(WholeTable, silent_origin_freezes_thaws_and_is_withdrawn) {
  WholeTable whole = table();
  EXPECT_THAT(whole.freeze("f2"), ElementsAre(1, 2));
  EXPECT_THAT(whole.freeze("f2"), IsEmpty());
  EXPECT_EQ(state(whole, {1, 1}), RowState::kFrozen);
  EXPECT_EQ(state(whole, {1, 3}), RowState::kActive);
  EXPECT_THAT(whole.thaw("f2"), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
  EXPECT_THAT(whole.withdraw("f2"), ElementsAre(1, 2));
  EXPECT_EQ(whole.candidates(1).size(), 1u);
  EXPECT_FALSE(whole.owner({1, 1}));
  EXPECT_THAT(whole.freeze("f2"), IsEmpty());
}

TEST(WholeTable, withdrawn_rows_return_with_the_next_snapshot) {
  WholeTable whole = table();
  whole.freeze("f2");
  whole.withdraw("f2");
  EXPECT_THAT(*whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1), row(2, 2)}), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(WholeTable, rows_from_a_frozen_origin_thaw_all_of_its_rows) {
  WholeTable whole = table();
  whole.freeze("f2");
  EXPECT_THAT(*whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1)}), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {2, 2}), RowState::kActive);
}

TEST(WholeTable, withdrawing_forgets_the_dead_of_that_origin_too) {
  WholeTable whole = table();
  whole.remove_rows("f2", {{1, 1}});
  whole.remove_rows("sma3", {{1, 3}});
  whole.withdraw("f2");
  EXPECT_EQ(whole.candidates(1).size(), 1u);
  EXPECT_THAT(whole.forget({1, 3}), ElementsAre(1));
}

TEST(WholeTable, site_s_own_drain_keeps_the_row_but_takes_no_new_flows) {
  WholeTable whole = table();
  Row draining = row(1, 1);
  draining.draining = true;
  EXPECT_THAT(*whole.put_rows("f2", "site-2", {"f2"}, {draining}), ElementsAre(1));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDraining);
}

// ---- network ----

TEST(WholeTable, first_measurement_touches_all_services_behind_the_egress) {
  WholeTable whole;
  ASSERT_TRUE(whole.put_rows("f2", "s", {"f2"}, {row(1, 1), row(2, 2)}).ok());
  ASSERT_TRUE(whole.put_rows("sma3", "t", {"f3"}, {row(3, 3)}).ok());
  EXPECT_THAT(whole.put_metric("f2", metric(milliseconds(2))), ElementsAre(1, 2));
  EXPECT_THAT(whole.put_metric("f9", metric(milliseconds(2))), IsEmpty());
}

TEST(WholeTable, delay_touches_services_only_beyond_its_threshold) {
  WholeTable whole = table();
  EXPECT_THAT(whole.put_metric("f2", metric(Micros(2'190))), IsEmpty());
  EXPECT_EQ(find(whole, {1, 1}).network_delay, Micros(2'390)) << "people see the newest delay all the same";
  EXPECT_THAT(whole.put_metric("f2", metric(Micros(2'210))), ElementsAre(1, 2))
      << "against what was told, not the last";
  EXPECT_THAT(whole.put_metric("f2", metric(Micros(2'100))), IsEmpty());
  whole.set_delay_threshold(0);
  EXPECT_THAT(whole.put_metric("f2", metric(Micros(2'232))), ElementsAre(1, 2));
}

TEST(WholeTable, noise_of_microseconds_touches_nothing) {
  WholeTable whole = table();
  whole.put_metric("f2", metric(Micros(40)));
  EXPECT_THAT(whole.put_metric("f2", metric(Micros(55))), IsEmpty());
  EXPECT_THAT(whole.put_metric("f2", metric(Micros(61))), ElementsAre(1, 2));
}

TEST(WholeTable, negative_delay_is_not_taken) {
  WholeTable whole = table();
  EXPECT_THAT(whole.put_metric("f2", metric(Micros(-5))), IsEmpty());
  EXPECT_EQ(whole.metric("f2")->delay, milliseconds(2));
}

// ---- egresses ----

TEST(WholeTable, row_is_reached_by_its_own_egresses_before_those_of_its_site) {
  WholeTable whole = table();
  Row own = row(1, 1);
  own.egresses = {"f3", "f2"};
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {own}).ok());
  EXPECT_EQ(find(whole, {1, 1}).egress, "f3");
  EXPECT_EQ(find(whole, {2, 2}).egress, "f2");
}

TEST(WholeTable, egress_does_not_change_with_every_measurement) {
  WholeTable whole = table();
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2", "f3"}, {row(1, 1)}).ok());
  whole.put_metric("f2", metric(milliseconds(50)));
  EXPECT_EQ(find(whole, {1, 1}).egress, "f2") << "flows of an instance share its path (R091)";
}

TEST(WholeTable, unmeasured_egress_waits_behind_a_measured_one) {
  WholeTable whole = table();
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f9", "f2"}, {row(1, 1)}).ok());
  EXPECT_EQ(find(whole, {1, 1}).egress, "f2");
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f9", "f8"}, {row(1, 1)}).ok());
  EXPECT_EQ(find(whole, {1, 1}).egress, "f9");
}

NetworkMetric silence() { return {.delay = milliseconds(2), .loss = 1, .answers = false}; }

TEST(WholeTable, rows_behind_an_egress_that_answers_no_probe_are_silent_until_it_does) {
  WholeTable whole = table();
  EXPECT_THAT(whole.put_metric("f2", silence()), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kSilent);
  EXPECT_EQ(state(whole, {1, 3}), RowState::kActive);
  EXPECT_THAT(whole.put_metric("f2", silence()), IsEmpty());
  whole.freeze("f2");
  EXPECT_EQ(state(whole, {1, 1}), RowState::kSilent) << "worse than frozen";
  whole.thaw("f2");
  EXPECT_THAT(whole.put_metric("f2", metric(milliseconds(2))), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(WholeTable, rows_behind_a_dead_path_are_unreachable_until_it_is_back) {
  WholeTable whole = table();
  EXPECT_THAT(whole.put_path("f2", false), ElementsAre(1, 2));
  EXPECT_THAT(whole.put_path("f2", false), IsEmpty());
  EXPECT_EQ(state(whole, {1, 1}), RowState::kUnreachable);
  EXPECT_EQ(state(whole, {1, 3}), RowState::kActive);
  whole.put_metric("f2", silence());
  EXPECT_EQ(state(whole, {1, 1}), RowState::kUnreachable) << "worse than silent";
  whole.put_metric("f2", metric(milliseconds(2)));
  EXPECT_THAT(whole.put_path("f2", true), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(WholeTable, new_flows_take_the_site_s_other_egress_rather_than_a_silent_one_or_a_dead_path) {
  WholeTable whole = table();
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2", "f3"}, {row(1, 1)}).ok());
  EXPECT_EQ(find(whole, {1, 1}).egress, "f2");
  whole.put_metric("f2", silence());
  EXPECT_EQ(find(whole, {1, 1}).egress, "f3");
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
  whole.put_path("f3", false);
  EXPECT_EQ(find(whole, {1, 1}).egress, "f2");
  EXPECT_EQ(state(whole, {1, 1}), RowState::kSilent);
}

TEST(WholeTable, egress_that_never_answered_is_silent_and_unmeasured) {
  WholeTable whole;
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1)}).ok());
  EXPECT_THAT(whole.put_metric("f2", {.delay = Micros(-1), .loss = 1, .answers = false}), ElementsAre(1));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kSilent);
  EXPECT_FALSE(whole.metric("f2"));
}

TEST(WholeTable, site_without_any_egress_has_no_path) {
  WholeTable whole;
  ASSERT_TRUE(whole.put_rows("f2", "s", {}, {row(1, 1)}).ok());
  EXPECT_EQ(find(whole, {1, 1}).egress, "");
  EXPECT_FALSE(find(whole, {1, 1}).network_delay);
}

TEST(WholeTable, changed_egresses_of_a_site_touch_all_of_its_services) {
  WholeTable whole = table();
  EXPECT_THAT(*whole.put_rows("f2", "site-2", {"f3", "f2"}, {}), ElementsAre(1, 2));
  EXPECT_EQ(find(whole, {2, 2}).egress, "f3");
}

// ---- the operator's drains ----

TEST(Drain, of_an_instance_survives_updates_of_its_row_and_of_its_session) {
  WholeTable whole = table();
  EXPECT_THAT(whole.drain({1, 1}, true), ElementsAre(1));
  EXPECT_THAT(whole.drain({1, 1}, true), IsEmpty());
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1, 9)}).ok());
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDraining);
  whole.withdraw("f2");
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {row(1, 1, 9)}).ok());
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDraining);
  EXPECT_THAT(whole.drain({1, 1}, false), ElementsAre(1));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(Drain, may_be_asked_before_the_row_exists) {
  WholeTable whole;
  EXPECT_THAT(whole.drain({1, 1}, true), IsEmpty());
  ASSERT_TRUE(whole.put_rows("f2", "s", {"f2"}, {row(1, 1)}).ok());
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDraining);
  EXPECT_THAT(whole.drained(), ElementsAre(RowKey{1, 1}));
}

TEST(Drain, of_a_site_covers_its_rows_and_those_that_come) {
  WholeTable whole = table();
  EXPECT_THAT(whole.drain_site("site-2", true), ElementsAre(1, 2));
  EXPECT_TRUE(whole.draining_site("site-2"));
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {row(3, 9)}).ok());
  EXPECT_EQ(state(whole, {3, 9}), RowState::kDraining);
  EXPECT_EQ(state(whole, {1, 3}), RowState::kActive);
  EXPECT_THAT(whole.drain_site("site-2", false), ElementsAre(1, 2, 3));
}

TEST(Drain, of_an_egress_moves_new_flows_to_the_site_s_other_egress) {
  WholeTable whole = table();
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2", "f3"}, {}).ok());
  EXPECT_THAT(whole.drain_egress("f2", true), ElementsAre(1, 2));
  EXPECT_EQ(find(whole, {1, 1}).egress, "f3");
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(Drain, of_the_only_egress_drains_its_rows_and_keeps_their_path) {
  WholeTable whole = table();
  EXPECT_THAT(whole.drain_egress("f2", true), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDraining);
  EXPECT_EQ(find(whole, {1, 1}).egress, "f2");
  EXPECT_TRUE(whole.draining_egress("f2"));
  EXPECT_THAT(whole.drain_egress("f2", false), ElementsAre(1, 2));
  EXPECT_EQ(state(whole, {1, 1}), RowState::kActive);
}

TEST(Drain, operator_s_and_site_s_do_not_end_each_other) {
  WholeTable whole = table();
  Row draining = row(1, 1);
  draining.draining = true;
  ASSERT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, {draining}).ok());
  whole.drain({1, 1}, true);
  whole.drain({1, 1}, false);
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDraining);
}

TEST(RowStates, dead_goes_before_frozen_goes_before_draining) {
  WholeTable whole = table();
  whole.drain({1, 1}, true);
  whole.freeze("f2");
  EXPECT_EQ(state(whole, {1, 1}), RowState::kFrozen);
  whole.remove_rows("f2", {{1, 1}});
  EXPECT_EQ(state(whole, {1, 1}), RowState::kDead);
}

}  // namespace
}  // namespace catsbpf::cmas
