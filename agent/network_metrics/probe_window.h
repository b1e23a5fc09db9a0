// SPDX-License-Identifier: Apache-2.0
// What the last probes of one way say: median round trip, jitter, loss. In: probes sent, replies, time
// (passed in). Out: a NetworkMetric. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "agent/network_metrics/stamp.h"
#include "cmas/whole_table.h"

namespace catsbpf::agent {

class ProbeWindow {
 public:
  ProbeWindow(std::size_t window, std::chrono::milliseconds reply_timeout) : window_(window), timeout_(reply_timeout) {}

  void sent(uint32_t sequence, uint64_t timestamp, cmas::TimePoint now);

  enum class Reply { kAnswered, kLate, kDuplicate, kForeign };
  // `received`: NTP time at which the kernel had the reply. Foreign: not a reply to a packet of ours.
  Reply replied(const stamp::ReflectorPacket &reply, uint64_t received, cmas::TimePoint now);
  // Probes without a reply for the time-out are lost; how many there were.
  std::size_t expire(cmas::TimePoint now);
  // The egress itself said that nobody reflects there (ICMP port unreachable): its agent is away, its host answers.
  void refused(cmas::TimePoint now);

  // Empty before the first reply, unless the egress is silent: then without a delay (-1 us). While no reply comes,
  // delay, jitter and `measured` stay as they were. It is silent with a whole window of lost probes (of those
  // that were sent: a stalled sender is no silent egress), and answers again with a quarter of one answered.
  std::optional<cmas::NetworkMetric> metric() const;

 private:
  struct Sent {
    uint64_t timestamp;
    cmas::TimePoint at;
  };
  struct Past {
    uint64_t timestamp;
    bool answered;
  };
  using Nanos = std::chrono::nanoseconds;
  struct Concluded {
    std::optional<Nanos> delay;  // empty: lost
    cmas::TimePoint sent;
  };
  void conclude(uint32_t sequence, const Sent &sent, std::optional<Nanos> delay);
  void judge_silence();
  std::size_t lost() const;

  std::size_t window_;
  std::chrono::milliseconds timeout_;
  std::map<uint32_t, Sent> waiting_;
  std::map<uint32_t, Past> past_;  // concluded ones, to know late and duplicate replies
  std::deque<uint32_t> past_order_;
  std::deque<Concluded> results_;  // of the window
  cmas::TimePoint refused_ = cmas::TimePoint::min();
  bool answers_ = true;
  std::optional<Nanos> last_, median_;
  double jitter_ns_ = 0;
  cmas::TimePoint measured_{};
};

// t4 - t1 - (t3 - t2), also where the reflector counts in PTP format; `elapsed` (by a clock that never steps) bounds
// what a stepped wall clock makes of it.
std::chrono::nanoseconds round_trip(const stamp::ReflectorPacket &reply, uint64_t received,
                                    std::chrono::nanoseconds elapsed);

}  // namespace catsbpf::agent
