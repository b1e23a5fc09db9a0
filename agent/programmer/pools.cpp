// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/pools.h"

#include <iterator>

namespace catsbpf::agent {

std::optional<uint32_t> IndexPool::allocate() {
  const auto index = allocate_from(cursor_);
  if (index) cursor_ = next(*index);
  return index;
}

std::optional<uint32_t> IndexPool::allocate_from(uint32_t wish) {
  uint32_t index = wish;
  for (size_t tried = first_; tried < used_.size(); ++tried, index = next(index)) {
    if (used_[index]) continue;
    used_[index] = true;
    return index;
  }
  return std::nullopt;
}

std::optional<Run> RunPool::allocate(uint32_t lines) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < lines) continue;
    const Run run{it->first, lines};
    const uint32_t rest = it->second - lines;
    free_.erase(it);
    if (rest > 0) free_[run.first + lines] = rest;
    return run;
  }
  return std::nullopt;
}

void RunPool::release(Run run) {
  if (run.lines == 0) return;
  auto it = free_.emplace(run.first, run.lines).first;
  if (auto next = std::next(it); next != free_.end() && it->first + it->second == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it == free_.begin()) return;
  if (auto before = std::prev(it); before->first + before->second == it->first) {
    before->second += it->second;
    free_.erase(it);
  }
}

bool RunPool::reserve(Run run) {
  if (run.lines == 0) return true;
  auto it = free_.upper_bound(run.first);
  if (it == free_.begin()) return false;
  --it;
  const uint64_t end = static_cast<uint64_t>(it->first) + it->second,
                 run_end = static_cast<uint64_t>(run.first) + run.lines;
  if (run_end > end) return false;
  const uint32_t before = run.first - it->first;
  const uint32_t after = static_cast<uint32_t>(end - run_end);
  if (before > 0)
    it->second = before;
  else
    free_.erase(it);
  if (after > 0) free_[static_cast<uint32_t>(run_end)] = after;
  return true;
}

uint32_t RunPool::free_lines() const {
  uint32_t lines = 0;
  for (const auto &[first, count] : free_) lines += count;
  return lines;
}

}  // namespace catsbpf::agent
