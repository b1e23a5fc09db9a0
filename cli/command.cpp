// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <algorithm>
#include <sstream>

#include "cli/format.h"
#include "cli/verbs/verbs.h"
#include "util/version.h"

namespace catsbpf::cli {

namespace {

constexpr OptionSpec kFlows[] = {
    {"service", "ID", "only flows of this service (Service ID or CS-ID)"},
    {"csci", "ID", "only flows on this instance; plain: on plain routing"},
    {"client", "ADDR", "only flows from this address or prefix"},
    {"limit", "N", "show at most N flows, newest packet first; 0: all (default 50)"},
    {"count", nullptr, "only count"},
};
constexpr OptionSpec kOutcomes[] = {{"all", nullptr, "also those that never happened"}};
constexpr OptionSpec kExplain[] = {
    {"client", "ADDR", "also what holds for this client: its session and its live flows"},
    {"gas", "N", "explain a request for N slots, not the ring"},
    {"cost", "C", "of that request: price per slot that the client has in mind"},
    {"delay", "MS", "of that request: real delay that the client can bear"},
};
constexpr OptionSpec kRequest[] = {
    {"gas", "N", "slots asked for (default 1)"},
    {"cost", "C", "price per slot that we have in mind (default 0)"},
    {"delay", "MS", "real delay that we can bear (default: any)"},
    {"lease", "SECONDS", "how long (default 60)"},
};
constexpr OptionSpec kFinish[] = {
    {"operator", nullptr, "end anyone's request, by the agent's socket; else our own, by the ingress"},
};
constexpr OptionSpec kSite[] = {
    {"file", "FILE", "table: put this table (YAML or JSON, - for standard input)"},
    {"service", "ID", "delta: the service, where one CSCI-ID serves several"},
    {"gas", "+N|-N|N", "delta: change the offered slots by N, or set them to N"},
    {"cost", "C", "delta: the new price per slot"},
    {"drain", "on|off", "delta: take no new flows (on), or take them again"},
    {"remove", nullptr, "delta: remove the row; its flows move"},
    {"reservation", "ID", "finished: this reservation"},
    {"csci", "ID", "finished: the oldest reservation of this instance"},
};
constexpr OptionSpec kDrain[] = {
    {"service", "ID", "only this service of the instance"},
    {"off", nullptr, "end the drain"},
};
constexpr OptionSpec kMap[] = {{"limit", "N", "show at most N entries; 0: all (default 50)"}};
constexpr OptionSpec kHelp[] = {{"names", nullptr, "what the last word may become, one a line, for completion"}};
constexpr std::size_t kAny = 1000;

constexpr Verb kVerbs[] = {
    {"status", status, "the agent at a glance (what bare catsbpf shows)", "", {}, 0, 0, ""},
    {"services", services, "services steered here, with their locators", "", {}, 0, 0, ""},
    {"instances", instances, "the whole service table: instances with free GAS, cost, delay", "", {}, 0, 0, ""},
    {"paths", paths, "paths to the egresses: state, delay, jitter, loss, MTU", "", {}, 0, 0, ""},
    {"rings", rings, "the steering rules: each instance's share of new flows", "", {}, 0, 0, ""},
    {"flows", flows, "live flows and where each one goes",
     "[--service ID] [--csci ID|plain] [--client ADDR] [--limit N] [--count]", kFlows, 0, 0, ""},
    {"sessions", sessions, "delta sessions with other agents", "", {}, 0, 0, ""},
    {"stats", stats, "packets by instance, at the ingress and at the egress; flow table counters", "", {}, 0, 0, ""},
    {"outcomes", outcomes, "what became of the packets, alarms first", "[--all]", kOutcomes, 0, 0, ""},
    {"explain", explain, "which instance, by which rule, and what of the others",
     "SERVICE [--client ADDR] [--gas N] [--cost C] [--delay MS]", kExplain, 1, 1, ""},
    {"request", request, "ask the ingress for (service, gas, cost, delay); alone: list the granted ones",
     "[SERVICE [--gas N] [--cost C] [--delay MS] [--lease SECONDS]]", kRequest, 0, 1, ""},
    {"finish", finish, "give a granted request back", "ID|LOCATION [--operator]", kFinish, 1, 1, ""},
    {"site", site, "the site's API: its table, deltas, service-finished heartbeats",
     "table [--file FILE] | delta CSCI-ID [--service ID] [--gas +N|-N|N] [--cost C] [--drain on|off] [--remove] | "
     "finished [--reservation ID | --csci ID]",
     kSite, 1, 2, "table delta finished"},
    {"platform",
     platform,
     "the public service table; FILE is one service, YAML or JSON, - for standard input",
     "list | get ID | put FILE | remove ID | search TEXT | watch",
     {},
     1,
     kAny,
     "list get put remove search watch"},
    {"map", map, "the pinned maps; or the entries of one, decoded", "[NAME [--limit N]]", kMap, 0, 1, ""},
    {"drain", drain, "take no new flows on an instance, site or egress; alone: list",
     "[instance CSCI-ID [--service ID] | site NAME | egress NAME] [--off]", kDrain, 0, 2, "instance site egress"},
    {"bypass", bypass, "new flows to plain routing; alone: show", "[on|off]", {}, 0, 1, "on off"},
    {"help", help, "this list, or the usage of one verb", "[VERB]", kHelp, 0, kAny, ""},
};

void print(std::ostream &err, const Error &error) {
  std::istringstream lines(error.what);  // a file has one problem a line, each with its own hint
  std::string line;
  for (bool first = true; std::getline(lines, line); first = false)
    err << (first ? "error: " : "") << printable(line) << "\n";
  if (!error.hint.empty()) err << "hint: " << printable(error.hint) << "\n";
}

// Options of one name take a value with all verbs, or with none.
bool takes_value(const std::string &word) {
  const auto in = [&](std::span<const OptionSpec> options) {
    return std::any_of(options.begin(), options.end(),
                       [&](const auto &option) { return option.placeholder && word.substr(2) == option.name; });
  };
  return in(global_options()) ||
         std::any_of(std::begin(kVerbs), std::end(kVerbs), [&](const Verb &verb) { return in(verb.options); });
}

// The first word that is neither an option, of whatever verb, nor the value of one.
std::size_t verb_position(const std::vector<std::string> &words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--")) return i;
    if (takes_value(words[i])) ++i;
  }
  return words.size();
}

Result<Exit> dispatch(std::vector<std::string> words, const World &world) {
  std::string name = "status";
  if (const auto at = verb_position(words); at < words.size()) {
    name = words[at];
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
  }
  const Verb *verb = find_verb(name);
  if (!verb) return usage_error("unknown verb '" + name + "'", "catsbpf help lists the verbs");
  const std::string hint = "usage: catsbpf " + name + (*verb->usage ? " " : "") + verb->usage;
  const auto with_hint = [&](Error error) {
    if (error.code == kUsage && error.hint.empty()) error.hint = hint;
    return error;
  };
  std::vector<OptionSpec> known(global_options().begin(), global_options().end());
  known.insert(known.end(), verb->options.begin(), verb->options.end());
  const auto arguments = Arguments::parse(known, words);
  if (!arguments) return with_hint(arguments.error());
  const auto &given = arguments->positional();
  if (given.size() < verb->least_words) return usage_error("catsbpf " + name + " needs more words", hint);
  if (given.size() > verb->most_words) return usage_error("unexpected word '" + given[verb->most_words] + "'", hint);

  const Options options = options_from(*arguments, world.environment);
  Layout layout = world.layout;
  if (options.wide) layout.width = SIZE_MAX;
  const auto remote = world.remote(options);
  Context context{options, *remote, [&] { return world.open_tables(options.pins); }, world.out, world.err, layout};
  auto ended = verb->run(context, *arguments);
  if (!ended) return with_hint(ended.error());
  return ended;
}

}  // namespace

std::span<const Verb> verbs() { return kVerbs; }

const Verb *find_verb(const std::string &name) {
  for (const auto &verb : kVerbs)
    if (name == verb.name) return &verb;
  return nullptr;
}

Exit run(const std::vector<std::string> &words, const World &world) {
  const auto asks = [&](const char *word) { return words.size() == 1 && words[0] == word; };
  if (asks("--version")) {
    world.out << "catsbpf " << CATSBPF_VERSION << "\n";
    return Exit::done;
  }
  const bool wants_help = asks("--help") || asks("-h");
  // `catsbpf VERB --help`
  const bool wants_usage = words.size() == 2 && (words[1] == "--help" || words[1] == "-h");
  const auto ended = dispatch(wants_help    ? std::vector<std::string>{"help"}
                              : wants_usage ? std::vector<std::string>{"help", words[0]}
                                            : words,
                              world);
  if (ended) return *ended;
  print(world.err, ended.error());
  return ended.error().code == kUsage ? Exit::usage : Exit::failed;
}

}  // namespace catsbpf::cli
