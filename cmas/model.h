// SPDX-License-Identifier: Apache-2.0
// The nouns of the domain. cmas/ is pure: no BPF, no network, no clock of its own (time is passed in).
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace catsbpf::cmas {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Micros = std::chrono::microseconds;

// A service contact instance (CSCI) of a service (CS): one row of a site's service model table.
struct RowKey {
  uint32_t cs_id = 0;
  uint32_t csci_id = 0;
  auto operator<=>(const RowKey &) const = default;
};

// R024, R036: what a site says of one instance. free() is the GAS that selection sees (decision X1).
struct Row {
  RowKey key{};
  uint32_t offered = 0;    // slots; only the site changes it
  uint32_t in_use = 0;     // slots; only reservations change it
  double cost = 0;         // price per slot
  Micros access_delay{0};  // round trip egress to instance
  bool draining = false;
  std::vector<std::string> egresses{};  // best first; empty: those of the site

  uint32_t free() const { return offered > in_use ? offered - in_use : 0; }
  bool operator==(const Row &) const = default;
};

// How a row of the whole service table may be used.
enum class RowState {
  kActive,       // takes new flows
  kDraining,     // keeps flows, takes none: asked for by the site or the operator
  kFrozen,       // its origin is silent: keeps flows, takes none
  kSilent,       // its egress answers no probe: keeps flows (packets may get through), takes none
  kUnreachable,  // takes none: its path is dead, as this router knows (flows move), or none is configured (they stay)
  kDead,         // removed by its site: its flows move
};
const char *name(RowState state);

// One candidate of a selection: a row joined with computing time and network delay (R039).
struct Candidate {
  RowKey key{};
  std::string site{};
  std::string egress{};
  RowState state = RowState::kActive;
  uint32_t gas = 0;  // free slots
  uint32_t offered = 0;
  uint32_t in_use = 0;
  double cost = 0;
  Micros computing_time{0};
  std::optional<Micros> network_delay{};  // ingress to instance, round trip; empty: not measured yet

  // R043: computing time + network delay.
  std::optional<Micros> real_delay() const {
    if (!network_delay) return std::nullopt;
    return computing_time + *network_delay;
  }
};

}  // namespace catsbpf::cmas
