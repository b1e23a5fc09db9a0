// SPDX-License-Identifier: Apache-2.0
// The two ends of a delta session without their transport: what to send next, and what a received
// message means. Pure state machines; agent/session/ moves their messages over TLS.
#pragma once

#include <functional>
#include <map>
#include <unordered_map>

#include "cmas/proto/session.pb.h"
#include "cmas/site_table.h"

namespace catsbpf::cmas {

constexpr uint32_t kProtocolVersion = 1;
constexpr uint32_t kOldestProtocolVersion = 1;
constexpr std::size_t kMaxMessageBytes = 4 << 20;

// The C-SMA's end for one C-PS. Coalesces: however many changes arrive while a message is being
// written, the next Delta carries the newest value of each row (back-pressure without growth).
class DeltaSender {
 public:
  // `epoch` names this life of the table; greater than all before it.
  DeltaSender(const SiteTable &table, uint64_t epoch) : table_(table), epoch_(epoch) {}

  // Rows changed; they go out with the next message.
  void mark(const SiteTable::Dirty &dirty);
  // A session came up, or the C-PS asked for Resync: the next message is a Snapshot.
  void restart();
  // The next message, if there is anything to say: Snapshot or Delta with the next sequence.
  std::optional<v1::Envelope> next();
  // What was never sent cannot be acknowledged.
  void acknowledged(uint64_t sequence) {
    if (sequence <= sequence_) acknowledged_ = std::max(acknowledged_, sequence);
  }

  uint64_t epoch() const { return epoch_; }
  uint64_t sequence() const { return sequence_; }  // of the last message made
  uint64_t acknowledged() const { return acknowledged_; }
  // Row behind a handle of this session, for Reserve. A handle is never used for a second row.
  std::optional<RowKey> row_of(uint32_t handle) const;

 private:
  struct Sent {
    uint32_t handle = 0;
    Row row;  // as the C-PS knows it
  };
  void say(const RowKey &key, v1::Delta &delta);
  void add(const Row &row, v1::Row &out);
  void drop(std::map<RowKey, Sent>::iterator sent);

  const SiteTable &table_;
  uint64_t epoch_;
  uint64_t sequence_ = 0;
  uint64_t acknowledged_ = 0;
  bool snapshot_due_ = true;
  uint32_t next_handle_ = 1;
  std::map<RowKey, Sent> sent_;
  std::unordered_map<uint32_t, RowKey> keys_;
  std::set<RowKey> dirty_;
};

// The C-PS' end for one C-SMA: the rows of that origin, as last heard.
class DeltaReceiver {
 public:
  struct Change {
    std::set<RowKey> changed, removed;
  };
  // Takes a Snapshot or Delta. Error: the message was refused and nothing changed (`resync()` tells
  // whether a Resync must be sent; else the peer broke the protocol and the session must be refused).
  // Resync: a gap, a foreign epoch, a Delta before the first Snapshot. After the one Error that asks for
  // it, Deltas that were still on their way are passed over (no change, no error) until the Snapshot comes.
  // Refused: a Snapshot that is not newer than the last one of the same session, an unknown handle, duplicate
  // handles or rows, and what check() in limits.h refuses (ids of 0, negative or absurd numbers).
  // `put` has the last word: it is given the rows of a message that was found right, all of a Snapshot, the changed
  // and added ones of a Delta. What it refuses is refused as a whole, too.
  using Put = std::function<Result<>(const std::vector<Row> &rows)>;
  Result<Change> take(const v1::Snapshot &snapshot, const Put &put = {});
  Result<Change> take(const v1::Delta &delta, const Put &put = {});
  // A keep-alive names the last sequence sent: true when a message is missing (send Resync). True once
  // for each loss.
  bool missing(const v1::KeepAlive &keep_alive);
  bool resync() const { return resync_; }

  const std::map<RowKey, Row> &rows() const { return rows_; }
  std::optional<uint32_t> handle_of(const RowKey &key) const;
  // Of the message that rows() stand at.
  uint64_t epoch() const { return epoch_; }
  uint64_t sequence() const { return sequence_; }
  // A new session of the same origin: rows stay as they are until its Snapshot comes. That is taken whatever its
  // epoch and sequence are, for the session is authenticated, and the newest: numbers of a session bind it alone.
  void session_began() { synced_ = resync_ = begun_ = false; }
  bool synced() const { return synced_; }

 private:
  struct Staged;  // what a Delta does, checked as a whole before anything changes
  Result<Staged> stage(const v1::Delta &delta) const;
  Error ask_resync(const std::string &why);

  std::map<RowKey, Row> rows_;
  std::unordered_map<uint32_t, RowKey> keys_;
  std::map<RowKey, uint32_t> handles_;
  uint64_t epoch_ = 0;
  uint64_t sequence_ = 0;
  bool synced_ = false;
  bool resync_ = false;
  bool begun_ = false;  // a Snapshot of this session was taken
};

// Versions: the highest that both speak, or an Error that names both ranges.
Result<uint32_t> agree_version(const v1::Open &open);

}  // namespace catsbpf::cmas
