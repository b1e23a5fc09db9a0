// SPDX-License-Identifier: Apache-2.0
// What protobuf's JSON parser lets pass though its writer hardly meant it: "yes" for true, "5" for 5, a field given
// twice (the last one counted).
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

#include "util/result.h"

namespace catsbpf {

// Done also for what protobuf refuses itself: unknown fields, broken JSON. The error is "FIELD: REASON".
Result<> check_json_types(const std::string &text, const google::protobuf::Descriptor &type);

}  // namespace catsbpf
