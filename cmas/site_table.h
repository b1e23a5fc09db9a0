// SPDX-License-Identifier: Apache-2.0
// A site's service model table with its ledger, as the owning C-SMA keeps it (R024-R036, R049, R050,
// decisions X1-X3). Offered slots change by the site's word alone, in-use slots by reservations alone.
// Invariant: in use <= offered at every moment at which offered did not shrink.
#pragma once

#include <map>
#include <set>

#include "cmas/limits.h"
#include "cmas/model.h"
#include "cmas/proto/session.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

// One row with what only the site and its egress need to know.
struct SiteRow {
  Row row{};
  std::string service_id{};
  std::string contact{};  // on-link address of the instance, "" when unknown
  std::string contact6{};
  bool operator==(const SiteRow &) const = default;
};

// What a site changes on a row (R034, R035). gas_change and gas exclude each other.
struct SiteChange {
  std::optional<int32_t> gas_change{};
  std::optional<uint32_t> gas{};
  std::optional<double> cost{};
  std::optional<bool> draining{};
  std::optional<Micros> access_delay{};
  bool remove = false;
};

struct LedgerEntry {
  uint64_t reservation = 0;
  RowKey key{};
  uint32_t gas = 0;
  TimePoint expires{};
  uint64_t order = 0;    // grows with each grant of this table; set by it
  std::string holder{};  // C-PS that it was granted to, "" when unknown
};

class SiteTable {
 public:
  static constexpr uint32_t kMaxGas = cmas::kMaxGas;  // a larger number is refused as absurd

  // R033: the whole table. Rows that stay keep their reservations and in-use count (what `rows` say of
  // in-use is not looked at). Fails (nothing changed) on duplicate keys, more than kMaxRows rows, and
  // whatever check() in limits.h refuses: ids of 0, cost that is negative or not finite, gas > kMaxGas...
  Result<> replace(std::vector<SiteRow> rows);

  // Fails (nothing changed) on an unknown row, a gas that would fall below 0 or beyond kMaxGas, a bad
  // cost or delay, `gas` and `gas_change` at once.
  Result<> apply(const RowKey &key, const SiteChange &change);

  // Grants `gas` slots until `now + lease`. Idempotent: the same reservation again renews its lease.
  // Refused (Error names why) when free() < gas, the row drains or is unknown, gas or lease is 0.
  Result<> reserve(uint64_t reservation, const RowKey &key, uint32_t gas, std::chrono::milliseconds lease,
                   TimePoint now, const std::string &holder = {});
  Result<> renew(uint64_t reservation, std::chrono::milliseconds lease, TimePoint now);
  // Gives the slots back; false when unknown (already ended).
  bool release(uint64_t reservation);
  // What a C-PS and its owner found to differ when they met again.
  struct Differences {
    std::vector<uint64_t> released;  // granted to the holder, which does not know them: free again
    std::vector<uint64_t> unknown;   // the holder has them, the ledger does not: they have ended
  };
  // `held`: all that `holder` knows of. The ledger decides what exists, the holder what it still wants.
  Differences reconcile(const std::string &holder, const std::set<uint64_t> &held);
  // Oldest reservation of that instance, for a heartbeat that names none.
  std::optional<uint64_t> oldest_reservation(const RowKey &key) const;
  // Ends leases that ran out; returns them.
  std::vector<LedgerEntry> expire(TimePoint now);
  // When the next lease ends.
  std::optional<TimePoint> next_expiry() const;

  // Restores a reservation from the store without a check against offered (after a restart). Its row may
  // come later. The same reservation twice counts once.
  void restore(const LedgerEntry &entry);

  const std::map<RowKey, SiteRow> &rows() const { return rows_; }
  // Rows, all of them, that take no new flows because their egress cannot deliver to them. The C-PSes are told that
  // they drain; the site's own word stays as it is.
  void withhold(std::set<RowKey> keys);
  bool withheld(const RowKey &key) const { return withheld_.contains(key); }
  // What the C-PSes are told of a row.
  Row advertised(const SiteRow &row) const;
  // A reservation stays until it ends, also while its row is away.
  const std::map<uint64_t, LedgerEntry> &ledger() const { return ledger_; }

  // Rows changed since the last call (the delta to send), removed ones included by key only.
  struct Dirty {
    std::set<RowKey> changed, removed;
    bool empty() const { return changed.empty() && removed.empty(); }
  };
  Dirty take_dirty();

 private:
  void mark_changed(const RowKey &key);
  void mark_removed(const RowKey &key);
  void add(LedgerEntry entry);
  void count_in_use(const RowKey &key, int64_t change);
  void extend(LedgerEntry &entry, std::chrono::milliseconds lease, TimePoint now);

  std::map<RowKey, SiteRow> rows_;
  std::map<uint64_t, LedgerEntry> ledger_;
  std::set<std::pair<TimePoint, uint64_t>> leases_;  // (end, reservation)
  std::set<RowKey> withheld_;
  uint64_t next_order_ = 1;
  Dirty dirty_;
};

}  // namespace catsbpf::cmas
