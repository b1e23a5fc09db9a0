// SPDX-License-Identifier: Apache-2.0
// Files that a person names: why one cannot be read is said before anybody parses it. A directory opens like a file
// and fails late, each library in its own way.
#pragma once

#include <string>

#include "util/result.h"

namespace catsbpf {

// "cannot read PATH: Is a directory", "...: No such file or directory".
Result<> can_read(const std::string &path);
// The whole text.
Result<std::string> read_file(const std::string &path);

}  // namespace catsbpf
