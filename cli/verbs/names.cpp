// SPDX-License-Identifier: Apache-2.0
// For completion: what the last word of an unfinished line may become. What cannot be asked has no names.
#include <iterator>
#include <set>
#include <sstream>

#include "cli/command.h"
#include "cli/decode.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

using Names = std::vector<std::string>;

Names verb_names(Context &) {
  Names names;
  for (const auto &verb : verbs()) names.emplace_back(verb.name);
  return names;
}

Names map_names(Context &) { return decodable_maps(); }

// By CS-ID where only the maps know them.
Names services(Context &context) {
  Names names;
  if (const auto list = ask_or_read<v1::ServiceStatusList>(context, "/v1/services", read_services))
    for (const auto &service : list->services())
      names.push_back(service.service_id().empty() ? std::to_string(service.cs_id()) : service.service_id());
  return names;
}

Names instances(Context &context) {
  std::set<uint32_t> ids;
  if (const auto list = ask<v1::InstanceList>(context, {.path = "/v1/instances"}))
    for (const auto &instance : list->instances()) ids.insert(instance.csci_id());
  Names names;
  for (const auto id : ids) names.push_back(std::to_string(id));
  return names;
}

Names sites(Context &context) {
  std::set<std::string> names;
  if (const auto list = ask<v1::InstanceList>(context, {.path = "/v1/instances"}))
    for (const auto &instance : list->instances()) names.insert(instance.site());
  return {names.begin(), names.end()};
}

Names egresses(Context &context) {
  Names names;
  if (const auto list = ask<v1::PathList>(context, {.path = "/v1/paths"}))
    for (const auto &path : list->paths()) names.push_back(path.egress());
  return names;
}

Names requests(Context &context) {
  Names names;
  if (const auto list = ask<v1::ReservationList>(context, {.path = "/v1/requests"}))
    for (const auto &request : list->requests()) names.push_back(std::to_string(request.id()));
  return names;
}

Names catalogue(Context &context) {
  Names names;
  if (const auto list = ask<v1::ServiceCatalogue>(context, {.api = Api::platform, .path = "/v1/services"}))
    for (const auto &service : list->services()) names.push_back(service.service_id());
  return names;
}

Names rows(Context &context) {
  Names names;
  if (const auto table = ask<v1::SiteTable>(context, {.api = Api::site, .path = "/v1/table"}))
    for (const auto &row : table->rows()) names.push_back(std::to_string(row.csci_id()));
  return names;
}

Names unknown(Context &) { return {}; }  // a file, or any text

// What is named after `verb`, or after `verb word`.
struct List {
  std::string_view verb, word;
  Names (*names)(Context &);
};
constexpr List kLists[] = {
    {"explain", "", services},      {"request", "", services},
    {"finish", "", requests},       {"map", "", map_names},
    {"help", "", verb_names},       {"drain", "instance", instances},
    {"drain", "site", sites},       {"drain", "egress", egresses},
    {"platform", "get", catalogue}, {"platform", "remove", catalogue},
    {"platform", "put", unknown},   {"platform", "search", unknown},
    {"site", "delta", rows},
};

Names options_of(const Verb *verb) {
  Names names;
  const auto add = [&](std::span<const OptionSpec> options) {
    for (const auto &option : options) names.push_back(std::string("--") + option.name);
  };
  if (verb) add(verb->options);
  add(global_options());
  if (!verb) names.insert(names.end(), {"--help", "--version"});
  return names;
}

}  // namespace

std::vector<std::string> names_for_last(Context &context, const std::vector<std::string> &words) {
  const bool option = !words.empty() && words.back().starts_with('-');
  if (words.size() < 2) return option ? options_of(nullptr) : verb_names(context);
  const Verb *verb = find_verb(words[0]);
  if (!verb) return {};
  if (option) return options_of(verb);
  const auto before = words.size() - 2;  // words between the verb and the last one
  if (before == 0 && *verb->words) {
    std::istringstream in(verb->words);
    return {std::istream_iterator<std::string>(in), {}};
  }
  for (const auto &list : kLists)
    if (list.verb == words[0] && before == (list.word.empty() ? 0U : 1U) && (before == 0 || list.word == words[1]))
      return list.names(context);
  return options_of(verb);
}

}  // namespace catsbpf::cli
