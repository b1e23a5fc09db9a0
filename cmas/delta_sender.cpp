// SPDX-License-Identifier: Apache-2.0
// In: rows that changed in the site's table. Out: the Snapshot or Delta that tells a C-PS.
#include <algorithm>

#include "cmas/delta_session.h"

namespace catsbpf::cmas {

namespace {

// Only what differs between `from` and `to`.
void put_difference(const Row &from, const Row &to, v1::RowChange &out) {
  if (from.offered != to.offered) out.set_offered(to.offered);
  if (from.in_use != to.in_use) out.set_in_use(to.in_use);
  if (from.cost != to.cost) {
    const auto narrow = static_cast<float>(to.cost);
    if (narrow == to.cost)
      out.set_cost(narrow);
    else
      out.set_exact_cost(to.cost);
  }
  if (from.access_delay != to.access_delay) out.set_access_delay_us(static_cast<uint32_t>(to.access_delay.count()));
  if (from.draining != to.draining) out.set_draining(to.draining);
}

}  // namespace

void DeltaSender::mark(const SiteTable::Dirty &dirty) {
  if (snapshot_due_) return;  // it carries all rows
  dirty_.insert(dirty.changed.begin(), dirty.changed.end());
  dirty_.insert(dirty.removed.begin(), dirty.removed.end());
}

void DeltaSender::restart() {
  snapshot_due_ = true;
  dirty_.clear();
}

std::optional<v1::Envelope> DeltaSender::next() {
  v1::Envelope envelope;
  if (snapshot_due_) {
    // Rows that stay keep their handles, so that a Reserve on its way still names the same row.
    for (auto sent = sent_.begin(); sent != sent_.end();) {
      const auto old = sent++;
      if (!table_.rows().contains(old->first)) drop(old);
    }
    auto &snapshot = *envelope.mutable_snapshot();
    for (const auto &[key, row] : table_.rows()) add(table_.advertised(row), *snapshot.add_rows());
    snapshot_due_ = false;
    snapshot.set_epoch(epoch_);
    snapshot.set_sequence(++sequence_);
    return envelope;
  }
  auto &delta = *envelope.mutable_delta();
  for (const auto &key : dirty_) say(key, delta);
  dirty_.clear();
  if (delta.changes().empty() && delta.added().empty()) return std::nullopt;
  delta.set_epoch(epoch_);
  delta.set_sequence(++sequence_);
  return envelope;
}

void DeltaSender::say(const RowKey &key, v1::Delta &delta) {
  const auto row = table_.rows().find(key);
  auto sent = sent_.find(key);
  const bool stays = row != table_.rows().end();
  // A change of egresses has no place in a RowChange: the row goes and comes anew in the same Delta.
  if (sent != sent_.end() && (!stays || row->second.row.egresses != sent->second.row.egresses)) {
    auto &change = *delta.add_changes();
    change.set_handle(sent->second.handle);
    change.set_removed(true);
    drop(sent);
    sent = sent_.end();
  }
  if (!stays) return;
  const Row now = table_.advertised(row->second);
  if (sent == sent_.end()) return add(now, *delta.add_added());
  if (sent->second.row == now) return;  // changed back in the meantime
  auto &change = *delta.add_changes();
  change.set_handle(sent->second.handle);
  put_difference(sent->second.row, now, change);
  sent->second.row = now;
}

void DeltaSender::add(const Row &row, v1::Row &out) {
  auto &sent = sent_[row.key];
  if (sent.handle == 0) {
    sent.handle = next_handle_++;
    keys_.emplace(sent.handle, row.key);
  }
  sent.row = row;
  out.set_handle(sent.handle);
  out.set_cs_id(row.key.cs_id);
  out.set_csci_id(row.key.csci_id);
  out.set_offered(row.offered);
  out.set_in_use(row.in_use);
  out.set_cost(row.cost);
  out.set_access_delay_us(static_cast<uint32_t>(row.access_delay.count()));
  for (const auto &egress : row.egresses) out.add_egresses(egress);
  out.set_draining(row.draining);
}

void DeltaSender::drop(std::map<RowKey, Sent>::iterator sent) {
  keys_.erase(sent->second.handle);
  sent_.erase(sent);
}

std::optional<RowKey> DeltaSender::row_of(uint32_t handle) const {
  const auto found = keys_.find(handle);
  return found == keys_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace catsbpf::cmas
