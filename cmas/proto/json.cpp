// SPDX-License-Identifier: Apache-2.0
#include "cmas/proto/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "cmas/proto/json_types.h"

namespace catsbpf {

namespace {

using Json = nlohmann::json;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Writes straight from the message into the text: protobuf's own writer of defaults keeps a tree of some 400 bytes
// per field, which for a table of 10 000 rows is 50 MB.
class Writer {
 public:
  Writer(std::string &out, bool pretty) : out_(out), pretty_(pretty) {}

  // All fields, in the order of the .proto; of those that may be absent, only what is there.
  void message(const Message &message) {
    const auto &reflection = *message.GetReflection();
    const auto &type = *message.GetDescriptor();
    open('{');
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor &field = *type.field(i);
      if (field.has_presence() && !reflection.HasField(message, &field)) continue;
      next();
      out_ += '"' + field.name() + (pretty_ ? "\": " : "\":");
      if (field.is_repeated())
        list(message, field);
      else
        value(message, field);
    }
    close('}');
  }

 private:
  void list(const Message &message, const FieldDescriptor &field) {
    const auto &reflection = *message.GetReflection();
    const int size = reflection.FieldSize(message, &field);
    open('[');
    for (int i = 0; i < size; ++i) {
      next();
      switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_MESSAGE: this->message(reflection.GetRepeatedMessage(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_STRING:
          text(reflection.GetRepeatedStringReference(message, &field, i, &scratch_));
          break;
        case FieldDescriptor::CPPTYPE_BOOL:
          out_ += reflection.GetRepeatedBool(message, &field, i) ? "true" : "false";
          break;
        case FieldDescriptor::CPPTYPE_INT32:
          out_ += std::to_string(reflection.GetRepeatedInt32(message, &field, i));
          break;
        case FieldDescriptor::CPPTYPE_INT64:
          out_ += std::to_string(reflection.GetRepeatedInt64(message, &field, i));
          break;
        case FieldDescriptor::CPPTYPE_UINT32:
          out_ += std::to_string(reflection.GetRepeatedUInt32(message, &field, i));
          break;
        case FieldDescriptor::CPPTYPE_UINT64:
          out_ += std::to_string(reflection.GetRepeatedUInt64(message, &field, i));
          break;
        case FieldDescriptor::CPPTYPE_DOUBLE: number(reflection.GetRepeatedDouble(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_FLOAT: number(reflection.GetRepeatedFloat(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_ENUM: text(reflection.GetRepeatedEnum(message, &field, i)->name()); break;
      }
    }
    close(']');
  }

  void value(const Message &message, const FieldDescriptor &field) {
    const auto &reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE: return this->message(reflection.GetMessage(message, &field));
      case FieldDescriptor::CPPTYPE_STRING: return text(reflection.GetStringReference(message, &field, &scratch_));
      case FieldDescriptor::CPPTYPE_BOOL: out_ += reflection.GetBool(message, &field) ? "true" : "false"; return;
      case FieldDescriptor::CPPTYPE_INT32: out_ += std::to_string(reflection.GetInt32(message, &field)); return;
      case FieldDescriptor::CPPTYPE_INT64: out_ += std::to_string(reflection.GetInt64(message, &field)); return;
      case FieldDescriptor::CPPTYPE_UINT32: out_ += std::to_string(reflection.GetUInt32(message, &field)); return;
      case FieldDescriptor::CPPTYPE_UINT64: out_ += std::to_string(reflection.GetUInt64(message, &field)); return;
      case FieldDescriptor::CPPTYPE_DOUBLE: return number(reflection.GetDouble(message, &field));
      case FieldDescriptor::CPPTYPE_FLOAT: return number(reflection.GetFloat(message, &field));
      case FieldDescriptor::CPPTYPE_ENUM: return text(reflection.GetEnum(message, &field)->name());
    }
  }

  void text(const std::string &value) { out_ += Json(value).dump(-1, ' ', false, Json::error_handler_t::replace); }

  void number(double value) {
    constexpr double kWhole = 1e15;  // up to here whole numbers are written without a fraction
    if (std::isnan(value))
      out_ += "\"NaN\"";
    else if (std::isinf(value))
      out_ += value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    else if (value == std::trunc(value) && std::abs(value) < kWhole)
      out_ += std::to_string(static_cast<int64_t>(value));
    else
      out_ += Json(value).dump();
  }

  void open(char bracket) {
    out_ += bracket;
    ++depth_;
    first_ = true;
  }
  void next() {
    if (!std::exchange(first_, false)) out_ += ',';
    line();
  }
  void close(char bracket) {
    --depth_;
    if (!std::exchange(first_, false)) line();
    out_ += bracket;
  }
  void line() {
    if (pretty_) (out_ += '\n').append(2 * depth_, ' ');
  }

  std::string &out_;
  bool pretty_;
  bool first_ = true;
  std::size_t depth_ = 0;
  std::string scratch_;
};

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

// The message that a path like "deltas[0].gas" leads into, as far as it is known.
const google::protobuf::Descriptor &type_at(const google::protobuf::Descriptor &from, const std::string &path) {
  const google::protobuf::Descriptor *type = &from;
  for (std::size_t at = 0; at < path.size();) {
    const auto end = std::min(path.find_first_of("[.", at), path.size());
    const auto *field = type->FindFieldByName(path.substr(at, end - at));
    if (!field || !field->message_type()) break;
    type = field->message_type();
    at = path.find('.', end);
    if (at != std::string::npos) ++at;
  }
  return *type;
}

}  // namespace

std::string fields_of(const google::protobuf::Descriptor &type) {
  std::string all = "fields of " + type.name() + ":";
  for (int i = 0; i < type.field_count(); ++i) all += (i == 0 ? " " : ", ") + type.field(i)->name();
  return all;
}

std::string to_json(const Message &message, bool pretty) {
  std::string text;
  Writer(text, pretty).message(message);
  return text;
}

Result<> from_json(const std::string &text, google::protobuf::Message &message) {
  message.Clear();
  const std::string not_one = "not a " + message.GetDescriptor()->name() + ": ";
  if (const auto checked = check_json_types(text, *message.GetDescriptor()); !checked.ok())
    return Error{not_one + checked.error().what, checked.error().hint};
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  if (status.ok()) return done();
  const std::string why = in_our_words(std::string(status.message()));
  return Error{not_one + why, fields_of(type_at(*message.GetDescriptor(), why.substr(0, why.find(": "))))};
}

}  // namespace catsbpf
