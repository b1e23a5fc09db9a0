// SPDX-License-Identifier: Apache-2.0
#include "agent/selector/journal.h"

#include <algorithm>

namespace catsbpf::agent {

uint32_t Journal::number(const std::string &origin) {
  const auto found = std::find(origins_.begin(), origins_.end(), origin);
  if (found != origins_.end()) return static_cast<uint32_t>(found - origins_.begin());
  origins_.push_back(origin);
  return static_cast<uint32_t>(origins_.size() - 1);
}

void Journal::received(const std::string &origin, uint64_t epoch, uint64_t sequence, uint64_t now_ns) {
  Position &position = received_[number(origin)];
  // The origin's rows may be touched without a new delta (frozen, thawed): the time stays that of the delta.
  if (position.epoch == epoch && position.sequence == sequence) return;
  position = {epoch, sequence, now_ns};
}

void Journal::handed_over() { handed_ = received_; }

void Journal::published(uint64_t epoch, uint64_t published_ns) {
  Entry entry{epoch, published_ns, {}};
  for (const auto &[origin, position] : handed_)
    if (auto &shown = shown_[origin]; shown != position) {
      shown = position;
      entry.moved.emplace_back(origin, position);
    }
  entries_.push_back(std::move(entry));
  if (entries_.size() <= capacity_) return;
  for (const auto &[origin, position] : entries_.front().moved) before_[origin] = position;
  entries_.pop_front();
}

v1::PublicationList Journal::list(uint64_t since) const {
  v1::PublicationList list;
  auto positions = before_;
  for (const auto &entry : entries_) {
    for (const auto &[origin, position] : entry.moved) positions[origin] = position;
    if (entry.epoch <= since) continue;
    auto &publication = *list.add_publications();
    publication.set_epoch(entry.epoch);
    publication.set_published_ns(entry.published_ns);
    for (const auto &[origin, position] : positions) {
      auto &applied = *publication.add_applied();
      applied.set_origin(origins_[origin]);
      applied.set_epoch(position.epoch);
      applied.set_sequence(position.sequence);
      applied.set_received_ns(position.received_ns);
    }
  }
  return list;
}

}  // namespace catsbpf::agent
