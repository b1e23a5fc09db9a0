// SPDX-License-Identifier: Apache-2.0
// Selection: policies, eligibility, ties and what people are told.
#include "cmas/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace catsbpf::cmas {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

v1::Service service(const std::string &request_policy = "") {
  v1::Service out;
  out.set_service_id("AR1");
  out.set_cs_id(1);
  out.mutable_policy()->set_request(request_policy);
  return out;
}

Candidate candidate(uint32_t csci_id, uint32_t gas, double cost, std::optional<Micros> network_delay,
                    Micros computing_time = milliseconds(1)) {
  return Candidate{.key = {1, csci_id},
                   .site = "site",
                   .egress = "f2",
                   .gas = gas,
                   .offered = gas,
                   .cost = cost,
                   .computing_time = computing_time,
                   .network_delay = network_delay};
}

uint32_t winner(const Result<Decision> &decision) {
  if (!decision.ok() || !decision->winner) return 0;
  return decision->verdicts[*decision->winner].candidate.key.csci_id;
}

const Verdict &verdict(const Decision &decision, uint32_t csci_id) {
  return *std::find_if(decision.verdicts.begin(), decision.verdicts.end(),
                       [&](const Verdict &v) { return v.candidate.key.csci_id == csci_id; });
}

std::vector<uint32_t> order(const Decision &decision) {
  std::vector<uint32_t> ids;
  for (const auto &v : decision.verdicts) ids.push_back(v.candidate.key.csci_id);
  return ids;
}

double weight(const Decision &decision, uint32_t csci_id) { return verdict(decision, csci_id).score; }

// ---- requests ----

TEST(ClosestCost, takes_the_cost_nearest_to_the_asked_one_not_the_lowest) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, milliseconds(1)), candidate(2, 5, 5, milliseconds(1)),
                                      candidate(3, 5, 9, milliseconds(1))};
  EXPECT_EQ(winner(select_for_request(service(), all, {.cost = 6})), 2u);
  EXPECT_EQ(winner(select_for_request(service(), all, {.cost = 0})), 1u);
  EXPECT_EQ(winner(select_for_request(service(), all, {.cost = 100})), 3u);
}

TEST(ClosestCost, is_the_default_and_says_so) {
  const auto decision = select_for_request(service(), {candidate(1, 1, 2, milliseconds(1))}, {.cost = 2});
  ASSERT_TRUE(decision.ok());
  EXPECT_EQ(decision->policy, "closest-cost");
  EXPECT_EQ(decision->rule, "closest-cost: CSCI-ID 1 is the only one that fits, cost distance 0 of 1 candidate");
}

TEST(ClosestCost, a_cost_above_and_one_below_at_equal_distance_tie) {
  const std::vector<Candidate> all = {candidate(1, 5, 4, milliseconds(9)), candidate(2, 5, 6, milliseconds(3))};
  const auto decision = select_for_request(service(), all, {.cost = 5});
  EXPECT_EQ(winner(decision), 2u);
  EXPECT_THAT(decision->rule, HasSubstr("tie decided by lower real delay"));
}

TEST(ClosestCost, ties_go_to_more_free_gas_then_to_the_lower_csci_id) {
  auto decision = select_for_request(
      service(), {candidate(1, 5, 4, milliseconds(3)), candidate(2, 6, 4, milliseconds(3))}, {.cost = 4});
  EXPECT_EQ(winner(decision), 2u);
  EXPECT_THAT(decision->rule, HasSubstr("tie decided by more free GAS"));
  decision = select_for_request(service(), {candidate(9, 5, 4, milliseconds(3)), candidate(2, 5, 4, milliseconds(3))},
                                {.cost = 4});
  EXPECT_EQ(winner(decision), 2u);
  EXPECT_THAT(decision->rule, HasSubstr("tie decided by lower CSCI-ID"));
}

TEST(ClosestCost, decides_the_same_whatever_the_order_of_candidates) {
  std::mt19937 random(1);
  std::vector<Candidate> all;
  for (uint32_t id = 1; id <= 12; ++id)
    all.push_back(candidate(id, random() % 4, random() % 3, milliseconds(random() % 3)));
  const auto first = select_for_request(service(), all, {.gas = 1, .cost = 1});
  for (int round = 0; round < 50; ++round) {
    std::shuffle(all.begin(), all.end(), random);
    const auto again = select_for_request(service(), all, {.gas = 1, .cost = 1});
    EXPECT_EQ(order(*again), order(*first));
    EXPECT_EQ(again->rule, first->rule);
  }
}

