// SPDX-License-Identifier: Apache-2.0
// Files that a person names: why one cannot be read is said before anybody parses it. A directory opens like a file
// and fails late, each library in its own way.
#pragma once

#include <cstddef>
#include <string>

#include "util/result.h"

namespace catsbpf {

// An Error says why alone ("Is a directory", "it is no regular file"): what the file is for, and where, says the
// caller. A pipe or a device is refused: it hangs whoever reads it, or has no end.
Result<> can_read(const std::string &path);
// The whole text of a file of at most so many bytes.
constexpr std::size_t kMostText = 16 << 20;
Result<std::string> read_file(const std::string &path, std::size_t most = kMostText);

}  // namespace catsbpf
