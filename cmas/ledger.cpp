// SPDX-License-Identifier: Apache-2.0
// The ledger of a site's rows: who holds how many slots until when (decisions X2, X3). Only this file
// changes in-use counts.
#include "cmas/site_table.h"

namespace catsbpf::cmas {

namespace {

// A lease beyond this is as good as for ever, and adding more could overflow the clock.
constexpr std::chrono::milliseconds kMaxLease = std::chrono::hours(24 * 365);

Error refused(const RowKey &key, const std::string &why, std::string hint) {
  return Error{"cannot reserve at " + text(key) + ": " + why, std::move(hint)};
}

}  // namespace

Result<> SiteTable::reserve(uint64_t reservation, const RowKey &key, uint32_t gas, std::chrono::milliseconds lease,
                            TimePoint now, const std::string &holder) {
  if (reservation == 0 || gas == 0 || lease <= std::chrono::milliseconds(0))
    return refused(key, "reservation, gas and lease are numbers from 1 up", "send all three");
  if (auto held = ledger_.find(reservation); held != ledger_.end()) {
    if (held->second.key != key || held->second.gas != gas)
      return refused(key,
                     "reservation " + std::to_string(reservation) + " already stands for " +
                         std::to_string(held->second.gas) + " at " + text(held->second.key),
                     "a reservation number is used once");
    extend(held->second, lease, now);
    return done();
  }
  const auto row = rows_.find(key);
  if (row == rows_.end()) return refused(key, "no such row", "select again from the current table");
  if (row->second.row.draining) return refused(key, "the instance drains", "select another instance");
  if (withheld(key)) return refused(key, "its egress cannot deliver to it", "select another instance");
  if (row->second.row.free() < gas)
    return refused(key, "free " + std::to_string(row->second.row.free()) + " < " + std::to_string(gas) + " asked",
                   "select another instance");
  add({.reservation = reservation,
       .key = key,
       .gas = gas,
       .expires = now + std::min(lease, kMaxLease),
       .holder = holder});
  return done();
}

Result<> SiteTable::renew(uint64_t reservation, std::chrono::milliseconds lease, TimePoint now) {
  const auto held = ledger_.find(reservation);
  if (held == ledger_.end())
    return Error{"cannot renew reservation " + std::to_string(reservation) + ": it is unknown or has ended",
                 "send a new request"};
  if (lease <= std::chrono::milliseconds(0))
    return Error{"cannot renew reservation " + std::to_string(reservation) + ": lease of 0", "release it instead"};
  extend(held->second, lease, now);
  return done();
}

bool SiteTable::release(uint64_t reservation) {
  const auto held = ledger_.find(reservation);
  if (held == ledger_.end()) return false;
  const LedgerEntry entry = held->second;
  leases_.erase({entry.expires, reservation});
  ledger_.erase(held);
  count_in_use(entry.key, -int64_t{entry.gas});
  return true;
}

SiteTable::Differences SiteTable::reconcile(const std::string &holder, const std::set<uint64_t> &held) {
  Differences found;
  for (const auto &[reservation, entry] : ledger_)
    if (entry.holder == holder && !held.contains(reservation)) found.released.push_back(reservation);
  for (const uint64_t reservation : found.released) release(reservation);
  for (const uint64_t reservation : held)
    if (!ledger_.contains(reservation)) found.unknown.push_back(reservation);
  return found;
}

std::optional<uint64_t> SiteTable::oldest_reservation(const RowKey &key) const {
  const LedgerEntry *oldest = nullptr;
  for (const auto &[reservation, entry] : ledger_)
    if (entry.key == key && (!oldest || entry.order < oldest->order)) oldest = &entry;
  return oldest ? std::optional(oldest->reservation) : std::nullopt;
}

std::vector<LedgerEntry> SiteTable::expire(TimePoint now) {
  std::vector<LedgerEntry> ended;
  while (!leases_.empty() && leases_.begin()->first <= now) {
    ended.push_back(ledger_.at(leases_.begin()->second));
    release(ended.back().reservation);
  }
  return ended;
}

std::optional<TimePoint> SiteTable::next_expiry() const {
  return leases_.empty() ? std::nullopt : std::optional(leases_.begin()->first);
}

void SiteTable::restore(const LedgerEntry &entry) {
  if (!ledger_.contains(entry.reservation)) add(entry);
}

void SiteTable::add(LedgerEntry entry) {
  entry.order = next_order_++;
  leases_.insert({entry.expires, entry.reservation});
  ledger_.emplace(entry.reservation, entry);
  count_in_use(entry.key, int64_t{entry.gas});
}

void SiteTable::extend(LedgerEntry &entry, std::chrono::milliseconds lease, TimePoint now) {
  leases_.erase({entry.expires, entry.reservation});
  // A renewal never shortens: what was promised holds.
  entry.expires = std::max(entry.expires, now + std::min(lease, kMaxLease));
  leases_.insert({entry.expires, entry.reservation});
}

void SiteTable::count_in_use(const RowKey &key, int64_t change) {
  const auto row = rows_.find(key);
  if (row == rows_.end()) return;  // counted anew from the ledger when the row comes back
  row->second.row.in_use = static_cast<uint32_t>(int64_t{row->second.row.in_use} + change);
  mark_changed(key);
}

}  // namespace catsbpf::cmas
