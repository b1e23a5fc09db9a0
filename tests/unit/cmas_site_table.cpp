// SPDX-License-Identifier: Apache-2.0
// A site's table and its ledger.
#include "cmas/site_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace catsbpf::cmas {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr RowKey kAr1{1, 1};
constexpr RowKey kTp1{2, 2};
const TimePoint kStart{std::chrono::hours(1)};

SiteRow row(RowKey key, uint32_t gas, double cost) {
  return SiteRow{.row = {.key = key, .offered = gas, .cost = cost}, .service_id = "S" + std::to_string(key.cs_id)};
}

SiteTable table() {
  SiteTable out;
  EXPECT_TRUE(out.replace({row(kAr1, 3, 4), row(kTp1, 6, 5)}).ok());
  out.take_dirty();
  return out;
}

const Row &at(const SiteTable &table, RowKey key) { return table.rows().at(key).row; }

// ---- rows ----

TEST(SiteTable, whole_table_marks_all_new_rows) {
  SiteTable site;
  ASSERT_TRUE(site.replace({row(kAr1, 3, 4), row(kTp1, 6, 5)}).ok());
  const auto dirty = site.take_dirty();
  EXPECT_THAT(dirty.changed, UnorderedElementsAre(kAr1, kTp1));
  EXPECT_TRUE(dirty.removed.empty());
  EXPECT_TRUE(site.take_dirty().empty());
}

TEST(SiteTable, whole_table_marks_only_what_differs) {
  SiteTable site = table();
  ASSERT_TRUE(site.replace({row(kAr1, 3, 4), row({3, 4}, 1, 2)}).ok());
  const auto dirty = site.take_dirty();
  EXPECT_THAT(dirty.changed, UnorderedElementsAre(RowKey{3, 4}));
  EXPECT_THAT(dirty.removed, UnorderedElementsAre(kTp1));
}

TEST(SiteTable, whole_table_keeps_reservations_of_rows_that_stay) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 2, seconds(9), kStart).ok());
  SiteRow next = row(kAr1, 5, 4);
  next.row.in_use = 77;  // not the site's to say
  ASSERT_TRUE(site.replace({next}).ok());
  EXPECT_EQ(at(site, kAr1).in_use, 2u);
  EXPECT_EQ(at(site, kAr1).free(), 3u);
}

TEST(SiteTable, reservation_outlives_its_row_and_counts_when_the_row_returns) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 2, seconds(9), kStart).ok());
  ASSERT_TRUE(site.apply(kAr1, {.remove = true}).ok());
  EXPECT_EQ(site.ledger().size(), 1u);
  ASSERT_TRUE(site.replace({row(kAr1, 3, 4)}).ok());
  EXPECT_EQ(at(site, kAr1).in_use, 2u);
  EXPECT_TRUE(site.release(1));
  EXPECT_EQ(at(site, kAr1).in_use, 0u);
}

TEST(SiteTable, refused_table_changes_nothing) {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::vector<SiteRow>> bad = {
      {row(kAr1, 1, 1), row(kAr1, 2, 2)},  // twice
      {row({0, 1}, 1, 1)},
      {row({1, 0}, 1, 1)},
      {row(kAr1, 1, -0.01)},
      {row(kAr1, 1, std::nan(""))},
      {row(kAr1, 1, infinity)},
      {row(kAr1, 1, 1e13)},
      {row(kAr1, kMaxGas + 1, 1)},
      {row(kTp1, 1, 1), row(kAr1, 1, -1)},  // one good, one bad
      std::vector<SiteRow>(kMaxRows + 1),
  };
  for (std::size_t b = 0; b < bad.size(); ++b) {
    SiteTable site = table();
    EXPECT_FALSE(site.replace(bad[b]).ok()) << b;
    EXPECT_EQ(site.rows(), table().rows()) << b;
    EXPECT_TRUE(site.take_dirty().empty()) << b;
  }
}

TEST(SiteTable, absurd_delay_and_egresses_are_refused) {
  SiteTable site;
  SiteRow bad = row(kAr1, 1, 1);
  bad.row.access_delay = seconds(61);
  EXPECT_FALSE(site.replace({bad}).ok());
  bad.row.access_delay = Micros(-1);
  EXPECT_FALSE(site.replace({bad}).ok());
  bad = row(kAr1, 1, 1);
  bad.row.egresses = {"f1", "f2", "f3", "f4", "f5"};
  EXPECT_FALSE(site.replace({bad}).ok());
  bad.row.egresses = {""};
  EXPECT_FALSE(site.replace({bad}).ok());
  bad.row.egresses = {std::string(64, 'f')};
  EXPECT_FALSE(site.replace({bad}).ok());
  bad.row.egresses = {std::string(63, 'f')};
  EXPECT_TRUE(site.replace({bad}).ok());
}

