// SPDX-License-Identifier: Apache-2.0
// Both ends of a delta session, joined without a transport.
#include "cmas/delta_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace catsbpf::cmas {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr RowKey kAr1{1, 1};
constexpr RowKey kTp1{2, 2};
constexpr RowKey kSt1{3, 4};

SiteRow row(RowKey key, uint32_t gas, double cost) {
  return SiteRow{.row = {.key = key, .offered = gas, .cost = cost, .access_delay = Micros(150)}};
}

std::map<RowKey, Row> rows_of(const SiteTable &site) {
  std::map<RowKey, Row> rows;
  for (const auto &[key, site_row] : site.rows()) rows.emplace(key, site_row.row);
  return rows;
}

// A site and a C-PS with the session between them.
struct Pair {
  SiteTable site;
  DeltaSender sender{site, 7};
  DeltaReceiver receiver;
  DeltaReceiver::Change last;

  Pair() {
    EXPECT_TRUE(site.replace({row(kAr1, 3, 4), row(kTp1, 6, 5)}).ok());
    deliver();
  }
  std::optional<v1::Envelope> next() {
    sender.mark(site.take_dirty());
    return sender.next();
  }
  Result<> give(const v1::Envelope &envelope) {
    auto taken = envelope.has_snapshot() ? receiver.take(envelope.snapshot()) : receiver.take(envelope.delta());
    if (!taken.ok()) return taken.error();
    last = *taken;
    return done();
  }
  void deliver() {
    const auto envelope = next();
    ASSERT_TRUE(envelope);
    const auto given = give(*envelope);
    ASSERT_TRUE(given.ok()) << given.error().text();
  }
};

v1::Row wire_row(uint32_t handle, RowKey key) {
  v1::Row out;
  out.set_handle(handle);
  out.set_cs_id(key.cs_id);
  out.set_csci_id(key.csci_id);
  out.set_offered(3);
  out.set_cost(4);
  return out;
}

v1::Delta next_delta(const Pair &pair) {
  v1::Delta delta;
  delta.set_epoch(pair.receiver.epoch());
  delta.set_sequence(pair.receiver.sequence() + 1);
  return delta;
}

// ---- sending ----

TEST(DeltaSender, first_message_is_the_whole_table) {
  SiteTable site;
  ASSERT_TRUE(site.replace({row(kAr1, 3, 4), row(kTp1, 6, 5)}).ok());
  DeltaSender sender(site, 7);
  const auto envelope = sender.next();
  ASSERT_TRUE(envelope && envelope->has_snapshot());
  EXPECT_EQ(envelope->snapshot().epoch(), 7u);
  EXPECT_EQ(envelope->snapshot().sequence(), 1u);
  ASSERT_EQ(envelope->snapshot().rows_size(), 2);
  EXPECT_EQ(sender.row_of(envelope->snapshot().rows(0).handle()), kAr1);
  EXPECT_FALSE(sender.next());
}

TEST(DeltaSender, empty_table_is_a_snapshot_too) {
  SiteTable site;
  DeltaSender sender(site, 7);
  const auto envelope = sender.next();
  ASSERT_TRUE(envelope && envelope->has_snapshot());
  DeltaReceiver receiver;
  EXPECT_TRUE(receiver.take(envelope->snapshot()).ok());
  EXPECT_TRUE(receiver.synced());
}

TEST(DeltaSender, change_carries_only_what_changed) {
  Pair pair;
  ASSERT_TRUE(pair.site.apply(kAr1, {.gas = 0}).ok());
  const auto envelope = pair.next();
  ASSERT_TRUE(envelope && envelope->has_delta());
  ASSERT_EQ(envelope->delta().changes_size(), 1);
  const auto &change = envelope->delta().changes(0);
  EXPECT_TRUE(change.has_offered());
  EXPECT_EQ(change.offered(), 0u);
  EXPECT_FALSE(change.has_in_use() || change.has_cost() || change.has_exact_cost() || change.has_access_delay_us() ||
               change.has_draining() || change.removed());
}

TEST(DeltaSender, many_changes_coalesce_into_the_newest_value) {
  Pair pair;
  for (uint32_t gas = 10; gas <= 500; ++gas) {
    ASSERT_TRUE(pair.site.apply(kAr1, {.gas = gas}).ok());
    pair.sender.mark(pair.site.take_dirty());
  }
  const auto envelope = pair.next();
  ASSERT_EQ(envelope->delta().changes_size(), 1);
  EXPECT_EQ(envelope->delta().changes(0).offered(), 500u);
  EXPECT_EQ(envelope->delta().sequence(), 2u);
  EXPECT_FALSE(pair.next());
}

