// SPDX-License-Identifier: Apache-2.0
#include "agent/network_metrics/stamp.h"

#include <sys/timex.h>

#include <algorithm>

namespace catsbpf::agent::stamp {

namespace {

constexpr uint64_t kUnixEpochInNtp = 2'208'988'800;  // seconds from 1900 to 1970
constexpr uint64_t kNsPerSecond = 1'000'000'000;

// Big-endian fields, one after the other.
struct Writer {
  uint8_t *at;
  template <class T>
  Writer &put(T value) {
    for (int shift = (sizeof(T) - 1) * 8; shift >= 0; shift -= 8) *at++ = static_cast<uint8_t>(value >> shift);
    return *this;
  }
};

struct Reader {
  const uint8_t *at;
  template <class T>
  T get() {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value << 8 | *at++);
    return value;
  }
  Reader &skip(std::size_t bytes) {
    at += bytes;
    return *this;
  }
};

// Nanoseconds in 2^-32 s, rounded up: so from_ntp gives the same nanosecond back.
uint64_t units_of(uint64_t ns) {
  return (ns / kNsPerSecond << 32) + (((ns % kNsPerSecond) << 32) + kNsPerSecond - 1) / kNsPerSecond;
}

}  // namespace

uint64_t to_ntp(WallTime time) {
  return units_of(static_cast<uint64_t>(time.time_since_epoch().count())) + (kUnixEpochInNtp << 32);
}

WallTime from_ntp(uint64_t ntp) {
  uint64_t seconds = ntp >> 32;
  // RFC 4330 section 3: the top bit clear means the era that begins in 2036.
  if (!(seconds & 0x8000'0000)) seconds += uint64_t{1} << 32;
  const uint64_t nanoseconds = ((ntp & 0xffff'ffff) * kNsPerSecond) >> 32;
  return WallTime(std::chrono::nanoseconds((seconds - kUnixEpochInNtp) * kNsPerSecond + nanoseconds));
}

uint16_t error_estimate(bool synchronised, std::chrono::nanoseconds error) {
  const auto ns = static_cast<uint64_t>(std::clamp<int64_t>(error.count(), 0, 16'000'000'000));
  uint64_t units = units_of(ns);
  uint16_t scale = 0;
  for (; units > 0xff; ++scale) units = (units + 1) >> 1;  // rounded up: never promises too much
  // A multiplier of 0 is forbidden (RFC 4656 section 4.1.2).
  return static_cast<uint16_t>((synchronised ? kSynchronised : 0) | scale << 8 | std::max<uint64_t>(units, 1));
}

uint16_t system_error_estimate() {
  timex clock{};
  const int state = ::adjtimex(&clock);
  const bool synchronised = state >= 0 && state != TIME_ERROR && !(clock.status & STA_UNSYNC);
  return error_estimate(synchronised, std::chrono::microseconds(clock.maxerror));
}

Packet encode(const SenderPacket &packet) {
  Packet bytes{};
  Writer{bytes.data()}.put(packet.sequence).put(packet.timestamp).put(packet.error_estimate);
  return bytes;
}

Packet encode(const ReflectorPacket &packet) {
  Packet bytes{};
  Writer{bytes.data()}
      .put(packet.sequence)
      .put(packet.timestamp)
      .put(packet.error_estimate)
      .put(uint16_t{0})
      .put(packet.receive_timestamp)
      .put(packet.sender.sequence)
      .put(packet.sender.timestamp)
      .put(packet.sender.error_estimate)
      .put(uint16_t{0})
      .put(packet.sender_ttl);
  return bytes;
}

std::optional<SenderPacket> decode_sender(std::span<const uint8_t> bytes) {
  if (bytes.size() < kTwampLightBytes) return std::nullopt;
  Reader reader{bytes.data()};
  SenderPacket packet;
  packet.sequence = reader.get<uint32_t>();
  packet.timestamp = reader.get<uint64_t>();
  packet.error_estimate = reader.get<uint16_t>();
  return packet;
}

std::optional<ReflectorPacket> decode_reflector(std::span<const uint8_t> bytes) {
  // A TWAMP Light reflector's packet ends with the TTL, at 41 bytes.
  if (bytes.size() < 41) return std::nullopt;
  Reader reader{bytes.data()};
  ReflectorPacket packet;
  packet.sequence = reader.get<uint32_t>();
  packet.timestamp = reader.get<uint64_t>();
  packet.error_estimate = reader.get<uint16_t>();
  packet.receive_timestamp = reader.skip(2).get<uint64_t>();
  packet.sender.sequence = reader.get<uint32_t>();
  packet.sender.timestamp = reader.get<uint64_t>();
  packet.sender.error_estimate = reader.get<uint16_t>();
  packet.sender_ttl = reader.skip(2).get<uint8_t>();
  return packet;
}

}  // namespace catsbpf::agent::stamp
