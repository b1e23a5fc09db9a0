// SPDX-License-Identifier: Apache-2.0
#include "cmas/proto/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>

namespace catsbpf {

namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// The JSON mapping writes 64-bit integers as strings; people and jq want numbers.
void unquote(Json &value, const FieldDescriptor &field) {
  if (value.is_array()) {
    for (auto &element : value) unquote(element, field);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64 && value.is_string()) {
    value = std::stoull(value.get<std::string>());
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 && value.is_string()) {
    value = std::stoll(value.get<std::string>());
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && value.is_object()) {
    const Descriptor &type = *field.message_type();
    for (auto &[key, member] : value.items())
      if (const auto *inner = type.FindFieldByName(key)) unquote(member, *inner);
  }
}

}  // namespace

std::string to_json(const google::protobuf::Message &message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return "{}";
  Json json = Json::parse(text, nullptr, false);
  for (auto &[key, value] : json.items())
    if (const auto *field = message.GetDescriptor()->FindFieldByName(key)) unquote(value, *field);
  return json.dump(pretty ? 2 : -1, ' ', false, Json::error_handler_t::replace);
}

Result<> from_json(const std::string &text, google::protobuf::Message &message) {
  message.Clear();
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  if (status.ok()) return done();
  return Error{"not a " + message.GetDescriptor()->name() + ": " + std::string(status.message())};
}

}  // namespace catsbpf
