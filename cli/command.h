// SPDX-License-Identifier: Apache-2.0
// The table of verbs, and the way from a command line to one of them. In: words and environment. Out: text on
// two streams and an exit code: 0 done, 1 failed, 2 usage.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "cli/context.h"

namespace catsbpf::cli {

struct Verb {
  const char *name;
  Result<Exit> (*run)(Context &, const Arguments &);
  const char *help;   // one line
  const char *usage;  // after the name
  std::span<const OptionSpec> options;
  std::size_t least_words, most_words;
  const char *words;  // for completion, separated by blanks
};
std::span<const Verb> verbs();
const Verb *find_verb(const std::string &name);

// Where a command runs; the program gives it the real ones, tests give it fakes.
struct World {
  std::ostream &out, &err;
  std::function<const char *(const char *)> environment;
  std::function<std::unique_ptr<Remote>(const Options &)> remote;
  std::function<Result<std::unique_ptr<maps::Tables>>(const std::string &pins)> open_tables;
  Layout layout;
};
Exit run(const std::vector<std::string> &words, const World &world);

}  // namespace catsbpf::cli
