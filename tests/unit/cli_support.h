// SPDX-License-Identifier: Apache-2.0
// The world of a catsbpf command in a test: tables in memory, an agent that answers from a list.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <sstream>

#include "cli/command.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

struct FakeTables : maps::Tables {
  struct maps::control control_ {
    CATSBPF_LAYOUT, 0, 0, 250, 9'000, {}, {}
  };
  struct maps::view_header header {};
  std::vector<maps::locator> locators_;
  std::vector<maps::service_record> services_;
  std::vector<maps::ring_line> rings_;
  std::vector<maps::instance> instances_;
  std::vector<maps::path> paths_;
  std::vector<maps::delivery> deliveries_;
  std::vector<maps::interface> interfaces_;
  std::vector<maps::flow_line> flows_;
  std::vector<maps::flow_record> records_;
  std::vector<std::pair<maps::session_key, maps::session>> sessions_;
  std::vector<maps::counter> outcomes_;
  uint64_t now = 10'000;

  const struct maps::control &control() const override { return control_; }
  const struct maps::view_header &view_header() const override { return header; }
  std::span<const maps::locator> locators() const override { return locators_; }
  std::span<const maps::service_record> services() const override { return services_; }
  std::span<const maps::ring_line> rings() const override { return rings_; }
  std::span<const maps::instance> instances() const override { return instances_; }
  std::span<const maps::path> paths() const override { return paths_; }
  std::span<const maps::delivery> deliveries() const override { return deliveries_; }
  std::span<const maps::interface> interfaces() const override { return interfaces_; }
  std::span<const maps::flow_line> flows() const override { return flows_; }
  std::span<const maps::flow_record> flow_records() const override { return records_; }
  Result<std::vector<maps::address>> own_addresses() const override {
    return std::vector<maps::address>{*maps::parse_address("10.1.0.1")};
  }
  Result<std::vector<std::pair<maps::session_key, maps::session>>> sessions() const override { return sessions_; }
  Result<struct maps::sweep> sweep() const override {
    struct maps::sweep sweep {};
    sweep.passes = 77;
    return sweep;
  }
  Result<std::vector<maps::counter>> outcomes() const override { return outcomes_; }
  Result<maps::counter> instance_counter(uint32_t slot) const override { return maps::counter{slot * 10, slot * 1000}; }
  Result<maps::counter> delivery_counter(uint32_t index) const override {
    return maps::counter{index * 7, index * 700};
  }
  Result<maps::flow_counters> flow_counters() const override { return maps::flow_counters{9, 8, 7, 6, 5, 4}; }
  Result<std::vector<maps::icmp_budget>> icmp_budgets() const override { return std::vector<maps::icmp_budget>{{4}}; }
  Result<std::vector<MapInfo>> maps() const override {
    return std::vector<MapInfo>{{"flows", "array", 4, 64, 2, 4096}};
  }
  uint64_t jiffies() const override { return now; }

  // Puts a flow into the first free entry; lines and records grow as needed.
  void add_flow(const std::string &client, uint16_t port, uint16_t slot, uint16_t service, uint32_t idle_jiffies,
                uint32_t packets, uint64_t state = FLOW_STATE_USED);
};

// Two instances (CSCI-ID 1 by 3/4 of the ring, 3 by 1/4) of CS-ID 1, on paths to 10.255.0.2 and .3; CS-ID 2 has none.
FakeTables two_sites();

// Answers by "METHOD path" of the API; what is not listed is refused as by a dead agent.
struct FakeRemote : Remote {
  std::map<std::string, Reply> replies;
  std::vector<Call> calls;
  std::vector<Event> events;
  Error silence{"connect: connection refused", "", ECONNREFUSED};
  Result<Reply> call(const Call &call) override;
  Result<> watch(const Call &call, const std::function<void(const Event &)> &event) override;
};

struct Ran {
  Exit exit = Exit::done;
  std::string out, err;
};
// Runs `catsbpf WORDS...` (split at blanks) against both.
Ran run_command(const std::string &words, FakeRemote &remote, const FakeTables *tables,
                const std::map<std::string, std::string> &environment = {});

// The widest line of `text`.
std::size_t widest_line(const std::string &text);

}  // namespace catsbpf::cli
