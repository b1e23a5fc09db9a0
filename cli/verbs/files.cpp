// SPDX-License-Identifier: Apache-2.0
// Files that people hand to `site table` and `platform put`. JSON is YAML, so one reader does for both.
#include <iostream>

#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

Result<cmas::YamlFile> read_message_file(const std::string &path, google::protobuf::Message &message) {
  const bool standard_input = path == "-";
  cmas::YamlFile file(standard_input ? "standard input" : path);
  if (standard_input)
    file.read(message, std::cin);
  else
    file.read(message);
  if (!file.ok()) return file.error();
  return file;
}

}  // namespace catsbpf::cli
