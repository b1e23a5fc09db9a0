// SPDX-License-Identifier: Apache-2.0
// The C-SMA's end: what goes into a Snapshot, what into a Delta.
#include <limits>
#include <random>

#include "tests/unit/cmas_delta_fixture.h"

namespace catsbpf::cmas {
namespace {

using ::testing::ElementsAre;

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

TEST(DeltaSender, what_was_never_sent_cannot_be_acknowledged) {
  Pair pair;
  pair.sender.acknowledged(std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(pair.sender.acknowledged(), 0u);
  pair.sender.acknowledged(1);
  EXPECT_EQ(pair.sender.acknowledged(), 1u);
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
    rows.back().row.egresses.assign(kMaxEgresses, std::string(kMaxName, 'f'));
  }
  ASSERT_TRUE(site.replace(rows).ok());
  DeltaSender sender(site, std::numeric_limits<uint64_t>::max());
  EXPECT_LE(sender.next()->ByteSizeLong(), kMaxMessageBytes);
}

}  // namespace
}  // namespace catsbpf::cmas
