// SPDX-License-Identifier: Apache-2.0
// What the Tab key offers: the real catsbpf.bash and the real program, with an agent on a socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/command.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"
#include "util/http/server.h"

namespace catsbpf::cli {
namespace {

using boost::asio::awaitable;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;
using testing::StartsWith;
using testing::UnorderedElementsAre;

const std::string kHere = __FILE__;

class CliCompletion : public testing::Test {
 protected:
  void TearDown() override {
    if (server_) loop_.run([&] { server_->stop(); });
  }

  void answer(const std::string &path, std::string body) {
    if (!server_) {
      http::ServerOptions options;
      options.listen = socket_;
      loop_.run([&] {
        auto opened = http::Server::open(loop_.io(), std::move(options));
        ASSERT_TRUE(opened.ok()) << opened.error().text();
        server_ = std::move(*opened);
      });
    }
    loop_.run([&] {
      server_->route("GET", path, [body](http::Request) -> awaitable<http::Response> {
        http::Response response;
        response.body = body;
        co_return response;
      });
    });
  }
  void serve() {
    answer("/v1/services", R"({"services": [{"service_id": "AR1", "cs_id": 1}, {"service_id": "TP1", "cs_id": 2}]})");
    answer("/v1/instances", R"({"instances": [{"csci_id": 1, "site": "site-2"}, {"csci_id": 1, "site": "site-2"},)"
                            R"({"csci_id": 3, "site": "site-3"}]})");
    answer("/v1/paths", R"({"paths": [{"egress": "f2"}, {"egress": "f3"}]})");
    answer("/v1/requests", R"({"requests": [{"id": 4711}]})");
  }

  // What Tab offers where the last of these words is being typed; a word "<files>" stands for files.
  std::vector<std::string> tab(const std::vector<std::string> &words) {
    const auto script = folder_.file("tab.bash");
    std::ofstream out(script);
    out << "export CATSBPF_SOCKET=" << socket_ << " CATSBPF_PINS=" << folder_.file("none") << "\n"
        << "compopt() { echo '<files>'; }\ntimeout() { shift; \"$@\"; }\nsource "
        << kHere.substr(0, kHere.rfind("/tests/")) << "/cli/catsbpf.bash\n"
        << "COMP_WORDS=(" << CATSBPF_PROGRAM;
    for (const auto &word : words) out << " '" << word << "'";
    out << ")\nCOMP_CWORD=" << words.size() << "\n_catsbpf\n"
        << "(( ${#COMPREPLY[@]} )) && printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    out.close();
    std::vector<std::string> offered;
    std::istringstream lines(output_of("bash " + script));
    for (std::string line; std::getline(lines, line);) offered.push_back(line);
    return offered;
  }
  static std::string output_of(const std::string &command) {
    std::string text;
    std::array<char, 4096> buffer;
    FILE *pipe = popen(command.c_str(), "r");
    while (const auto size = std::fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), size);
    pclose(pipe);
    return text;
  }

