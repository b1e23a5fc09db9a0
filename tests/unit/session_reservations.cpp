// SPDX-License-Identifier: Apache-2.0
// Reservations over the wire: the C-PS asks, the owner of the row decides.
#include "tests/unit/session_fixture.h"

namespace catsbpf::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Reservations : public SessionTest {
 protected:
  void meet(std::function<void(agent::SessionServerOptions &)> change = {}) {
    serve(std::move(change));
    put({site_row(1, 1, 2), site_row(1, 2, 2)});
    dial(client_options());
    ASSERT_TRUE(until([&] { return client_->acknowledged() == 1; }));
  }
  Result<> reserve(uint64_t reservation, uint32_t csci_id, uint32_t gas = 1) {
    return await(server_->reserve("f2", {1, csci_id}, reservation, gas, 60s));
  }
};

TEST_F(Reservations, grant_takes_slots_and_release_gives_them_back) {
  meet();
  const auto granted = reserve(11, 2, 2);
  ASSERT_TRUE(granted) << granted.error().text();
  ASSERT_TRUE(until([&] { return instance(2)->in_use == 2; })) << "the delta tells all C-PSes";
  EXPECT_EQ(instance(2)->gas, 0u);
  server_->release("f2", 11);
  ASSERT_TRUE(until([&] { return instance(2)->in_use == 0; }));
  EXPECT_TRUE(site_.ledger().empty());
}

TEST_F(Reservations, owner_refuses_what_it_has_not_and_says_why) {
  meet();
  ASSERT_TRUE(reserve(11, 1, 2));
  const auto refused = reserve(12, 1);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("free 0 < 1"));
  EXPECT_EQ(site_.ledger().size(), 1u);
}

TEST_F(Reservations, same_reservation_again_is_granted_once) {
  meet();
  ASSERT_TRUE(reserve(11, 1, 2));
  ASSERT_TRUE(reserve(11, 1, 2));
  EXPECT_EQ(site_.rows().at({1, 1}).row.in_use, 2u);
}

TEST_F(Reservations, renew_extends_the_lease_and_refuses_unknown_ones) {
  meet();
  ASSERT_TRUE(reserve(11, 1));
  const auto before = site_.ledger().at(11).expires;
  ASSERT_TRUE(await(server_->renew("f2", 11, 3600s)));
  EXPECT_GT(site_.ledger().at(11).expires, before + 3000s);
  EXPECT_FALSE(await(server_->renew("f2", 99, 60s)));
}

TEST_F(Reservations, finished_at_the_owner_reaches_the_path_selector) {
  meet();
  std::vector<std::pair<uint64_t, std::string>> finished;
  server_->on_finished(
      [&](uint64_t reservation, const std::string &reason) { finished.emplace_back(reservation, reason); });
  ASSERT_TRUE(reserve(11, 1));
  client_->finished(11, "service finished");
  ASSERT_TRUE(until([&] { return !finished.empty(); }));
  EXPECT_THAT(finished, ElementsAre(std::pair<uint64_t, std::string>(11, "service finished")));
}

TEST_F(Reservations, no_answer_in_time_is_an_error_and_a_late_grant_is_released) {
  meet([](auto &options) { options.answer_timeout = 50ms; });
  mute_ = true;
  const auto silent = reserve(11, 1);
  ASSERT_FALSE(silent);
  EXPECT_THAT(silent.error().what, HasSubstr("no answer"));
  ASSERT_TRUE(until([&] { return !released_.empty(); }));
  EXPECT_THAT(released_, ElementsAre(11u));
}

TEST_F(Reservations, without_a_session_there_is_no_waiting) {
  serve();
  const auto refused = await(server_->reserve("f2", {1, 1}, 11, 1, 60s));
  ASSERT_FALSE(refused);
  EXPECT_THAT(await(server_->reserve("nobody", {1, 1}, 11, 1, 60s)).error().what, HasSubstr("nobody"));
}

