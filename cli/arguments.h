// SPDX-License-Identifier: Apache-2.0
// A verb's arguments. In: the words after `catsbpf`. Out: typed options and positional words, or a usage
// error (exit code 2) that says what is wrong.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "util/result.h"

namespace catsbpf::cli {

enum class Exit { done = 0, failed = 1, usage = 2 };

// An Error that ends in Exit::usage; no errno is negative.
inline constexpr int kUsage = -2;
inline Error usage_error(std::string what, std::string hint = {}) { return {std::move(what), std::move(hint), kUsage}; }

struct OptionSpec {
  const char *name;         // without "--"
  const char *placeholder;  // of its value; null: a switch without value
  const char *help;
};

class Arguments {
 public:
  // Options may stand anywhere; "--" ends them. Unknown, repeated and incomplete ones are refused.
  static Result<Arguments> parse(std::span<const OptionSpec> known, const std::vector<std::string> &words);

  bool has(const std::string &option) const { return options_.contains(option); }
  std::optional<std::string> text(const std::string &option) const;
  // The first of these that is given, "" when none is: for options that do not go with the rest of the line.
  std::string first_of(std::initializer_list<const char *> options) const;
  // Empty when not given; fails when it is no such number.
  Result<std::optional<uint64_t>> number(const std::string &option, uint64_t most = UINT32_MAX) const;
  Result<std::optional<double>> decimal(const std::string &option) const;

  const std::vector<std::string> &positional() const { return positional_; }
  // The n-th positional word, "" when there is none.
  std::string word(std::size_t n) const { return n < positional_.size() ? positional_[n] : ""; }

 private:
  std::map<std::string, std::string> options_;
  std::vector<std::string> positional_;
};

// "on" or "off"; `what` names the object in the error.
Result<bool> parse_switch(const std::string &what, const std::string &text);
Result<uint64_t> parse_number(const std::string &what, const std::string &text, uint64_t most = UINT32_MAX);
// Not negative, finite.
Result<double> parse_decimal(const std::string &what, const std::string &text);

// "+1", "-2": a change; "3": the new value.
struct Amount {
  bool relative = false;
  int64_t value = 0;
};
Result<Amount> parse_amount(const std::string &what, const std::string &text);

}  // namespace catsbpf::cli
