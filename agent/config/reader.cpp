// SPDX-License-Identifier: Apache-2.0
#include "agent/config/reader.h"

#include <sys/socket.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "agent/config/words.h"
#include "util/file.h"

namespace catsbpf::agent {

namespace {

using std::chrono::milliseconds;

std::string quoted(const std::string &text) { return "'" + text + "'"; }

std::string absolute(const std::string &path, const std::string &folder) {
  return (std::filesystem::path(folder) / path).lexically_normal().string();
}

}  // namespace

Section::Section(YAML::Node node, std::string path, Problems &problems)
    : node_(std::move(node)), path_(std::move(path)), problems_(problems), line_(node_.Mark().line + 1) {
  std::set<std::string> seen;
  for (const auto &entry : node_) {
    const int line = entry.first.Mark().line + 1;
    if (!entry.first.IsScalar()) {
      problems_.add(line, path_, "a field's name must be a word");
      continue;
    }
    const auto field = entry.first.Scalar();
    if (!seen.insert(field).second)
      problems_.add(line, this->path(field.c_str()), "is given twice", "keep one of them");
    problems_.saw(this->path(field.c_str()), line);
  }
}

std::string Section::path(const char *field) const { return path_.empty() ? field : path_ + "." + field; }

std::optional<YAML::Node> Section::find(const char *field) {
  known_.emplace_back(field);
  for (const auto &entry : node_)
    if (entry.first.IsScalar() && entry.first.Scalar() == field) return entry.second;
  return std::nullopt;
}

void Section::wrong(const char *field, const std::string &reason, const std::string &hint) {
  problems_.at(path(field), reason, hint);
}

std::optional<std::string> Section::scalar(const char *field) {
  const auto node = find(field);
  if (!node) return std::nullopt;
  if (!node->IsScalar()) {
    wrong(field, node->IsNull() ? "has no value" : "must be one value, not a list or a mapping");
    return std::nullopt;
  }
  return node->Scalar();
}

bool Section::text(const char *field, std::string &into) {
  const auto value = scalar(field);
  if (!value) return false;
  into = *value;
  return true;
}

bool Section::name(const char *field, std::string &into) {
  const auto value = scalar(field);
  if (!value) return false;
  if (!valid_name(*value)) {
    wrong(field, quoted(*value) + " is not a name", "a name has 1 to 63 letters, digits, '.', '_' and '-'");
    return false;
  }
  into = *value;
  return true;
}

bool Section::one_of(const char *field, std::string &into, const std::vector<std::string> &known) {
  const auto value = scalar(field);
  if (!value) return false;
  if (std::find(known.begin(), known.end(), *value) == known.end()) {
    wrong(field, quoted(*value) + " is unknown", "use one of " + join(known));
    return false;
  }
  into = *value;
  return true;
}

bool Section::address(const char *field, std::string &into, Family family) {
  const auto value = scalar(field);
  if (!value) return false;
  const bool v4 = is_address(*value, AF_INET), v6 = is_address(*value, AF_INET6);
  if (!(family != Family::kV6 && v4) && !(family != Family::kV4 && v6)) {
    const char *wanted = family == Family::kV4   ? "an IPv4 address"
                         : family == Family::kV6 ? "an IPv6 address"
                                                 : "an address";
    wrong(field, quoted(*value) + " is not " + wanted);
    return false;
  }
  if (const auto kind = no_host(*value); !kind.empty()) {
    wrong(field, quoted(*value) + " is " + kind + ", not that of one host",
          "write the address by which others reach the host that is meant");
    return false;
  }
  into = *value;
  return true;
}

bool Section::endpoint(const char *field, std::string &into) {
  const auto value = scalar(field);
  if (!value) return false;
  const std::size_t colon = value->rfind(':');
  std::string host = value->substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto port = colon == std::string::npos ? std::nullopt : parse<uint16_t>(value->substr(colon + 1));
  if (!port || !is_address(host, bracketed ? AF_INET6 : AF_INET)) {
    wrong(field, quoted(*value) + " is not an address with a port", "write ADDRESS:PORT or [IPv6 ADDRESS]:PORT");
    return false;
  }
  if (*port == 0) {
    wrong(field, quoted(*value) + " names no port", "from 1 to 65535: the other end must know it");
    return false;
  }
  into = *value;
  return true;
}

bool Section::file(const char *field, std::string &into, const std::string &folder) {
  const auto value = scalar(field);
  if (!value) return false;
  const std::string whole = absolute(*value, folder);
  if (value->empty()) {
    wrong(field, "must not be empty");
    return false;
  }
  if (const auto readable = can_read(whole); !readable) {
    wrong(field, "cannot read " + whole + ": " + readable.error().what,
          "relative paths start at the folder of this file, " + folder);
    return false;
  }
  into = whole;
  return true;
}

bool Section::directory(const char *field, std::string &into, const std::string &folder) {
  const auto value = scalar(field);
  if (!value) return false;
  if (value->empty()) {
    wrong(field, "must not be empty");
    return false;
  }
  into = absolute(*value, folder);
  return true;
}

bool Section::duration(const char *field, milliseconds &into, milliseconds least, milliseconds most) {
  const auto value = scalar(field);
  if (!value) return false;
  const auto time = parse_duration(*value);
  if (!time) {
    wrong(field, quoted(*value) + " is not a duration", "write a number with its unit: 100ms, 30s, 5m, 1h");
    return false;
  }
  if (*time < least || *time > most) {
    wrong(field, *value + " is out of range", "from " + show(least) + " to " + show(most));
    return false;
  }
  into = *time;
  return true;
}

bool Section::number(const char *field, uint32_t &into, uint32_t least, uint32_t most) {
  const auto value = scalar(field);
  if (!value) return false;
  const auto number = parse<uint64_t>(*value);
  if (!number || *number < least || *number > most) {
    wrong(field, quoted(*value) + (number ? " is out of range" : " is not a whole number"),
          "from " + std::to_string(least) + " to " + std::to_string(most));
    return false;
  }
  into = static_cast<uint32_t>(*number);
  return true;
}

bool Section::real(const char *field, double &into, double least, double most) {
  const auto value = scalar(field);
  if (!value) return false;
  const auto number = parse<double>(*value);
  if (!number || !std::isfinite(*number) || *number < least || *number > most) {
    wrong(field, quoted(*value) + (number ? " is out of range" : " is not a number"),
          "from " + YAML::Dump(YAML::Node(least)) + " to " + YAML::Dump(YAML::Node(most)));
    return false;
  }
  into = *number;
  return true;
}

bool Section::list(const char *field, std::vector<std::string> &into) {
  const auto node = find(field);
  if (!node) return false;
  std::vector<std::string> words;
  if (node->IsScalar()) words.push_back(node->Scalar());
  if (node->IsSequence())
    for (const auto &element : *node) {
      if (!element.IsScalar()) {
        wrong(field, "must be a list of words");
        return false;
      }
      words.push_back(element.Scalar());
    }
  if (!node->IsScalar() && !node->IsSequence()) {
    wrong(field, "must be a list", "write [ONE, TWO]");
    return false;
  }
  into = std::move(words);
  return true;
}

std::optional<Section> Section::section(const char *field) {
  const auto node = find(field);
  if (!node) return std::nullopt;
  if (node->IsNull()) return Section(YAML::Node(YAML::NodeType::Map), path(field), problems_);
  if (!node->IsMap()) {
    wrong(field, "must be a mapping of fields", "write { FIELD: VALUE, ... }");
    return std::nullopt;
  }
  return Section(*node, path(field), problems_);
}

std::vector<Section> Section::sections(const char *field) {
  const auto node = find(field);
  std::vector<Section> all;
  if (!node) return all;
  if (!node->IsSequence()) {
    wrong(field, "must be a list of mappings", "write - { FIELD: VALUE, ... } lines");
    return all;
  }
  for (std::size_t i = 0; i < node->size(); i++) {
    const YAML::Node element = (*node)[i];
    const std::string whole = path(field) + "[" + std::to_string(i) + "]";
    problems_.saw(whole, element.Mark().line + 1);
    if (element.IsMap())
      all.emplace_back(element, whole, problems_);
    else
      problems_.at(whole, "must be a mapping of fields", "write - { FIELD: VALUE, ... }");
  }
  return all;
}

void Section::require(const char *field, const std::string &why) {
  if (problems_.has(path(field))) return;
  problems_.add(line_, path(field), "is missing: " + why);
}

void Section::finish() {
  for (const auto &entry : node_) {
    if (!entry.first.IsScalar()) continue;
    const auto field = entry.first.Scalar();
    if (std::find(known_.begin(), known_.end(), field) != known_.end()) continue;
    const auto near = nearest(field, known_);
    problems_.add(entry.first.Mark().line + 1, path(field.c_str()), "unknown field",
                  near.empty() ? "known here: " + join(known_) : "did you mean " + near + "?");
  }
}

}  // namespace catsbpf::agent
