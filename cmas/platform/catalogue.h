// SPDX-License-Identifier: Apache-2.0
// A YAML catalogue of services: `services:` with a list, fields named as in cmas/proto/service.proto.
#pragma once

#include <string>
#include <vector>

#include "cmas/proto/service.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

// All services of the file, each good by itself and beside the others, or all problems at once:
// "services.yaml:12: services[0].cs_id: is missing or 0" and "hint: ...".
Result<std::vector<v1::Service>> load_catalogue(const std::string &file);

}  // namespace catsbpf::cmas
