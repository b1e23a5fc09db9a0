// SPDX-License-Identifier: Apache-2.0
// The places of our programs on an interface, the XDP hook and one tc filter: who has them, and whether we may take
// them. Changes nothing.
#pragma once

#include <string>

#include "agent/dataplane/dataplane.h"
#include "util/fd.h"
#include "util/result.h"

namespace catsbpf::agent {

inline constexpr const char *kFastProgram = "catsbpf_xdp", *kSlowProgram = "catsbpf_slow";
inline constexpr uint32_t kSlowHandle = 0xca75, kSlowPriority = 1;

// The interface that an XDP link holds; 0: none (any more).
uint32_t ifindex_of(const Fd &link);

// The program in the place of our tc filter; 0: none is there.
uint32_t slow_program(uint32_t ifindex);
// Whether that is ours: the pinned one, or whichever where `link`, ours, holds the interface. An agent that is killed
// while it starts leaves filters that are not the pinned program, but no filter without such a link.
bool slow_is_ours(const std::string &pin_directory, const Fd &link, uint32_t ifindex);

// Refuses, and says whose it is, when another program is in the place of our tc filter, unless it is the rest of a data
// plane whose pins were removed; the second also when one is in
// that of our XDP program. `program` is the one that is to go there.
Result<> check_slow_vacant(const std::string &pin_directory, const Fd &link, const std::string &interface,
                           uint32_t ifindex);
Result<> check_vacant(const std::string &pin_directory, const Fd &link, const InterfaceOptions &interface,
                      uint32_t ifindex, int program);

// Why the kernel refused the XDP program, and the way out.
Error refused_xdp(const std::string &pin_directory, const InterfaceOptions &interface, uint32_t ifindex, int program,
                  int code);

}  // namespace catsbpf::agent
