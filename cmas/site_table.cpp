// SPDX-License-Identifier: Apache-2.0
// The rows of a site, as the site changes them. What reservations change is in ledger.cpp.
#include "cmas/site_table.h"

#include <algorithm>
#include <iterator>

namespace catsbpf::cmas {

Result<> SiteTable::replace(std::vector<SiteRow> rows) {
  if (rows.size() > kMaxRows)
    return Error{"cannot take the table: " + std::to_string(rows.size()) + " rows, at most " + std::to_string(kMaxRows),
                 "let one service contact instance stand for several instances"};
  std::map<RowKey, SiteRow> next;
  for (auto &row : rows) {
    row.row.in_use = 0;
    if (auto checked = check(row.row); !checked) return checked;
    const RowKey key = row.row.key;
    if (!next.emplace(key, std::move(row)).second)
      return Error{"cannot take the table: " + text(key) + " is in it twice", "one row per service and CSCI-ID"};
  }
  for (const auto &[reservation, entry] : ledger_)
    if (auto row = next.find(entry.key); row != next.end()) row->second.row.in_use += entry.gas;

  for (const auto &[key, row] : rows_)
    if (!next.contains(key)) mark_removed(key);
  for (const auto &[key, row] : next)
    if (auto old = rows_.find(key); old == rows_.end() || !(old->second == row)) mark_changed(key);
  rows_ = std::move(next);
  return done();
}

Result<> SiteTable::apply(const RowKey &key, const SiteChange &change) {
  const auto found = rows_.find(key);
  if (found == rows_.end()) return Error{"cannot change " + text(key) + ": no such row", "put the whole table first"};
  if (change.remove) {
    rows_.erase(found);
    mark_removed(key);
    return done();
  }
  if (change.gas && change.gas_change)
    return Error{"cannot change " + text(key) + ": gas and gas_change exclude each other", "send one of them"};

  SiteRow next = found->second;
  if (change.gas) next.row.offered = *change.gas;
  if (change.gas_change) {
    const int64_t gas = int64_t{next.row.offered} + *change.gas_change;
    if (gas < 0 || gas > int64_t{kMaxGas})
      return Error{"cannot change " + text(key) + ": gas " + std::to_string(next.row.offered) + " cannot change by " +
                       std::to_string(*change.gas_change),
                   "gas stays within 0.." + std::to_string(kMaxGas)};
    next.row.offered = static_cast<uint32_t>(gas);
  }
  if (change.cost) next.row.cost = *change.cost;
  if (change.draining) next.row.draining = *change.draining;
  if (change.access_delay) next.row.access_delay = *change.access_delay;
  if (auto checked = check(next.row); !checked) return checked;
  if (next == found->second) return done();
  found->second = std::move(next);
  mark_changed(key);
  return done();
}

void SiteTable::withhold(std::set<RowKey> keys) {
  std::vector<RowKey> differ;
  std::ranges::set_symmetric_difference(withheld_, keys, std::back_inserter(differ));
  for (const auto &key : differ)
    if (rows_.contains(key)) mark_changed(key);
  withheld_ = std::move(keys);
}

Row SiteTable::advertised(const SiteRow &row) const {
  Row told = row.row;
  told.draining = told.draining || withheld(told.key);
  return told;
}

SiteTable::Dirty SiteTable::take_dirty() { return std::exchange(dirty_, {}); }

void SiteTable::mark_changed(const RowKey &key) {
  dirty_.removed.erase(key);
  dirty_.changed.insert(key);
}

void SiteTable::mark_removed(const RowKey &key) {
  dirty_.changed.erase(key);
  dirty_.removed.insert(key);
}

}  // namespace catsbpf::cmas