TEST(SiteTable, errors_name_the_row_and_the_field) {
  SiteTable site;
  EXPECT_EQ(site.replace({row({7, 9}, kMaxGas + 1, 1)}).error().what,
            "cannot take CSCI-ID 9 of CS-ID 7: gas 1000001 is outside 0..1000000");
  EXPECT_THAT(site.replace({row({7, 9}, 1, -2)}).error().what, HasSubstr("CSCI-ID 9 of CS-ID 7: cost"));
  EXPECT_EQ(site.apply({7, 9}, {}).error().text(),
            "cannot change CSCI-ID 9 of CS-ID 7: no such row\nhint: put the whole table first");
}

TEST(SiteTable, allocating_raises_and_freeing_lowers_gas) {
  SiteTable site = table();
  ASSERT_TRUE(site.apply(kAr1, {.gas_change = 1}).ok());
  EXPECT_EQ(at(site, kAr1).offered, 4u);
  ASSERT_TRUE(site.apply(kAr1, {.gas_change = -4}).ok());
  EXPECT_EQ(at(site, kAr1).offered, 0u);
  EXPECT_THAT(site.take_dirty().changed, UnorderedElementsAre(kAr1));
}

TEST(SiteTable, gas_never_falls_below_0_nor_beyond_the_bound) {
  SiteTable site = table();
  EXPECT_EQ(site.apply(kAr1, {.gas_change = -4}).error().what,
            "cannot change CSCI-ID 1 of CS-ID 1: gas 3 cannot change by -4");
  EXPECT_FALSE(site.apply(kAr1, {.gas_change = std::numeric_limits<int32_t>::min()}).ok());
  EXPECT_FALSE(site.apply(kAr1, {.gas_change = std::numeric_limits<int32_t>::max()}).ok());
  EXPECT_FALSE(site.apply(kAr1, {.gas = kMaxGas + 1}).ok());
  EXPECT_EQ(at(site, kAr1).offered, 3u);
  EXPECT_TRUE(site.take_dirty().empty());
  EXPECT_TRUE(site.apply(kAr1, {.gas = kMaxGas}).ok());
}

TEST(SiteTable, gas_and_gas_change_exclude_each_other) {
  SiteTable site = table();
  EXPECT_FALSE(site.apply(kAr1, {.gas_change = 1, .gas = 9}).ok());
}

TEST(SiteTable, change_with_one_bad_part_changes_nothing) {
  SiteTable site = table();
  EXPECT_FALSE(site.apply(kAr1, {.gas = 9, .cost = std::nan("")}).ok());
  EXPECT_EQ(at(site, kAr1).offered, 3u);
  EXPECT_FALSE(site.apply(kAr1, {.cost = 3, .access_delay = Micros(-5)}).ok());
  EXPECT_EQ(at(site, kAr1).cost, 4);
}

TEST(SiteTable, change_to_the_same_value_is_no_change) {
  SiteTable site = table();
  ASSERT_TRUE(site.apply(kAr1, {.gas = 3, .cost = 4, .draining = false}).ok());
  EXPECT_TRUE(site.take_dirty().empty());
}

TEST(SiteTable, removed_row_that_returns_is_changed_not_removed) {
  SiteTable site = table();
  ASSERT_TRUE(site.apply(kAr1, {.remove = true}).ok());
  ASSERT_TRUE(site.replace({row(kAr1, 1, 1), row(kTp1, 6, 5)}).ok());
  const auto dirty = site.take_dirty();
  EXPECT_THAT(dirty.changed, UnorderedElementsAre(kAr1));
  EXPECT_TRUE(dirty.removed.empty());
}

// ---- ledger ----

TEST(Ledger, grants_while_slots_are_free_and_then_refuses_with_figures) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 2, seconds(9), kStart).ok());
  EXPECT_EQ(at(site, kAr1).in_use, 2u);
  EXPECT_EQ(site.reserve(2, kAr1, 2, seconds(9), kStart).error().what,
            "cannot reserve at CSCI-ID 1 of CS-ID 1: free 1 < 2 asked");
  EXPECT_TRUE(site.reserve(3, kAr1, 1, seconds(9), kStart).ok());
  EXPECT_EQ(at(site, kAr1).free(), 0u);
}

TEST(Ledger, reserving_marks_the_row_for_the_next_delta) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 1, seconds(9), kStart).ok());
  EXPECT_THAT(site.take_dirty().changed, UnorderedElementsAre(kAr1));
  ASSERT_TRUE(site.renew(1, seconds(20), kStart).ok());
  EXPECT_TRUE(site.take_dirty().empty()) << "a lease is nobody else's business";
  ASSERT_TRUE(site.release(1));
  EXPECT_THAT(site.take_dirty().changed, UnorderedElementsAre(kAr1));
}

