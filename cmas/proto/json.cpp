// SPDX-License-Identifier: Apache-2.0
#include "cmas/proto/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
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

// protobuf's words in ours: one line, the field first, no full stop.
//   "(deltas[0]) gaz: Cannot find field."                  -> "deltas[0]: unknown field 'gaz'"
//   "(gas): invalid value -1 for type TYPE_UINT32"         -> "gas: invalid value -1 for type uint32"
//   "Unexpected end of string. Expected a value.\n\n^"      -> "broken json: unexpected end of string. expected a
//   value"
std::string in_our_words(std::string message) {
  constexpr std::size_t kMost = 300;  // it quotes what it refuses, which may be long
  if (message.size() > kMost) message.resize(kMost);
  const std::string unknown = ": Cannot find field.", type = "TYPE_";
  std::string at;
  if (message.starts_with("(")) {
    const auto end = message.find(')');
    at = message.substr(1, end - 1) + ": ";
    message.erase(0, end == std::string::npos ? end : message.find_first_not_of(": ", end + 1));
  }
  if (message.ends_with(unknown))
    return at + "unknown field '" + message.substr(0, message.size() - unknown.size()) + "'";
  if (const auto found = message.find(type); found != std::string::npos) {
    message.erase(found, type.size());
    std::transform(message.begin() + found, message.end(), message.begin() + found,
                   [](unsigned char c) { return std::tolower(c); });
  }
  if (at.empty()) {
    message.resize(std::min(message.find('\n'), message.size()));
    if (message.starts_with(": ")) message.erase(0, 2);
    std::transform(message.begin(), message.end(), message.begin(), [](unsigned char c) { return std::tolower(c); });
    at = "broken json: ";
  }
  std::replace(message.begin(), message.end(), '\n', ' ');
  while (message.ends_with('.')) message.pop_back();
  return at + message;
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
  return Error{"not a " + message.GetDescriptor()->name() + ": " + in_our_words(std::string(status.message())),
               "the fields of " + message.GetDescriptor()->name() + " are in cmas/proto/" +
                   std::string(message.GetDescriptor()->file()->name())
                       .substr(message.GetDescriptor()->file()->name().rfind('/') + 1)};
}

}  // namespace catsbpf
