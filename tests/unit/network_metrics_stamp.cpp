// SPDX-License-Identifier: Apache-2.0
// RFC 8762 packets byte by byte, NTP time, and what a window of probes says.
#include "agent/network_metrics/stamp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/network_metrics/probe_window.h"

namespace catsbpf::agent {
namespace {

using namespace std::chrono_literals;
using stamp::Packet;
using std::chrono::nanoseconds;

TEST(Stamp, sender_packet_is_laid_out_as_in_rfc_8762_figure_2) {
  const Packet bytes = stamp::encode(stamp::SenderPacket{0x01020304, 0x1112131415161718, 0x8123});
  Packet expected{};
  const uint8_t head[] = {0x01, 0x02, 0x03, 0x04,                          // sequence number
                          0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,  // timestamp
                          0x81, 0x23};                                     // error estimate
  std::ranges::copy(head, expected.begin());                               // 30 octets MBZ follow
  EXPECT_EQ(bytes, expected);
  EXPECT_EQ(bytes.size(), 44u);
}

TEST(Stamp, reflector_packet_is_laid_out_as_in_rfc_8762_figure_5) {
  stamp::ReflectorPacket packet;
  packet.sequence = 0xa1a2a3a4;
  packet.timestamp = 0xb1b2b3b4b5b6b7b8;
  packet.error_estimate = 0xc1c2;
  packet.receive_timestamp = 0xd1d2d3d4d5d6d7d8;
  packet.sender = {0x01020304, 0x1112131415161718, 0x2122};
  packet.sender_ttl = 63;
  const Packet expected = {0xa1, 0xa2, 0xa3, 0xa4,                          // sequence number
                           0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8,  // timestamp
                           0xc1, 0xc2, 0,    0,                             // error estimate, MBZ
                           0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8,  // receive timestamp
                           0x01, 0x02, 0x03, 0x04,                          // session-sender sequence number
                           0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,  // session-sender timestamp
                           0x21, 0x22, 0,    0,                             // session-sender error estimate, MBZ
                           63,   0,    0,    0};                            // session-sender TTL, MBZ
  EXPECT_EQ(stamp::encode(packet), expected);
  EXPECT_EQ(stamp::decode_reflector(expected), packet);
}

TEST(Stamp, short_packets_are_no_packets) {
  const Packet bytes = stamp::encode(stamp::SenderPacket{1, 2, 3});
  EXPECT_FALSE(stamp::decode_sender(std::span(bytes).first(13)));
  EXPECT_TRUE(stamp::decode_sender(std::span(bytes).first(14))) << "a TWAMP Light sender's least";
  EXPECT_FALSE(stamp::decode_reflector(std::span(bytes).first(40)));
}

TEST(Stamp, ntp_time_counts_from_1900_and_keeps_nanoseconds) {
  // 2024-02-29T12:00:00.5Z
  const stamp::WallTime time(1'709'208'000s + 500ms);
  EXPECT_EQ(stamp::to_ntp(time), uint64_t{1'709'208'000 + 2'208'988'800} << 32 | 0x8000'0000);
  for (const int64_t ns : {0, 1, 999'999'999, 123'456'789}) {
    const stamp::WallTime exact(1'709'208'000s + nanoseconds(ns));
    EXPECT_EQ(stamp::from_ntp(stamp::to_ntp(exact)), exact) << ns;
  }
  const stamp::WallTime beyond(2'200'000'000s);  // 2039: the next era of 32-bit seconds
  EXPECT_EQ(stamp::from_ntp(stamp::to_ntp(beyond)), beyond);
}

TEST(Stamp, error_estimate_never_promises_too_much) {
  const auto error_of = [](uint16_t estimate) {
    return std::ldexp(estimate & 0xff, (estimate >> 8 & 0x3f) - 32) * 1e9;
  };
  for (const int64_t ns : {1L, 100L, 59L, 1'000'000L, 16'000'000'000L}) {
    const uint16_t estimate = stamp::error_estimate(true, nanoseconds(ns));
    EXPECT_TRUE(estimate & stamp::kSynchronised);
    EXPECT_FALSE(estimate & stamp::kPtpFormat);
    EXPECT_GE(error_of(estimate), static_cast<double>(ns));
    EXPECT_LE(error_of(estimate), static_cast<double>(ns) * 1.02 + 1);
  }
  EXPECT_EQ(stamp::error_estimate(false, 0ns), 1) << "a multiplier of 0 is forbidden";
  EXPECT_NE(stamp::system_error_estimate() & 0xff, 0);
}

constexpr uint64_t kT1 = 0xe000'0000'0000'0000;
uint64_t after(uint64_t ntp, nanoseconds time) {
  return ntp + static_cast<uint64_t>(std::llround(static_cast<double>(time.count()) * 4.294967296));
}

stamp::ReflectorPacket reply_to(uint32_t sequence, uint64_t timestamp, nanoseconds there, nanoseconds inside) {
  stamp::ReflectorPacket reply;
  reply.sender = {sequence, timestamp, 1};
  reply.receive_timestamp = after(timestamp, there);
  reply.timestamp = after(reply.receive_timestamp, inside);
  return reply;
}

TEST(RoundTrip, leaves_out_the_time_inside_the_reflector_whatever_its_clock_says) {
  auto reply = reply_to(1, kT1, 2ms, 10ms);
  const uint64_t received = after(kT1, 15ms);
  EXPECT_NEAR(round_trip(reply, received, 16ms).count(), 5e6, 2);
  reply.receive_timestamp += uint64_t{12'345} << 32;  // its clock is hours away
  reply.timestamp += uint64_t{12'345} << 32;
  EXPECT_NEAR(round_trip(reply, received, 16ms).count(), 5e6, 2);
}

TEST(RoundTrip, understands_reflectors_that_count_in_ptp_format) {
  auto reply = reply_to(1, kT1, 0ms, 0ms);
  reply.error_estimate = stamp::kPtpFormat | 1;
  reply.receive_timestamp = uint64_t{100} << 32 | 999'000'000;
  reply.timestamp = uint64_t{101} << 32 | 9'000'000;  // 10 ms later
  EXPECT_NEAR(round_trip(reply, after(kT1, 15ms), 16ms).count(), 5e6, 2);
}

TEST(RoundTrip, stepped_wall_clock_cannot_make_nonsense) {
  const auto reply = reply_to(1, kT1, 1ms, 1ms);
  EXPECT_NEAR(round_trip(reply, after(kT1, 3600s), 5ms).count(), 4e6, 2) << "stepped forwards";
  EXPECT_NEAR(round_trip(reply, kT1 - (uint64_t{9} << 32), 5ms).count(), 4e6, 2) << "stepped backwards";
}

class Window : public ::testing::Test {
 protected:
  void send(uint32_t sequence) { window_.sent(sequence, kT1 + sequence, now_); }
  ProbeWindow::Reply reply(uint32_t sequence, nanoseconds delay) {
    return window_.replied(reply_to(sequence, kT1 + sequence, delay / 2, 0ns), after(kT1 + sequence, delay),
                           now_ + delay + 1ms);
  }
  cmas::TimePoint now_ = cmas::TimePoint(1000s);
  ProbeWindow window_{5, 1s};
};

TEST_F(Window, delay_is_the_median_so_one_late_packet_does_not_steer) {
  EXPECT_FALSE(window_.metric());
  const nanoseconds delays[] = {10ms, 11ms, 500ms, 10ms, 12ms};
  for (uint32_t i = 0; i < 5; ++i) {
    send(i);
    EXPECT_EQ(reply(i, delays[i]), ProbeWindow::Reply::kAnswered);
  }
  EXPECT_EQ(window_.metric()->delay, 11ms);
  EXPECT_EQ(window_.metric()->loss, 0);
}

TEST_F(Window, jitter_is_the_smoothed_difference_of_successive_round_trips) {
  send(0);
  send(1);
  reply(0, 10ms);
  EXPECT_EQ(window_.metric()->jitter, 0us);
  reply(1, 26ms);
  EXPECT_EQ(window_.metric()->jitter, 1ms) << "16 ms / 16";
}

TEST_F(Window, loss_counts_within_the_window_only) {
  for (uint32_t i = 0; i < 4; ++i) send(i);
  reply(0, 10ms);
  EXPECT_EQ(window_.expire(now_ + 999ms), 0u);
  EXPECT_EQ(window_.expire(now_ + 1s), 3u);
  EXPECT_EQ(window_.metric()->loss, 0.75);
  for (uint32_t i = 10; i < 15; ++i) {
    send(i);
    reply(i, 10ms);
  }
  EXPECT_EQ(window_.metric()->loss, 0);
}

TEST_F(Window, loss_of_all_probes_only_ages_the_metric) {
  send(0);
  reply(0, 10ms);
  const auto before = *window_.metric();
  for (uint32_t i = 1; i < 20; ++i) send(i);
  now_ += 10s;
  EXPECT_EQ(window_.expire(now_), 19u);
  const auto after = *window_.metric();
  EXPECT_EQ(after.delay, before.delay);
  EXPECT_EQ(after.measured, before.measured);
  EXPECT_EQ(after.loss, 1);
}

TEST_F(Window, egress_is_silent_with_a_whole_window_of_lost_probes_until_a_quarter_is_answered) {
  window_ = ProbeWindow(8, 1s);
  send(0);
  reply(0, 10ms);
  uint32_t next = 1;
  for (; next <= 7; ++next) send(next);
  now_ += 1s;
  window_.expire(now_);
  EXPECT_TRUE(window_.metric()->answers) << "7 of 8 lost";
  send(next++);
  now_ += 1s;
  window_.expire(now_);
  EXPECT_FALSE(window_.metric()->answers);
  EXPECT_EQ(window_.metric()->delay, 10ms) << "as last measured";
  send(next);
  reply(next++, 10ms);
  EXPECT_FALSE(window_.metric()->answers) << "one answer is not enough";
  send(next);
  reply(next++, 10ms);
  EXPECT_TRUE(window_.metric()->answers);
}

TEST_F(Window, probes_that_were_never_sent_say_nothing_of_the_path) {
  for (uint32_t i = 0; i < 4; ++i) send(i);
  now_ += 3600s;
  window_.expire(now_);
  EXPECT_FALSE(window_.metric()) << "4 of 5 lost, however long ago";
}

TEST_F(Window, egress_that_never_answered_is_silent_without_a_delay) {
  for (uint32_t i = 0; i < 5; ++i) send(i);
  window_.expire(now_ + 1s);
  ASSERT_TRUE(window_.metric());
  EXPECT_FALSE(window_.metric()->answers);
  EXPECT_LT(window_.metric()->delay, 0us);
}

TEST_F(Window, refusal_by_the_host_itself_is_no_silence) {
  for (uint32_t i = 0; i < 5; ++i) send(i);
  window_.refused(now_ - 2s);
  window_.expire(now_ + 1s);
  EXPECT_FALSE(window_.metric()) << "nothing measured, not silent";
  now_ += 4s;
  for (uint32_t i = 5; i < 10; ++i) send(i);
  window_.expire(now_ + 1s);
  EXPECT_FALSE(window_.metric()->answers) << "the last refusal is too old";
  window_.refused(now_);
  EXPECT_FALSE(window_.metric());
}

TEST_F(Window, late_duplicate_and_foreign_replies_are_told_apart) {
  send(0);
  send(1);
  EXPECT_EQ(reply(0, 10ms), ProbeWindow::Reply::kAnswered);
  EXPECT_EQ(reply(0, 10ms), ProbeWindow::Reply::kDuplicate);
  window_.expire(now_ + 2s);
  EXPECT_EQ(reply(1, 10ms), ProbeWindow::Reply::kLate);
  EXPECT_EQ(reply(1, 10ms), ProbeWindow::Reply::kDuplicate);
  EXPECT_EQ(reply(77, 10ms), ProbeWindow::Reply::kForeign) << "never sent";
  send(2);
  EXPECT_EQ(window_.replied(reply_to(2, kT1 + 99, 1ms, 0ns), kT1, now_), ProbeWindow::Reply::kForeign)
      << "not its timestamp";
  EXPECT_EQ(window_.metric()->loss, 0.5);
}

}  // namespace
}  // namespace catsbpf::agent
