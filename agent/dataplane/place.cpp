// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/place.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include <cerrno>
#include <cstdio>

#include "agent/dataplane/pins.h"
#include "maps/map.h"

namespace catsbpf::agent {

namespace {

// The id of the program that is pinned under that name; 0: none is.
uint32_t pinned_program(const std::string &pin_directory, const char *name) {
  const Fd program(bpf_obj_get(maps::program_pin(pin_directory, name).c_str()));
  return program.valid() ? object_id(program.get()).id : 0;
}

// The pin directory of the agent whose program that is, when it stands beside ours; else "".
std::string agent_with(const std::string &pin_directory, uint32_t program) {
  const std::string around = pin_directory.substr(0, pin_directory.rfind('/') + 1);
  for (const std::string &name : list_pins(around))
    for (const char *pin : {kFastProgram, kSlowProgram})
      if (around + name != pin_directory && pinned_program(around + name, pin) == program) return around + name;
  return "";
}

// Whose program is in the way, and how it goes: `way`, unless it is an agent's.
std::string hint_for(const std::string &pin_directory, uint32_t program, const std::string &way) {
  if (program == 0) return "another program is there" + way;
  const std::string number = "program " + std::to_string(program);
  if (const std::string other = agent_with(pin_directory, program); !other.empty())
    return "the agent with the pins at " + other + " has it (" + number +
           "), and an interface has one agent: take it out of one configuration, or end that agent and its data plane "
           "(`catsbpfd --uninstall`)";
  return number + " is there (`bpftool prog show id " + std::to_string(program) + "`)" + way;
}

// Links are told apart by a replacement that cannot happen: what a link holds is busy for netlink, and of what netlink
// attached ours is not the program to be replaced.
std::string hint_for_occupied(const std::string &pin_directory, const std::string &interface, uint32_t ifindex,
                              int program) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (bpf_xdp_query(static_cast<int>(ifindex), 0, &query) != 0) query.prog_id = 0;
  LIBBPF_OPTS(bpf_xdp_attach_opts, expected, .old_prog_fd = program);
  const bool generic = query.attach_mode == XDP_ATTACHED_SKB;
  const uint32_t flags = XDP_FLAGS_REPLACE | (generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
  if (bpf_xdp_attach(static_cast<int>(ifindex), program, flags, &expected) == -EBUSY)
    return hint_for(pin_directory, query.prog_id,
                    ", held by a bpf_link: `bpftool link` shows the link with that program and who has it; end that, "
                    "or `bpftool link detach id LINK`");
  return hint_for(pin_directory, query.prog_id,
                  ": ip link set dev " + interface + (generic ? " xdpgeneric off" : " xdp off"));
}

// A data plane whose pins were removed by hand loses its XDP link by that, but not its filter: nobody has it any more.
bool is_orphan(const std::string &pin_directory, uint32_t ifindex, uint32_t slow) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (bpf_xdp_query(static_cast<int>(ifindex), 0, &query) != 0 || query.attach_mode != XDP_ATTACHED_NONE) return false;
  const Fd program(bpf_prog_get_fd_by_id(slow));
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  return program.valid() && bpf_obj_get_info_by_fd(program.get(), &info, &length) == 0 &&
         std::string(info.name) == kSlowProgram && agent_with(pin_directory, slow).empty();
}

// What `tc filter` takes to name the place of ours.
std::string filter_of(const std::string &interface) {
  char place[64];
  std::snprintf(place, sizeof place, " ingress pref %u handle 0x%x bpf", kSlowPriority, kSlowHandle);
  return "dev " + interface + place;
}

}  // namespace

uint32_t ifindex_of(const Fd &link) {
  bpf_link_info info{};
  uint32_t length = sizeof info;
  if (!link.valid() || bpf_obj_get_info_by_fd(link.get(), &info, &length) != 0) return 0;
  return info.type == BPF_LINK_TYPE_XDP ? info.xdp.ifindex : 0;
}

uint32_t slow_program(uint32_t ifindex) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kSlowHandle, .priority = kSlowPriority);
  return ifindex != 0 && bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

bool slow_is_ours(const std::string &pin_directory, const Fd &link, uint32_t ifindex) {
  const uint32_t there = slow_program(ifindex);
  return there != 0 && (ifindex_of(link) == ifindex || there == pinned_program(pin_directory, kSlowProgram));
}

Result<> check_slow_vacant(const std::string &pin_directory, const Fd &link, const std::string &interface,
                           uint32_t ifindex) {
  const uint32_t there = slow_program(ifindex);
  if (there == 0 || slow_is_ours(pin_directory, link, ifindex) || is_orphan(pin_directory, ifindex, there))
    return done();
  return Error{"cannot attach the tc program to " + interface + ": another filter is in its place",
               hint_for(pin_directory, there, ": tc filter del " + filter_of(interface)), EBUSY};
}

Result<> check_vacant(const std::string &pin_directory, const Fd &link, const InterfaceOptions &interface,
                      uint32_t ifindex, int program) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (ifindex_of(link) != ifindex && bpf_xdp_query(static_cast<int>(ifindex), 0, &query) == 0 &&
      (query.drv_prog_id != 0 || query.skb_prog_id != 0))
    return refused_xdp(pin_directory, interface, ifindex, program, EBUSY);
  return check_slow_vacant(pin_directory, link, interface.name, ifindex);
}

Error refused_xdp(const std::string &pin_directory, const InterfaceOptions &interface, uint32_t ifindex, int program,
                  int code) {
  const std::string what = "cannot attach xdp to " + interface.name + " in " + interface.mode + " mode";
  if (code == EBUSY || code == EEXIST)
    return system_error(what, code, hint_for_occupied(pin_directory, interface.name, ifindex, program));
  if (interface.mode != "generic" && (code == EOPNOTSUPP || code == EINVAL || code == ENOTSUP))
    return system_error(what, code, "its driver has no native xdp; set `mode: generic` for this interface");
  if (code == ERANGE || code == EMSGSIZE)
    return system_error(what, code, "its MTU is too large for native xdp; lower it, or set `mode: generic`");
  return system_error(what, code);
}

}  // namespace catsbpf::agent
