// SPDX-License-Identifier: Apache-2.0
// For tests that need the real kernel: network namespaces, a pin directory of one's own, agents as child
// processes with the agent's capabilities and no more, packets through BPF_PROG_TEST_RUN.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "agent/programmer/programmer.h"
#include "maps/contract.h"
#include "util/fd.h"

namespace catsbpf::test {

// Runs a shell command; fails the test when it fails.
void shell(const std::string &command);

// A named network namespace that goes with its owner; lo is up.
class Namespace {
 public:
  explicit Namespace(const std::string &name);
  ~Namespace();
  Namespace(const Namespace &) = delete;
  Namespace &operator=(const Namespace &) = delete;
  const std::string &name() const { return name_; }
  // `ip ARGUMENTS` in it.
  void ip(const std::string &arguments) const;

  // The calling thread is in the namespace while the guard lives.
  class Inside {
   public:
    explicit Inside(const Namespace &where);
    ~Inside();
    Inside(const Inside &) = delete;
    Inside &operator=(const Inside &) = delete;

   private:
    Fd before_;
  };

 private:
  std::string name_;
};

// Base of the tests: skips without root, mounts a bpffs, names everything after test and process.
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // "h2-PID-suffix": at most 15 characters are kept, so that it may name an interface.
  std::string unique(const std::string &suffix) const;
  agent::DataplaneOptions dataplane_options(const std::vector<agent::InterfaceOptions> &interfaces) const;

  std::string pins;
};

// Gives up everything but what the agent's unit has. For child processes.
void drop_to_agent_capabilities();

// A child process; killed and reaped by its owner.
class Child {
 public:
  // `work` gets the writing end of a pipe: a byte says that it is ready. It must not return before it is
  // killed; returning ends the child with 1.
  static std::unique_ptr<Child> start(const std::function<void(int ready)> &work);
  ~Child();
  bool wait_ready(int seconds) const;
  void kill();  // SIGKILL, and waits for its end

 private:
  Child(int pid, Fd ready) : pid_(pid), ready_(std::move(ready)) {}
  int pid_;
  Fd ready_;
};

// One packet through a program that is pinned. Answers the program's verdict and leaves the packet in `frame`.
int run_packet(int program, uint32_t ingress_ifindex, std::vector<uint8_t> &frame);

// Ethernet, IPv4, UDP from `source`:`port` to `destination`:4000, with a payload of 64 bytes.
std::vector<uint8_t> udp_frame(uint32_t source, uint16_t port, uint32_t destination);

// CS-ID and CSCI-ID of the CATS option in an encapsulated frame; {0, 0} when it is none.
struct OptionIds {
  uint32_t cs_id = 0, csci_id = 0;
};
OptionIds option_ids(const std::vector<uint8_t> &frame);

}  // namespace catsbpf::test
