// SPDX-License-Identifier: Apache-2.0
// Plane: the real data plane with maps of its own (nothing pinned, nothing attached), for tests and
// benchmarks that need no agent. In: services, instances, paths and deliveries as the agent would
// write them. Out: what the programs do with a packet. Needs root.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "maps/contract.h"
#include "maps/outcomes.h"
#include "tests/support/packet.h"

struct catsbpf_bpf;

namespace catsbpf::test {

inline constexpr uint32_t kLoopback = 1;  // test runs arrive there

struct LocatorSpec {
  std::string prefix;  // "10.99.0.1", "10.99.1.0/24", "fd00:99::1"
  uint8_t protocol = 0;
  uint16_t port_min = 0, port_max = 65535;
};

struct ServiceSpec {
  uint32_t cs_id = 1;
  std::vector<LocatorSpec> locators;
  std::vector<uint16_t> ring;  // slots, repeated to fill ring_slots
  uint32_t ring_slots = 251;
  uint32_t timeout = 300 * 1000;  // jiffies
  uint16_t source_port_mask = 0xffff, destination_port_mask = 0xffff;
  uint8_t protocol_mask = 0xff;
  uint32_t source_ignore4 = 0;  // host order
  std::string source_mask6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
};

struct Answer {
  uint32_t verdict = 0;  // XDP_* or TC_ACT_*
  Bytes packet;          // without metadata
  Bytes metadata;
  std::string outcome;  // "" none counted, "a+b" more than one
};

class Plane {
 public:
  // `flow_lines`: a power of two. Aborts the process with a message when the programs do not load.
  explicit Plane(uint32_t flow_lines = 1024, uint32_t ring_lines = 4096);
  ~Plane();
  Plane(const Plane &) = delete;
  Plane &operator=(const Plane &) = delete;

  Answer xdp(const Bytes &frame) const;
  Answer tc(const Bytes &frame) const;
  // Only the verdict and the output; for threads (outcomes are not looked at).
  static uint32_t run(int program, const Bytes &frame, Bytes &output);
  // Real frames, as if they had arrived on the interface: what the program redirects is transmitted, what
  // it passes goes up the stack.
  void receive(const Bytes &frame, uint32_t ifindex, uint32_t count) const;
  // From now on failed redirects are counted (for the life of the plane).
  void attach_error_counters();
  // catsbpf_slow at the ingress of the interface.
  void attach_slow(uint32_t ifindex) const;
  int xdp_program() const;
  int sweep_start() const;
  maps::clock_reading read_jiffies() const;

  // ---- what the agent writes ----
  void interface_sides(uint32_t sides, uint32_t ifindex = kLoopback);
  void interface_macs(const Bytes &mac, const std::vector<Bytes> &further = {}, uint32_t ifindex = kLoopback);
  void own_addresses(const std::vector<std::string> &addresses);
  // The view is built aside and published by publish(); handles are service indices, in call order.
  void services(const std::vector<ServiceSpec> &services);
  void tunnel(const std::string &address, uint32_t vni, const std::vector<std::string> &forwarders);
  void publish();
  void instance(uint16_t slot, uint32_t cs_id, uint32_t csci_id, uint16_t path,
                maps::instance_state state = maps::INSTANCE_ACTIVE);
  void path(uint16_t index, const std::string &egress, uint16_t mtu = 1600,
            maps::path_state state = maps::PATH_RESOLVED);
  void delivery(uint32_t cs_id, uint32_t csci_id, const std::string &contact,
                maps::delivery_state state = maps::DELIVERY_RESOLVED, const std::string &contact6 = "");
  void session(const std::string &client, uint32_t cs_id, uint16_t slot, uint64_t expires);

  maps::control &control() { return *control_; }
  maps::instance &instance_at(uint16_t slot) { return instances_[slot]; }
  maps::path &path_at(uint16_t index) { return paths_[index]; }
  maps::delivery &delivery_at(uint32_t csci_id);
  std::span<maps::flow_line> flows() { return flows_; }
  std::span<maps::flow_record> records() { return records_; }
  maps::flow_counters flow_counters() const;
  uint64_t outcome_packets(uint32_t outcome) const;
  uint64_t instance_packets(uint16_t slot) const;
  uint64_t delivery_packets(uint32_t csci_id);
  maps::sweep sweep() const;
  size_t live_flows() const;
  uint64_t jiffies() const { return read_jiffies().jiffies; }

 private:
  void write_locators(uint32_t side);
  void add_locator(uint32_t side, const LocatorSpec &spec, uint8_t kind, uint32_t target);
  std::vector<uint64_t> outcome_counts() const;
  Answer answer(int program, const Bytes &frame) const;
  template <class T>
  std::span<T> mapped(const char *name);

  catsbpf_bpf *skeleton_ = nullptr;
  std::vector<std::pair<void *, size_t>> mappings_;
  maps::control *control_ = nullptr;
  std::span<maps::interface> interfaces_;
  std::span<maps::address> own_addresses_;
  std::span<maps::view_header> headers_;
  std::span<maps::locator> locators_;
  std::span<maps::service_record> services_;
  std::span<maps::ring_line> rings_;
  std::span<maps::instance> instances_;
  std::span<maps::path> paths_;
  std::span<maps::delivery> deliveries_;
  std::span<maps::flow_line> flows_;
  std::span<maps::flow_record> records_;
  std::vector<ServiceSpec> wanted_services_;
  std::string tunnel_address_;
  uint32_t vni_ = 0;
  std::vector<std::string> forwarders_;
  uint32_t next_ring_line_ = 0;
};

}  // namespace catsbpf::test
