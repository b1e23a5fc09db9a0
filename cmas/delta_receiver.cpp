// SPDX-License-Identifier: Apache-2.0
// In: a C-SMA's Snapshots and Deltas. Out: the rows that changed. All or nothing per message.
#include <algorithm>

#include "cmas/delta_session.h"

namespace catsbpf::cmas {

namespace {

Row row_of(const v1::Row &in) {
  return Row{.key = {in.cs_id(), in.csci_id()},
             .offered = in.offered(),
             .in_use = in.in_use(),
             .cost = in.cost(),
             .access_delay = Micros(in.access_delay_us()),
             .draining = in.draining(),
             .egresses = {in.egresses().begin(), in.egresses().end()}};
}

void apply(const v1::RowChange &change, Row &row) {
  if (change.has_offered()) row.offered = change.offered();
  if (change.has_in_use()) row.in_use = change.in_use();
  if (change.has_cost()) row.cost = change.cost();
  if (change.has_exact_cost()) row.cost = change.exact_cost();
  if (change.has_access_delay_us()) row.access_delay = Micros(change.access_delay_us());
  if (change.has_draining()) row.draining = change.draining();
}

Error broken(const std::string &message, const std::string &why) {
  return Error{"cannot take the " + message + ": " + why, "the peer breaks the protocol; compare the versions of both"};
}

std::string epoch_and_sequence(uint64_t epoch, uint64_t sequence) {
  return "epoch " + std::to_string(epoch) + " sequence " + std::to_string(sequence);
}

}  // namespace

struct DeltaReceiver::Staged {
  std::map<RowKey, Row> changed;       // rows that stay
  std::map<RowKey, uint32_t> removed;  // with the handle that ends
  std::map<RowKey, std::pair<uint32_t, Row>> added;
};

Error DeltaReceiver::ask_resync(const std::string &why) {
  synced_ = false;
  resync_ = true;
  return Error{"cannot take the delta: " + why, "a resync is asked for; nothing to do"};
}

Result<DeltaReceiver::Change> DeltaReceiver::take(const v1::Snapshot &snapshot, const Put &put) {
  resync_ = false;
  const std::pair place{snapshot.epoch(), snapshot.sequence()};
  if (place.first == 0 || place.second == 0)
    return broken("snapshot", epoch_and_sequence(place.first, place.second) + ": both count from 1 up");
  if (begun_ && place <= std::pair{epoch_, sequence_})
    return broken("snapshot", epoch_and_sequence(place.first, place.second) + " is not newer than " +
                                  epoch_and_sequence(epoch_, sequence_));
  std::map<RowKey, Row> rows;
  std::map<RowKey, uint32_t> handles;
  std::unordered_map<uint32_t, RowKey> keys;
  for (const auto &in : snapshot.rows()) {
    Row row = row_of(in);
    if (auto checked = check(row); !checked) return checked.error();
    const RowKey key = row.key;
    if (in.handle() == 0 || !keys.emplace(in.handle(), key).second)
      return broken("snapshot", "handle " + std::to_string(in.handle()) + " is 0 or used twice");
    if (!rows.emplace(key, std::move(row)).second) return broken("snapshot", text(key) + " is in it twice");
    handles.emplace(key, in.handle());
  }
  if (rows.size() > kMaxRows) return broken("snapshot", std::to_string(rows.size()) + " rows are too many");
  if (put) {
    std::vector<Row> named;
    for (const auto &[key, row] : rows) named.push_back(row);
    if (auto taken = put(named); !taken) return taken.error();
  }

  Change change;
  for (const auto &[key, row] : rows_)
    if (!rows.contains(key)) change.removed.insert(key);
  for (const auto &[key, row] : rows)
    if (auto old = rows_.find(key); old == rows_.end() || !(old->second == row)) change.changed.insert(key);
  rows_ = std::move(rows);
  handles_ = std::move(handles);
  keys_ = std::move(keys);
  epoch_ = snapshot.epoch();
  sequence_ = snapshot.sequence();
  synced_ = begun_ = true;
  return change;
}

Result<DeltaReceiver::Change> DeltaReceiver::take(const v1::Delta &delta, const Put &put) {
  if (!synced_ && resync_) return Change{};
  if (!synced_) return ask_resync("no snapshot came before it");
  // sequence_ + 1 would begin anew after the last number there is.
  if (delta.epoch() != epoch_ || delta.sequence() == 0 || delta.sequence() - 1 != sequence_)
    return ask_resync(epoch_and_sequence(delta.epoch(), delta.sequence()) + " does not follow " +
                      epoch_and_sequence(epoch_, sequence_));
  auto staged = stage(delta);
  if (!staged) return staged.error();
  if (put) {
    std::vector<Row> named;
    for (const auto &[key, row] : staged->changed) named.push_back(row);
    for (const auto &[key, added] : staged->added) named.push_back(added.second);
    if (auto taken = put(named); !taken) return taken.error();
  }

  Change change;
  for (const auto &[key, handle] : staged->removed) {
    rows_.erase(key);
    handles_.erase(key);
    keys_.erase(handle);
    change.removed.insert(key);
  }
  for (auto &[key, row] : staged->changed) {
    rows_[key] = std::move(row);
    change.changed.insert(key);
  }
  for (auto &[key, added] : staged->added) {
    keys_.emplace(added.first, key);
    handles_.emplace(key, added.first);
    rows_[key] = std::move(added.second);
    change.changed.insert(key);
    change.removed.erase(key);
  }
  sequence_ = delta.sequence();
  return change;
}

Result<DeltaReceiver::Staged> DeltaReceiver::stage(const v1::Delta &delta) const {
  Staged staged;
  for (const auto &change : delta.changes()) {
    const auto known = keys_.find(change.handle());
    if (known == keys_.end()) return broken("delta", "handle " + std::to_string(change.handle()) + " is unknown");
    const RowKey &key = known->second;
    if (staged.changed.contains(key) || staged.removed.contains(key))
      return broken("delta", "handle " + std::to_string(change.handle()) + " is in it twice");
    if (change.removed()) {
      staged.removed.emplace(key, change.handle());
      continue;
    }
    Row row = rows_.at(key);
    apply(change, row);
    if (auto checked = check(row); !checked) return checked.error();
    staged.changed.emplace(key, std::move(row));
  }
  std::set<uint32_t> handles;
  for (const auto &in : delta.added()) {
    Row row = row_of(in);
    if (auto checked = check(row); !checked) return checked.error();
    const RowKey key = row.key;
    if (in.handle() == 0 || keys_.contains(in.handle()) || !handles.insert(in.handle()).second)
      return broken("delta", "handle " + std::to_string(in.handle()) + " is 0 or names another row already");
    if (rows_.contains(key) && !staged.removed.contains(key))
      return broken("delta", text(key) + " is added, but is there already");
    if (!staged.added.emplace(key, std::pair{in.handle(), std::move(row)}).second)
      return broken("delta", text(key) + " is in it twice");
  }
  if (rows_.size() + staged.added.size() - staged.removed.size() > kMaxRows)
    return broken("delta", "more than " + std::to_string(kMaxRows) + " rows");
  return staged;
}

bool DeltaReceiver::missing(const v1::KeepAlive &keep_alive) {
  if (!synced_) return false;  // a Snapshot is due anyway
  if (keep_alive.epoch() == epoch_ && keep_alive.sequence() == sequence_) return false;
  (void)ask_resync("");
  return true;
}

std::optional<uint32_t> DeltaReceiver::handle_of(const RowKey &key) const {
  const auto found = handles_.find(key);
  return found == handles_.end() ? std::nullopt : std::optional(found->second);
}

Result<uint32_t> agree_version(const v1::Open &open) {
  const uint32_t highest = std::min(open.version(), kProtocolVersion);
  const uint32_t lowest = std::max(open.oldest_version(), kOldestProtocolVersion);
  if (open.oldest_version() != 0 && open.oldest_version() <= open.version() && lowest <= highest) return highest;
  return Error{"no common protocol version: the peer speaks " + std::to_string(open.oldest_version()) + ".." +
                   std::to_string(open.version()) + ", we speak " + std::to_string(kOldestProtocolVersion) + ".." +
                   std::to_string(kProtocolVersion),
               "bring both to the same release, or to neighbouring ones"};
}

}  // namespace catsbpf::cmas
