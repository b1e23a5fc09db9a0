// SPDX-License-Identifier: Apache-2.0
// A YAML mapping read field by field. Comes in: nodes of yaml-cpp. Goes out: values, and a Problem for
// each field that is unknown, twice there, of the wrong type or out of range. A wrong field leaves its
// variable alone, so that reading goes on and all problems are told at once.
#pragma once

#include <yaml-cpp/yaml.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/config/problems.h"

namespace catsbpf::agent {

enum class Family { kV4, kV6, kAny };

class Section {
 public:
  // `path` is the field's full name, "" for the whole file.
  Section(YAML::Node node, std::string path, Problems &problems);

  // Each returns whether the field is there and right.
  bool text(const char *field, std::string &into);
  bool name(const char *field, std::string &into);  // letters, digits, . _ -
  bool one_of(const char *field, std::string &into, const std::vector<std::string> &known);
  bool address(const char *field, std::string &into, Family family);  // of one host on the network
  bool endpoint(const char *field, std::string &into);                // "ADDRESS:PORT", "[ADDRESS6]:PORT", no port 0
  bool file(const char *field, std::string &into, const std::string &folder);       // readable; made absolute
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
  // The same, each mapping as a T: `read` takes the fields of one.
  template <class T, class Read>
  void list_of(const char *field, std::vector<T> &into, Read read) {
    for (Section &section : sections(field)) {
      T value;
      read(section, value);
      section.finish();
      into.push_back(std::move(value));
    }
  }

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

}  // namespace catsbpf::agent
