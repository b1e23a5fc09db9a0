// SPDX-License-Identifier: Apache-2.0
// Both ends over a network that loses whole messages; versions.
#include <random>

#include "tests/unit/cmas_delta_fixture.h"

namespace catsbpf::cmas {
namespace {

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
        case 1: (void)site.apply(key, {.remove = true}); break;
        case 2:
        case 3: (void)site.apply(key, {.gas_change = static_cast<int32_t>(random() % 5) - 2}); break;
        case 4: (void)site.apply(key, {.cost = random() % 7 / 7.0}); break;
        case 5: (void)site.apply(key, {.draining = random() % 2 == 0}); break;
        case 6: (void)site.apply(key, {.access_delay = Micros(random() % 2000)}); break;
        case 7: (void)site.reserve(reservation++, key, 1, std::chrono::seconds(1), TimePoint{}); break;
        default: site.release(1 + random() % reservation); break;
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
