// SPDX-License-Identifier: Apache-2.0
// Files that people hand to `site table` and `platform put`. JSON is YAML, so one reader does for both.
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

// Scalars stay text: the JSON mapping of protobuf takes numbers and truth values as text as well, and the
// schema, not the look of the text, says what they are.
nlohmann::ordered_json json_of(const YAML::Node &node) {
  if (node.IsMap()) {
    auto object = nlohmann::ordered_json::object();
    for (const auto &member : node) object[member.first.as<std::string>()] = json_of(member.second);
    return object;
  }
  if (node.IsSequence()) {
    auto array = nlohmann::ordered_json::array();
    for (const auto &element : node) array.push_back(json_of(element));
    return array;
  }
  if (node.IsNull()) return nullptr;
  return node.Scalar();
}

}  // namespace

Result<> read_message_file(const std::string &file, google::protobuf::Message &message) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream in(file);
    if (!in) return system_error("cannot read " + file, errno, "name a YAML or JSON file, or - for standard input");
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  try {
    const auto parsed = from_json(json_of(YAML::Load(text)).dump(), message);
    if (!parsed) return Error{file + ": " + parsed.error().what, parsed.error().hint};
  } catch (const YAML::Exception &problem) {  // yaml-cpp reports by exception
    return Error{file + ":" + std::to_string(problem.mark.line + 1) + ": " + problem.msg, "is it YAML or JSON?"};
  } catch (const nlohmann::json::exception &problem) {
    return Error{file + ": " + problem.what(), "is it YAML or JSON?"};
  }
  return done();
}

}  // namespace catsbpf::cli
