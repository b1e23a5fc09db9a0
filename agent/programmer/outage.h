// SPDX-License-Identifier: Apache-2.0
// Since when the next hop of a path or a delivery is not resolved. Comes in: each news of it. Goes out: whether
// this has lasted long enough to tell people: packets then go the slow way, count as sent, and may all be lost.
#pragma once

#include <chrono>
#include <optional>

#include "util/log.h"

namespace catsbpf::agent {

class Outage {
 public:
  using Clock = std::chrono::steady_clock;

  void update(bool resolved) {
    if (resolved)
      since_.reset(), said_ = false;
    else if (!since_)
      since_ = Clock::now();
  }
  bool lasts(std::chrono::milliseconds patience) const { return since_ && Clock::now() - *since_ > patience; }
  // Logs the text, once per outage.
  void say(const std::string &text) {
    if (!std::exchange(said_, true)) log::warn("{}", text);
  }

 private:
  std::optional<Clock::time_point> since_;
  bool said_ = false;
};

}  // namespace catsbpf::agent
