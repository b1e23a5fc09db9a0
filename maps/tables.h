// SPDX-License-Identifier: Apache-2.0
// Read-only access to the pinned maps of one pin directory, for everything that looks without the
// agent: catsbpf, tests, benchmarks. Never writes, never needs the agent to run.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "maps/contract.h"
#include "maps/outcomes.h"
#include "util/result.h"

namespace catsbpf::maps {

// What is pinned in a pin directory, beside the folders of programs and links.
std::span<const char *const> map_names();

class Tables {
 public:
  // Fails when nothing is pinned there, when the layout is another one (names both), or for lack of
  // privilege (hint: sudo).
  static Result<std::unique_ptr<Tables>> open(const std::string &pin_directory);
  virtual ~Tables() = default;

  virtual const struct control &control() const = 0;
  virtual const struct view_header &view_header() const = 0;     // of the side in force
  virtual std::span<const struct locator> locators() const = 0;  // of the side in force
  virtual std::span<const struct service_record> services() const = 0;
  virtual std::span<const struct ring_line> rings() const = 0;
  virtual std::span<const struct instance> instances() const = 0;
  virtual std::span<const struct path> paths() const = 0;
  virtual std::span<const struct delivery> deliveries() const = 0;
  virtual std::span<const struct interface> interfaces() const = 0;
  virtual std::span<const struct flow_line> flows() const = 0;
  virtual std::span<const struct flow_record> flow_records() const = 0;
  virtual Result<std::vector<struct address>> own_addresses() const = 0;
  virtual Result<std::vector<std::pair<struct session_key, struct session>>> sessions() const = 0;
  virtual Result<struct sweep> sweep() const = 0;

  // Sums over all CPUs.
  virtual Result<std::vector<struct counter>> outcomes() const = 0;  // [enum outcome]
  virtual Result<struct counter> instance_counter(uint32_t slot) const = 0;
  virtual Result<struct counter> delivery_counter(uint32_t index) const = 0;
  virtual Result<struct flow_counters> flow_counters() const = 0;

  virtual Result<std::vector<struct icmp_budget>> icmp_budgets() const = 0;  // [CPU]

  // All pinned maps: name, type, entries, bytes of memory; for `catsbpf map`.
  struct MapInfo {
    std::string name, type;
    uint32_t key_bytes = 0, value_bytes = 0, entries = 0;
    uint64_t memory_bytes = 0;
  };
  virtual Result<std::vector<MapInfo>> maps() const = 0;
  // jiffies now, for ages (from control.heartbeat's clock; estimated from CLOCK_MONOTONIC when the agent is away).
  virtual uint64_t jiffies() const = 0;
};

// ---- addresses ----
std::optional<address> parse_address(const std::string &text);  // IPv4 or IPv6
std::string format_address(const address &a);
bool is_ipv4(const address &a);

// ---- outcomes ----
struct OutcomeInfo {
  const char *name, *kind, *sentence;
};
std::span<const OutcomeInfo> outcome_list();

}  // namespace catsbpf::maps
