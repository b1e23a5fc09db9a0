// SPDX-License-Identifier: Apache-2.0
// The list of verbs and the usage of each one, from the table that also runs them.
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

std::string option_text(const OptionSpec &option) {
  return std::string("--") + option.name + (option.placeholder ? std::string(" ") + option.placeholder : "");
}

std::string option_lines(std::span<const OptionSpec> options, const Layout &layout) {
  Facts facts;
  for (const auto &option : options) facts.add("  " + option_text(option), option.help);
  return facts.render(layout);
}

std::string all_verbs(const Layout &layout) {
  Facts facts;
  for (const auto &verb : verbs()) facts.add(std::string("  ") + verb.name, verb.help);
  return "usage: catsbpf [OPTION...] [VERB [WORD...]]\n\nverbs\n" + facts.render(layout) + "\noptions of every verb\n" +
         option_lines(global_options(), layout) + "\nexit: 0 done, 1 failed, 2 usage. More: man catsbpf\n";
}

std::string one_verb(const Verb &verb, const Layout &layout) {
  const std::string name = std::string("usage: catsbpf ") + verb.name + " ";
  std::string text = wrap(name + verb.usage, layout.width, 0) + verb.help + "\n";
  if (!verb.options.empty()) text += "\noptions\n" + option_lines(verb.options, layout);
  return text;
}

nlohmann::ordered_json json_of(std::span<const OptionSpec> options) {
  auto list = nlohmann::ordered_json::array();
  for (const auto &option : options) list.push_back({{"option", option_text(option)}, {"help", option.help}});
  return list;
}

nlohmann::ordered_json json_of(const Verb &verb) {
  return {{"verb", verb.name}, {"usage", verb.usage}, {"help", verb.help}, {"options", json_of(verb.options)}};
}

}  // namespace

Result<Exit> help(Context &context, const Arguments &arguments) {
  if (arguments.has("names")) {
    for (const auto &name : names_for_last(context, arguments.positional())) context.out << printable(name) << "\n";
    return Exit::done;
  }
  if (arguments.positional().size() > 1) return usage_error("unexpected word '" + arguments.word(1) + "'");
  const Verb *verb = arguments.positional().empty() ? nullptr : find_verb(arguments.word(0));
  if (!verb && !arguments.positional().empty())
    return usage_error("unknown verb '" + arguments.word(0) + "'", "catsbpf help lists the verbs");
  if (context.options.json) {
    auto value = nlohmann::ordered_json::array();
    for (const auto &each : verbs())
      if (!verb || &each == verb) value.push_back(json_of(each));
    context.out << value.dump(2) << "\n";
  } else {
    context.out << (verb ? one_verb(*verb, context.layout) : all_verbs(context.layout));
  }
  return Exit::done;
}

}  // namespace catsbpf::cli
