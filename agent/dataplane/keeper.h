// SPDX-License-Identifier: Apache-2.0
// Keeps the data plane in place while the agent runs: programs on interfaces and tracepoints, the tables
// of interfaces and of this host's addresses, pins. In: the options and the loaded object. Out: the same found in the
// kernel, a log line for each thing put back, a warning for each that cannot be. Open links outlive their pins, so
// removed pins cost nothing. Until the first mend() the start may still fail: undo() takes back what it made, and
// nothing of an earlier agent's is taken away.
#pragma once

#include <bpf/libbpf.h>

#include <optional>
#include <string>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "agent/dataplane/interface_table.h"
#include "agent/netlink/query.h"
#include "maps/map.h"
#include "util/fd.h"
#include "util/result.h"

namespace catsbpf::agent {

class Keeper {
 public:
  // Finds the interfaces and the tunnel address (all must exist), makes and locks the pin directory.
  Result<> open(const DataplaneOptions &options);
  // Writes the maps `interfaces` and `own_addresses`, which are pinned by now. Own addresses that find no place there
  // are a warning.
  Result<> describe();
  // Attaches and pins. `object` outlives the keeper.
  Result<> put_in_place(bpf_object *object);
  void undo();

  void mend();
  const std::vector<std::string> &warnings() const { return warnings_; }
  std::vector<Dataplane::InterfaceView> interfaces() const;

 private:
  struct Attachment {
    InterfaceOptions wanted;
    uint32_t ifindex = 0;  // 0: gone
    Fd link;
    bool anew = false;   // not attached since the interface was made
    bool fresh = false;  // no agent before this one had attached it
  };
  struct Pin {
    std::string path;
    int fd;
  };
  Result<> check_tunnel_address() const;
  Result<> describe_all(Others others);
  Result<> describe_own_addresses();
  Result<> put_in_place(Attachment &attachment, Fd held);
  Result<> put_traces_in_place();
  void take_off_others();
  void find_interface(Attachment &attachment);
  void mend_interface(Attachment &attachment, std::vector<std::string> &wrong);
  Result<> mend_pins();
  void warn(std::vector<std::string> wrong);  // what is wrong now; logged where it was not before
  std::vector<Pin> pins() const;
  int program(const char *name) const;

  std::string pin_directory_, tunnel_address_;
  Fd lock_;
  bool first_ = false;    // nothing was pinned before
  bool settled_ = false;  // the start is complete
  bpf_object *object_ = nullptr;
  std::optional<NetlinkQuery> netlink_;
  maps::Array<maps::interface> table_;
  maps::Array<maps::address> own_addresses_;
  std::vector<Attachment> attachments_;
  std::vector<std::pair<std::string, Fd>> traces_;  // pin and link
  std::vector<std::string> warnings_;
};

}  // namespace catsbpf::agent
