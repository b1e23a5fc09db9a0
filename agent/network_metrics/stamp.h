// SPDX-License-Identifier: Apache-2.0
// STAMP test packets (RFC 8762), unauthenticated mode: bytes to values and back, and NTP time. Pure.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

namespace catsbpf::agent::stamp {

constexpr std::size_t kPacketBytes = 44;      // both directions, without extensions
constexpr std::size_t kTwampLightBytes = 14;  // least that a TWAMP Light sender sends (RFC 8762 section 4.6)
constexpr uint16_t kPort = 862;

using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;
using Packet = std::array<uint8_t, kPacketBytes>;

// 64-bit NTP timestamp: seconds since 1900, fraction in 2^-32 s.
uint64_t to_ntp(WallTime time);
WallTime from_ntp(uint64_t ntp);  // the era of 1968..2104

// S 1 | Z 1 | scale 6 | multiplier 8; error = multiplier * 2^scale * 2^-32 s (RFC 4656 section 4.1.2).
uint16_t error_estimate(bool synchronised, std::chrono::nanoseconds error);
uint16_t system_error_estimate();  // of the kernel's clock now (adjtimex)
constexpr uint16_t kSynchronised = 0x8000;
constexpr uint16_t kPtpFormat = 0x4000;

struct SenderPacket {
  uint32_t sequence = 0;
  uint64_t timestamp = 0;  // NTP, t1
  uint16_t error_estimate = 0;
  bool operator==(const SenderPacket &) const = default;
};

struct ReflectorPacket {
  uint32_t sequence = 0;
  uint64_t timestamp = 0;  // t3
  uint16_t error_estimate = 0;
  uint64_t receive_timestamp = 0;  // t2
  SenderPacket sender;             // as received
  uint8_t sender_ttl = 0;          // of the received packet, 255: not known
  bool operator==(const ReflectorPacket &) const = default;
};

Packet encode(const SenderPacket &packet);
Packet encode(const ReflectorPacket &packet);
// Empty when too short. More bytes than the base packet are extensions; they are not read.
std::optional<SenderPacket> decode_sender(std::span<const uint8_t> bytes);
std::optional<ReflectorPacket> decode_reflector(std::span<const uint8_t> bytes);

}  // namespace catsbpf::agent::stamp
