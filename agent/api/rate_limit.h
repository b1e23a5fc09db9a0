// SPDX-License-Identifier: Apache-2.0
// So many calls per second and source: a token bucket each, as deep as one second's worth. Pure; time is
// passed in. Sources that are silent long enough to have a full bucket are forgotten.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace catsbpf::agent {

class RateLimit {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  explicit RateLimit(uint32_t per_second, std::size_t max_sources = 65'536)
      : per_second_(per_second), max_sources_(max_sources) {}

  // Takes one token of the source's; false when there is none, or no room to remember another source.
  bool take(const std::string &source, TimePoint now);
  void set(uint32_t per_second) { per_second_ = per_second; }
  std::size_t sources() const { return buckets_.size(); }

 private:
  struct Bucket {
    double tokens = 0;
    TimePoint filled;
  };
  void forget_idle(TimePoint now);

  double per_second_;
  std::size_t max_sources_;
  std::map<std::string, Bucket> buckets_;
  TimePoint forgot_{};
};

}  // namespace catsbpf::agent