  test::Folder folder_;
  test::Loop loop_;
  std::unique_ptr<http::Server> server_;
  std::string socket_ = folder_.file("agent.sock");
};

TEST_F(CliCompletion, options_are_offered_wherever_they_may_stand) {
  EXPECT_THAT(tab({"--js"}), ElementsAre("--json"));
  EXPECT_THAT(tab({"--"}), IsSupersetOf({"--json", "--wide", "--socket", "--pins", "--url", "--help", "--version"}));
  EXPECT_THAT(tab({"--json", "--so"}), ElementsAre("--socket"));
  EXPECT_THAT(tab({"flows", "--"}), IsSupersetOf({"--json", "--limit", "--count"}));
  EXPECT_THAT(tab({"drain", "site", "--o"}), ElementsAre("--off"));
  EXPECT_THAT(tab({"flows", ""}), Contains("--limit")) << "it takes no other word";
}

TEST_F(CliCompletion, verbs_come_first_and_their_words_once) {
  EXPECT_THAT(tab({""}), IsSupersetOf({"status", "drain", "help"}));
  EXPECT_THAT(tab({""}), Not(Contains(StartsWith("-"))));
  EXPECT_THAT(tab({"--json", "by"}), ElementsAre("bypass"));
  EXPECT_THAT(tab({"help", "by"}), ElementsAre("bypass"));
  EXPECT_THAT(tab({"drain", ""}), UnorderedElementsAre("instance", "site", "egress"));
  EXPECT_THAT(tab({"bypass", ""}), UnorderedElementsAre("on", "off"));
  EXPECT_THAT(tab({"bypass", "on", ""}), Each(StartsWith("--")));
  EXPECT_THAT(tab({"site", "table", ""}), Each(StartsWith("--")));
}

TEST_F(CliCompletion, names_are_those_that_the_agent_knows) {
  serve();
  EXPECT_THAT(tab({"explain", ""}), ElementsAre("AR1", "TP1"));
  EXPECT_THAT(tab({"explain", "--json", ""}), ElementsAre("AR1", "TP1"));
  EXPECT_THAT(tab({"--json", "explain", "T"}), ElementsAre("TP1"));
  EXPECT_THAT(tab({"explain", "AR1", ""}), Each(StartsWith("--")));
  EXPECT_THAT(tab({"flows", "--service", ""}), ElementsAre("AR1", "TP1"));
  EXPECT_THAT(tab({"flows", "--service", "=", "T"}), ElementsAre("TP1")) << "as bash splits --service=T";
  EXPECT_THAT(tab({"drain", "site", ""}), ElementsAre("site-2", "site-3"));
  EXPECT_THAT(tab({"drain", "--off", "egress", ""}), ElementsAre("f2", "f3"));
  EXPECT_THAT(tab({"drain", "instance", ""}), ElementsAre("1", "3"));
  EXPECT_THAT(tab({"drain", "--service", "AR1", "instance", ""}), ElementsAre("1", "3"));
  EXPECT_THAT(tab({"finish", ""}), ElementsAre("4711"));
}

TEST_F(CliCompletion, the_agent_asked_is_the_one_of_the_line) {
  const auto own = socket_;
  serve();
  socket_ = folder_.file("nobody.sock");
  EXPECT_THAT(tab({"explain", ""}), IsEmpty());
  EXPECT_THAT(tab({"--socket", own, "explain", ""}), ElementsAre("AR1", "TP1"));
  EXPECT_THAT(tab({"--socket", "=", own, "explain", ""}), ElementsAre("AR1", "TP1"));
}

TEST_F(CliCompletion, where_no_name_is_known_nothing_is_offered) {
  for (const auto *kind : {"site", "egress", "instance"}) EXPECT_THAT(tab({"drain", kind, ""}), IsEmpty()) << kind;
  EXPECT_THAT(tab({"platform", "get", ""}), IsEmpty());
  EXPECT_THAT(tab({"platform", "search", ""}), IsEmpty());
  EXPECT_THAT(tab({"drain", "bogus", ""}), Each(StartsWith("--")));
  EXPECT_THAT(tab({"nope", ""}), IsEmpty());
}

TEST_F(CliCompletion, files_are_offered_for_files) {
  EXPECT_THAT(tab({"platform", "put", ""}), ElementsAre("<files>"));
  EXPECT_THAT(tab({"site", "table", "--file", ""}), ElementsAre("<files>"));
  EXPECT_THAT(tab({"--pins", ""}), ElementsAre("<files>"));
}

TEST_F(CliCompletion, only_maps_that_map_shows_are_offered) {
  const auto maps = tab({"map", ""});
  EXPECT_THAT(maps, IsSupersetOf({"flows", "rings", "flow_counters"}));
  EXPECT_THAT(maps, Not(Contains("secret")));
}

TEST_F(CliCompletion, a_name_that_bash_would_run_is_not_run) {
  const auto victim = folder_.file("ran");
  answer("/v1/services", R"({"services": [{"service_id": "A$(touch )" + victim + ")\", \"cs_id\": 1}]}");
  EXPECT_THAT(tab({"explain", ""}), ElementsAre("A\\$\\(touch\\ " + victim + "\\)"));
  EXPECT_FALSE(std::filesystem::exists(victim));
}

TEST_F(CliCompletion, the_value_of_an_option_is_no_verb_and_no_name) {
  std::vector<std::pair<std::string, OptionSpec>> options;
  for (const auto &option : global_options()) options.push_back({"status", option});
  for (const auto &verb : verbs())
    for (const auto &option : verb.options) options.push_back({verb.name, option});
  for (const auto &[verb, option] : options) {
    if (!option.placeholder) continue;
    const auto name = std::string("--") + option.name;
    EXPECT_THAT(tab({verb, name, ""}), Not(Contains(StartsWith("--")))) << verb << " " << name;
    EXPECT_THAT(tab({name, "x", "bypass", "o"}), UnorderedElementsAre("on", "off")) << name;
  }
}

}  // namespace
}  // namespace catsbpf::cli
