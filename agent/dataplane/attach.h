// SPDX-License-Identifier: Apache-2.0
// Programs on interfaces and tracepoints, by pinned links. Replacing a program never detaches: traffic sees
// the old or the new one.
#pragma once

#include <string>
#include <vector>

#include "agent/dataplane/dataplane.h"
#include "util/result.h"

namespace catsbpf::agent {

// Attaches `program` as XDP to the interface, or puts it in place of the one that our pinned link holds.
// Another mode than before costs a moment without the program. On failure what was attached stays.
Result<> attach_xdp(const std::string &pin_directory, const InterfaceOptions &interface, uint32_t ifindex, int program);

// clsact ingress filter, replaced in place.
Result<> attach_slow(const std::string &interface, uint32_t ifindex, int program);

// A typed raw tracepoint. Such a link cannot be updated: the new one is attached before the old one goes,
// so an event in between counts twice rather than not at all.
Result<> attach_trace(const std::string &pin_directory, const std::string &name, int program);

// Detaches what our pins say is attached to interfaces that are not in `keep`. Returns their names.
std::vector<std::string> detach_others(const std::string &pin_directory, const std::vector<std::string> &keep);

}  // namespace catsbpf::agent