TEST(DeltaSender, change_that_was_taken_back_is_not_sent) {
  Pair pair;
  ASSERT_TRUE(pair.site.apply(kAr1, {.gas = 9}).ok());
  pair.sender.mark(pair.site.take_dirty());
  ASSERT_TRUE(pair.site.apply(kAr1, {.gas = 3}).ok());
  EXPECT_FALSE(pair.next());
  EXPECT_EQ(pair.sender.sequence(), 1u);
}

TEST(DeltaSender, row_that_came_and_went_unseen_is_not_sent) {
  Pair pair;
  ASSERT_TRUE(pair.site.replace({row(kAr1, 3, 4), row(kTp1, 6, 5), row(kSt1, 1, 2)}).ok());
  pair.sender.mark(pair.site.take_dirty());
  ASSERT_TRUE(pair.site.apply(kSt1, {.remove = true}).ok());
  EXPECT_FALSE(pair.next());
}

TEST(DeltaSender, handle_is_never_given_to_another_row) {
  Pair pair;
  std::map<uint32_t, RowKey> seen;
  const auto note = [&](uint32_t handle, RowKey key) {
    const auto [at, fresh] = seen.try_emplace(handle, key);
    EXPECT_TRUE(fresh || at->second == key) << handle;
  };
  std::mt19937 random(2);
  for (int step = 0; step < 400; ++step) {
    std::vector<SiteRow> rows;
    for (uint32_t id = 1; id <= 8; ++id)
      if (random() % 2) rows.push_back(row({1, id}, random() % 5, 1));
    ASSERT_TRUE(pair.site.replace(rows).ok());
    if (step % 37 == 0) pair.sender.restart();
    const auto envelope = pair.next();
    if (!envelope) continue;
    for (const auto &added : envelope->has_delta() ? envelope->delta().added() : envelope->snapshot().rows())
      note(added.handle(), {added.cs_id(), added.csci_id()});
  }
  EXPECT_GT(seen.size(), 8u);
}

TEST(DeltaSender, row_that_returns_gets_a_new_handle) {
  Pair pair;
  const auto old = *pair.receiver.handle_of(kAr1);
  ASSERT_TRUE(pair.site.apply(kAr1, {.remove = true}).ok());
  pair.deliver();
  EXPECT_FALSE(pair.sender.row_of(old));
  ASSERT_TRUE(pair.site.replace({row(kAr1, 3, 4), row(kTp1, 6, 5)}).ok());
  pair.deliver();
  EXPECT_NE(pair.receiver.handle_of(kAr1), old);
  EXPECT_EQ(pair.sender.row_of(*pair.receiver.handle_of(kAr1)), kAr1);
}

TEST(DeltaSender, rows_that_stay_keep_their_handle_over_a_resync) {
  Pair pair;
  const auto handle = *pair.receiver.handle_of(kTp1);
  pair.sender.restart();
  pair.deliver();
  EXPECT_EQ(pair.receiver.handle_of(kTp1), handle);
}

TEST(DeltaSender, changed_egresses_replace_the_row_without_removing_it) {
  Pair pair;
  SiteRow moved = row(kAr1, 3, 4);
  moved.row.egresses = {"f4"};
  ASSERT_TRUE(pair.site.replace({moved, row(kTp1, 6, 5)}).ok());
  pair.deliver();
  EXPECT_THAT(pair.last.changed, ElementsAre(kAr1));
  EXPECT_TRUE(pair.last.removed.empty());
  EXPECT_THAT(pair.receiver.rows().at(kAr1).egresses, ElementsAre("f4"));
}

TEST(DeltaSender, contact_of_an_instance_is_nobody_elses_business) {
  Pair pair;
  SiteRow moved = row(kAr1, 3, 4);
  moved.contact = "10.2.0.99";
  ASSERT_TRUE(pair.site.replace({moved, row(kTp1, 6, 5)}).ok());
  EXPECT_FALSE(pair.next());
}

TEST(DeltaSender, costs_arrive_to_the_last_bit) {
  Pair pair;
  for (const double cost : {0.1, 4.0, 1e-7, 1.0 / 3, 1e12, 0.0, 2.5}) {
    ASSERT_TRUE(pair.site.apply(kAr1, {.cost = cost}).ok());
    pair.deliver();
    EXPECT_EQ(pair.receiver.rows().at(kAr1).cost, cost);
  }
}

