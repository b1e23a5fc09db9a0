// SPDX-License-Identifier: Apache-2.0
// Reads the text as a stream, beside the schema: a table of 10 000 rows is not kept as a tree.
#include "cmas/proto/json_types.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace catsbpf {

namespace {

using Json = nlohmann::json;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

const FieldDescriptor *field_of(const Descriptor *type, const std::string &name) {
  if (!type) return nullptr;
  const auto *field = type->FindFieldByName(name);
  return field ? field : type->FindFieldByCamelcaseName(name);
}

enum class Kind { kTruth, kNumber, kText };

bool fits(const FieldDescriptor &field, Kind kind, const std::string &text) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: return kind == Kind::kTruth;
    case FieldDescriptor::CPPTYPE_STRING: return kind == Kind::kText;
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_UINT32: return kind == Kind::kNumber;
    // Languages whose numbers have 53 bits write larger ones as text.
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT64: return kind != Kind::kTruth;
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return kind == Kind::kNumber || (kind == Kind::kText && (text == "NaN" || text.ends_with("Infinity")));
    default: return true;  // messages and enums: protobuf is strict
  }
}

std::string wanted(const FieldDescriptor &field) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) return "true or false, without quotes";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) return "a text in quotes";
  return "a number, without quotes";
}

class Checker : public Json::json_sax_t {
 public:
  explicit Checker(const Descriptor &type) : root_(&type) {}
  const Error &error() const { return error_; }

  bool null() override { return next(); }
  bool boolean(bool value) override { return this->value(Kind::kTruth, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return this->value(Kind::kNumber, std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return this->value(Kind::kNumber, std::to_string(value)); }
  bool number_float(number_float_t, const string_t &text) override { return value(Kind::kNumber, text); }
  bool string(string_t &text) override { return value(Kind::kText, text); }
  bool binary(binary_t &) override { return true; }
  bool key(string_t &name) override {
    auto &object = levels_.back();
    object.name = name;
    object.field = field_of(object.type, name);
    object.index = 0;
    if (!object.field || object.seen.insert(object.field).second) return true;
    return refuse("is given twice", "give it once");
  }
  bool start_object(std::size_t) override {
    const Descriptor *type = root_;
    if (!levels_.empty()) type = levels_.back().field ? levels_.back().field->message_type() : nullptr;
    levels_.push_back({.type = type});
    return true;
  }
  bool end_object() override {
    levels_.pop_back();
    return next();
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string &, const Json::exception &) override { return false; }

 private:
  struct Level {
    const Descriptor *type = nullptr;
    const FieldDescriptor *field = nullptr;
    std::string name{};
    std::size_t index = 0;  // of the element, where the field is a list
    std::set<const FieldDescriptor *> seen{};
  };

  bool next() {
    if (!levels_.empty()) ++levels_.back().index;
    return true;
  }
  bool value(Kind kind, const std::string &text) {
    const auto *field = levels_.empty() ? nullptr : levels_.back().field;
    if (field && !fits(*field, kind, text)) {
      const std::string shown = kind == Kind::kText ? "'" + text.substr(0, 100) + "'" : text;
      return refuse(shown + " is not " + wanted(*field), "it is a " + std::string(field->cpp_type_name()) + " field");
    }
    return next();
  }
  bool refuse(const std::string &reason, const std::string &hint) {
    std::string path;
    for (const auto &level : levels_) {
      path += (path.empty() ? "" : ".") + level.name;
      if (level.field && level.field->is_repeated()) path += "[" + std::to_string(level.index) + "]";
    }
    error_ = {path + ": " + reason, hint};
    return false;
  }

  const Descriptor *root_;
  std::vector<Level> levels_;
  Error error_;
};

}  // namespace

Result<> check_json_types(const std::string &text, const Descriptor &type) {
  Checker checker(type);
  Json::sax_parse(text, &checker);
  return checker.error().what.empty() ? done() : Result<>{checker.error()};
}

}  // namespace catsbpf