TEST(Ledger, same_reservation_again_renews_and_takes_no_more) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 3, seconds(5), kStart).ok());
  ASSERT_TRUE(site.reserve(1, kAr1, 3, seconds(5), kStart + seconds(3)).ok());
  EXPECT_EQ(at(site, kAr1).in_use, 3u);
  EXPECT_TRUE(site.expire(kStart + seconds(5)).empty());
  EXPECT_EQ(site.expire(kStart + seconds(8)).size(), 1u);
}

TEST(Ledger, reservation_number_stands_for_one_thing_only) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 1, seconds(5), kStart).ok());
  EXPECT_FALSE(site.reserve(1, kAr1, 2, seconds(5), kStart).ok());
  EXPECT_FALSE(site.reserve(1, kTp1, 1, seconds(5), kStart).ok());
  EXPECT_EQ(at(site, kTp1).in_use, 0u);
}

TEST(Ledger, draining_and_unknown_rows_grant_nothing) {
  SiteTable site = table();
  ASSERT_TRUE(site.apply(kAr1, {.draining = true}).ok());
  EXPECT_THAT(site.reserve(1, kAr1, 1, seconds(5), kStart).error().what, HasSubstr("the instance drains"));
  EXPECT_THAT(site.reserve(2, {9, 9}, 1, seconds(5), kStart).error().what, HasSubstr("no such row"));
}

TEST(Ledger, nothing_for_no_time_or_without_number_is_refused) {
  SiteTable site = table();
  EXPECT_FALSE(site.reserve(0, kAr1, 1, seconds(5), kStart).ok());
  EXPECT_FALSE(site.reserve(1, kAr1, 0, seconds(5), kStart).ok());
  EXPECT_FALSE(site.reserve(1, kAr1, 1, seconds(0), kStart).ok());
  EXPECT_FALSE(site.reserve(1, kAr1, 1, seconds(-1), kStart).ok());
  EXPECT_TRUE(site.ledger().empty());
}

TEST(Ledger, lease_beyond_reason_does_not_overflow_the_clock) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 1, milliseconds::max(), kStart).ok());
  EXPECT_GT(*site.next_expiry(), kStart);
  EXPECT_TRUE(site.expire(kStart + std::chrono::hours(24)).empty());
}

TEST(Ledger, finished_gives_the_slots_back_once) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 2, seconds(5), kStart).ok());
  EXPECT_TRUE(site.release(1));
  EXPECT_FALSE(site.release(1)) << "a heartbeat that comes twice";
  EXPECT_FALSE(site.release(99));
  EXPECT_EQ(at(site, kAr1).in_use, 0u);
  EXPECT_FALSE(site.next_expiry());
}

TEST(Ledger, leases_end_in_order_and_give_their_slots_back) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(10, kAr1, 1, seconds(8), kStart).ok());
  ASSERT_TRUE(site.reserve(11, kTp1, 4, seconds(2), kStart).ok());
  ASSERT_TRUE(site.reserve(12, kAr1, 2, seconds(5), kStart).ok());
  EXPECT_EQ(site.next_expiry(), kStart + seconds(2));
  EXPECT_TRUE(site.expire(kStart + seconds(2) - milliseconds(1)).empty());
  const auto ended = site.expire(kStart + seconds(5));
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(ended[0].reservation, 11u);
  EXPECT_EQ(ended[1].reservation, 12u);
  EXPECT_EQ(ended[0].key, kTp1);
  EXPECT_EQ(ended[0].gas, 4u);
  EXPECT_EQ(at(site, kAr1).in_use, 1u);
  EXPECT_EQ(at(site, kTp1).in_use, 0u);
  EXPECT_EQ(site.next_expiry(), kStart + seconds(8));
}

TEST(Ledger, renewal_prolongs_and_never_shortens) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 1, seconds(10), kStart).ok());
  ASSERT_TRUE(site.renew(1, seconds(2), kStart).ok());
  EXPECT_EQ(site.next_expiry(), kStart + seconds(10));
  ASSERT_TRUE(site.renew(1, seconds(10), kStart + seconds(5)).ok());
  EXPECT_EQ(site.next_expiry(), kStart + seconds(15));
  EXPECT_FALSE(site.renew(1, seconds(0), kStart).ok());
  EXPECT_THAT(site.renew(2, seconds(1), kStart).error().what, HasSubstr("reservation 2"));
}

