// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/dataplane/pins.h"
#include "agent/dataplane/place.h"
#include "agent/netlink/query.h"
#include "maps/map.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

constexpr const char *kXdpPrefix = "xdp_";

// bpffs allows no dot in a name, the kernel no colon in that of an interface.
std::string interface_of(const std::string &pin) {
  std::string interface = pin.substr(std::string(kXdpPrefix).size());
  std::replace(interface.begin(), interface.end(), ':', '.');
  return interface;
}

uint32_t mode_flag(const std::string &mode) { return mode == "generic" ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE; }

// A directory says that the clsact qdisc of an interface is ours: bpffs keeps no ordinary files.
std::string qdisc_mark(const std::string &pin_directory, uint32_t ifindex) {
  return pin_directory + kQdiscs + "/" + std::to_string(ifindex);
}

// Marked before it is made: an agent that dies in between leaves a mark, which costs nothing, and no qdisc.
int make_qdisc(const std::string &pin_directory, uint32_t ifindex) {
  const std::string mark = qdisc_mark(pin_directory, ifindex);
  const bool marked = mkdir(mark.c_str(), 0700) == 0;
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_INGRESS);
  const int error = bpf_tc_hook_create(&hook);
  if (error != 0 && marked) rmdir(mark.c_str());
  return error == -EEXIST ? 0 : error;
}

void remove_qdisc(const std::string &pin_directory, uint32_t ifindex) {
  if (rmdir(qdisc_mark(pin_directory, ifindex).c_str()) != 0) return;  // it was there before us
  auto netlink = NetlinkQuery::open();
  if (!netlink || netlink->has_filters(ifindex)) return;
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  if (const int error = bpf_tc_hook_destroy(&hook);
      error != 0 && error != -ENOENT && error != -EINVAL && error != -ENODEV)
    log::warn("cannot remove the clsact qdisc ifindex={} error={}", ifindex, std::strerror(-error));
}

void detach_slow(uint32_t ifindex) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kSlowHandle, .priority = kSlowPriority);
  if (const int error = bpf_tc_detach(&hook, &options);
      error != 0 && error != -ENOENT && error != -EINVAL && error != -ENODEV)
    log::warn("cannot remove the tc filter ifindex={} error={}", ifindex, std::strerror(-error));
}

}  // namespace

std::string xdp_pin(const std::string &pin_directory, const std::string &interface) {
  std::string name = kXdpPrefix + interface;
  std::replace(name.begin(), name.end(), '.', ':');
  return maps::link_pin(pin_directory, name);
}

Fd pinned_xdp(const std::string &pin_directory, uint32_t ifindex) {
  for (const std::string &pin : list_pins(pin_directory + kLinks)) {
    if (!pin.starts_with(kXdpPrefix)) continue;
    Fd link(bpf_obj_get(maps::link_pin(pin_directory, pin).c_str()));
    if (ifindex != 0 && ifindex_of(link) == ifindex) return link;
  }
  return Fd();
}

std::string xdp_mode(const Fd &link, uint32_t ifindex) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (ifindex == 0 || ifindex_of(link) != ifindex || bpf_xdp_query(static_cast<int>(ifindex), 0, &query) != 0)
    return "";
  if (query.attach_mode == XDP_ATTACHED_DRV) return "native";
  return query.attach_mode == XDP_ATTACHED_SKB ? "generic" : "";
}

Result<Fd> attach_xdp(const std::string &pin_directory, Fd held, const InterfaceOptions &interface, uint32_t ifindex,
                      int program) {
  if (xdp_mode(held, ifindex) == interface.mode) {
    if (bpf_link_update(held.get(), program, nullptr) == 0) return held;
    return system_error("cannot replace the xdp program on " + interface.name, errno);
  }
  // In another mode the link is of no use, and in the way.
  if (held.valid()) bpf_link_detach(held.get());
  LIBBPF_OPTS(bpf_link_create_opts, options, .flags = mode_flag(interface.mode));
  Fd link(bpf_link_create(program, static_cast<int>(ifindex), BPF_XDP, &options));
  if (!link.valid()) return refused_xdp(pin_directory, interface, ifindex, program, errno);
  return link;
}

bool xdp_in_place(const Fd &link, const InterfaceOptions &interface, uint32_t ifindex, int program) {
  if (xdp_mode(link, ifindex) != interface.mode) return false;
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  return bpf_xdp_query(static_cast<int>(ifindex), 0, &query) == 0 && query.prog_id == object_id(program).id;
}

Result<> attach_slow(const std::string &pin_directory, const Fd &link, const std::string &interface, uint32_t ifindex,
                     int program) {
  if (auto vacant = check_slow_vacant(pin_directory, link, interface, ifindex); !vacant) return vacant;
  if (const int error = make_qdisc(pin_directory, ifindex); error != 0)
    return system_error("cannot make the clsact qdisc of " + interface, -error,
                        "the kernel needs NET_CLS_ACT and NET_SCH_INGRESS");
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program, .flags = BPF_TC_F_REPLACE, .handle = kSlowHandle,
              .priority = kSlowPriority);
  if (const int error = bpf_tc_attach(&hook, &options); error != 0)
    return system_error("cannot attach the tc program to " + interface, -error,
                        error == -EINVAL ? "a filter for one protocol has priority 1 (`tc filter show dev " +
                                               interface + " ingress`)? give it another `pref`"
                                         : "the kernel needs NET_CLS_BPF");
  return done();
}

bool slow_in_place(uint32_t ifindex, int program) { return slow_program(ifindex) == object_id(program).id; }

Result<Fd> attach_trace(const std::string &name, int program) {
  Fd link(bpf_raw_tracepoint_open(nullptr, program));
  if (!link.valid()) return system_error("cannot attach " + name, errno, "CAP_PERFMON is needed");
  return link;
}

void detach(const std::string &pin_directory, const std::string &interface, uint32_t ifindex, Fd link) {
  const bool slow = slow_is_ours(pin_directory, link, ifindex);  // while the link tells
  if (link.valid()) bpf_link_detach(link.get());
  unlink(xdp_pin(pin_directory, interface).c_str());
  if (ifindex == 0) return;
  if (slow) detach_slow(ifindex);
  remove_qdisc(pin_directory, ifindex);
}

std::vector<std::string> detach_others(const std::string &pin_directory, const std::vector<KeptInterface> &keep) {
  std::vector<std::string> gone;
  for (const std::string &pin : list_pins(pin_directory + kLinks)) {
    if (!pin.starts_with(kXdpPrefix)) continue;
    const std::string interface = interface_of(pin), path = maps::link_pin(pin_directory, pin);
    if (std::any_of(keep.begin(), keep.end(), [&](const auto &kept) { return kept.first == interface; })) continue;
    Fd link(bpf_obj_get(path.c_str()));
    const uint32_t held = ifindex_of(link);
    if (std::any_of(keep.begin(), keep.end(), [&](const auto &kept) { return kept.second == held; })) {
      unlink(path.c_str());  // a former name: the link is pinned by the present one
      continue;
    }
    detach(pin_directory, interface, held != 0 ? held : if_nametoindex(interface.c_str()), std::move(link));
    gone.push_back(interface);
  }
  return gone;
}

}  // namespace catsbpf::agent
