// SPDX-License-Identifier: Apache-2.0
// Both ends of a delta session, joined without a transport.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmas/delta_session.h"

namespace catsbpf::cmas {

inline constexpr RowKey kAr1{1, 1};
inline constexpr RowKey kTp1{2, 2};
inline constexpr RowKey kSt1{3, 4};

inline SiteRow row(RowKey key, uint32_t gas, double cost) {
  return SiteRow{.row = {.key = key, .offered = gas, .cost = cost, .access_delay = Micros(150)}};
}

inline std::map<RowKey, Row> rows_of(const SiteTable &site) {
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

inline v1::Row wire_row(uint32_t handle, RowKey key) {
  v1::Row out;
  out.set_handle(handle);
  out.set_cs_id(key.cs_id);
  out.set_csci_id(key.csci_id);
  out.set_offered(3);
  out.set_cost(4);
  return out;
}

inline v1::Delta next_delta(const Pair &pair) {
  v1::Delta delta;
  delta.set_epoch(pair.receiver.epoch());
  delta.set_sequence(pair.receiver.sequence() + 1);
  return delta;
}

}  // namespace catsbpf::cmas
