// SPDX-License-Identifier: Apache-2.0
// What is wrong with a configuration file, collected so that all of it is told at once.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace catsbpf::agent {

struct Problem {
  int line = 1;
  std::string field, reason, hint;
};

// What is wrong with one file, and where each of its fields stands.
class Problems {
 public:
  void add(int line, std::string field, std::string reason, std::string hint = {});
  // The same for a field that was read before, or for its nearest parent that is in the file.
  void at(const std::string &field, std::string reason, std::string hint = {});
  void saw(const std::string &field, int line) { lines_[field] = line; }
  bool has(const std::string &field) const { return lines_.contains(field); }

  bool empty() const { return problems_.empty(); }
  // "FILE:LINE: FIELD: REASON" and "hint: HINT" for each, in order of lines.
  std::string text(const std::string &file) const;

 private:
  std::vector<Problem> problems_;
  std::map<std::string, int> lines_;
};

}  // namespace catsbpf::agent
