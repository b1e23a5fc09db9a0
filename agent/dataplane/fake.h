// SPDX-License-Identifier: Apache-2.0
// A data plane in memory, for unit tests: the same tables, and a check at each flip that the view about
// to be seen is complete and that the one in force was left alone.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "agent/netlink/next_hops.h"

namespace catsbpf::agent {

class FakeDataplane final : public Dataplane {
 public:
  explicit FakeDataplane(uint32_t ring_lines = 4096, uint32_t flow_lines = 1024);

  maps::control &control() override { return control_; }
  maps::view_header &view_header(int side) override { return view_headers_[side]; }
  std::span<maps::locator> locators(int side) override {
    return std::span(locators_).subspan(side * MAX_LOCATORS, MAX_LOCATORS);
  }
  std::span<maps::service_record> services(int side) override {
    return std::span(services_).subspan(side * MAX_SERVICES, MAX_SERVICES);
  }
  std::span<maps::ring_line> rings() override { return rings_; }
  std::span<maps::instance> instances() override { return instances_; }
  std::span<maps::path> paths() override { return paths_; }
  std::span<maps::delivery> deliveries() override { return deliveries_; }
  std::span<const maps::flow_line> flows() override { return flows_; }
  std::span<const maps::flow_record> flow_records() override { return flow_records_; }

  Result<> put_session(const maps::session_key &key, const maps::session &session) override;
  Result<> remove_session(const maps::session_key &key) override;
  Result<std::vector<std::pair<maps::session_key, maps::session>>> sessions() override;
  Result<> clear_instance_counter(uint16_t slot) override;
  void heartbeat() override { ++heartbeats; }
  Result<> wait_grace() override;
  uint64_t jiffies() const override { return now; }
  std::vector<InterfaceView> interfaces() const override { return {}; }
  void flip(uint32_t side) override;

  // What a packet would meet: the instance slot of each ring slot of a service; empty: no such service.
  std::vector<uint16_t> ring_of(uint32_t cs_id);
  // The CS-ID that owns a packet to this address; 0: none. Looks up as the programs do.
  uint32_t service_at(const std::string &address, uint8_t protocol, uint16_t port);
  // Puts a flow on a slot into the flow table, or removes all flows.
  void put_flow(uint64_t tag, uint16_t slot);
  void clear_flows();

  // For tests to set and to read.
  uint64_t now = 1'000'000;  // jiffies
  uint64_t heartbeats = 0;
  std::vector<uint32_t> flips;      // sides, in order
  std::vector<std::string> broken;  // what was wrong with a view at its flip
  std::function<void()> at_flip;    // after the checks
  std::vector<uint16_t> cleared;    // instance counters
  // Graces do not end until let_grace() while held.
  void hold_grace(bool hold);
  void fail_grace(bool fail);
  int graces() const;

 private:
  void check_complete(uint32_t side);
  std::vector<uint16_t> ring_of(uint32_t side, uint32_t cs_id);
  uint64_t fingerprint(uint32_t side);

  maps::control control_{};
  std::vector<maps::view_header> view_headers_;
  std::vector<maps::locator> locators_;
  std::vector<maps::service_record> services_;
  std::vector<maps::ring_line> rings_;
  std::vector<maps::instance> instances_;
  std::vector<maps::path> paths_;
  std::vector<maps::delivery> deliveries_;
  std::vector<maps::flow_line> flows_;
  std::vector<maps::flow_record> flow_records_;
  std::map<std::string, std::pair<maps::session_key, maps::session>> sessions_;
  uint64_t in_force_ = 0;  // fingerprint of the side in force, taken at its flip

  mutable std::mutex mutex_;  // of what follows: the grace thread asks
  std::condition_variable changed_;
  bool grace_held_ = false, grace_fails_ = false;
  int graces_ = 0;
};

// Next hops that a test says.
class FakeNextHops final : public NextHops {
 public:
  Result<uint64_t> watch(const std::string &address, Callback callback) override;
  void unwatch(uint64_t watch) override { watches_.erase(watch); }

  void on_told(std::function<void()> callback) override { told_ = std::move(callback); }

  void set(const std::string &address, const NextHop &hop) { set({{address, hop}}); }
  // By one event.
  void set(const std::map<std::string, NextHop> &hops);
  size_t watched() const { return watches_.size(); }

 private:
  std::map<uint64_t, std::pair<std::string, Callback>> watches_;
  std::function<void()> told_ = [] {};
  uint64_t next_ = 1;
};

}  // namespace catsbpf::agent
