// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <fstream>

#include "tests/unit/selector_fakes.h"
#include "tests/unit/util_certificates.h"

using namespace catsbpf;
using namespace catsbpf::test;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace {

using Requests = SelectorTest;

TEST_F(Requests, closest_cost_is_granted_and_pins_the_client) {
  open();
  figure1();
  const auto outcome = request(5.9, 2, 50);
  ASSERT_TRUE(outcome) << outcome.error().text();
  EXPECT_TRUE(outcome->answer.success());
  EXPECT_EQ(outcome->answer.csci_id(), 3u);
  EXPECT_EQ(outcome->answer.gas(), 2u);
  EXPECT_DOUBLE_EQ(outcome->answer.real_cost(), 6);
  EXPECT_DOUBLE_EQ(outcome->answer.real_delay_ms(), 21);
  EXPECT_EQ(outcome->lease_s, 60u);
  ASSERT_EQ(owners_.asked.size(), 1u);
  EXPECT_EQ(owners_.asked[0].origin, "f3");
  EXPECT_EQ(owners_.asked[0].gas, 2u);
  EXPECT_EQ(owners_.asked[0].lease, 60s);
  const auto &session = programmer_.sessions.at(outcome->reservation);
  EXPECT_EQ(session.client, "10.1.0.2");
  EXPECT_EQ(session.csci_id, 3u);
  EXPECT_LE(session.lease, 60s);
  EXPECT_GT(session.lease, 50s);
  const auto explanation = selector_->explain("AR1", "10.1.0.2", std::nullopt);
  EXPECT_EQ(explanation->csci_id(), 3u);
  EXPECT_THAT(explanation->client_rule(), HasSubstr("pins new flows of 10.1.0.2 to csci 3"));
}

TEST_F(Requests, refused_by_one_owner_the_next_candidate_is_asked) {
  open();
  figure1();
  owners_.refuse[1] = "free 0 < 1";
  const auto outcome = request(4);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->answer.csci_id(), 3u);
  EXPECT_EQ(owners_.asked.size(), 2u);
}

TEST_F(Requests, nobody_grants_and_every_reason_is_told) {
  open();
  figure1();
  owners_.refuse[1] = "free 0 < 1";
  const auto outcome = request(4, 1, 15);
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->answer.success());
  EXPECT_THAT(outcome->reason, HasSubstr("csci 1: free 0 < 1"));
  EXPECT_THAT(outcome->reason, HasSubstr("csci 3: real delay 21 ms > 15 ms asked"));
  EXPECT_THAT(programmer_.sessions, IsEmpty());
}

TEST_F(Requests, session_that_cannot_be_programmed_gives_the_slot_back) {
  open();
  figure1();
  programmer_.session_error = "no room";
  const auto outcome = request(4);
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->answer.success());
  EXPECT_THAT(owners_.granted, IsEmpty());
  EXPECT_EQ(owners_.released.size(), 2u);
}

TEST_F(Requests, row_that_goes_while_it_is_asked_is_passed_over) {
  open();
  figure1();
  owners_.refuse[1] = "unknown row";
  owners_.before_answer = [&] { selector_->remove_service("AR1"); };
  const auto outcome = request(4);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->answer.csci_id(), 3u) << "the grant stands though the service went meanwhile";
}

TEST_F(Requests, wrong_requests_name_their_field) {
  open();
  figure1();
  const auto error = [](const Result<RequestDesk::Outcome> &outcome) { return outcome ? "granted" : outcome.error().what; };
  EXPECT_THAT(error(request(-1)), HasSubstr("cost"));
  EXPECT_THAT(error(request(std::numeric_limits<double>::infinity())), HasSubstr("cost"));
  EXPECT_THAT(error(request(1, 2'000'000)), HasSubstr("gas"));
  EXPECT_THAT(error(request(1, 1, -5)), HasSubstr("delay_ms"));
  EXPECT_THAT(error(request(1, 1, 0, 3601)), HasSubstr("lease_s 3601"));
  const auto unknown = request(1, 1, 0, 0, "10.1.0.2", "NOPE");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ENOENT);
  EXPECT_THAT(owners_.asked, IsEmpty());
}

TEST_F(Requests, lease_is_bound_by_the_services_sla) {
  open();
  figure1();
  auto changed = service("AR1", 1);
  changed.mutable_sla()->set_max_session_s(10);
  selector_->put_service(changed);
  turn();
  EXPECT_FALSE(request(4, 1, 0, 11));
  EXPECT_EQ(request(4)->lease_s, 10u);
}

TEST_F(Requests, only_the_client_that_made_it_may_change_it) {
  open();
  figure1();
  const uint64_t id = request(4)->reservation;
  EXPECT_EQ(selector_->requests().finish(id, "10.1.0.3").error().code, EPERM);
  EXPECT_EQ(wait(selector_->requests().renew(id, "10.1.0.3", 30)).error().code, EPERM);
  EXPECT_EQ(selector_->requests().finish(id + 1, "10.1.0.2").error().code, ENOENT);
  ASSERT_TRUE(selector_->requests().finish(id, "10.1.0.2"));
  EXPECT_THAT(owners_.released, ElementsAre(id));
  EXPECT_THAT(programmer_.sessions, IsEmpty());
  EXPECT_EQ(selector_->requests().finish(id, "10.1.0.2").error().code, ENOENT);
}