TEST(Cheapest, takes_the_lowest_cost_whatever_was_asked) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, milliseconds(9)), candidate(2, 5, 5, milliseconds(1))};
  EXPECT_EQ(winner(select_for_request(service("cheapest"), all, {.cost = 5})), 1u);
}

TEST(Fastest, takes_the_lowest_real_delay_whatever_it_costs) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, milliseconds(9)),
                                      candidate(2, 5, 50, milliseconds(1), milliseconds(5)),
                                      candidate(3, 5, 9, milliseconds(4), milliseconds(3))};
  const auto decision = select_for_request(service("fastest"), all, {.cost = 2});
  EXPECT_EQ(winner(decision), 2u);
  EXPECT_EQ(verdict(*decision, 2).reason, "real delay 6 ms");
  EXPECT_EQ(order(*decision), (std::vector<uint32_t>{2, 3, 1}));
}

TEST(Request, unknown_policy_is_an_error_that_names_the_known_ones) {
  const auto decision = select_for_request(service("nearest"), {}, {});
  ASSERT_FALSE(decision.ok());
  EXPECT_EQ(decision.error().what, "cannot select for AR1: request policy 'nearest' does not exist");
  EXPECT_EQ(decision.error().hint, "known request policies: closest-cost, cheapest, fastest");
}

TEST(Request, too_few_free_slots_is_said_in_figures) {
  const auto decision = select_for_request(
      service(), {candidate(1, 0, 2, milliseconds(1)), candidate(2, 3, 2, milliseconds(1))}, {.gas = 4});
  ASSERT_TRUE(decision.ok());
  EXPECT_FALSE(decision->winner);
  EXPECT_EQ(verdict(*decision, 1).reason, "free 0 < 4 asked");
  EXPECT_EQ(verdict(*decision, 2).reason, "free 3 < 4 asked");
  EXPECT_EQ(decision->rule, "no instance: CSCI-ID 1 free 0 < 4 asked; CSCI-ID 2 free 3 < 4 asked");
}

TEST(Request, exactly_as_many_free_slots_as_asked_fit) {
  EXPECT_EQ(winner(select_for_request(service(), {candidate(1, 4, 2, milliseconds(1))}, {.gas = 4})), 1u);
}

TEST(Request, gas_of_0_means_1) {
  EXPECT_EQ(winner(select_for_request(service(), {candidate(1, 0, 2, milliseconds(1))}, {.gas = 0})), 0u);
  EXPECT_EQ(winner(select_for_request(service(), {candidate(1, 1, 2, milliseconds(1))}, {.gas = 0})), 1u);
}

TEST(Request, real_delay_may_equal_the_asked_one_but_not_exceed_it) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, milliseconds(19))};
  EXPECT_EQ(winner(select_for_request(service(), all, {.delay = milliseconds(20)})), 1u);
  const auto late = select_for_request(service(), all, {.delay = Micros(19'999)});
  EXPECT_FALSE(late->winner);
  EXPECT_EQ(verdict(*late, 1).reason, "real delay 20 ms > 19.999 ms asked");
}

TEST(Request, reason_of_a_slow_instance_names_both_delays) {
  const auto decision =
      select_for_request(service(), {candidate(1, 5, 2, Micros(24'100))}, {.delay = milliseconds(20)});
  EXPECT_EQ(verdict(*decision, 1).reason, "real delay 25.1 ms > 20 ms asked");
}

TEST(Request, delay_of_0_fits_only_an_instance_without_any) {
  const std::vector<Candidate> all = {candidate(1, 1, 1, Micros(0), Micros(0)),
                                      candidate(2, 1, 1, Micros(1), Micros(0))};
  EXPECT_EQ(winner(select_for_request(service(), all, {.delay = Micros(0)})), 1u);
}

TEST(Request, instance_slower_than_the_sla_is_not_selected) {
  auto slow = service();
  slow.mutable_sla()->set_max_delay_us(5'000);
  const auto decision =
      select_for_request(slow, {candidate(1, 5, 2, milliseconds(5)), candidate(2, 5, 9, milliseconds(3))}, {.cost = 2});
  EXPECT_EQ(winner(decision), 2u);
  EXPECT_EQ(verdict(*decision, 1).reason, "real delay 6 ms > 5 ms of the service's SLA");
}

TEST(Request, only_active_instances_are_selected) {
  std::vector<Candidate> all;
  for (const RowState state : {RowState::kDraining, RowState::kFrozen, RowState::kDead}) {
    all.push_back(candidate(1 + static_cast<uint32_t>(all.size()), 5, 2, milliseconds(1)));
    all.back().state = state;
  }
  const auto decision = select_for_request(service(), all, {});
  EXPECT_FALSE(decision->winner);
  EXPECT_EQ(verdict(*decision, 1).reason, "draining: keeps its flows, takes no new ones");
  EXPECT_EQ(verdict(*decision, 2).reason, "frozen: its site is silent");
  EXPECT_EQ(verdict(*decision, 3).reason, "dead: removed by its site");
}

TEST(Request, unmeasured_instance_waits_while_another_is_measured) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, std::nullopt), candidate(2, 5, 90, milliseconds(1))};
  const auto decision = select_for_request(service(), all, {.cost = 2});
  EXPECT_EQ(winner(decision), 2u);
  EXPECT_EQ(verdict(*decision, 1).reason, "delay not measured yet, that of others is");
}

TEST(Request, measured_but_full_instance_does_not_make_the_unmeasured_wait) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, std::nullopt), candidate(2, 0, 2, milliseconds(1))};
  EXPECT_EQ(winner(select_for_request(service(), all, {.cost = 2})), 1u);
}

TEST(Request, unmeasured_instance_never_meets_a_bound) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, std::nullopt)};
  EXPECT_EQ(winner(select_for_request(service(), all, {})), 1u);
  const auto asked = select_for_request(service(), all, {.delay = milliseconds(20)});
  EXPECT_FALSE(asked->winner);
  EXPECT_EQ(verdict(*asked, 1).reason, "delay not measured yet, at most 20 ms asked");
  auto bounded = service();
  bounded.mutable_sla()->set_max_delay_us(5'000);
  EXPECT_FALSE(select_for_request(bounded, all, {})->winner);
}

