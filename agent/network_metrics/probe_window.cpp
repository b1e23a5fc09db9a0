// SPDX-License-Identifier: Apache-2.0
#include "agent/network_metrics/probe_window.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace catsbpf::agent {

using std::chrono::nanoseconds;

namespace {

constexpr std::size_t kPast = 1'024;
// Linux sends at most one ICMP error per second to a peer; two of them may be lost.
constexpr auto kRefusalHolds = std::chrono::seconds(3);

// Seconds and fraction (NTP) or nanoseconds (PTP, truncated as in RFC 8186); only differences count.
nanoseconds difference(uint64_t later, uint64_t earlier, bool ptp) {
  if (ptp) {
    const auto seconds = static_cast<int64_t>(static_cast<int32_t>((later >> 32) - (earlier >> 32)));
    const auto rest = static_cast<int64_t>(later & 0xffff'ffff) - static_cast<int64_t>(earlier & 0xffff'ffff);
    return std::chrono::seconds(seconds) + nanoseconds(rest);
  }
  const auto fraction = static_cast<int64_t>(later - earlier);
  return nanoseconds(static_cast<int64_t>(std::llround(static_cast<double>(fraction) * 1e9 / 4294967296.0)));
}

}  // namespace

nanoseconds round_trip(const stamp::ReflectorPacket &reply, uint64_t received, nanoseconds elapsed) {
  nanoseconds whole = difference(received, reply.sender.timestamp, false);
  if (whole < nanoseconds(0) || whole > elapsed) whole = elapsed;
  const nanoseconds inside =
      difference(reply.timestamp, reply.receive_timestamp, reply.error_estimate & stamp::kPtpFormat);
  return inside < nanoseconds(0) || inside > whole ? whole : whole - inside;
}

void ProbeWindow::sent(uint32_t sequence, uint64_t timestamp, cmas::TimePoint now) {
  waiting_[sequence] = {timestamp, now};
}

ProbeWindow::Reply ProbeWindow::replied(const stamp::ReflectorPacket &reply, uint64_t received, cmas::TimePoint now) {
  const uint32_t sequence = reply.sender.sequence;
  if (const auto past = past_.find(sequence); past != past_.end()) {
    if (past->second.timestamp != reply.sender.timestamp) return Reply::kForeign;
    if (past->second.answered) return Reply::kDuplicate;
    past->second.answered = true;
    return Reply::kLate;
  }
  const auto waiting = waiting_.find(sequence);
  if (waiting == waiting_.end() || waiting->second.timestamp != reply.sender.timestamp) return Reply::kForeign;
  const Sent sent = waiting->second;
  waiting_.erase(waiting);
  const nanoseconds delay = round_trip(reply, received, now - sent.at);
  // RFC 3550 section 6.4.1, on round trips.
  if (last_) jitter_ns_ += (std::abs(static_cast<double>((delay - *last_).count())) - jitter_ns_) / 16;
  last_ = delay;
  measured_ = now;
  conclude(sequence, sent, delay);
  return Reply::kAnswered;
}

std::size_t ProbeWindow::expire(cmas::TimePoint now) {
  std::size_t lost = 0;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (now - at->second.at < timeout_) {
      ++at;
      continue;
    }
    conclude(at->first, at->second, std::nullopt);
    at = waiting_.erase(at);
    ++lost;
  }
  return lost;
}

void ProbeWindow::conclude(uint32_t sequence, const Sent &sent, std::optional<Nanos> delay) {
  past_[sequence] = {sent.timestamp, delay.has_value()};
  past_order_.push_back(sequence);
  if (past_order_.size() > kPast) {
    past_.erase(past_order_.front());
    past_order_.pop_front();
  }
  results_.push_back({delay, sent.at});
  if (results_.size() > window_) results_.pop_front();
  judge_silence();
  std::vector<Nanos> answered;
  for (const auto &result : results_)
    if (result.delay) answered.push_back(*result.delay);
  if (answered.empty()) return;
  const auto middle = answered.begin() + static_cast<std::ptrdiff_t>(answered.size() / 2);
  std::nth_element(answered.begin(), middle, answered.end());
  median_ = *middle;
}

void ProbeWindow::refused(cmas::TimePoint now) {
  refused_ = now;
  answers_ = true;
}

void ProbeWindow::judge_silence() {
  const std::size_t answered = results_.size() - lost();
  if (answered >= std::max<std::size_t>(1, window_ / 4)) answers_ = true;
  if (answered > 0 || results_.size() < window_) return;
  const auto since = std::min(results_.front().sent, results_.back().sent - kRefusalHolds);
  if (refused_ < since) answers_ = false;
}

std::size_t ProbeWindow::lost() const {
  return static_cast<std::size_t>(std::ranges::count_if(results_, [](const auto &result) { return !result.delay; }));
}

std::optional<cmas::NetworkMetric> ProbeWindow::metric() const {
  if (!median_ && answers_) return std::nullopt;
  cmas::NetworkMetric metric;
  metric.delay = median_ ? std::chrono::round<cmas::Micros>(*median_) : cmas::Micros(-1);
  metric.jitter = cmas::Micros(std::llround(jitter_ns_ / 1e3));
  metric.loss = results_.empty() ? 0 : static_cast<double>(lost()) / static_cast<double>(results_.size());
  metric.answers = answers_;
  metric.measured = measured_;
  return metric;
}

}  // namespace catsbpf::agent
