// SPDX-License-Identifier: Apache-2.0
// Lets through so many lines per period and counts the rest, so that a flood of bad peers is no flood of log.
#pragma once

#include <chrono>
#include <cstdint>

namespace catsbpf::agent {

class LogLimit {
 public:
  LogLimit(uint32_t lines, std::chrono::milliseconds period) : lines_(lines), period_(period) {}

  bool allow(std::chrono::steady_clock::time_point now) {
    if (now - began_ >= period_) {
      began_ = now;
      used_ = 0;
    }
    if (used_ >= lines_) {
      ++withheld_;
      return false;
    }
    ++used_;
    return true;
  }
  // Lines not let through since the last call.
  uint64_t take_withheld() {
    const uint64_t n = withheld_;
    withheld_ = 0;
    return n;
  }

 private:
  uint32_t lines_;
  std::chrono::milliseconds period_;
  std::chrono::steady_clock::time_point began_{};
  uint32_t used_ = 0;
  uint64_t withheld_ = 0;
};

}  // namespace catsbpf::agent