TEST(Request, no_candidates_is_a_decision_not_an_error) {
  const auto decision = select_for_request(service(), {}, {});
  ASSERT_TRUE(decision.ok());
  EXPECT_FALSE(decision->winner);
  EXPECT_EQ(decision->rule, "no instance: no site offers AR1");
}

TEST(Request, cost_or_delay_that_is_no_number_is_refused) {
  const std::vector<Candidate> all = {candidate(1, 5, 2, milliseconds(1))};
  for (const double cost : {std::nan(""), kInfinity, -kInfinity, -0.5})
    EXPECT_FALSE(select_for_request(service(), all, {.cost = cost}).ok()) << cost;
  EXPECT_FALSE(select_for_request(service(), all, {.delay = Micros(-1)}).ok());
}

TEST(Request, candidate_with_an_absurd_cost_is_passed_over) {
  for (const double cost : {std::nan(""), kInfinity, -1.0}) {
    const auto decision = select_for_request(
        service(), {candidate(1, 5, cost, milliseconds(1)), candidate(2, 5, 9, milliseconds(1))}, {});
    EXPECT_EQ(winner(decision), 2u);
  }
}

TEST(Request, all_candidates_get_a_reason_best_first) {
  const auto decision = select_for_request(service(),
                                           {candidate(4, 0, 1, milliseconds(1)), candidate(3, 5, 7, milliseconds(1)),
                                            candidate(2, 0, 1, milliseconds(1)), candidate(1, 5, 4, milliseconds(1))},
                                           {.cost = 6});
  EXPECT_THAT(order(*decision), ElementsAre(3, 1, 2, 4));
  EXPECT_EQ(decision->verdicts[0].reason, "cost distance 1");
  EXPECT_EQ(decision->verdicts[1].reason, "cost distance 2");
  for (const auto &v : decision->verdicts) EXPECT_FALSE(v.reason.empty());
  EXPECT_EQ(decision->rule, "closest-cost: CSCI-ID 3 has the lowest cost distance 1 of 4 candidates");
}

// ---- computing time (X5) ----

TEST(ComputingTime, is_fixed_unless_the_service_says_how_it_scales) {
  auto ar1 = service();
  ar1.mutable_computing_time()->set_max_us(1000);
  EXPECT_EQ(computing_time(ar1, 1), Micros(1000));
  EXPECT_EQ(computing_time(ar1, 8), Micros(1000));
  EXPECT_EQ(computing_time(ar1, 0), Micros(1000));
}

TEST(ComputingTime, shrinks_by_the_parallel_fraction) {
  auto ar1 = service();
  ar1.mutable_computing_time()->set_max_us(1000);
  ar1.mutable_computing_time()->set_parallel_fraction(0.8);
  EXPECT_EQ(computing_time(ar1, 1), Micros(1000));
  EXPECT_EQ(computing_time(ar1, 4), Micros(400));  // 200 + 800 / 4
  ar1.mutable_computing_time()->set_parallel_fraction(1);
  EXPECT_EQ(computing_time(ar1, 4), Micros(250));
}