// R034, DESIGN section 6: the marginal bytes of one more changed row.
TEST(DeltaSender, changed_row_costs_at_most_32_bytes) {
  SiteTable site;
  std::vector<SiteRow> rows;
  for (uint32_t id = 1; id <= 1000; ++id) rows.push_back(row({id, 4'000'000'000u + id}, 1, 1));
  ASSERT_TRUE(site.replace(rows).ok());
  DeltaSender sender(site, std::numeric_limits<uint64_t>::max());
  (void)sender.next();
  site.take_dirty();
  // Handles as large as a session that lives for ever makes them: 2^28 and up take 5 bytes, no field more.
  const auto bytes = [&](uint32_t changed) {
    for (uint32_t id = 1; id <= changed; ++id) {
      const RowKey key{id, 4'000'000'000u + id};
      EXPECT_TRUE(site.apply(key, {.gas = kMaxGas - id,
                                   .cost = id + 1.0 / 3,
                                   .draining = true,
                                   .access_delay = kMaxAccessDelay - Micros(id)})
                      .ok());
    }
    sender.mark(site.take_dirty());
    auto envelope = sender.next();
    for (auto &change : *envelope->mutable_delta()->mutable_changes()) {
      change.set_handle(std::numeric_limits<uint32_t>::max());
      change.set_in_use(kMaxGas);
      EXPECT_TRUE(change.has_offered() && change.has_exact_cost() && change.has_access_delay_us() &&
                  change.has_draining());
    }
    const std::size_t size = envelope->ByteSizeLong();
    EXPECT_TRUE(site.replace(rows).ok());
    sender.mark(site.take_dirty());
    (void)sender.next();
    return size;
  };
  const double marginal = static_cast<double>(bytes(900) - bytes(600)) / 300;
  RecordProperty("worst_bytes_per_row", std::to_string(marginal));
  EXPECT_LE(marginal, 32);
}

TEST(DeltaSender, delta_of_one_gas_change_is_a_handful_of_bytes) {
  Pair pair;
  ASSERT_TRUE(pair.site.apply(kAr1, {.gas_change = 1}).ok());
  const std::size_t bytes = pair.next()->ByteSizeLong();
  RecordProperty("bytes", std::to_string(bytes));
  EXPECT_LE(bytes, 16u);
}

TEST(DeltaSender, largest_snapshot_fits_a_message) {
  SiteTable site;
  std::vector<SiteRow> rows;
  for (uint32_t id = 1; id <= kMaxRows; ++id) {
    rows.push_back(row({4'000'000'000u + id, 4'000'000'000u + id}, kMaxGas, 1.0 / 3));
    rows.back().row.access_delay = kMaxAccessDelay;
    rows.back().row.draining = true;
    rows.back().row.egresses.assign(kMaxEgresses, std::string(kMaxEgressName, 'f'));
  }
  ASSERT_TRUE(site.replace(rows).ok());
  DeltaSender sender(site, std::numeric_limits<uint64_t>::max());
  EXPECT_LE(sender.next()->ByteSizeLong(), kMaxMessageBytes);
}

// ---- receiving ----

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

TEST(DeltaReceiver, snapshot_of_an_older_life_is_refused_for_good) {
  Pair pair;
  v1::Snapshot old;
  old.set_epoch(6);
  old.set_sequence(99);
  EXPECT_FALSE(pair.receiver.take(old).ok());
  EXPECT_FALSE(pair.receiver.resync());
  EXPECT_EQ(pair.receiver.rows().size(), 2u);
  old.set_epoch(0);
  EXPECT_FALSE(pair.receiver.take(old).ok());
}

TEST(DeltaReceiver, snapshot_repeated_in_one_session_is_refused) {
  Pair pair;
  pair.sender.restart();
  const auto envelope = pair.next();
  ASSERT_TRUE(pair.give(*envelope).ok());
  EXPECT_FALSE(pair.give(*envelope).ok());
}

TEST(DeltaReceiver, restarted_origin_starts_again_with_a_newer_epoch) {
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
  refused([](v1::Snapshot &s) {
    for (uint32_t id = 2; id <= kMaxRows + 1; ++id) *s.add_rows() = wire_row(id, {9, id});
  });
}

// ---- both, over a network that loses whole messages ----

TEST(DeltaSession, receiver_equals_sender_after_any_loss_and_resync) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    SiteTable site;
    auto sender = std::make_unique<DeltaSender>(site, 1);
    DeltaReceiver receiver;
    uint64_t epoch = 1, reservation = 1;
    std::map<RowKey, Row> shadow;  // what the reported changes add up to

    const auto take = [&](const v1::Envelope &envelope) {
      v1::Envelope wire;  // as it comes off the wire
      ASSERT_TRUE(wire.ParseFromString(envelope.SerializeAsString()));
      const auto change = wire.has_snapshot() ? receiver.take(wire.snapshot()) : receiver.take(wire.delta());
      if (!change.ok()) {
        ASSERT_TRUE(receiver.resync()) << change.error().text();
        sender->restart();
        return;
      }
      for (const auto &key : change->removed) shadow.erase(key);
      for (const auto &key : change->changed) shadow[key] = receiver.rows().at(key);
    };
    const auto mutate = [&] {
      const RowKey key{1 + uint32_t(random()) % 3, 1 + uint32_t(random()) % 6};
      switch (random() % 10) {
        case 0: {
          std::vector<SiteRow> rows;
          for (uint32_t id = 0; id < 18; ++id)
            if (random() % 4) rows.push_back(row({1 + id / 6, 1 + id % 6}, random() % 9, random() % 5 / 3.0));
          for (auto &site_row : rows)
            if (random() % 3 == 0) site_row.row.egresses = {random() % 2 ? "f2" : "f3"};
          ASSERT_TRUE(site.replace(rows).ok());
          break;
        }
        case 1:
          (void)site.apply(key, {.remove = true});
          break;
        case 2:
        case 3:
          (void)site.apply(key, {.gas_change = static_cast<int32_t>(random() % 5) - 2});
          break;
        case 4:
          (void)site.apply(key, {.cost = random() % 7 / 7.0});
          break;
        case 5:
          (void)site.apply(key, {.draining = random() % 2 == 0});
          break;
        case 6:
          (void)site.apply(key, {.access_delay = Micros(random() % 2000)});
          break;
        case 7:
          (void)site.reserve(reservation++, key, 1, std::chrono::seconds(1), TimePoint{});
          break;
        default:
          site.release(1 + random() % reservation);
          break;
      }
    };
    for (int step = 0; step < 1500; ++step) {
      for (uint32_t changes = random() % 4; changes > 0; --changes) mutate();
      sender->mark(site.take_dirty());
      if (random() % 3 == 0) continue;  // busy: changes coalesce
      if (random() % 200 == 0) {        // the origin restarts, or only the session does
        if (random() % 2)
          sender = std::make_unique<DeltaSender>(site, ++epoch);
        else
          sender->restart();
        receiver.session_began();
      }
      if (const auto envelope = sender->next(); envelope && random() % 10 != 0) take(*envelope);  // 10 % are lost
      if (random() % 50 == 0) {
        v1::KeepAlive keep_alive;
        keep_alive.set_epoch(sender->epoch());
        keep_alive.set_sequence(sender->sequence());
        if (receiver.missing(keep_alive)) sender->restart();
      }
    }
    // Quiet: nothing is lost any more, a keep-alive finds a lost tail.
    for (int round = 0; round < 3; ++round) {
      while (const auto envelope = sender->next()) take(*envelope);
      v1::KeepAlive keep_alive;
      keep_alive.set_epoch(sender->epoch());
      keep_alive.set_sequence(sender->sequence());
      if (receiver.missing(keep_alive) || !receiver.synced()) sender->restart();
    }
    EXPECT_EQ(receiver.rows(), rows_of(site)) << "seed " << seed;
    EXPECT_EQ(shadow, receiver.rows()) << "seed " << seed;
    for (const auto &[key, site_row] : site.rows())
      EXPECT_EQ(sender->row_of(receiver.handle_of(key).value_or(0)), key) << "seed " << seed;
  }
}

TEST(DeltaSession, versions_agree_on_the_highest_that_both_speak) {
  v1::Open open;
  open.set_version(1);
  open.set_oldest_version(1);
  EXPECT_EQ(*agree_version(open), 1u);
  open.set_version(2);
  EXPECT_EQ(*agree_version(open), 1u) << "N and N-1 interoperate";
  open.set_version(3);
  open.set_oldest_version(2);
  const auto refused = agree_version(open);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().what, "no common protocol version: the peer speaks 2..3, we speak 1..1");
}

TEST(DeltaSession, versions_that_make_no_sense_are_refused) {
  v1::Open open;
  EXPECT_FALSE(agree_version(open).ok());
  open.set_version(1);
  EXPECT_FALSE(agree_version(open).ok());
  open.set_oldest_version(2);
  EXPECT_FALSE(agree_version(open).ok());
}

}  // namespace
}  // namespace catsbpf::cmas