TEST(Ledger, site_may_shrink_below_what_is_in_use_and_then_nothing_is_free) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kAr1, 3, seconds(9), kStart).ok());
  ASSERT_TRUE(site.apply(kAr1, {.gas = 1}).ok());
  EXPECT_EQ(at(site, kAr1).free(), 0u);
  EXPECT_FALSE(site.reserve(2, kAr1, 1, seconds(9), kStart).ok());
  ASSERT_TRUE(site.release(1));
  EXPECT_EQ(at(site, kAr1).free(), 1u);
}

TEST(Ledger, heartbeat_without_number_ends_the_oldest_of_that_instance) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(900, kAr1, 1, seconds(9), kStart).ok());
  ASSERT_TRUE(site.reserve(5, kAr1, 1, seconds(1), kStart).ok());
  ASSERT_TRUE(site.reserve(1, kTp1, 1, seconds(9), kStart).ok());
  EXPECT_EQ(site.oldest_reservation(kAr1), 900u) << "by time of grant, neither by number nor by lease";
  site.release(900);
  EXPECT_EQ(site.oldest_reservation(kAr1), 5u);
  site.release(5);
  EXPECT_FALSE(site.oldest_reservation(kAr1));
}

TEST(Ledger, restored_reservations_count_even_beyond_the_offer_and_before_their_row) {
  SiteTable site;
  site.restore({.reservation = 7, .key = kAr1, .gas = 5, .expires = kStart + seconds(4)});
  site.restore({.reservation = 7, .key = kAr1, .gas = 5, .expires = kStart + seconds(4)});
  ASSERT_TRUE(site.replace({row(kAr1, 3, 4)}).ok());
  EXPECT_EQ(at(site, kAr1).in_use, 5u);
  EXPECT_EQ(at(site, kAr1).free(), 0u);
  EXPECT_EQ(site.expire(kStart + seconds(4)).size(), 1u);
  EXPECT_EQ(at(site, kAr1).free(), 3u);
}

// Decision X1-X3 as a property: in use <= offered unless the site shrank, and every slot comes back.
TEST(Ledger, random_life_keeps_the_invariant_and_leaks_nothing) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    SiteTable site = table();
    TimePoint now = kStart;
    uint64_t next = 1;
    for (int step = 0; step < 2000; ++step) {
      now += milliseconds(random() % 200);
      const RowKey key = random() % 2 ? kAr1 : kTp1;
      switch (random() % 8) {
        case 0:
        case 1:
        case 2:
          if (site.reserve(next++, key, 1 + random() % 3, milliseconds(1 + random() % 3000), now).ok()) {
            EXPECT_LE(at(site, key).in_use, at(site, key).offered);
          }
          break;
        case 3: site.release(1 + random() % next); break;
        case 4: (void)site.renew(1 + random() % next, milliseconds(random() % 3000), now); break;
        case 5: site.expire(now); break;
        case 6: (void)site.apply(key, {.gas_change = static_cast<int32_t>(random() % 5) - 2}); break;
        case 7:
          if (random() % 20 == 0) (void)site.apply(key, {.remove = true});
          if (random() % 10 == 0) (void)site.replace({row(kAr1, 4, 4), row(kTp1, 6, 5)});
          break;
      }
      std::map<RowKey, uint32_t> held;
      for (const auto &[id, entry] : site.ledger()) held[entry.key] += entry.gas;
      for (const auto &[row_key, site_row] : site.rows()) EXPECT_EQ(site_row.row.in_use, held[row_key]);
    }
    site.expire(now + std::chrono::hours(1));
    EXPECT_TRUE(site.ledger().empty());
    EXPECT_FALSE(site.next_expiry());
    for (const auto &[key, site_row] : site.rows()) EXPECT_EQ(site_row.row.in_use, 0u);
  }
}

TEST(SiteTable, what_a_holder_does_not_name_is_released_and_what_is_not_held_is_named) {
  SiteTable site = table();
  ASSERT_TRUE(site.reserve(1, kTp1, 1, seconds(9), kStart, "f1").ok());
  ASSERT_TRUE(site.reserve(2, kTp1, 2, seconds(9), kStart, "f1").ok());
  ASSERT_TRUE(site.reserve(3, kTp1, 1, seconds(9), kStart, "f8").ok());
  ASSERT_TRUE(site.reserve(4, kTp1, 1, seconds(9), kStart).ok());
  const auto found = site.reconcile("f1", {1, 77});
  EXPECT_EQ(found.released, std::vector<uint64_t>{2});
  EXPECT_EQ(found.unknown, std::vector<uint64_t>{77});
  EXPECT_EQ(at(site, kTp1).in_use, 3u);
  EXPECT_TRUE(site.ledger().contains(1) && site.ledger().contains(3) && site.ledger().contains(4));
}

}  // namespace
}  // namespace catsbpf::cmas
