// SPDX-License-Identifier: Apache-2.0
// The cached copy on disk: a ServiceCatalogue in protobuf's binary form, replaced as a whole by rename.
#pragma once

#include <optional>
#include <string>

#include "cmas/proto/service.pb.h"
#include "util/result.h"

namespace catsbpf {

// Empty: there is no file. A file that is broken or cut off is an Error that says in what way.
Result<std::optional<v1::ServiceCatalogue>> read_cache(const std::string &file);
// On failure the old copy stays.
Result<> write_cache(const std::string &file, const v1::ServiceCatalogue &catalogue);

}  // namespace catsbpf
