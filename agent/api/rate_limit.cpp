// SPDX-License-Identifier: Apache-2.0
#include "agent/api/rate_limit.h"

#include <algorithm>

namespace catsbpf::agent {

bool RateLimit::take(const std::string &source, TimePoint now) {
  if (now - forgot_ > std::chrono::seconds(10)) forget_idle(now);
  auto found = buckets_.find(source);
  if (found == buckets_.end()) {
    if (buckets_.size() >= max_sources_) forget_idle(now);
    if (buckets_.size() >= max_sources_) return false;
    found = buckets_.emplace(source, Bucket{per_second_, now}).first;
  }
  Bucket &bucket = found->second;
  const double elapsed = std::chrono::duration<double>(now - bucket.filled).count();
  bucket.tokens = std::min(per_second_, bucket.tokens + elapsed * per_second_);
  bucket.filled = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

void RateLimit::forget_idle(TimePoint now) {
  forgot_ = now;
  std::erase_if(buckets_, [&](const auto &entry) { return now - entry.second.filled > std::chrono::seconds(1); });
}

}  // namespace catsbpf::agent
