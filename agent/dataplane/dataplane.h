// SPDX-License-Identifier: Apache-2.0
// The kernel as the agent sees it: the pinned maps and programs of one pin directory. The kernel is
// behind it (kernel.cpp), a fake in memory in tests (fake.h).
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "maps/contract.h"
#include "util/result.h"

namespace catsbpf::agent {

struct InterfaceOptions {
  std::string name;
  uint32_t side = 0;  // maps::interface_side, or-ed
  std::string mode;   // "native" or "generic"
};

// How long the end of an agent that was killed may take, threads in the kernel and all.
inline constexpr std::chrono::milliseconds kLockPatience{3000};

struct DataplaneOptions {
  std::string pin_directory;        // on a bpffs; made if missing
  uint32_t flow_entries = 1 << 19;  // rounded up to a power of two; pins of another size stay as they are
  uint32_t ring_lines = 1 << 17;    // pool of 64-byte lines; the same
  std::vector<InterfaceOptions> interfaces;
  std::string tunnel_address;  // IPv4, on an interface of this host; "": none
  std::chrono::milliseconds lock_patience = kLockPatience;
};

inline constexpr std::chrono::milliseconds kHeartbeat{500};
inline constexpr std::chrono::seconds kMend{2};

// Tables that exist once, mapped into memory; the view's come twice, [side].
class Dataplane {
 public:
  virtual ~Dataplane() = default;

  virtual maps::control &control() = 0;
  virtual maps::view_header &view_header(int side) = 0;
  virtual std::span<maps::locator> locators(int side) = 0;
  virtual std::span<maps::service_record> services(int side) = 0;
  virtual std::span<maps::ring_line> rings() = 0;
  virtual std::span<maps::instance> instances() = 0;
  virtual std::span<maps::path> paths() = 0;
  virtual std::span<maps::delivery> deliveries() = 0;
  virtual std::span<const maps::flow_line> flows() = 0;
  virtual std::span<const maps::flow_record> flow_records() = 0;

  virtual Result<> put_session(const maps::session_key &key, const maps::session &session) = 0;
  virtual Result<> remove_session(const maps::session_key &key) = 0;
  virtual Result<std::vector<std::pair<maps::session_key, maps::session>>> sessions() = 0;

  // The one store that publishes a view: everything written before is visible to whoever sees `side`.
  virtual void flip(uint32_t side) { __atomic_store_n(&control().view, side, __ATOMIC_RELEASE); }

  // An instance slot begins a new life: its counters start at 0.
  virtual Result<> clear_instance_counter(uint16_t slot) = 0;

  // A sign of life of the agent (control.heartbeat); the programmer calls it every kHeartbeat.
  virtual void heartbeat() = 0;

  // Blocks until no packet can see the view of before the call any more (membarrier, else a
  // map-in-map update). Thread-safe; called from the programmer's grace thread.
  virtual Result<> wait_grace() = 0;

  // jiffies now, as the programs see them.
  virtual uint64_t jiffies() const = 0;

  struct InterfaceView {
    std::string name;
    uint32_t ifindex = 0;
    uint32_t side = 0;
    std::string mode;  // native, generic, detached
  };
  // As found in the kernel now; ifindex 0: there is no interface of that name.
  virtual std::vector<InterfaceView> interfaces() const = 0;

  // Takes back what open_kernel_dataplane() made, for a start that fails later on. What an earlier agent left stays in
  // force. To be called instead of mend(), last of all.
  virtual void undo() {}

  // Compares what is attached and pinned with what should be and puts back what is missing: somebody removed
  // it, or an interface was made anew. An interface that was renamed keeps its programs. To be called every kMend and
  // when a link changes. The first call, after a start that is complete, takes the programs off interfaces that are no
  // longer configured.
  virtual void mend() {}
  // What the last mend() could not put back.
  virtual std::vector<std::string> warnings() const { return {}; }
};

// Opens or creates the pinned maps and programs, takes the pin directory's lock (one agent per pin directory,
// whatever its state directory; waits for the end of one that was killed, names one that lives), replaces the
// programs, attaches them, arms the sweep. Refuses pins of another layout, naming both, and a tunnel address that this
// host does not have, without touching pins or traffic. On failure what this call made is gone, and what an earlier
// agent left is in force.
Result<std::unique_ptr<Dataplane>> open_kernel_dataplane(const DataplaneOptions &options);

// Detaches and unpins everything below `pin_directory`: on purpose only (`catsbpfd --uninstall`). Run in
// the network namespace of the agent. Refused while an agent runs; false: nothing was there.
Result<bool> uninstall_dataplane(const std::string &pin_directory,
                                 std::chrono::milliseconds lock_patience = kLockPatience);

}  // namespace catsbpf::agent
