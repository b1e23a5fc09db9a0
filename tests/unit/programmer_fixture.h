// SPDX-License-Identifier: Apache-2.0
// A programmer over the fake data plane, driven step by step.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "agent/dataplane/fake.h"
#include "agent/programmer/programmer.h"

namespace catsbpf::agent {

// A ring over these CSCI-IDs, in turn: slot i belongs to member i % n.
inline std::shared_ptr<const cmas::Ring> ring_in_turn(const std::vector<uint32_t> &csci_ids, uint32_t slots) {
  auto ring = std::make_shared<cmas::Ring>();
  for (uint32_t csci_id : csci_ids) ring->members.push_back({csci_id, 1});
  for (uint32_t i = 0; i < slots && !csci_ids.empty(); ++i)
    ring->slots.push_back(static_cast<uint16_t>(i % csci_ids.size()));
  return ring;
}

inline WantedService service(uint32_t cs_id, const std::vector<std::string> &prefixes,
                             const std::vector<uint32_t> &csci_ids, uint32_t slots = 251) {
  WantedService wanted;
  wanted.service_id = "S" + std::to_string(cs_id);
  wanted.cs_id = cs_id;
  for (const std::string &prefix : prefixes) wanted.locators.emplace_back().set_prefix(prefix);
  for (uint32_t csci_id : csci_ids)
    wanted.instances.push_back({csci_id, csci_id % 2 ? "f2" : "f3", InstanceWish::kActive});
  wanted.ring = ring_in_turn(csci_ids, slots);
  return wanted;
}

class ProgrammerTest : public ::testing::Test {
 protected:
  static ProgrammerOptions default_options() {
    ProgrammerOptions options;
    options.tunnel_address = "10.255.0.1";
    options.forwarders = {{"f2", "10.255.0.2"}, {"f3", "10.255.0.3"}};
    options.retry = std::chrono::milliseconds(20);
    options.reclaim = std::chrono::milliseconds(20);
    return options;
  }

  // A new agent on the same tables; the one before is gone as by kill -9: it gets no chance to tidy up.
  void start(ProgrammerOptions options = default_options()) {
    programmer.reset();
    io = std::make_unique<boost::asio::io_context>();
    auto opened = Programmer::open(*io, dataplane, next_hops, std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.error().text();
    programmer = std::move(*opened);
  }
  void TearDown() override {
    dataplane.hold_grace(false);
    EXPECT_EQ(dataplane.broken, std::vector<std::string>{});
    programmer.reset();
  }
  void run_for(std::chrono::milliseconds time) {
    io->restart();
    io->run_for(time);
  }
  // Runs the loop until the condition holds.
  template <class Condition>
  [[nodiscard]] bool run_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!condition() && std::chrono::steady_clock::now() < end) run_for(std::chrono::milliseconds(1));
    return condition();
  }
  [[nodiscard]] bool settle() {
    const bool in_sync = run_until([this] { return programmer->state() == "in sync"; });
    run_for(std::chrono::milliseconds(5));
    return in_sync;
  }

  static NextHop hop(uint8_t last_of_mac, const std::string &gateway = "172.16.1.254") {
    NextHop hop;
    hop.routed = hop.resolved = true;
    hop.ifindex = 7;
    hop.interface = "core0";
    hop.gateway = gateway;
    hop.mtu = 1600;
    hop.source_mac = {2, 0, 0, 0, 0, 1};
    hop.mac = {2, 0, 0, 0, 0, last_of_mac};
    return hop;
  }
  maps::instance &instance(uint32_t cs_id, uint32_t csci_id) {
    return dataplane.instances()[programmer->slot(cs_id, csci_id)];
  }

  FakeDataplane dataplane;
  FakeNextHops next_hops;
  std::unique_ptr<boost::asio::io_context> io;
  std::unique_ptr<Programmer> programmer;
};

}  // namespace catsbpf::agent
