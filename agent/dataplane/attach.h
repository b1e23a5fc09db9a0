// SPDX-License-Identifier: Apache-2.0
// Programs on interfaces and tracepoints, by links. Replacing a program never detaches: traffic sees
// the old or the new one.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "util/fd.h"
#include "util/result.h"

namespace catsbpf::agent {

// The XDP link that is pinned for an interface, under whatever name: interfaces are renamed. Not valid: none is.
Fd pinned_xdp(const std::string &pin_directory, uint32_t ifindex);
std::string xdp_pin(const std::string &pin_directory, const std::string &interface);

// Attaches `program` as XDP to the interface, in the link `held` when that still holds the interface in this
// mode; a link of no use is detached first, which costs a moment without the program. The caller pins it.
Result<Fd> attach_xdp(const std::string &pin_directory, Fd held, const InterfaceOptions &interface, uint32_t ifindex,
                      int program);

// "native" or "generic" when the XDP link still holds this interface, else "".
std::string xdp_mode(const Fd &link, uint32_t ifindex);

// True when the link has the program on this interface in this mode, and packets meet it.
bool xdp_in_place(const Fd &link, const InterfaceOptions &interface, uint32_t ifindex, int program);

// clsact ingress filter, replaced in place; another's in that place is refused (place.h). To be attached where `link`,
// pinned, holds the interface already. A clsact qdisc made for it is remembered beside the pins, so that detach()
// removes it too, unless somebody else has come to use it.
Result<> attach_slow(const std::string &pin_directory, const Fd &link, const std::string &interface, uint32_t ifindex,
                     int program);
bool slow_in_place(uint32_t ifindex, int program);

// A typed raw tracepoint, for the caller to pin. Such a link cannot be updated: the new one is attached
// before the old one goes, so an event in between counts twice rather than not at all.
Result<Fd> attach_trace(const std::string &name, int program);

// Takes our programs off an interface, at once (the kernel lets go of a link late when only its pin goes). A filter
// that is not ours stays. `ifindex` 0, and an interface that is gone, are fine.
void detach(const std::string &pin_directory, const std::string &interface, uint32_t ifindex, Fd link);

// Detaches what our pins say is attached to interfaces that are not in `keep` (name and ifindex). Returns their names.
using KeptInterface = std::pair<std::string, uint32_t>;
std::vector<std::string> detach_others(const std::string &pin_directory, const std::vector<KeptInterface> &keep);

}  // namespace catsbpf::agent
