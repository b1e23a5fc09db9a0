// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/unit/selector_fakes.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"

using namespace catsbpf;
using namespace catsbpf::test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

namespace {

using Steering = SelectorTest;

TEST_F(Steering, rows_and_services_become_rings_over_all_their_instances) {
  open();
  figure1();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
  EXPECT_THAT(programmer_.ring(2), ElementsAre(2));
  EXPECT_EQ(programmer_.wish(1, 3), InstanceWish::kActive);
  EXPECT_EQ(programmer_.services.at(1).locators[0].prefix(), "10.99.0.1");
  EXPECT_GT(selector_->steering(1)->share(1), 0.5) << "nearer and cheaper";
}

TEST_F(Steering, many_touches_in_one_turn_make_one_hand_over) {
  open();
  figure1();
  const int before = programmer_.puts;
  for (uint32_t gas = 1; gas <= 50; gas++) rows("f2", {row(1, 1, gas * 10, 4)}, gas + 1);
  turn();
  EXPECT_EQ(programmer_.puts, before + 1);
}

TEST_F(Steering, small_changes_leave_the_data_plane_alone) {
  open();
  figure1();
  const int before = programmer_.puts;
  rows("f2", {row(1, 1, 3, 4.05)}, 2);
  turn();
  EXPECT_EQ(programmer_.puts, before);
}

TEST_F(Steering, instance_without_gas_leaves_the_ring_and_keeps_its_flows) {
  open();
  figure1();
  rows("f2", {row(1, 1, 0, 4)}, 2);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kActive);
  EXPECT_EQ(programmer_.services.at(1).ring->slots.size(), 251u) << "the ring keeps its size";
}

TEST_F(Steering, frozen_origin_keeps_flows_and_takes_none) {
  open();
  figure1();
  owners_.touched(table_.freeze("f2"), "f2", 1, 1);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining);
}

TEST_F(Steering, withdrawn_origin_leaves_its_instances_draining_until_it_speaks_again) {
  open();
  figure1();
  owners_.touched(table_.withdraw("f2"), "f2", 1, 1);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining) << "packets may still get through";
  EXPECT_EQ(programmer_.wish(2, 2), InstanceWish::kDraining);

  // It returns without the row of CSCI-ID 2: that one was removed.
  v1::SessionStatus up;
  up.set_peer("f2");
  up.set_site("site-2");
  up.set_state("up");
  owners_.statuses = {up};
  rows("f2", {row(1, 1, 3, 4)}, 9);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kActive);
  EXPECT_THAT(programmer_.instances(2), IsEmpty());
}

