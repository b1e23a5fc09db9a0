// SPDX-License-Identifier: Apache-2.0
// The CMAS draft's own examples: figure 1 (whole service table), table 2 (a site's service model table)
// and section 6 (request, selection, answer, GAS).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmas/delta_session.h"
#include "cmas/proto/api.pb.h"
#include "cmas/selection.h"
#include "cmas/whole_table.h"

namespace catsbpf::cmas {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

v1::Service service(const std::string &id, uint32_t cs_id, uint32_t computing_us) {
  v1::Service out;
  out.set_service_id(id);
  out.set_cs_id(cs_id);
  out.mutable_computing_time()->set_max_us(computing_us);
  return out;
}

SiteRow row(const std::string &id, RowKey key, uint32_t gas, double cost) {
  return SiteRow{.row = {.key = key, .offered = gas, .cost = cost, .access_delay = Micros(100)}, .service_id = id};
}

std::vector<std::string> fields(const google::protobuf::Descriptor *message) {
  std::vector<std::string> names;
  for (int f = 0; f < message->field_count(); ++f) names.push_back(message->field(f)->name());
  return names;
}

// A site with its C-SMA and its session to the C-PS.
struct Site {
  Site(WholeTable &table, std::string origin, std::string name, std::string egress, const std::vector<SiteRow> &rows)
      : whole(table), origin(std::move(origin)), name(std::move(name)), egress(std::move(egress)) {
    EXPECT_TRUE(site.replace(rows).ok());
    advertise();
  }
  // What the session does: message by message into the whole service table.
  std::size_t advertise() {
    sender.mark(site.take_dirty());
    std::size_t bytes = 0;
    while (const auto envelope = sender.next()) {
      bytes += envelope->ByteSizeLong();
      const auto change =
          envelope->has_snapshot() ? receiver.take(envelope->snapshot()) : receiver.take(envelope->delta());
      EXPECT_TRUE(change.ok());
      std::vector<Row> rows;
      for (const auto &key : change->changed) rows.push_back(receiver.rows().at(key));
      EXPECT_TRUE(whole.put_rows(origin, name, {egress}, rows).ok());
      whole.remove_rows(origin, change->removed);
    }
    return bytes;
  }
  WholeTable &whole;
  std::string origin, name, egress;
  SiteTable site;
  DeltaSender sender{site, 1};
  DeltaReceiver receiver;
};

// Figure 1: site 2 behind forwarder 2 with its C-SMA, site 3 behind forwarder 3 with an adjacent C-SMA.
struct Figure1 : ::testing::Test {
  Figure1() {
    whole.put_service(service("AR1", 1, 1'000));
    whole.put_service(service("TP1", 2, 20'000));
    whole.put_service(service("ST1", 3, 1'000'000));
    whole.put_service(service("LB1", 4, 3'000'000));
    whole.put_metric("f2", {.delay = milliseconds(2)});
    whole.put_metric("f3", {.delay = milliseconds(5)});
  }
  WholeTable whole;
  Site site2{whole, "f2", "site-2", "f2", {row("AR1", {1, 1}, 3, 4), row("TP1", {2, 2}, 6, 5)}};
  Site site3{whole, "sma3", "site-3", "f3", {row("AR1", {1, 3}, 3, 6), row("ST1", {3, 4}, 1, 2)}};
};

TEST_F(Figure1, whole_service_table_is_exactly_the_four_rows) {
  std::vector<std::tuple<std::string, uint32_t, uint32_t, double, int64_t, int64_t>> rows;
  for (const auto &c : whole.all())
    rows.emplace_back(whole.service(c.key.cs_id)->service_id(), c.key.csci_id, c.gas, c.cost, c.computing_time.count(),
                      c.network_delay->count());
  EXPECT_THAT(
      rows,
      ElementsAre(std::tuple("AR1", 1u, 3u, 4.0, 1'000, 2'100), std::tuple("AR1", 3u, 3u, 6.0, 1'000, 5'100),
                  std::tuple("TP1", 2u, 6u, 5.0, 20'000, 2'100), std::tuple("ST1", 4u, 1u, 2.0, 1'000'000, 5'100)));
}

TEST_F(Figure1, gas_0_at_site_2_by_one_delta_leaves_new_flows_to_site_3) {
  RingKeeper keeper;
  keeper.update(*ring_members(*whole.service(1), whole.candidates(1)));
  ASSERT_EQ(keeper.ring().members.size(), 2u);
  ASSERT_TRUE(site2.site.apply({1, 1}, {.gas = 0}).ok());
  EXPECT_LE(site2.advertise(), 20u) << "bytes of the delta";
  EXPECT_TRUE(keeper.update(*ring_members(*whole.service(1), whole.candidates(1))));
  ASSERT_EQ(keeper.ring().members.size(), 1u);
  EXPECT_EQ(keeper.ring().members[0].csci_id, 3u);
  EXPECT_EQ(whole.candidates(1)[0].state, RowState::kActive) << "flows at site 2 stay";
}

TEST(Table2, site_publishes_the_draft_s_rows_once_and_then_only_changes) {
  SiteTable site;
  ASSERT_TRUE(site.replace({row("AR1", {1, 1}, 3, 4), row("TP1", {2, 2}, 6, 5), row("LB1", {4, 3}, 2, 7),
                            row("ST1", {3, 4}, 1, 2)})
                  .ok());
  DeltaSender sender(site, 1);
  DeltaReceiver receiver;
  const auto whole = sender.next();
  ASSERT_TRUE(whole && whole->has_snapshot());
  ASSERT_EQ(whole->snapshot().rows_size(), 4);
  ASSERT_TRUE(receiver.take(whole->snapshot()).ok());
  site.take_dirty();

  ASSERT_TRUE(site.apply({1, 1}, {.gas_change = 1}).ok());   // allocated resources: GAS+1
  ASSERT_TRUE(site.apply({2, 2}, {.gas_change = -1}).ok());  // freed resources: GAS-1
  ASSERT_TRUE(site.apply({4, 3}, {.cost = 6.5}).ok());       // price adjustment
  sender.mark(site.take_dirty());
  const auto delta = sender.next();
  ASSERT_TRUE(delta && delta->has_delta());
  EXPECT_EQ(delta->delta().changes_size(), 3);
  EXPECT_EQ(delta->delta().added_size(), 0);
  ASSERT_TRUE(receiver.take(delta->delta()).ok());
  EXPECT_EQ(receiver.rows().at({1, 1}).offered, 4u);
  EXPECT_EQ(receiver.rows().at({2, 2}).offered, 5u);
  EXPECT_EQ(receiver.rows().at({4, 3}).cost, 6.5);
}

TEST(Table2, raw_internals_of_a_site_have_no_place_on_the_wire) {
  EXPECT_THAT(fields(v1::Row::descriptor()), ElementsAre("handle", "cs_id", "csci_id", "offered", "in_use", "cost",
                                                         "access_delay_us", "egresses", "draining"))
      << "R032: no FLOPS, memory sizes or utilisation";
}

// Section 6, steps: request, match, reserve at the owner, GAS-1, service finished, GAS+1.
TEST_F(Figure1, request_is_matched_reserved_and_finished) {
  const Request request{.gas = 2, .cost = 4, .delay = milliseconds(10)};
  auto decision = select_for_request(*whole.service("AR1"), whole.candidates(1), request);
  ASSERT_TRUE(decision.ok() && decision->winner);
  const Candidate &chosen = decision->verdicts[*decision->winner].candidate;
  EXPECT_EQ(chosen.key.csci_id, 1u);
  EXPECT_EQ(chosen.cost, 4);                               // Real-Cost
  EXPECT_EQ(*chosen.real_delay(), Micros(1'000 + 2'100));  // Real-Delay = computing time + network delay

  const TimePoint now{seconds(100)};
  ASSERT_TRUE(site2.site.reserve(77, chosen.key, request.gas, seconds(60), now).ok());
  site2.advertise();
  EXPECT_EQ(whole.candidates(1)[0].gas, 1u);
  EXPECT_EQ(whole.candidates(1)[0].in_use, 2u);

  decision = select_for_request(*whole.service("AR1"), whole.candidates(1), request);
  EXPECT_EQ(decision->verdicts[*decision->winner].candidate.key.csci_id, 3u) << "the next one goes to site 3";
  EXPECT_EQ(decision->verdicts[1].reason, "free 1 < 2 asked");

  ASSERT_TRUE(site2.site.release(*site2.site.oldest_reservation({1, 1})));  // service-finished heartbeat
  site2.advertise();
  EXPECT_EQ(whole.candidates(1)[0].gas, 3u);
}

TEST_F(Figure1, request_that_site_2_is_too_dear_for_goes_to_the_closest_cost) {
  const auto decision = select_for_request(*whole.service("AR1"), whole.candidates(1), {.gas = 1, .cost = 5.5});
  EXPECT_EQ(decision->verdicts[*decision->winner].candidate.key.csci_id, 3u);
}

TEST_F(Figure1, request_beyond_any_instance_is_answered_without_success) {
  auto decision = select_for_request(*whole.service("ST1"), whole.candidates(3), {.gas = 2, .cost = 2});
  EXPECT_FALSE(decision->winner);
  decision = select_for_request(*whole.service("ST1"), whole.candidates(3), {.gas = 1, .cost = 2, .delay = seconds(1)});
  EXPECT_FALSE(decision->winner) << "1 s of computing and 5.1 ms of network";
  decision = select_for_request(*whole.service("LB1"), whole.candidates(4), {.gas = 1, .cost = 7});
  EXPECT_FALSE(decision->winner) << "catalogue only";
}

// Decision X2: two C-PSes select from the same table, the owner's ledger decides.
TEST_F(Figure1, last_slot_is_granted_once) {
  const TimePoint now{seconds(100)};
  EXPECT_TRUE(site3.site.reserve(1, {3, 4}, 1, seconds(60), now).ok());
  EXPECT_FALSE(site3.site.reserve(2, {3, 4}, 1, seconds(60), now).ok());
  EXPECT_EQ(site3.site.expire(now + seconds(60)).size(), 1u);  // X3: a lost heartbeat leaks nothing
  EXPECT_TRUE(site3.site.reserve(2, {3, 4}, 1, seconds(60), now + seconds(60)).ok());
}

TEST(Messages, request_response_and_acknowledgement_are_the_draft_s_tuples) {
  EXPECT_THAT(fields(v1::ServiceRequest::descriptor()), ElementsAre("service_id", "gas", "cost", "delay_ms", "lease_s"))
      << "R042, and how long";
  EXPECT_THAT(fields(v1::SelectionAnswer::descriptor()),
              ElementsAre("service_id", "csci_id", "gas", "real_cost", "real_delay_ms", "success"))
      << "R044";
  EXPECT_THAT(fields(v1::Acknowledgement::descriptor()),
              ElementsAre("service_id", "gas", "real_cost", "real_delay_ms", "success"))
      << "R045: the client is not told the CSCI-ID";
}

// R006-R012: nine columns of table 1.
TEST(Messages, service_has_the_nine_columns_of_table_1) {
  const auto *service = v1::Service::descriptor();
  for (const char *column : {"service_id", "service_name", "input", "service_description", "service_running_code",
                             "computing_requirement", "storage_requirement", "computing_time", "software_dependency"})
    EXPECT_NE(service->FindFieldByName(column), nullptr) << column;
}

}  // namespace
}  // namespace catsbpf::cmas
