// SPDX-License-Identifier: Apache-2.0
// A small text file that is always whole: written beside, then renamed over the old one.
#pragma once

#include <optional>
#include <string>

#include "util/result.h"

namespace catsbpf::agent {

// On failure the old file is unchanged.
Result<> write_whole(const std::string &path, const std::string &text);
// Empty when there is no such file.
Result<std::optional<std::string>> read_whole(const std::string &path);
// A file that cannot be used is renamed to NAME.broken, and an error logged that names both and `lost`:
// what is forgotten with it. No state file keeps the agent from starting.
void set_aside(const std::string &path, const std::string &why, const std::string &lost);

}  // namespace catsbpf::agent