TEST_F(Steering, egress_that_answers_no_probe_takes_no_new_flows_and_keeps_those_it_has) {
  open();
  figure1();
  const cmas::NetworkMetric silence{.delay = cmas::Micros(10'000), .loss = 1, .answers = false};
  selector_->put_metric("f2", silence);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining) << "packets may get through";
  EXPECT_EQ(programmer_.wish(2, 2), InstanceWish::kDraining);
  EXPECT_THAT(selector_->warnings(),
              ElementsAre("egress f2 answers no probe: it takes no new flows and keeps those it has"));
  EXPECT_THAT(selector_->explain("AR1", std::nullopt)->candidates(1).reason(), HasSubstr("answers no probe"));
  selector_->put_metric("f3", silence);
  turn();
  EXPECT_THAT(programmer_.ring(1), IsEmpty());
  selector_->put_metric("f3", {.delay = cmas::Micros(20'000)});
  selector_->put_metric("f2", {.delay = cmas::Micros(10'000)});
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kActive);
  EXPECT_THAT(selector_->warnings(), IsEmpty());
}

TEST_F(Steering, flows_of_a_withdrawn_origin_stay_when_its_egress_answers_no_probe) {
  open();
  figure1();
  owners_.touched(table_.withdraw("f2"), "f2", 1, 1);
  selector_->put_metric("f2", {.delay = cmas::Micros(10'000), .loss = 1, .answers = false});
  turn();
  EXPECT_THAT(programmer_.instances(1), ElementsAre(1, 3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining);
}

// Its flows move by the path's own state, which packets see before the selector does.
TEST_F(Steering, dead_path_takes_no_new_flows_until_it_is_back) {
  open();
  figure1();
  programmer_.path_changed("f2", false);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  EXPECT_THAT(programmer_.ring(2), IsEmpty());
  EXPECT_THAT(selector_->explain("AR1", std::nullopt)->candidates(1).reason(),
              "unreachable: the path to its egress is dead");
  programmer_.path_changed("f2", true);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
}

TEST_F(Steering, removed_row_is_dead_then_forgotten) {
  auto o = options();
  o.forget_dead = std::chrono::milliseconds(1);
  open(o);
  figure1();
  owners_.touched(table_.remove_rows("f2", {{1, 1}}), "f2", 1, 2);
  turn();
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDead);
  until([&] { return programmer_.instances(1) == std::vector<uint32_t>{3}; });
}

TEST_F(Steering, removed_service_leaves_the_data_plane) {
  open();
  figure1();
  selector_->remove_service("AR1");
  turn();
  EXPECT_FALSE(programmer_.services.contains(1));
  EXPECT_TRUE(programmer_.services.contains(2));
  EXPECT_EQ(selector_->steering(1), nullptr);
}

TEST_F(Steering, row_behind_an_unknown_egress_is_explained_and_not_programmed) {
  open();
  figure1();
  const auto services = table_.put_rows("f9", "site-9", {"f9"}, {row(1, 9, 5, 1)});
  ASSERT_TRUE(services);
  owners_.touched(*services, "f9", 1, 1);
  turn();
  EXPECT_THAT(programmer_.instances(1), ElementsAre(1, 3));
  const auto explanation = selector_->explain("AR1", std::nullopt);
  ASSERT_TRUE(explanation);
  EXPECT_EQ(explanation->candidates_size(), 3);
  EXPECT_THAT(explanation->candidates(2).reason(), HasSubstr("no path to egress f9"));
  EXPECT_THAT(selector_->warnings(), ElementsAre(HasSubstr("rows name egress f9")));
}

TEST_F(Steering, unknown_policy_keeps_the_ring_and_warns) {
  open();
  figure1();
  auto changed = service("AR1", 1);
  changed.mutable_policy()->set_ring("magic");
  selector_->put_service(changed);
  turn();
  EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
  EXPECT_THAT(selector_->warnings(), ElementsAre(HasSubstr("magic")));
}

TEST_F(Steering, change_of_new_flows_is_logged_with_old_new_and_why) {
  CapturedLog log;
  open();
  figure1();
  log.clear();
  rows("f2", {row(1, 1, 0, 4)}, 2);
  until([&] { return !log.all().empty(); });
  const auto lines = log.all();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], HasSubstr("new flows: service=AR1 cs_id=1 old=\"csci 1 "));
  EXPECT_THAT(lines[0], HasSubstr("new=\"csci 3 100%\" why=\"csci 1 free 3 -> 0\""));
}

TEST_F(Steering, service_that_changes_often_is_logged_once_a_second) {
  CapturedLog log;
  open();
  figure1();
  log.clear();
  for (uint32_t i = 0; i < 20; i++) {
    rows("f2", {row(1, 1, i % 2 ? 3 : 0, 4)}, i + 2);
    turn();
  }
  EXPECT_LE(log.all().size(), 1u);
  until([&] { return !log.all().empty() && log.all().back().find("new=\"csci 1 ") != std::string::npos; });
  EXPECT_LE(log.all().size(), 2u);
}

// ---- explain ----

TEST_F(Steering, explain_gives_shares_and_reasons_of_all) {
  open();
  figure1();
  const auto ring = selector_->explain("1", std::nullopt);  // by decimal CS-ID
  ASSERT_TRUE(ring);
  EXPECT_EQ(ring->service_id(), "AR1");
  EXPECT_EQ(ring->policy(), "balanced");
  EXPECT_EQ(ring->csci_id(), 0u) << "two share";
  ASSERT_EQ(ring->candidates_size(), 2);
  EXPECT_NEAR(ring->candidates(0).share() + ring->candidates(1).share(), 1, 1e-9);
  EXPECT_DOUBLE_EQ(ring->candidates(0).real_delay_ms(), 11);

  const auto asked = selector_->explain("AR1", cmas::Request{.gas = 4, .cost = 4, .delay = {}});
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->policy(), "closest-cost");
  EXPECT_EQ(asked->csci_id(), 3u);
  EXPECT_THAT(asked->candidates(1).reason(), HasSubstr("free 3 < 4"));

  const auto none = selector_->explain("NOPE", std::nullopt);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ENOENT);
}

// ---- drains ----

v1::Drain drain_of(uint32_t csci_id, const std::string &site = "", const std::string &egress = "",
                   const std::string &service = "") {
  v1::Drain d;
  d.set_csci_id(csci_id);
  d.set_site(site);
  d.set_egress(egress);
  d.set_service_id(service);
  return d;
}

TEST_F(Steering, drains_move_new_flows_and_end) {
  open();
  figure1();
  for (const auto &drain : {drain_of(1), drain_of(0, "site-2"), drain_of(0, "", "f2")}) {
    ASSERT_TRUE(selector_->drain(drain, true));
    turn();
    EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
    EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining);
    EXPECT_EQ(selector_->drains().drains_size(), 1);
    ASSERT_TRUE(selector_->drain(drain, false));
    turn();
    EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
    EXPECT_EQ(selector_->drains().drains_size(), 0);
  }
}

TEST_F(Steering, a_drain_is_told_when_it_begins_and_when_it_ends) {
  open();
  figure1();
  CapturedLog log;
  for (const bool on : {false, true, true, false, false}) ASSERT_TRUE(selector_->drain(drain_of(0, "site-2"), on));
  EXPECT_THAT(log.all(), ElementsAre("drain begins: site site-2", "drain ends: site site-2"));
}

TEST_F(Steering, drain_of_what_is_not_there_is_refused_by_name) {
  open();
  figure1();
  const auto code = [&](const v1::Drain &drain) { return selector_->drain(drain, true).error().code; };
  EXPECT_EQ(code(drain_of(77)), ENOENT);
  EXPECT_EQ(code(drain_of(1, "", "", "TP1")), ENOENT);
  EXPECT_EQ(code(drain_of(0, "site-9")), ENOENT);
  EXPECT_EQ(code(drain_of(0, "", "f9")), ENOENT);
  EXPECT_EQ(code(drain_of(0)), EINVAL);
  EXPECT_EQ(code(drain_of(1, "site-2")), EINVAL);
  rows("f3", {row(1, 3, 4, 6), row(2, 3, 1, 1)}, 2);
  EXPECT_EQ(code(drain_of(3)), EINVAL) << "CSCI-ID 3 serves two services";
  EXPECT_TRUE(selector_->drain(drain_of(3, "", "", "TP1"), true));
}

TEST_F(Steering, drains_survive_a_restart) {
  Folder folder;
  auto o = options();
  o.state_directory = std::filesystem::path(folder.file("x")).parent_path();
  open(o);
  figure1();
  ASSERT_TRUE(selector_->drain(drain_of(1), true));
  ASSERT_TRUE(selector_->drain(drain_of(0, "site-3"), true));
  selector_.reset();
  table_ = {};
  open(o);
  figure1();
  EXPECT_THAT(programmer_.ring(1), IsEmpty());
  EXPECT_EQ(selector_->drains().drains_size(), 2);
  EXPECT_EQ(selector_->drains().drains(0).service_id(), "AR1");
}

TEST_F(Steering, a_drain_that_cannot_be_kept_is_not_in_force) {
  Folder folder;
  auto o = options();
  o.state_directory = std::filesystem::path(folder.file("x")).parent_path();
  open(o);
  figure1();
  const auto ring = programmer_.ring(1);
  std::filesystem::create_directory(folder.file("drains.json.new"));  // in the way of the file that is to be written
  const auto refused = selector_->drain(drain_of(1), true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EAGAIN);
  EXPECT_THAT(refused.error().what, ::testing::HasSubstr("the drain is not in force: cannot write"));
  EXPECT_EQ(selector_->drains().drains_size(), 0);
  figure1();
  EXPECT_EQ(programmer_.ring(1), ring);
  std::filesystem::remove(folder.file("drains.json.new"));
  ASSERT_TRUE(selector_->drain(drain_of(1), true));
  std::filesystem::create_directory(folder.file("drains.json.new"));
  EXPECT_THAT(selector_->drain(drain_of(1), false).error().what, ::testing::HasSubstr("the drain goes on: cannot"));
  EXPECT_EQ(selector_->drains().drains_size(), 1);
}

// ---- start ----

TEST_F(Steering, restart_holds_the_view_until_platform_and_origins_are_known) {
  auto o = options();
  o.hold = true;
  owners_.not_synced = {"f2", "sma3"};
  open(o);
  EXPECT_EQ(*programmer_.held, "the platform's catalogue, f2's rows, sma3's rows");
  figure1();
  selector_->platform_known();
  EXPECT_EQ(*programmer_.held, "f2's rows, sma3's rows");
  owners_.not_synced.clear();
  owners_.synced();
  EXPECT_FALSE(programmer_.held);
  EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
}

TEST_F(Steering, restart_does_not_wait_longer_than_it_may) {
  auto o = options();
  o.hold = true;
  o.restart_hold = std::chrono::milliseconds(1);
  o.programmed = {{{1, 1}, "f2"}, {{1, 3}, "f3"}};
  owners_.not_synced = {"f2"};
  open(o);
  selector_->put_service(service("AR1", 1));
  rows("f3", {row(1, 3, 4, 6)});
  selector_->platform_known();
  until([&] { return !programmer_.held.has_value(); });
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining) << "its origin is away: its flows stay";
  // f2 comes and has removed that row meanwhile.
  owners_.not_synced.clear();
  owners_.synced();
  turn();
  EXPECT_THAT(programmer_.instances(1), ElementsAre(3));
}

// Else all new flows would go to the site that was measured first.
TEST_F(Steering, restart_waits_for_the_first_delay_of_each_path_that_leads_to_rows) {
  auto o = options();
  o.hold = o.measures = true;
  o.start_hold = std::chrono::seconds(60);
  o.forwarders.insert("f9");  // leads to no row
  open(o);
  selector_->put_service(service("AR1", 1));
  rows("f2", {row(1, 1, 3, 4)});
  rows("f3", {row(1, 3, 4, 6)});
  selector_->platform_known();
  EXPECT_EQ(programmer_.held, "the delay to f2, the delay to f3");
  selector_->put_metric("f3", {cmas::Micros(20'000), {}, 0, cmas::Clock::now()});
  EXPECT_EQ(programmer_.held, "the delay to f2");
  selector_->put_metric("f2", {cmas::Micros(10'000), {}, 0, cmas::Clock::now()});
  EXPECT_FALSE(programmer_.held);
  EXPECT_THAT(programmer_.ring(1), ElementsAre(1, 3));
}

TEST_F(Steering, an_egress_that_never_answers_holds_no_longer_than_it_may) {
  auto o = options();
  o.hold = o.measures = true;
  o.start_hold = std::chrono::milliseconds(50);
  open(o);
  selector_->put_service(service("AR1", 1));
  rows("f2", {row(1, 1, 3, 4)});
  rows("f3", {row(1, 3, 4, 6)});
  selector_->put_metric("f3", {cmas::Micros(20'000), {}, 0, cmas::Clock::now()});
  const auto known = std::chrono::steady_clock::now();
  selector_->platform_known();
  EXPECT_EQ(programmer_.held, "the delay to f2");
  until([&] { return !programmer_.held.has_value(); });
  EXPECT_LT(std::chrono::steady_clock::now() - known, std::chrono::seconds(5)) << "restart_hold is 30 s";
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
}

TEST_F(Steering, first_start_waits_until_all_is_known_but_not_for_long) {
  auto o = options();
  o.start_hold = std::chrono::milliseconds(50);
  o.measures = true;
  owners_.not_synced = {"f2"};
  open(o);
  EXPECT_EQ(programmer_.held, "the platform's catalogue, f2's rows");
  selector_->put_service(service("AR1", 1));
  rows("f3", {row(1, 3, 4, 6)});
  selector_->platform_known();
  EXPECT_EQ(programmer_.held, "f2's rows, the delay to f3");
  until([&] { return !programmer_.held.has_value(); });
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
}

TEST_F(Steering, without_any_catalogue_the_last_agents_services_stay) {
  CapturedLog log;
  auto o = options();
  o.hold = true;
  o.restart_hold = std::chrono::milliseconds(1);
  o.programmed = {{{1, 1}, "f2", 0.5}, {{1, 3}, "f3", 0.5}, {{9, 7}, "f3", 1}};
  programmer_.pinned = {1, 9};
  owners_.not_synced = {"f2"};
  open(o);
  rows("f3", {row(1, 3, 4, 6)});
  until([&] { return !programmer_.held.has_value(); });
  EXPECT_THAT(programmer_.pinned, ElementsAre(1, 9));
  EXPECT_THAT(programmer_.services, IsEmpty());
  EXPECT_EQ(programmer_.state(), "starting (waiting for the catalogue: platform away and no cached copy)");
  EXPECT_THAT(selector_->warnings(), ElementsAre(HasSubstr("no cached copy")));
  const auto errors = [&] {
    return std::ranges::count_if(log.all(), [](const auto &line) {
      return line.find("2 services of the view in force stay") != std::string::npos;
    });
  };
  EXPECT_EQ(errors(), 1);
  // The platform comes and knows one of them: only now the other one is known to be gone.
  selector_->put_service(service("AR1", 1));
  selector_->platform_known();
  EXPECT_THAT(programmer_.pinned, ElementsAre(1));
  EXPECT_THAT(programmer_.ring(1), ElementsAre(3));
  EXPECT_EQ(programmer_.wish(1, 1), InstanceWish::kDraining) << "f2 has not spoken";
  EXPECT_EQ(programmer_.state(), "in sync");
  EXPECT_THAT(selector_->warnings(), IsEmpty());
  EXPECT_EQ(errors(), 1);
}

TEST_F(Steering, what_was_never_in_force_is_not_logged) {
  CapturedLog log;
  auto o = options();
  o.hold = true;
  o.programmed = {{{1, 1}, "f2", 0.5}, {{1, 3}, "f3", 0.5}, {{2, 2}, "f2", 1}};
  owners_.not_synced = {"f2"};
  open(o);
  selector_->put_service(service("AR1", 1));
  selector_->put_service(service("TP1", 2));
  rows("f3", {row(1, 3, 4, 6)});
  turn();
  const auto shifts = [&] {
    std::vector<std::string> lines;
    for (const auto &line : log.all())
      if (line.find("new flows:") != std::string::npos) lines.push_back(line);
    return lines;
  };
  EXPECT_THAT(shifts(), IsEmpty());
  selector_->platform_known();
  rows("f2", {row(2, 2, 6, 5)});
  owners_.not_synced.clear();
  owners_.synced();
  turn();
  EXPECT_THAT(shifts(),
              ElementsAre(HasSubstr("service=AR1 cs_id=1 old=\"csci 1 50%, csci 3 50%\" new=\"csci 3 100%\"")));
}

// ---- publications ----

TEST_F(Steering, publication_names_the_newest_delta_that_it_holds) {
  open();
  figure1();
  programmer_.published(7, 1000);
  rows("f2", {row(1, 1, 9, 4)}, 2);
  programmer_.published(8, 2000);  // flipped before the delta was handed over
  turn();
  rows("f2", {row(1, 1, 10, 4)}, 3);
  turn();
  programmer_.published(9, 3000);
  const auto list = selector_->journal().list(7);
  ASSERT_EQ(list.publications_size(), 2);
  EXPECT_EQ(list.publications(0).epoch(), 8u);
  EXPECT_EQ(list.publications(0).applied(0).origin(), "f2");
  EXPECT_EQ(list.publications(0).applied(0).sequence(), 1u);
  EXPECT_EQ(list.publications(1).applied(0).sequence(), 3u);
  EXPECT_EQ(list.publications(1).applied(1).origin(), "f3");
  EXPECT_EQ(list.publications(1).published_ns(), 3000u);
  EXPECT_GT(list.publications(1).applied(0).received_ns(), 0u);
}

TEST(Publications, journal_keeps_the_last_ones_and_what_they_hold) {
  Journal journal(3);
  journal.received("a", 1, 1, 10);
  journal.handed_over();
  journal.published(1, 100);
  for (uint64_t epoch = 2; epoch <= 6; epoch++) {
    journal.received("b", 1, epoch, epoch * 10);
    journal.handed_over();
    journal.published(epoch, epoch * 100);
  }
  const auto list = journal.list(0);
  ASSERT_EQ(list.publications_size(), 3);
  EXPECT_EQ(list.publications(0).epoch(), 4u);
  ASSERT_EQ(list.publications(0).applied_size(), 2);
  EXPECT_EQ(list.publications(0).applied(0).origin(), "a") << "known from before the oldest entry";
  EXPECT_EQ(list.publications(0).applied(0).sequence(), 1u);
  EXPECT_EQ(list.publications(0).applied(1).sequence(), 4u);
  EXPECT_EQ(list.publications(2).applied(1).sequence(), 6u);
  EXPECT_EQ(journal.list(6).publications_size(), 0);
}

TEST(Shares, of_many_instances_name_the_eight_largest_and_how_many_more) {
  EXPECT_EQ(text(std::vector<Share>{}), "none");
  EXPECT_EQ(text({{3, 0.25}, {1, 0.75}, {2, 0}}), "csci 1 75%, csci 3 25%");
  std::vector<Share> all;
  for (uint32_t csci_id = 1; csci_id <= 1'000; ++csci_id) all.push_back({csci_id, csci_id % 100 == 7 ? 0.09 : 0.0001});
  EXPECT_EQ(text(all),
            "csci 7 9%, csci 107 9%, csci 207 9%, csci 307 9%, csci 407 9%, csci 507 9%, csci 607 9%, csci 707 9%, "
            "and 992 more");
  all.resize(8);
  EXPECT_THAT(text(all), HasSubstr("csci 7 9%, csci 8 0.01%"));
}

TEST(Shares, a_shift_of_many_instances_names_eight_on_each_side_and_in_its_reason) {
  ServiceSteering steering(0.1);
  v1::Service service;
  const auto update = [&](uint32_t gas, uint32_t changed) {
    std::vector<cmas::Candidate> candidates;
    for (uint32_t csci_id = 1; csci_id <= 20; ++csci_id)
      candidates.push_back({.key = {1, csci_id}, .egress = "f2", .gas = csci_id <= changed ? gas : 4, .cost = 1});
    return *steering.update(service, std::move(candidates), {"f2"});
  };
  EXPECT_THAT(update(4, 0).why, MatchesRegex("(csci [1-8] new, active, free 4, )+and 12 more"));
  const auto outcome = update(9, 11);
  EXPECT_THAT(outcome.shift,
              MatchesRegex("(csci [0-9]+ [0-9]+%, ){8}and 12 more -> (csci [0-9]+ [0-9]+%, ){8}and 12 more"));
  EXPECT_THAT(outcome.why, MatchesRegex("(csci [1-8] free 4 -> 9, )+and 3 more"));
}

// The cost of this was quadratic in the rows.
TEST(Shares, withdrawn_instances_are_told_from_thousands_that_stay) {
  ServiceSteering steering(0.1);
  v1::Service service;
  std::vector<cmas::Candidate> candidates;
  for (uint32_t csci_id = 1; csci_id <= 5'000; ++csci_id)
    candidates.push_back({.key = {1, csci_id}, .egress = "f2", .gas = 4, .cost = 1});
  ASSERT_TRUE(steering.update(service, candidates, {"f2"}));
  EXPECT_NEAR(steering.share(4'711), 13.0 / 65'537, 13.0 / 65'537);
  EXPECT_GT(steering.share(4'711), 0);
  EXPECT_EQ(steering.share(5'001), 0);
  candidates.erase(candidates.begin() + 10, candidates.begin() + 13);
  const auto outcome = steering.update(service, candidates, {"f2"});
  EXPECT_EQ(steering.withdrawn().size(), 3u);
  EXPECT_EQ(outcome->why, "csci 11 withdrawn, csci 12 withdrawn, csci 13 withdrawn");
  EXPECT_EQ(outcome->wanted->instances.size(), 5'000u);
}

}  // namespace
