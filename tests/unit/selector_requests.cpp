// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/unit/selector_fakes.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"

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
  const auto pinned = selector_->requests().pinned("10.1.0.2", 1);
  ASSERT_TRUE(pinned);
  EXPECT_EQ(pinned->id(), outcome->reservation);
  EXPECT_EQ(pinned->csci_id(), 3u);
  EXPECT_FALSE(selector_->requests().pinned("10.1.0.2", 2)) << "of that service only";
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

TEST_F(Requests, delay_of_less_than_a_microsecond_is_no_delay_at_all) {
  v1::ServiceRequest asked;
  asked.set_delay_ms(0.0001);
  EXPECT_EQ(agent::wish_of(asked)->delay, cmas::Micros(1));
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
  EXPECT_EQ(outcome->told,
            "its site does not grant it at the moment (1 instance); real delay 21 ms > 15 ms asked (1 instance)")
      << "CSCI-IDs stay with the ingress";
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
  const auto error = [](const Result<RequestDesk::Outcome> &outcome) {
    return outcome ? "granted" : outcome.error().what;
  };
  EXPECT_THAT(error(request(-1)), HasSubstr("cost"));
  EXPECT_THAT(error(request(std::numeric_limits<double>::infinity())), HasSubstr("cost"));
  EXPECT_THAT(error(request(1, 2'000'000)), HasSubstr("gas"));
  EXPECT_THAT(error(request(1, 1, -5)), HasSubstr("delay_ms"));
  EXPECT_THAT(error(request(1, 1, 0, 3601)), HasSubstr("lease_s 3601"));
  EXPECT_THAT(error(request(1, 0)), HasSubstr("gas 0 asks for nothing"));
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
  EXPECT_THAT(wait(selector_->requests().renew(id, "10.1.0.2", 0)).error().what,
              HasSubstr("lease_s 0 would end at once"));
  ASSERT_TRUE(wait(selector_->requests().renew(id, "10.1.0.2", std::nullopt)));
  EXPECT_EQ(owners_.renewed.at(id), 60s) << "as a new request that names none";
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

TEST_F(Requests, session_whose_grant_was_lost_with_its_file_ends_at_start) {
  programmer_.sessions[77] = {77, "10.1.0.2", 1, 3, std::chrono::hours(1)};
  auto o = options();
  o.hold = true;
  open(o);
  figure1();
  EXPECT_EQ(programmer_.sessions.size(), 1u);
  selector_->platform_known();
  EXPECT_THAT(programmer_.sessions, IsEmpty());
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

SelectorOptions in(const Folder &folder, SelectorOptions options) {
  options.state_directory = std::filesystem::path(folder.file("x")).parent_path();
  return options;
}

std::string content(const std::string &file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(Requests, grant_that_cannot_be_kept_is_refused_and_given_back) {
  Folder folder;
  CapturedLog log;
  open(in(folder, options()));
  figure1();
  const uint64_t kept = request(6)->reservation;
  std::filesystem::create_symlink("/dev/full", folder.file("requests.json.new"));  // until the failure removes it
  const auto outcome = request(4);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, EAGAIN);
  EXPECT_THAT(outcome.error().what, HasSubstr("No space left on device"));
  EXPECT_THAT(outcome.error().hint, HasSubstr("free space in state_directory"));
  EXPECT_EQ(owners_.granted.size(), 1u);
  EXPECT_EQ(owners_.released.size(), 1u);
  ASSERT_EQ(programmer_.sessions.size(), 1u) << "the older grant is in force again";
  EXPECT_TRUE(programmer_.sessions.contains(kept));
  EXPECT_EQ(selector_->requests().list().requests_size(), 1);
  EXPECT_THAT(selector_->warnings(), ElementsAre(HasSubstr("granted requests are not kept")));
  EXPECT_TRUE(request(4)->answer.success());
  EXPECT_THAT(selector_->warnings(), IsEmpty());
}

TEST_F(Requests, end_that_cannot_be_kept_is_tried_again_and_said_once) {
  Folder folder;
  CapturedLog log;
  open(in(folder, options()));
  figure1();
  const uint64_t id = request(6)->reservation, other = request(4)->reservation;
  std::filesystem::create_directory(folder.file("requests.json.new"));
  log.clear();
  ASSERT_TRUE(selector_->requests().finish(id, std::nullopt));
  until([&] { return !selector_->requests().not_kept().empty(); });
  selector_->requests().save();  // fails again
  std::filesystem::remove(folder.file("requests.json.new"));
  until([&] { return selector_->requests().not_kept().empty(); });
  EXPECT_EQ(
      std::ranges::count_if(log.all(), [](const auto &line) { return line.find("are not kept") != std::string::npos; }),
      1);
  EXPECT_THAT(content(folder.file("requests.json")), ::testing::Not(HasSubstr(std::to_string(id))));
  EXPECT_THAT(content(folder.file("requests.json")), HasSubstr(std::to_string(other)));
}

TEST_F(Requests, parallel_requests_share_a_write_and_pass_no_limit) {
  Folder folder;
  open(in(folder, options()));
  figure1();
  v1::ServiceRequest wish;
  wish.set_service_id("AR1");
  wish.set_cost(4);
  std::size_t granted = 0, refused = 0;
  for (std::size_t i = 0; i < kMaxGrantsPerClient + 10; i++)
    asio::co_spawn(
        io_,
        [&]() -> asio::awaitable<void> {
          const auto outcome = co_await selector_->requests().request(wish, "10.1.0.2");
          outcome ? granted++ : refused++;
        },
        asio::detached);
  until([&] { return granted + refused == kMaxGrantsPerClient + 10; });
  EXPECT_EQ(granted, kMaxGrantsPerClient);
  EXPECT_EQ(refused, 10u);
  EXPECT_LT(selector_->requests().writes(), 20u);
}

TEST_F(Requests, broken_state_files_are_put_aside_and_the_agent_starts) {
  Folder folder;
  CapturedLog log;
  for (const std::string name : {"requests.json", "drains.json"})
    std::ofstream(folder.file(name)) << "{\"requests\": [{\"cs_";
  open(in(folder, options()));
  for (const std::string name : {"requests.json", "drains.json"}) {
    EXPECT_FALSE(std::filesystem::exists(folder.file(name)));
    EXPECT_TRUE(std::filesystem::exists(folder.file(name + ".broken")));
    EXPECT_THAT(log.all(), ::testing::Contains(::testing::AllOf(HasSubstr(folder.file(name) + " cannot be used"),
                                                                HasSubstr(name + ".broken"))));
  }
}

TEST_F(Requests, kept_entries_without_sense_are_skipped_one_by_one) {
  Folder folder;
  CapturedLog log;
  open(in(folder, options()));
  figure1();
  const uint64_t id = request(4, 1, 0, 1000)->reservation;
  selector_.reset();
  const std::string good = content(folder.file("requests.json"));
  const std::size_t from = good.find('[') + 1;
  const std::string entry = good.substr(from, good.rfind(']') - from);
  const auto with = [&](const std::string &what, const std::string &instead) {
    const std::size_t at = entry.find(what);
    EXPECT_NE(at, std::string::npos) << what << " in " << entry;
    std::size_t end = at + what.size();
    while (end < entry.size() && entry[end] != ',' && entry[end] != '}') end++;
    return entry.substr(0, at) + what + instead + entry.substr(end);
  };
  std::string all;
  for (const char *number :
       {"9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e300", "\"soon\""})
    all += with("\"expires_unix_ms\":", number) + ",";
  for (const char *number : {"0", "4294967296", "-1", "\"x\""}) all += with("\"cs_id\":", number) + ",";
  all += with("\"csci_id\":", "0") + "," + with("\"client\":", "\"nobody\"") + "," + with("\"origin\":", "\"\"") +
         ",7,null,";
  std::ofstream(folder.file("requests.json")) << "{\"requests\":[" << all << entry << "]}";
  table_ = {};
  log.clear();
  open(in(folder, options()));
  ASSERT_EQ(selector_->requests().list().requests_size(), 1);
  EXPECT_EQ(selector_->requests().list().requests(0).id(), id);
  EXPECT_EQ(std::ranges::count_if(log.all(),
                                  [](const auto &line) { return line.find("skipped a request") != std::string::npos; }),
            14);
}

TEST_F(Requests, kept_drains_without_sense_are_skipped_one_by_one) {
  Folder folder;
  std::ofstream(folder.file("drains.json"))
      << R"({"drains":[{"csci_id":1,"service_id":"notnum"},{"csci_id":2},{},{"csci_id":3,"site":"site-2"},{"csci_id":3,"service_id":"1"}]})";
  CapturedLog log;
  open(in(folder, options()));
  ASSERT_EQ(selector_->drains().drains_size(), 1);
  EXPECT_EQ(selector_->drains().drains(0).csci_id(), 3u);
  EXPECT_EQ(std::ranges::count_if(log.all(),
                                  [](const auto &line) { return line.find("skipped a drain") != std::string::npos; }),
            4);
}

}  // namespace
