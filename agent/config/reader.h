// SPDX-License-Identifier: Apache-2.0
// A YAML mapping read field by field. Comes in: nodes of yaml-cpp. Goes out: values, and a Problem for
// each field that is unknown, twice there, of the wrong type or out of range. A wrong field leaves its
// variable alone, so that reading goes on and all problems are told at once.
#pragma once

#include <yaml-cpp/yaml.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
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

enum class Family { kV4, kV6, kAny };

class Section {
 public:
  // `path` is the field's full name, "" for the whole file.
  Section(YAML::Node node, std::string path, Problems &problems);

  // Each returns whether the field is there and right.
  bool text(const char *field, std::string &into);
  bool name(const char *field, std::string &into);  // letters, digits, . _ -
  bool one_of(const char *field, std::string &into, const std::vector<std::string> &known);
  bool address(const char *field, std::string &into, Family family);
  bool endpoint(const char *field, std::string &into);  // "ADDRESS:PORT", "[ADDRESS6]:PORT"
  bool file(const char *field, std::string &into, const std::string &folder);  // readable; made absolute
  bool directory(const char *field, std::string &into, const std::string &folder);  // made absolute
  bool duration(const char *field, std::chrono::milliseconds &into, std::chrono::milliseconds least,
                std::chrono::milliseconds most);
  bool number(const char *field, uint32_t &into, uint32_t least, uint32_t most);
  bool real(const char *field, double &into, double least, double most);
  // A list of scalars; one scalar stands for a list of one.
  bool list(const char *field, std::vector<std::string> &into);

  // A mapping, a list of mappings; empty when not there or wrong.
  std::optional<Section> section(const char *field);
  std::vector<Section> sections(const char *field);

  // A field that must be there.
  void require(const char *field, const std::string &why);
  // After all fields were read: the others are unknown.
  void finish();

  std::string path(const char *field) const;
  const std::string &path() const { return path_; }

 private:
  // The field's node, marked as known; empty when it is not there.
  std::optional<YAML::Node> find(const char *field);
  std::optional<std::string> scalar(const char *field);
  void wrong(const char *field, const std::string &reason, const std::string &hint = {});

  YAML::Node node_;
  std::string path_;
  Problems &problems_;
  int line_ = 1;
  std::vector<std::string> known_;
};

// "a name has letters, digits, ., _ and -": names go into certificates, files and logs.
bool valid_name(const std::string &text);
// The known word nearest to `text`, "" when none is near.
std::string nearest(const std::string &text, const std::vector<std::string> &known);
std::string join(const std::vector<std::string> &words, const std::string &between = ", ");

}  // namespace catsbpf::agent
