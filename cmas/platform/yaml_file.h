// SPDX-License-Identifier: Apache-2.0
// A YAML file read into a protobuf message, field by field, with the line of each: what does not fit is told as
// FILE:LINE: FIELD: REASON, all of it at once. JSON files are YAML too.
#pragma once

#include <google/protobuf/message.h>

#include <istream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "util/result.h"

namespace catsbpf::cmas {

class YamlFile {
 public:
  explicit YamlFile(std::string path) : path_(std::move(path)) {}

  // Fills the message. What does not fit becomes problems (see error()).
  void read(google::protobuf::Message &message);
  void read(google::protobuf::Message &message, std::istream &stream);

  // A problem at a field, on the line where it, or the nearest thing around it, stands.
  void problem(const std::string &field, const std::string &reason, const std::string &hint = {});
  bool ok() const { return problems_.empty(); }
  // All problems in order of lines, each followed by its hint.
  Error error() const;
  // What somebody else says of a field ("rows[1].cost: ..."), with the file and the line where it stands.
  Error placed(const Error &error) const;
  int line_of(std::string field) const;

 private:
  struct Problem {
    int line;
    std::string field, reason, hint;
  };
  class Reader;

  std::string path_;
  std::map<std::string, int> lines_;  // by field, "services[0].cs_id"
  std::vector<Problem> problems_;
  std::set<std::string> unread_;  // fields that could not be read: what is missing there is told already
};

}  // namespace catsbpf::cmas
