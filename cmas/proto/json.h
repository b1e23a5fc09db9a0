// SPDX-License-Identifier: Apache-2.0
// protobuf's JSON mapping with our two choices: field names as in the .proto, 64-bit integers as numbers.
// All fields are printed, also those with default values.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "util/result.h"

namespace catsbpf {

std::string to_json(const google::protobuf::Message &message, bool pretty = false);
// Replaces `message`. Unknown fields, wrong types (also "5" for 5), fields given twice and broken JSON are errors that
// say where.
Result<> from_json(const std::string &text, google::protobuf::Message &message);
// "fields of Drain: csci_id, site, egress, service_id": what people are told who wrote something else.
std::string fields_of(const google::protobuf::Descriptor &type);

}  // namespace catsbpf
