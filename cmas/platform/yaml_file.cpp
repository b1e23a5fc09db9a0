// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/yaml_file.h"

#include <google/protobuf/descriptor.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <sstream>

#include "cmas/proto/json.h"
#include "util/file.h"

namespace catsbpf::cmas {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Walks node and message side by side.
class YamlFile::Reader {
 public:
  explicit Reader(YamlFile &file) : file_(file) {}

  void message(const YAML::Node &node, const std::string &path, Message &into) {
    if (!node.IsMap())
      return wrong(node, path, "must be a mapping (key: value)", "the fields are " + names(*into.GetDescriptor()));
    std::set<std::string> seen;
    for (const auto &entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      const std::string name = path.empty() ? key : path + "." + key;
      const FieldDescriptor *field = into.GetDescriptor()->FindFieldByName(key);
      if (!field) {
        wrong(entry.first, name, "is not a field", "the fields are " + names(*into.GetDescriptor()));
      } else if (!seen.insert(key).second) {
        wrong(entry.first, name, "stands there twice", "keep one of them");
      } else {
        file_.lines_[name] = entry.first.Mark().line + 1;
        value(entry.second, name, into, *field);
      }
    }
  }

 private:
  void value(const YAML::Node &node, const std::string &path, Message &into, const FieldDescriptor &field) {
    if (node.IsNull()) return;
    if (!field.is_repeated()) return one(node, path, into, field);
    if (!node.IsSequence()) return wrong(node, path, "must be a list", "write [a, b] or lines that begin with '- '");
    for (std::size_t i = 0; i < node.size(); ++i) {
      const std::string name = path + "[" + std::to_string(i) + "]";
      file_.lines_[name] = node[i].Mark().line + 1;
      one(node[i], name, into, field);
    }
  }

  void one(const YAML::Node &node, const std::string &path, Message &into, const FieldDescriptor &field) {
    const auto *reflection = into.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
      return message(
          node, path,
          field.is_repeated() ? *reflection->AddMessage(&into, &field) : *reflection->MutableMessage(&into, &field));
    if (!node.IsScalar()) return wrong(node, path, "must be a single value", "write it on the line of its name");
    const std::string &text = node.Scalar();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (field.is_repeated()) {
          reflection->AddString(&into, &field, text);
        } else {
          reflection->SetString(&into, &field, text);
        }
        return;
      case FieldDescriptor::CPPTYPE_UINT32:
        return number<std::uint32_t>(node, path, [&](auto n) { reflection->SetUInt32(&into, &field, n); });
      case FieldDescriptor::CPPTYPE_UINT64:
        return number<std::uint64_t>(node, path, [&](auto n) { reflection->SetUInt64(&into, &field, n); });
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return number<double>(node, path, [&](auto n) { reflection->SetDouble(&into, &field, n); });
      case FieldDescriptor::CPPTYPE_BOOL:
        if (text != "true" && text != "false")
          return wrong(node, path, "'" + text + "' is neither true nor false", "write true or false");
        return reflection->SetBool(&into, &field, text == "true");
      default: return wrong(node, path, "has a type that files cannot give", "");
    }
  }

  template <class T, class F>
  void number(const YAML::Node &node, const std::string &path, F set) {
    const std::string &text = node.Scalar();
    T result{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
    const bool finite = std::is_integral_v<T> || std::isfinite(static_cast<double>(result));
    if (error == std::errc{} && end == text.data() + text.size() && finite) return set(result);
    wrong(node, path, "'" + text + "' is not a " + (std::is_integral_v<T> ? "whole number from 0 on" : "number"),
          "write digits alone, without a unit");
  }

  void wrong(const YAML::Node &node, const std::string &path, const std::string &reason, const std::string &hint) {
    file_.problems_.push_back({node.Mark().line + 1, path, reason, hint});
    file_.unread_.insert(path);
  }

  static std::string names(const Descriptor &type) {
    std::string all;
    for (int i = 0; i < type.field_count(); ++i) all += (i ? ", " : "") + type.field(i)->name();
    return all;
  }

  YamlFile &file_;
};

void YamlFile::read(Message &message) {
  const auto text = read_file(path_);
  if (!text && text.error().code == EISDIR) return problem("", "is a directory", "name a file in it");
  if (!text) return problem("", text.error().what, text.error().hint);
  std::istringstream stream(*text);
  read(message, stream);
}

void YamlFile::read(Message &message, std::istream &stream) {
  try {
    const YAML::Node root = YAML::Load(stream);
    if (root.IsNull()) return problem("", "is empty", fields_of(*message.GetDescriptor()));
    Reader(*this).message(root, "", message);
  } catch (const YAML::Exception &broken) {
    problems_.push_back({broken.mark.line + 1, "", "not YAML: " + broken.msg,
                         "check the brackets, and the blanks at the beginning of this line and the one before"});
  }
}

int YamlFile::line_of(std::string field) const {
  for (;;) {
    if (const auto found = lines_.find(field); found != lines_.end()) return found->second;
    const auto end = field.find_last_of(".[");
    if (end == std::string::npos) return 0;
    field.resize(end);
  }
}

void YamlFile::problem(const std::string &field, const std::string &reason, const std::string &hint) {
  if (!unread_.contains(field)) problems_.push_back({line_of(field), field, reason, hint});
}

Error YamlFile::placed(const Error &error) const {
  const int line = line_of(error.what.substr(0, error.what.find(": ")));
  Error placed = error;
  if (line > 0) placed.what = path_ + ":" + std::to_string(line) + ": " + error.what;
  return placed;
}

Error YamlFile::error() const {
  auto sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem &a, const Problem &b) { return a.line < b.line; });
  Error all{"", "", EINVAL};
  for (const auto &one : sorted) {
    all.what +=
        (all.what.empty() ? "" : "\n") + path_ + ":" + (one.line > 0 ? std::to_string(one.line) + ":" : "") + " ";
    all.what += (one.field.empty() ? "" : one.field + ": ") + one.reason;
    if (!one.hint.empty()) all.what += "\nhint: " + one.hint;
  }
  return all;
}

}  // namespace catsbpf::cmas