TEST(ComputingTime, fraction_outside_0_to_1_is_taken_to_the_nearer_end) {
  auto ar1 = service();
  ar1.mutable_computing_time()->set_max_us(1000);
  for (const double fixed : {std::nan(""), -3.0}) {
    ar1.mutable_computing_time()->set_parallel_fraction(fixed);
    EXPECT_EQ(computing_time(ar1, 4), Micros(1000)) << fixed;
  }
  for (const double whole : {2.0, kInfinity}) {
    ar1.mutable_computing_time()->set_parallel_fraction(whole);
    EXPECT_EQ(computing_time(ar1, 4), Micros(250)) << whole;
  }
}

TEST(ComputingTime, unknown_bound_is_0_and_a_range_counts_by_its_end) {
  auto lb1 = service();
  EXPECT_EQ(computing_time(lb1, 1), Micros(0));
  lb1.mutable_computing_time()->set_min_us(500'000);
  EXPECT_EQ(computing_time(lb1, 1), Micros(500'000));
  lb1.mutable_computing_time()->set_max_us(3'000'000);
  EXPECT_EQ(computing_time(lb1, 1), Micros(3'000'000));
}

TEST(ComputingTime, more_gas_makes_an_instance_fit_a_shorter_delay) {
  auto ar1 = service();
  ar1.mutable_computing_time()->set_parallel_fraction(1);
  const std::vector<Candidate> all = {candidate(1, 8, 2, milliseconds(2), milliseconds(20))};
  EXPECT_EQ(winner(select_for_request(ar1, all, {.gas = 1, .delay = milliseconds(10)})), 0u);
  const auto decision = select_for_request(ar1, all, {.gas = 4, .delay = milliseconds(10)});
  EXPECT_EQ(winner(decision), 1u);
  EXPECT_EQ(decision->verdicts[0].candidate.real_delay(), Micros(7'000)) << "the Real-Delay of the answer";
}

// ---- rings ----

TEST(Balanced, weighs_free_slots_against_delay_and_cost) {
  const auto decision =
      weigh_for_ring(service(), {candidate(1, 4, 2, milliseconds(1)), candidate(2, 4, 4, milliseconds(1)),
                                 candidate(3, 4, 2, milliseconds(3)), candidate(4, 8, 2, milliseconds(1))});
  ASSERT_TRUE(decision.ok());
  EXPECT_EQ(decision->policy, "balanced");
  EXPECT_DOUBLE_EQ(weight(*decision, 1), 1);  // 4 / (2 ms x 2)
  EXPECT_DOUBLE_EQ(weight(*decision, 2), 0.5);
  EXPECT_DOUBLE_EQ(weight(*decision, 3), 0.5);
  EXPECT_DOUBLE_EQ(weight(*decision, 4), 2);
  EXPECT_THAT(order(*decision), ElementsAre(4, 1, 2, 3));
  EXPECT_EQ(verdict(*decision, 1).reason, "weight 1 from free 4, real delay 2 ms, cost 2");
  EXPECT_EQ(decision->rule, "balanced: new flows are spread over 4 instances by weight = free / (real delay x cost)");
  EXPECT_FALSE(decision->winner) << "a ring has no single winner";
}

TEST(Balanced, exponents_shape_the_weight_and_0_means_1) {
  auto shaped = service();
  shaped.mutable_policy()->set_a(2);
  shaped.mutable_policy()->set_b(0);
  shaped.mutable_policy()->set_c(0.5);
  const auto decision = weigh_for_ring(shaped, {candidate(1, 4, 9, milliseconds(1))});
  EXPECT_DOUBLE_EQ(weight(*decision, 1), 16.0 / (2 * 3));
}

TEST(Balanced, absurd_exponents_are_refused) {
  for (const double exponent : {std::nan(""), kInfinity, -1.0}) {
    auto absurd = service();
    absurd.mutable_policy()->set_b(exponent);
    EXPECT_FALSE(weigh_for_ring(absurd, {}).ok()) << exponent;
  }
}

TEST(Balanced, large_exponents_keep_weights_finite_and_above_0) {
  auto steep = service();
  steep.mutable_policy()->set_a(500);
  steep.mutable_policy()->set_b(500);
  steep.mutable_policy()->set_c(500);
  const auto decision = weigh_for_ring(
      steep, {candidate(1, 1'000'000, 1e-9, Micros(0), Micros(0)), candidate(2, 1, 1e12, std::chrono::seconds(60))});
  for (const auto &v : decision->verdicts) {
    EXPECT_TRUE(std::isfinite(v.score));
    EXPECT_GT(v.score, 0);
  }
}

TEST(Balanced, cost_of_0_and_delay_of_0_divide_by_nothing) {
  const auto decision =
      weigh_for_ring(service(), {candidate(1, 1, 0, Micros(0), Micros(0)), candidate(2, 1, 5, milliseconds(1)),
                                 candidate(3, 1, 0, milliseconds(1))});
  for (const auto &v : decision->verdicts) {
    EXPECT_TRUE(std::isfinite(v.score)) << v.candidate.key.csci_id;
    EXPECT_GT(v.score, 0);
  }
  EXPECT_DOUBLE_EQ(weight(*decision, 3) / weight(*decision, 2), 10) << "free counts as a tenth of the cheapest";
}

TEST(Balanced, all_free_of_charge_compare_by_slots_and_delay) {
  const auto decision =
      weigh_for_ring(service(), {candidate(1, 1, 0, milliseconds(1)), candidate(2, 3, 0, milliseconds(1))});
  EXPECT_DOUBLE_EQ(weight(*decision, 2) / weight(*decision, 1), 3);
}

TEST(Balanced, without_free_slots_an_instance_takes_no_new_flows) {
  const std::vector<Candidate> candidates = {candidate(1, 0, 2, milliseconds(1)), candidate(3, 4, 2, milliseconds(1))};
  const auto decision = weigh_for_ring(service(), candidates);
  EXPECT_EQ(verdict(*decision, 1).reason, "free 0 < 1 asked");
  EXPECT_EQ(*ring_members(service(), candidates), (std::vector<RingMember>{{3, weight(*decision, 3)}}));
  EXPECT_EQ(winner(decision), 3u);
  EXPECT_EQ(decision->rule, "balanced: all new flows go to CSCI-ID 3, the only instance that takes any");
}

TEST(Balanced, unmeasured_instances_wait_for_the_measured_and_count_when_alone) {
  const auto mixed =
      weigh_for_ring(service(), {candidate(1, 4, 2, std::nullopt), candidate(2, 1, 90, milliseconds(50))});
  EXPECT_EQ(winner(mixed), 2u);
  const auto alone = weigh_for_ring(service(), {candidate(1, 4, 2, std::nullopt), candidate(2, 2, 2, std::nullopt)});
  EXPECT_DOUBLE_EQ(weight(*alone, 1) / weight(*alone, 2), 2);
  EXPECT_EQ(verdict(*alone, 1).reason, "weight 2 from free 4, delay not measured yet, cost 2");
}

TEST(Balanced, sla_and_state_hold_for_rings_too) {
  auto bounded = service();
  bounded.mutable_sla()->set_max_delay_us(5'000);
  std::vector<Candidate> all = {candidate(1, 4, 2, milliseconds(9)), candidate(2, 4, 2, milliseconds(1)),
                                candidate(3, 4, 2, milliseconds(1))};
  all[1].state = RowState::kFrozen;
  EXPECT_EQ(winner(weigh_for_ring(bounded, all)), 3u);
}

TEST(Balanced, unknown_ring_policy_is_an_error_that_names_the_known_one) {
  auto odd = service();
  odd.mutable_policy()->set_ring("maglev");
  const auto decision = weigh_for_ring(odd, {});
  ASSERT_FALSE(decision.ok());
  EXPECT_EQ(decision.error().text(),
            "cannot select for AR1: ring policy 'maglev' does not exist\nhint: known ring policies: balanced");
  EXPECT_EQ(ring_members(odd, {}).error().text(), decision.error().text());
}

TEST(Balanced, nobody_eligible_makes_an_empty_ring_with_reasons) {
  const auto decision = weigh_for_ring(service(), {candidate(1, 0, 2, milliseconds(1))});
  EXPECT_TRUE(ring_members(service(), {candidate(1, 0, 2, milliseconds(1))})->empty());
  EXPECT_FALSE(decision->winner);
  EXPECT_EQ(decision->rule, "no instance: CSCI-ID 1 free 0 < 1 asked");
}

TEST(Balanced, gas_0_by_delta_leaves_the_ring_to_the_other_site) {
  RingKeeper keeper;
  keeper.update(*ring_members(service(), {candidate(1, 3, 4, milliseconds(1)), candidate(3, 3, 4, milliseconds(1))}));
  ASSERT_EQ(keeper.ring().members.size(), 2u);
  EXPECT_TRUE(keeper.update(
      *ring_members(service(), {candidate(1, 0, 4, milliseconds(1)), candidate(3, 3, 4, milliseconds(1))})));
  ASSERT_EQ(keeper.ring().members.size(), 1u);
  EXPECT_EQ(keeper.ring().members[0].csci_id, 3u);
}

}  // namespace
}  // namespace catsbpf::cmas
