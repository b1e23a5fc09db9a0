// SPDX-License-Identifier: Apache-2.0
// Journal of the last publications: which delta of which origin each view holds, and when packets began
// to see it. Comes in: deltas taken, hand-overs to the programmer, flips. Goes out: the list of the
// operator's API, from which tools measure the time from a delta to the ring.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cmas/proto/api.pb.h"

namespace catsbpf::agent {

class Journal {
 public:
  explicit Journal(std::size_t capacity = 4096) : capacity_(capacity) {}

  // A delta of `origin` is in the whole service table.
  void received(const std::string &origin, uint64_t epoch, uint64_t sequence, uint64_t now_ns);
  // What was received so far was given to the programmer: the next flip shows it.
  void handed_over();
  // The flip to view `epoch` happened at `published_ns` (CLOCK_MONOTONIC).
  void published(uint64_t epoch, uint64_t published_ns);

  // Publications with an epoch > `since`, oldest first; each names the newest delta of every origin.
  v1::PublicationList list(uint64_t since) const;
  // Of the last publication; 0: none since start.
  uint64_t last_published_ns() const { return entries_.empty() ? 0 : entries_.back().published_ns; }

 private:
  struct Position {
    uint64_t epoch = 0, sequence = 0, received_ns = 0;
    bool operator==(const Position &) const = default;
  };
  // An entry keeps only what moved since the one before: many origins cost no memory while silent.
  struct Entry {
    uint64_t epoch = 0, published_ns = 0;
    std::vector<std::pair<uint32_t, Position>> moved;
  };
  uint32_t number(const std::string &origin);

  std::size_t capacity_;
  std::vector<std::string> origins_;
  std::map<uint32_t, Position> received_, handed_, shown_;
  std::map<uint32_t, Position> before_;  // of the entry before the oldest
  std::deque<Entry> entries_;
};

}  // namespace catsbpf::agent
