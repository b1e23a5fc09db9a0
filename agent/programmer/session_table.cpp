// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/session_table.h"

#include <algorithm>
#include <cstring>

#include "maps/tables.h"
#include "util/log.h"

namespace catsbpf::agent {

Result<> SessionTable::open() {
  auto programmed = dataplane_.sessions();
  if (!programmed) return programmed.error();
  for (const auto &[key, session] : *programmed) sessions_[session.reservation] = {key, session.expires, session.slot};
  return done();
}

Result<> SessionTable::put(const WantedSession &wanted, uint16_t slot, uint64_t expires) {
  const auto client = maps::parse_address(wanted.client);
  if (!client) return Error{"client '" + wanted.client + "' of a session is no address"};
  const maps::session_key key{*client, wanted.cs_id, 0};
  maps::session session{};
  session.expires = expires;
  session.reservation = wanted.reservation;
  session.slot = slot;
  if (auto put = dataplane_.put_session(key, session); !put) return put;
  std::erase_if(sessions_, [&](const auto &entry) {
    return entry.first != wanted.reservation && std::memcmp(&entry.second.key, &key, sizeof key) == 0;
  });
  sessions_[wanted.reservation] = {key, expires, slot};
  return done();
}

void SessionTable::remove(uint64_t reservation) {
  auto it = sessions_.find(reservation);
  if (it == sessions_.end()) return;
  auto removed = dataplane_.remove_session(it->second.key);
  if (!removed && removed.error().code != ENOENT) {
    log::warn("{}", removed.error().what);
    return;  // stays ours: expire() tries again
  }
  sessions_.erase(it);
}

void SessionTable::remove_if(const std::function<bool(uint64_t, const Owned &)> &condition) {
  std::vector<uint64_t> gone;
  for (const auto &[reservation, owned] : sessions_)
    if (condition(reservation, owned)) gone.push_back(reservation);
  for (uint64_t reservation : gone) remove(reservation);
}

void SessionTable::keep(const std::set<uint64_t> &reservations) {
  remove_if([&](uint64_t reservation, const Owned &) { return !reservations.contains(reservation); });
}

void SessionTable::expire(uint64_t now) {
  remove_if([&](uint64_t, const Owned &owned) { return owned.expires <= now; });
}

void SessionTable::remove_on(const std::vector<uint16_t> &slots) {
  remove_if(
      [&](uint64_t, const Owned &owned) { return std::find(slots.begin(), slots.end(), owned.slot) != slots.end(); });
}

void SessionTable::hold(SlotSet &slots) const {
  for (const auto &[reservation, owned] : sessions_) slots.set(owned.slot);
}

}  // namespace catsbpf::agent