TEST_F(Reservations, release_while_the_session_is_down_is_said_on_return) {
  meet();
  ASSERT_TRUE(reserve(11, 1));
  client_->stop();
  ASSERT_TRUE(until([&] { return in().state() != "up" || in().reason() != ""; }));
  ASSERT_TRUE(until([&] { return !await(server_->reserve("f2", {1, 1}, 12, 1, 60s)); }));
  server_->release("f2", 11);
  dial(client_options(), 2);
  ASSERT_TRUE(until([&] { return site_.ledger().empty(); }));
}

TEST_F(Reservations, session_lost_while_asking_fails_at_once_and_leaks_nothing) {
  meet([](auto &options) { options.answer_timeout = 60s; });
  mute_ = true;
  const auto answer = begin(server_->reserve("f2", {1, 1}, 11, 1, 60s));
  io_.poll();
  client_->stop();
  ASSERT_TRUE(until([&] { return answer->has_value(); }));
  EXPECT_FALSE(**answer);
  mute_ = false;
  dial(client_options(), 2);
  ASSERT_TRUE(until([&] { return !released_.empty(); }));
  EXPECT_THAT(released_, ElementsAre(11u));
}

TEST_F(Reservations, release_that_was_not_confirmed_is_said_again_in_the_next_session) {
  meet();
  ASSERT_TRUE(reserve(11, 1));
  mute_ = true;
  server_->release("f2", 11);
  ASSERT_TRUE(until([&] { return released_.size() == 1; }));
  mute_ = false;
  for (uint64_t epoch : {2, 3, 4}) {
    client_->stop();
    dial(client_options(), epoch);
    ASSERT_TRUE(until([&] { return in().state() == "up" && in().epoch() == epoch; }));
  }
  EXPECT_THAT(released_, ElementsAre(11u, 11u)) << "and after the confirmation no more";
}

TEST_F(Reservations, session_begins_with_what_the_path_selector_holds_of_that_owner) {
  meet([](auto &options) {
    options.held = [](const std::string &origin) {
      return origin == "f2" ? std::vector<uint64_t>{21, uint64_t{1} << 51} : std::vector<uint64_t>{31};
    };
  });
  EXPECT_THAT(held_, ElementsAre(std::set<uint64_t>{21, uint64_t{1} << 51}));
}

TEST_F(Reservations, what_ended_while_the_session_was_down_is_said_in_the_next) {
  meet([](auto &options) { options.held = [](const std::string &) { return std::vector<uint64_t>{11, 12}; }; });
  ASSERT_TRUE(reserve(11, 1));
  ASSERT_TRUE(reserve(12, 2));
  std::vector<uint64_t> finished;
  server_->on_finished([&](uint64_t reservation, const std::string &) { finished.push_back(reservation); });
  client_->stop();
  ASSERT_TRUE(site_.release(11));
  client_->finished(11, "service finished");
  dial(client_options(), 2);
  ASSERT_TRUE(until([&] { return !finished.empty() && client_->acknowledged() == 1; }));
  EXPECT_THAT(finished, ElementsAre(11u)) << "12 is held by both";
}

TEST_F(Reservations, path_selector_without_a_list_says_nothing_of_what_it_holds) {
  meet();
  turn(20ms);
  EXPECT_TRUE(held_.empty());
}

TEST_F(Reservations, lease_too_long_for_the_message_is_cut_and_does_not_wrap) {
  meet();
  ASSERT_TRUE(await(server_->reserve("f2", {1, 1}, 11, 1, 4'294'968s)));
  EXPECT_GT(site_.ledger().at(11).expires - cmas::Clock::now(), 4'294'900s);
  ASSERT_TRUE(reserve(12, 2));
  ASSERT_TRUE(await(server_->renew("f2", 12, std::chrono::seconds(UINT32_MAX))));
  EXPECT_GT(site_.ledger().at(12).expires - cmas::Clock::now(), 4'294'900s);
}

}  // namespace
}  // namespace catsbpf::test
