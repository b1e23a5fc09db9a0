// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "util/result.h"

namespace catsbpf::agent {

// Whether an interface of this network namespace, up or down, has the IPv4 address. Fails when the kernel does not say.
Result<bool> host_has(const std::string &address);

}  // namespace catsbpf::agent
