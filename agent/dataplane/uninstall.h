// SPDX-License-Identifier: Apache-2.0
// The end of a data plane, for whoever holds the lock of its pin directory.
#pragma once

#include <string>

#include "util/result.h"

namespace catsbpf::agent {

// Detaches and unpins everything below `pin_directory`, and the directory.
Result<> remove_dataplane(const std::string &pin_directory);

}  // namespace catsbpf::agent
