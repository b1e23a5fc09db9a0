// SPDX-License-Identifier: Apache-2.0
// The configuration of cats-platformd, checked as a whole before anything starts.
#pragma once

#include <optional>
#include <string>

#include "cmas/platform/config.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

struct PlatformSettings {
  v1::PlatformConfig file;                 // paths made absolute
  std::optional<std::string> write_token;  // content of write_token_file
};

// All problems at once: "FILE:LINE: FIELD: REASON" and "hint: ...".
Result<PlatformSettings> load_config(const std::string &file);

}  // namespace catsbpf::cmas
