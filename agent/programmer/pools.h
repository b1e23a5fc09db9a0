// SPDX-License-Identifier: Apache-2.0
// Allocators over the fixed tables: single indexes (service handles, paths) and runs of ring lines.
// Pure bookkeeping: they never touch a map.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace catsbpf::agent {

// Indexes first..entries-1.
class IndexPool {
 public:
  IndexPool(uint32_t first, uint32_t entries) : first_(first), cursor_(first), used_(entries, false) {}

  // The one that was free for longest.
  std::optional<uint32_t> allocate();
  // This one, or the next that is free, from the first on again behind the last.
  std::optional<uint32_t> allocate_from(uint32_t wish);
  void reserve(uint32_t index) { used_[index] = true; }
  void release(uint32_t index) { used_[index] = false; }
  bool used(uint32_t index) const { return used_[index]; }

 private:
  uint32_t next(uint32_t index) const { return index + 1 < used_.size() ? index + 1 : first_; }

  uint32_t first_, cursor_;
  std::vector<bool> used_;
};

// A run of ring lines; no lines: none.
struct Run {
  uint32_t first = 0;
  uint32_t lines = 0;
  bool operator==(const Run &) const = default;
};

// The pool of ring lines, as free runs.
class RunPool {
 public:
  explicit RunPool(uint32_t lines) { free_[0] = lines; }

  std::optional<Run> allocate(uint32_t lines);  // first fit
  void release(Run run);
  // Takes a run that is in use already. False when it is not wholly free or out of range.
  bool reserve(Run run);
  uint32_t free_lines() const;

 private:
  std::map<uint32_t, uint32_t> free_;  // first -> lines; neighbours are joined
};

}  // namespace catsbpf::agent
