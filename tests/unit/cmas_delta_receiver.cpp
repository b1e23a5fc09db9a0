// SPDX-License-Identifier: Apache-2.0
// The C-PS' end: what is taken, what asks for a resync, what is refused as a whole.
#include <cmath>
#include <limits>

#include "tests/unit/cmas_delta_fixture.h"

namespace catsbpf::cmas {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

TEST(DeltaReceiver, has_the_senders_rows) {
  Pair pair;
  EXPECT_EQ(pair.receiver.rows(), rows_of(pair.site));
  EXPECT_THAT(pair.last.changed, UnorderedElementsAre(kAr1, kTp1));
  ASSERT_TRUE(
      pair.site.apply(kAr1, {.gas_change = -1, .cost = 4.25, .draining = true, .access_delay = Micros(99)}).ok());
  ASSERT_TRUE(pair.site.apply(kTp1, {.remove = true}).ok());
  pair.deliver();
  EXPECT_EQ(pair.receiver.rows(), rows_of(pair.site));
  EXPECT_THAT(pair.last.changed, ElementsAre(kAr1));
  EXPECT_THAT(pair.last.removed, ElementsAre(kTp1));
}

TEST(DeltaReceiver, reservation_at_the_owner_arrives_as_in_use) {
  Pair pair;
  ASSERT_TRUE(pair.site.reserve(1, kAr1, 2, std::chrono::seconds(5), TimePoint{}).ok());
  pair.deliver();
  EXPECT_EQ(pair.receiver.rows().at(kAr1).in_use, 2u);
  EXPECT_EQ(pair.receiver.rows().at(kAr1).free(), 1u);
}

TEST(DeltaReceiver, gap_asks_for_one_resync_and_changes_nothing) {
  Pair pair;
  ASSERT_TRUE(pair.site.apply(kAr1, {.gas = 9}).ok());
  const auto lost = pair.next();
  ASSERT_TRUE(pair.site.apply(kTp1, {.gas = 9}).ok());
  const auto before = pair.receiver.rows();
  const auto refused = pair.give(*pair.next());
  ASSERT_FALSE(refused.ok());
  EXPECT_TRUE(pair.receiver.resync());
  EXPECT_FALSE(pair.receiver.synced());
  EXPECT_THAT(refused.error().what, HasSubstr("epoch 7 sequence 3 does not follow epoch 7 sequence 1"));
  EXPECT_EQ(pair.receiver.rows(), before);

  ASSERT_TRUE(pair.site.apply(kTp1, {.gas = 10}).ok());
  EXPECT_TRUE(pair.give(*pair.next()).ok()) << "still on its way: passed over";
  EXPECT_EQ(pair.receiver.rows(), before);
  pair.sender.restart();
  pair.deliver();
  EXPECT_TRUE(pair.receiver.synced());
  EXPECT_FALSE(pair.receiver.resync());
  EXPECT_EQ(pair.receiver.rows(), rows_of(pair.site));
  EXPECT_THAT(pair.last.changed, UnorderedElementsAre(kAr1, kTp1)) << "what was lost shows as changed";
}

TEST(DeltaReceiver, replayed_delta_is_not_taken_twice) {
  Pair pair;
  ASSERT_TRUE(pair.site.apply(kAr1, {.gas = 9}).ok());
  const auto envelope = pair.next();
  ASSERT_TRUE(pair.give(*envelope).ok());
  EXPECT_FALSE(pair.give(*envelope).ok());
}

TEST(DeltaReceiver, delta_of_a_foreign_epoch_asks_for_resync) {
  Pair pair;
  for (const uint64_t epoch : {6u, 8u, 0u}) {
    pair.receiver.session_began();
    pair.sender.restart();
    pair.deliver();
    auto delta = next_delta(pair);
    delta.set_epoch(epoch);
    EXPECT_FALSE(pair.receiver.take(delta).ok());
    EXPECT_TRUE(pair.receiver.resync()) << epoch;
  }
}

TEST(DeltaReceiver, delta_before_any_snapshot_asks_for_resync) {
  DeltaReceiver receiver;
  v1::Delta delta;
  delta.set_epoch(1);
  delta.set_sequence(1);
  EXPECT_FALSE(receiver.take(delta).ok());
  EXPECT_TRUE(receiver.resync());
}

TEST(DeltaReceiver, new_session_is_taken_whatever_the_epoch_of_the_one_before) {
  Pair pair;
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  v1::Snapshot snapshot;
  for (const auto &[epoch, sequence] : std::initializer_list<std::pair<uint64_t, uint64_t>>{
           {kLast, 1}, {8, 1}, {uint64_t{1} << 63, kLast}, {kLast, kLast}, {1, 2}, {1, 1}}) {
    pair.receiver.session_began();
    snapshot.set_epoch(epoch);
    snapshot.set_sequence(sequence);
    const auto taken = pair.receiver.take(snapshot);
    EXPECT_TRUE(taken.ok()) << taken.error().text();
    EXPECT_TRUE(pair.receiver.synced());
    EXPECT_EQ(pair.receiver.epoch(), epoch);
    EXPECT_FALSE(pair.receiver.take(snapshot).ok()) << "within the session it is not newer";
  }
}

TEST(DeltaReceiver, nothing_follows_the_last_sequence) {
  DeltaReceiver receiver;
  v1::Snapshot snapshot;
  snapshot.set_epoch(7);
  snapshot.set_sequence(std::numeric_limits<uint64_t>::max());
  ASSERT_TRUE(receiver.take(snapshot).ok());
  v1::Delta delta;
  delta.set_epoch(7);
  delta.set_sequence(0);
  EXPECT_FALSE(receiver.take(delta).ok());
  EXPECT_TRUE(receiver.resync());
}

TEST(DeltaReceiver, snapshot_without_epoch_or_sequence_is_refused) {
  DeltaReceiver receiver;
  v1::Snapshot snapshot;
  snapshot.set_epoch(7);
  EXPECT_THAT(receiver.take(snapshot).error().what, HasSubstr("epoch 7 sequence 0: both count from 1 up"));
  snapshot.set_epoch(0);
  snapshot.set_sequence(1);
  EXPECT_FALSE(receiver.take(snapshot).ok());
}

TEST(DeltaReceiver, snapshot_of_an_older_life_is_refused_within_a_session) {
  Pair pair;
  v1::Snapshot old;
  old.set_epoch(6);
  old.set_sequence(99);
  EXPECT_FALSE(pair.receiver.take(old).ok());
  EXPECT_FALSE(pair.receiver.resync());
  EXPECT_EQ(pair.receiver.rows().size(), 2u);
}

TEST(DeltaReceiver, snapshot_repeated_in_one_session_is_refused) {
  Pair pair;
  pair.sender.restart();
  const auto envelope = pair.next();
  ASSERT_TRUE(pair.give(*envelope).ok());
  EXPECT_FALSE(pair.give(*envelope).ok());
}

TEST(DeltaReceiver, restarted_origin_starts_again_with_its_snapshot) {
  Pair pair;
  SiteTable reborn;
  ASSERT_TRUE(reborn.replace({row(kAr1, 1, 4)}).ok());
  DeltaSender sender(reborn, 8);
  pair.receiver.session_began();
  EXPECT_EQ(pair.receiver.rows().size(), 2u) << "rows stay until the snapshot";
  ASSERT_TRUE(pair.give(*sender.next()).ok());
  EXPECT_EQ(pair.receiver.rows(), rows_of(reborn));
  EXPECT_THAT(pair.last.removed, ElementsAre(kTp1));
}

TEST(DeltaReceiver, new_session_of_the_same_life_may_count_anew) {
  Pair pair;
  ASSERT_TRUE(pair.site.apply(kAr1, {.gas = 9}).ok());
  pair.deliver();
  DeltaSender fresh(pair.site, 7);
  pair.receiver.session_began();
  ASSERT_TRUE(pair.give(*fresh.next()).ok());
  EXPECT_TRUE(pair.last.changed.empty() && pair.last.removed.empty()) << "nothing that selection need know";
  EXPECT_EQ(pair.receiver.sequence(), 1u);
}

TEST(DeltaReceiver, keep_alive_tells_of_a_lost_tail_once) {
  Pair pair;
  v1::KeepAlive keep_alive;
  keep_alive.set_epoch(7);
  keep_alive.set_sequence(1);
  EXPECT_FALSE(pair.receiver.missing(keep_alive));
  keep_alive.set_sequence(2);
  EXPECT_TRUE(pair.receiver.missing(keep_alive));
  EXPECT_FALSE(pair.receiver.missing(keep_alive)) << "a resync is asked for already";
  DeltaReceiver fresh;
  EXPECT_FALSE(fresh.missing(keep_alive)) << "its snapshot is still to come";
}

template <class Break>
void expect_broken(Break &&break_it, const std::string &why) {
  Pair pair;
  auto delta = next_delta(pair);
  auto &good = *delta.add_changes();
  good.set_handle(*pair.receiver.handle_of(kTp1));
  good.set_offered(1);
  break_it(delta, pair);
  const auto before = pair.receiver.rows();
  const auto taken = pair.receiver.take(delta);
  ASSERT_FALSE(taken.ok()) << why;
  EXPECT_THAT(taken.error().what, HasSubstr(why));
  EXPECT_FALSE(pair.receiver.resync()) << "the peer is broken, a resync would not help";
  EXPECT_EQ(pair.receiver.rows(), before) << "all or nothing";
  EXPECT_EQ(pair.receiver.sequence(), 1u);
}

TEST(DeltaReceiver, unknown_handle_is_refused) {
  expect_broken([](v1::Delta &delta, Pair &) { delta.add_changes()->set_handle(99); }, "handle 99 is unknown");
  expect_broken([](v1::Delta &delta, Pair &) { delta.add_changes(); }, "handle 0 is unknown");
}

TEST(DeltaReceiver, handle_twice_in_a_delta_is_refused) {
  expect_broken([](v1::Delta &delta, Pair &) { *delta.add_changes() = delta.changes(0); }, "is in it twice");
  expect_broken(
      [](v1::Delta &delta, Pair &) {
        *delta.add_changes() = delta.changes(0);
        delta.mutable_changes(1)->set_removed(true);
      },
      "is in it twice");
}

TEST(DeltaReceiver, added_row_under_a_used_handle_is_refused) {
  expect_broken(
      [](v1::Delta &delta, Pair &pair) { *delta.add_added() = wire_row(*pair.receiver.handle_of(kAr1), kSt1); },
      "names another row already");
  expect_broken([](v1::Delta &delta, Pair &) { *delta.add_added() = wire_row(0, kSt1); }, "handle 0");
  expect_broken(
      [](v1::Delta &delta, Pair &) {
        *delta.add_added() = wire_row(50, kSt1);
        *delta.add_added() = wire_row(50, {3, 5});
      },
      "handle 50");
}

TEST(DeltaReceiver, added_row_that_is_there_already_is_refused) {
  expect_broken([](v1::Delta &delta, Pair &) { *delta.add_added() = wire_row(50, kAr1); }, "is there already");
  expect_broken(
      [](v1::Delta &delta, Pair &) {
        *delta.add_added() = wire_row(50, kSt1);
        *delta.add_added() = wire_row(51, kSt1);
      },
      "is in it twice");
}

TEST(DeltaReceiver, ids_of_0_are_refused) {
  expect_broken(
      [](v1::Delta &delta, Pair &) {
        *delta.add_added() = wire_row(50, {0, 1});
      },
      "ids are numbers from 1 up");
  expect_broken(
      [](v1::Delta &delta, Pair &) {
        *delta.add_added() = wire_row(50, {1, 0});
      },
      "ids are numbers from 1 up");
}

TEST(DeltaReceiver, absurd_numbers_are_refused) {
  const auto with = [](auto &&set) {
    return [set](v1::Delta &delta, Pair &pair) {
      auto &change = *delta.add_changes();
      change.set_handle(*pair.receiver.handle_of(kAr1));
      set(change);
    };
  };
  const float infinity = std::numeric_limits<float>::infinity();
  expect_broken(with([](v1::RowChange &c) { c.set_offered(kMaxGas + 1); }), "gas 1000001");
  expect_broken(with([](v1::RowChange &c) { c.set_in_use(4'000'000'000); }), "in use 4000000000");
  expect_broken(with([](v1::RowChange &c) { c.set_cost(-1); }), "cost -1");
  expect_broken(with([](v1::RowChange &c) { c.set_cost(std::nanf("")); }), "cost nan");
  expect_broken(with([&](v1::RowChange &c) { c.set_cost(infinity); }), "cost inf");
  expect_broken(with([](v1::RowChange &c) { c.set_exact_cost(-1e-9); }), "cost -0");
  expect_broken(with([](v1::RowChange &c) { c.set_exact_cost(1e300); }), "cost 1");
  expect_broken(with([](v1::RowChange &c) { c.set_access_delay_us(60'000'001); }), "access delay 60000001 us");
}

TEST(DeltaReceiver, absurd_snapshot_changes_nothing) {
  Pair pair;
  const auto refused = [&](auto &&break_it) {
    v1::Snapshot snapshot;
    snapshot.set_epoch(7);
    snapshot.set_sequence(2);
    *snapshot.add_rows() = wire_row(1, kAr1);
    break_it(snapshot);
    const auto before = pair.receiver.rows();
    EXPECT_FALSE(pair.receiver.take(snapshot).ok());
    EXPECT_FALSE(pair.receiver.resync());
    EXPECT_EQ(pair.receiver.rows(), before);
    EXPECT_EQ(pair.receiver.sequence(), 1u);
  };
  refused([](v1::Snapshot &s) { *s.add_rows() = wire_row(2, kAr1); });
  refused([](v1::Snapshot &s) { *s.add_rows() = wire_row(1, kTp1); });
  refused([](v1::Snapshot &s) { *s.add_rows() = wire_row(0, kTp1); });
  refused([](v1::Snapshot &s) { s.mutable_rows(0)->set_cost(std::nan("")); });
  refused([](v1::Snapshot &s) { s.mutable_rows(0)->set_csci_id(0); });
  refused([](v1::Snapshot &s) { s.mutable_rows(0)->set_offered(kMaxGas + 1); });
  refused([](v1::Snapshot &s) { s.mutable_rows(0)->add_egresses(""); });
  refused([](v1::Snapshot &s) { s.mutable_rows(0)->add_egresses("f 2"); });
  refused([](v1::Snapshot &s) {
    for (uint32_t id = 2; id <= kMaxRows + 1; ++id) *s.add_rows() = wire_row(id, {9, id});
  });
}

TEST(DeltaReceiver, message_whose_rows_are_not_put_changes_nothing) {
  Pair pair;
  std::vector<RowKey> named;
  const DeltaReceiver::Put refuse = [&](const std::vector<Row> &rows) -> Result<> {
    named.clear();
    for (const auto &row : rows) named.push_back(row.key);
    return Error{"not this one"};
  };
  const auto before = pair.receiver.rows();
  auto delta = next_delta(pair);
  delta.add_changes()->set_handle(*pair.receiver.handle_of(kTp1));
  delta.mutable_changes(0)->set_removed(true);
  delta.add_changes()->set_handle(*pair.receiver.handle_of(kAr1));
  *delta.add_added() = wire_row(50, kSt1);
  EXPECT_EQ(pair.receiver.take(delta, refuse).error().what, "not this one");
  EXPECT_THAT(named, ElementsAre(kAr1, kSt1));
  EXPECT_EQ(pair.receiver.rows(), before);
  EXPECT_FALSE(pair.receiver.handle_of(kSt1));
  EXPECT_TRUE(pair.receiver.take(delta).ok()) << "it is as if it had not come";

  v1::Snapshot snapshot;
  snapshot.set_epoch(8);
  snapshot.set_sequence(1);
  *snapshot.add_rows() = wire_row(1, kTp1);
  const auto rows = pair.receiver.rows();
  EXPECT_FALSE(pair.receiver.take(snapshot, refuse).ok());
  EXPECT_THAT(named, ElementsAre(kTp1));
  EXPECT_EQ(pair.receiver.rows(), rows);
  EXPECT_EQ(pair.receiver.epoch(), 7u);
  EXPECT_FALSE(pair.receiver.resync());
}

}  // namespace
}  // namespace catsbpf::cmas
