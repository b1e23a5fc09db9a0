// SPDX-License-Identifier: Apache-2.0
#include "cli/arguments.h"

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/value_semantic.hpp>

#include <charconv>
#include <cmath>

namespace catsbpf::cli {

namespace {

namespace po = boost::program_options;
constexpr const char *kPositional = " words";  // no option can have this name

template <class T>
bool parse_all(const std::string &text, T &value) {
  const auto *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && stop == end && !text.empty();
}

}  // namespace

Result<Arguments> Arguments::parse(std::span<const OptionSpec> known, const std::vector<std::string> &words) {
  Arguments arguments;
  try {
    po::options_description options;
    for (const auto &option : known) {
      if (option.placeholder)
        options.add_options()(option.name, po::value<std::string>(), option.help);
      else
        options.add_options()(option.name, option.help);
    }
    options.add_options()(kPositional, po::value<std::vector<std::string>>(), "");
    po::positional_options_description positions;
    positions.add(kPositional, -1);
    namespace style = po::command_line_style;
    const auto parsed = po::command_line_parser(words)
                            .options(options)
                            .positional(positions)
                            .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
                            .run();
    for (const auto &option : parsed.options) {
      if (option.position_key >= 0) {
        arguments.positional_.push_back(option.value.at(0));
        continue;
      }
      const std::string value = option.value.empty() ? "" : option.value.front();
      if (option.original_tokens.size() > 1 && value.starts_with("--"))
        return usage_error("option '--" + option.string_key + "' has no value");
      if (!arguments.options_.emplace(option.string_key, value).second)
        return usage_error("option '--" + option.string_key + "' is given twice");
    }
  } catch (const std::exception &problem) {  // program_options reports by exception
    return usage_error(problem.what());
  }
  return arguments;
}

std::optional<std::string> Arguments::text(const std::string &option) const {
  const auto found = options_.find(option);
  if (found == options_.end()) return std::nullopt;
  return found->second;
}

std::string Arguments::first_of(std::initializer_list<const char *> options) const {
  for (const char *option : options)
    if (has(option)) return option;
  return "";
}

Result<std::optional<uint64_t>> Arguments::number(const std::string &option, uint64_t most) const {
  const auto given = text(option);
  if (!given) return std::optional<uint64_t>{};
  const auto value = parse_number("--" + option, *given, most);
  if (!value) return value.error();
  return std::optional{*value};
}

Result<std::optional<double>> Arguments::decimal(const std::string &option) const {
  const auto given = text(option);
  if (!given) return std::optional<double>{};
  const auto value = parse_decimal("--" + option, *given);
  if (!value) return value.error();
  return std::optional{*value};
}

Result<bool> parse_switch(const std::string &what, const std::string &text) {
  if (text == "on") return true;
  if (text == "off") return false;
  return usage_error(what + " is '" + text + "', neither on nor off");
}

Result<uint64_t> parse_number(const std::string &what, const std::string &text, uint64_t most) {
  uint64_t value = 0;
  if (!parse_all(text, value)) return usage_error(what + " '" + text + "' is not a whole number");
  if (value > most) return usage_error(what + " " + text + " is above the largest possible, " + std::to_string(most));
  return value;
}

Result<double> parse_decimal(const std::string &what, const std::string &text) {
  double value = 0;
  if (!parse_all(text, value) || !std::isfinite(value)) return usage_error(what + " '" + text + "' is not a number");
  if (value < 0) return usage_error(what + " " + text + " is negative");
  return value;
}

Result<Amount> parse_amount(const std::string &what, const std::string &text) {
  constexpr int64_t kMost = 1'000'000;  // cmas::SiteTable::kMaxGas
  Amount amount;
  amount.relative = text.starts_with('+') || text.starts_with('-');
  if (!parse_all(text.starts_with('+') ? text.substr(1) : text, amount.value) || text.starts_with("+-"))
    return usage_error(what + " '" + text + "' is neither a change (+1, -1) nor a number of slots");
  if (amount.value > kMost || amount.value < -kMost)
    return usage_error(what + " " + text + " is beyond " + std::to_string(kMost) + " slots");
  return amount;
}

}  // namespace catsbpf::cli