TEST_F(Requests, owners_finish_removes_the_session_and_is_not_echoed) {
  open();
  figure1();
  const uint64_t id = request(4)->reservation;
  owners_.finished(id, "service finished");
  EXPECT_THAT(programmer_.sessions, IsEmpty());
  EXPECT_THAT(owners_.released, IsEmpty());
  EXPECT_EQ(selector_->requests().list().requests_size(), 0);
  owners_.finished(id, "again");  // and nothing happens
}

TEST_F(Requests, renewal_extends_lease_and_session) {
  open();
  figure1();
  const uint64_t id = request(4, 1, 0, 5)->reservation;
  const auto renewed = wait(selector_->requests().renew(id, "10.1.0.2", 100));
  ASSERT_TRUE(renewed) << renewed.error().text();
  EXPECT_GT(renewed->expires_in_s(), 90);
  EXPECT_GT(programmer_.sessions.at(id).lease, 90s);
  EXPECT_EQ(owners_.renewed.at(id), 100s);
  owners_.granted.clear();  // the owner has lost it
  EXPECT_EQ(wait(selector_->requests().renew(id, "10.1.0.2", 100)).error().code, EBUSY);
}

TEST_F(Requests, lease_that_runs_out_ends_the_session) {
  open();
  figure1();
  const uint64_t id = request(4, 1, 0, 1)->reservation;
  until([&] { return programmer_.sessions.empty(); });
  EXPECT_THAT(owners_.released, ElementsAre(id));
}

TEST_F(Requests, newest_of_two_grants_is_in_force_until_it_ends) {
  open();
  figure1();
  const uint64_t first = request(4)->reservation;
  const uint64_t second = request(6)->reservation;
  EXPECT_FALSE(programmer_.sessions.contains(first));
  EXPECT_EQ(programmer_.sessions.at(second).csci_id, 3u);
  ASSERT_TRUE(wait(selector_->requests().renew(first, "10.1.0.2", 100)));
  EXPECT_FALSE(programmer_.sessions.contains(first)) << "renewing the older one does not move flows";
  ASSERT_TRUE(selector_->requests().finish(second, std::nullopt));
  EXPECT_EQ(programmer_.sessions.at(first).csci_id, 1u);
}

TEST_F(Requests, one_client_holds_so_many_and_no_more) {
  open();
  figure1();
  for (std::size_t i = 0; i < kMaxGrantsPerClient; i++) ASSERT_TRUE(request(4)->answer.success());
  EXPECT_EQ(request(4).error().code, EBUSY);
  EXPECT_TRUE(request(4, 1, 0, 0, "10.1.0.3")->answer.success());
}

TEST_F(Requests, grants_survive_a_restart_with_their_sessions) {
  Folder folder;
  auto o = options();
  o.state_directory = std::filesystem::path(folder.file("x")).parent_path();
  open(o);
  figure1();
  const uint64_t first = request(4, 1, 0, 1000)->reservation, second = request(6, 2, 0, 1000)->reservation;
  selector_.reset();  // writes; a killed agent has written too, at once
  programmer_.sessions.clear();
  table_ = {};
  o.hold = true;
  programmer_.session_error = "not programmed yet";
  open(o);
  figure1();
  selector_->platform_known();
  EXPECT_THAT(programmer_.sessions, IsEmpty());
  programmer_.session_error.clear();
  programmer_.published(1, 1);
  ASSERT_EQ(programmer_.sessions.size(), 1u);
  EXPECT_EQ(programmer_.sessions.at(second).csci_id, 3u) << "the newest is in force";
  EXPECT_EQ(selector_->requests().list().requests_size(), 2);
  EXPECT_GT(selector_->requests().reservation(first, "10.1.0.2")->expires_in_s(), 900);
  ASSERT_TRUE(selector_->requests().finish(first, "10.1.0.2"));
  EXPECT_THAT(owners_.released, ElementsAre(first));
}

TEST_F(Requests, grant_is_on_disk_before_it_is_answered) {
  Folder folder;
  auto o = options();
  o.state_directory = std::filesystem::path(folder.file("x")).parent_path();
  open(o);
  figure1();
  const uint64_t id = request(4)->reservation;
  std::ifstream in(folder.file("requests.json"));
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  EXPECT_THAT(text, HasSubstr(std::to_string(id)));
}

TEST_F(Requests, broken_state_file_is_refused_by_name) {
  Folder folder;
  auto o = options();
  o.state_directory = std::filesystem::path(folder.file("x")).parent_path();
  std::ofstream(folder.file("requests.json")) << "{\"requests\": [{\"cs_id\": \"x\"}]}";
  const auto opened = PathSelector::open(io_, table_, owners_, programmer_, o);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().what, HasSubstr(folder.file("requests.json")));
}

}  // namespace
