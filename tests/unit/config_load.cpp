// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "agent/config/config.h"
#include "tests/unit/util_certificates.h"

using namespace catsbpf;
using namespace catsbpf::agent;
using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

class Configuration : public ::testing::Test {
 protected:
  Configuration() : authority_(folder_, "lab") {
    authority_.issue("path-selector", "f1");
    authority_.issue("service-metric-agent", "f2");
    authority_.issue("platform", "f1");
  }

  Result<Config> load(const std::string &text) {
    std::ofstream(folder_.file("c.yaml")) << text;
    return load_config(folder_.file("c.yaml"));
  }
  // All problems of a text that must have some.
  std::string problems(const std::string &text) {
    const auto config = load(text);
    return config ? "no problem" : config.error().text();
  }
  // "FILE:LINE: " of this test's file.
  std::string at(int line) const { return folder_.file("c.yaml") + ":" + std::to_string(line) + ": "; }

  static std::string tls(const std::string &role, const std::string &name) {
    return "tls: { domain: lab.cats, certificate: " + role + "-" + name + ".crt, key: " + role + "-" + name +
           ".key, authority: lab.ca.crt }\n";
  }
  static std::string ingress() {
    return "node: f1\n"                                                         // 1
           "roles: [ingress, path-selector, network-metric-agent]\n" +          // 2
           tls("path-selector", "f1") +                                         // 3
           "tunnel: { address: 10.255.0.1, vni: 51829 }\n"                      // 4
           "interfaces:\n"                                                      // 5
           "  - { name: client0, side: client }\n"                              // 6
           "  - { name: core0, side: underlay, mode: generic }\n"               // 7
           "forwarders:\n"                                                      // 8
           "  - { name: f2, address: 10.255.0.2 }\n"                            // 9
           "  - { name: f3, address: 10.255.0.3 }\n"                            // 10
           "platform: { url: \"https://172.16.9.1:8443\", name: platform }\n"   // 11
           "path_selector:\n"                                                   // 12
           "  listen: 10.255.0.1:7900\n"                                        // 13
           "  hold_time: 20s\n"                                                 // 14
           "  freeze_after: 500ms\n"                                            // 15
           "  agents: [ { name: f2, site: site-2 } ]\n"                         // 16
           "requests: { listen: \"[fd00:1::1]:6443\", rate_per_source: 5 }\n";  // 17
  }
  static std::string egress() {
    return "node: f3\n"
           "roles: [egress]\n"
           "tunnel: { address: 10.255.0.3 }\n"
           "interfaces: [ { name: core0, side: [underlay, service] } ]\n"
           "forwarders: [ { name: f1, address: 10.255.0.1 } ]\n"
           "instances: [ { cs_id: 1, csci_id: 3, contact: 10.3.0.11, contact6: \"fd00:3::11\" } ]\n";
  }
  static std::string with(std::string text, const std::string &old, const std::string &by) {
    const auto place = text.find(old);
    EXPECT_NE(place, std::string::npos) << old;
    return text.replace(place, old.size(), by);
  }

  test::Folder folder_;
  test::Authority authority_;
};

TEST_F(Configuration, complete_ingress_is_read_field_by_field) {
  const auto config = load(ingress());
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->node, "f1");
  EXPECT_TRUE(config->has(Role::kIngress) && config->has(Role::kPathSelector) &&
              config->has(Role::kNetworkMetricAgent));
  EXPECT_FALSE(config->has(Role::kEgress));
  EXPECT_EQ(config->tls->certificate, folder_.file("path-selector-f1.crt"));
  EXPECT_EQ(config->tunnel->vni, 51829u);
  ASSERT_EQ(config->interfaces.size(), 2u);
  EXPECT_EQ(config->interfaces[0].mode, "native");
  EXPECT_EQ(config->interfaces[1].mode, "generic");
  EXPECT_EQ(config->forwarders[1].address, "10.255.0.3");
  EXPECT_EQ(config->path_selector->hold_time, 20s);
  EXPECT_EQ(config->path_selector->freeze_after, 500ms);
  EXPECT_EQ(config->path_selector->agents[0].site, "site-2");
  EXPECT_EQ(config->requests->listen, "[fd00:1::1]:6443");
  EXPECT_EQ(config->network_metric_agent->interval, 100ms) << "the role alone brings the defaults";
  EXPECT_EQ(config->restart_hold, 30s);
}

TEST_F(Configuration, egress_needs_no_certificate_and_reflects_by_default) {
  const auto config = load(egress());
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->instances[0].contact6, "fd00:3::11");
  EXPECT_EQ(*config->reflector_port, 862);
  EXPECT_EQ(config->interfaces[0].sides.size(), 2u);
}

TEST_F(Configuration, service_metric_agent_alone_touches_no_map_and_lets_its_site_in) {
  const auto config =
      load("node: f2\nroles: [service-metric-agent]\n" + tls("service-metric-agent", "f2") +
           "service_metric_agent:\n  site: site-2\n  egresses: [f2]\n"
           "  path_selectors: [ { name: f1, address: \"10.255.0.1:7900\" } ]\n  listen: 10.2.0.1:7443\n");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_FALSE(config->forwards());
  EXPECT_THAT(config->service_metric_agent->site_clients, ElementsAre("site-2"));
}

TEST_F(Configuration, service_metric_agent_names_as_many_egresses_as_a_path_selector_takes) {
  EXPECT_THAT(problems("node: f2\nroles: [service-metric-agent]\n" + tls("service-metric-agent", "f2") +
                       "service_metric_agent:\n  site: site-2\n  egresses: [a, b, c, d, e]\n"
                       "  path_selectors: [ { name: f1, address: \"10.255.0.1:7900\" } ]\n  listen: 10.2.0.1:7443\n"),
              AllOf(HasSubstr("service_metric_agent.egresses: 5 egresses are more than 4"),
                    HasSubstr("hint: name the best 4")));
}

TEST_F(Configuration, all_problems_are_told_at_once_in_order_of_lines) {
  auto text = with(ingress(), "10.255.0.1, vni: 51829", "10.255.0.256, vni: 0");
  text = with(text, "hold_time: 20s", "hold_time: 20");
  text = with(text, "side: client", "side: clients");
  const auto told = problems(text);
  const auto address = told.find(at(4) + "tunnel.address: '10.255.0.256' is not an IPv4 address");
  const auto vni = told.find(at(4) + "tunnel.vni: '0' is out of range\nhint: from 1 to 16777215");
  const auto side = told.find(at(6) + "interfaces[0].side: 'clients' is no side");
  const auto hold =
      told.find(at(14) + "path_selector.hold_time: '20' is not a duration\nhint: write a number with its unit");
  EXPECT_LT(address, vni) << told;
  EXPECT_LT(vni, side) << told;
  EXPECT_LT(side, hold) << told;
  EXPECT_NE(hold, std::string::npos) << told;
}

TEST_F(Configuration, unknown_field_names_the_nearest_known_one) {
  EXPECT_THAT(problems(ingress() + "log_lvel: debug\n"),
              HasSubstr(at(18) + "log_lvel: unknown field\nhint: did you mean log_level?"));
  EXPECT_THAT(problems(with(ingress(), "listen: 10.255.0.1:7900", "lissen: 10.255.0.1:7900")),
              AllOf(HasSubstr(at(13) + "path_selector.lissen: unknown field\nhint: did you mean listen?"),
                    HasSubstr("path_selector.listen: is missing")));
  EXPECT_THAT(problems(egress() + "zzzzzzzz: 1\n"), HasSubstr("hint: known here: node, roles"));
}

TEST_F(Configuration, field_given_twice_is_a_problem) {
  EXPECT_THAT(problems(ingress() + "node: f9\n"), HasSubstr(at(18) + "node: is given twice"));
}

TEST_F(Configuration, wrong_types_are_told_with_what_is_wanted) {
  EXPECT_THAT(problems(with(ingress(), "node: f1", "node: [f1]")), HasSubstr("node: must be one value"));
  EXPECT_THAT(problems(with(ingress(), "node: f1", "node:")), HasSubstr("node: has no value"));
  EXPECT_THAT(problems(with(ingress(), "node: f1", "node: \"f 1\"")), HasSubstr("node: 'f 1' is not a name"));
  EXPECT_THAT(problems(with(egress(), "tunnel: { address: 10.255.0.3 }", "tunnel: 10.255.0.3")),
              HasSubstr(at(3) + "tunnel: must be a mapping"));
  EXPECT_THAT(problems(with(egress(), "[ { name: f1, address: 10.255.0.1 } ]", "{ name: f1, address: 10.255.0.1 }")),
              HasSubstr(at(5) + "forwarders: must be a list of mappings"));
  EXPECT_THAT(problems(with(egress(), "csci_id: 3", "csci_id: three")),
              HasSubstr("instances[0].csci_id: 'three' is not a whole number"));
  EXPECT_THAT(problems(with(egress(), "csci_id: 3", "csci_id: -3")),
              HasSubstr("instances[0].csci_id: '-3' is not a whole number"));
}

TEST_F(Configuration, addresses_of_no_single_host_are_refused_where_a_host_is_meant) {
  for (const auto &[address, kind] :
       {std::pair{"0.0.0.0", "the unspecified address"}, std::pair{"127.0.0.1", "a loopback address"},
        std::pair{"224.0.0.5", "a multicast address"}, std::pair{"255.255.255.255", "the broadcast address"}}) {
    const auto told = std::string("'") + address + "' is " + kind + ", not that of one host\nhint: write the address";
    EXPECT_THAT(problems(with(ingress(), "10.255.0.1, vni", std::string(address) + ", vni")),
                HasSubstr(at(4) + "tunnel.address: " + told));
    EXPECT_THAT(problems(with(egress(), "10.255.0.3", address)), HasSubstr(at(3) + "tunnel.address: " + told));
    EXPECT_THAT(problems(with(ingress(), "10.255.0.3", address)), HasSubstr(at(10) + "forwarders[1].address: " + told));
    EXPECT_THAT(problems(with(egress(), "10.3.0.11", address)), HasSubstr(at(6) + "instances[0].contact: " + told));
  }
  for (const char *address : {"::", "::1", "ff02::1"})
    EXPECT_THAT(problems(with(egress(), "fd00:3::11", address)),
                HasSubstr(at(6) + "instances[0].contact6: '" + address + "' is "));
  for (const char *address : {"223.255.255.255", "240.0.0.1", "169.254.1.1", "126.0.0.1"})
    EXPECT_TRUE(load(with(egress(), "10.255.0.3", address))) << address;
  EXPECT_TRUE(load(with(ingress(), "listen: 10.255.0.1:7900", "listen: 0.0.0.0:7900"))) << "all addresses of this host";
}

TEST_F(Configuration, endpoints_need_address_and_port) {
  for (const char *wrong :
       {"10.255.0.1", "\"10.255.0.1:\"", "10.255.0.1:65536", "f1:7900", "fd00::1:7900", "\"[10.0.0.1]:7900\""})
    EXPECT_THAT(problems(with(ingress(), "listen: 10.255.0.1:7900", std::string("listen: ") + wrong)),
                HasSubstr("path_selector.listen: '"))
        << wrong;
}

TEST_F(Configuration, port_0_is_none_that_a_peer_could_know) {
  const std::string told = ":0' names no port\nhint: from 1 to 65535";
  EXPECT_THAT(problems(with(ingress(), "10.255.0.1:7900", "10.255.0.1:0")),
              HasSubstr(at(13) + "path_selector.listen: '10.255.0.1" + told));
  EXPECT_THAT(problems(with(ingress(), "[fd00:1::1]:6443", "[fd00:1::1]:0")),
              HasSubstr(at(17) + "requests.listen: '[fd00:1::1]" + told));
  EXPECT_THAT(problems("node: f2\nroles: [service-metric-agent]\n" + tls("service-metric-agent", "f2") +
                       "service_metric_agent:\n  site: site-2\n  egresses: [f2]\n"
                       "  path_selectors: [ { name: f1, address: \"10.255.0.1:0\" } ]\n  listen: 10.2.0.1:0\n"),
              AllOf(HasSubstr(at(7) + "service_metric_agent.path_selectors[0].address: '10.255.0.1" + told),
                    HasSubstr(at(8) + "service_metric_agent.listen: '10.2.0.1" + told)));
  EXPECT_THAT(problems(egress() + "reflector: { port: 0 }\n"),
              HasSubstr(at(7) + "reflector.port: '0' is out of range"));
}

TEST_F(Configuration, roles_are_checked_with_a_guess) {
  EXPECT_THAT(problems(with(egress(), "[egress]", "[egres]")),
              HasSubstr(at(2) + "roles: 'egres' is no role\nhint: did you mean egress?"));
  EXPECT_THAT(problems(with(egress(), "[egress]", "[egress, egress]")), HasSubstr("roles: egress is given twice"));
  EXPECT_THAT(problems("node: f1\nroles: []\n"), HasSubstr("roles: no role is given"));
}

TEST_F(Configuration, each_role_names_what_it_lacks) {
  const auto told = problems("node: f1\nroles: [ingress, path-selector]\n");
  EXPECT_THAT(told, AllOf(HasSubstr("path_selector: is missing"), HasSubstr("platform: is missing"),
                          HasSubstr("tunnel: is missing"), HasSubstr("forwarders: is missing"),
                          HasSubstr("interface of side client"), HasSubstr("interface of side underlay"),
                          HasSubstr("tls: is missing: role path-selector needs a certificate")));
  EXPECT_THAT(problems("node: f1\nroles: [egress]\n"), HasSubstr("interface of side service"));
  EXPECT_THAT(problems("node: f2\nroles: [service-metric-agent]\n"),
              AllOf(HasSubstr("service_metric_agent: is missing"), HasSubstr("tls: is missing")));
  EXPECT_THAT(problems(with(ingress(), "[ingress, path-selector, network-metric-agent]", "[ingress]")),
              HasSubstr("ingress needs path-selector"));
}

TEST_F(Configuration, section_without_its_role_is_a_problem) {
  EXPECT_THAT(problems(egress() + "requests: { listen: \"10.1.0.1:6443\" }\n"),
              HasSubstr(at(7) + "requests: is given, but this agent has no role ingress"));
}

TEST_F(Configuration, certificate_must_fit_the_roles_and_the_node) {
  EXPECT_THAT(problems(with(ingress(), "path-selector-f1.crt", "platform-f1.crt")),
              HasSubstr(at(3) + "tls.certificate: its role is platform, this agent's roles need path-selector\n"
                                "hint: the certificate needs the URI SAN spiffe://lab.cats/path-selector/f1"));
  EXPECT_THAT(problems(with(ingress(), "node: f1", "node: f7")),
              HasSubstr("tls.certificate: its name is f1, this node is f7"));
  EXPECT_THAT(problems(with(ingress(), "domain: lab.cats", "domain: other.cats")),
              HasSubstr("tls.domain: is other.cats, the certificate's is lab.cats"));
  EXPECT_THAT(problems(with(ingress(), "path-selector-f1.crt", "nowhere.crt")),
              HasSubstr("tls.certificate: cannot read " + folder_.file("nowhere.crt") + ": No such file"));
  std::ofstream(folder_.file("text.crt")) << "no certificate";
  EXPECT_THAT(problems(with(ingress(), "path-selector-f1.crt", "text.crt")), HasSubstr(at(3) + "tls.certificate: "));
}

TEST_F(Configuration, every_tls_file_that_cannot_serve_is_told_with_reason_and_hint) {
  EXPECT_THAT(problems(with(ingress(), "path-selector-f1.key", "service-metric-agent-f2.key")),
              AllOf(HasSubstr(at(3) + "tls.key: tls key " + folder_.file("service-metric-agent-f2.key") + ": "),
                    HasSubstr("hint: it must be PEM without a passphrase, and belong to " +
                              folder_.file("path-selector-f1.crt"))));
  authority_.issue_as("old", {.names = "URI:spiffe://lab.cats/path-selector/f1", .from_s = -7200, .until_s = -3600});
  EXPECT_THAT(
      problems(with(with(ingress(), "path-selector-f1.crt", "old.crt"), "path-selector-f1.key", "old.key")),
      AllOf(HasSubstr(at(3) + "tls.certificate: tls certificate " + folder_.file("old.crt") + ": it has expired"),
            HasSubstr("hint: put a new certificate there")));
  std::ofstream(folder_.file("text.crt")) << "no certificate";
  EXPECT_THAT(problems(with(with(ingress(), "lab.ca.crt", "text.crt"), "path-selector-f1.key", "text.crt")),
              AllOf(HasSubstr(at(3) + "tls.authority: tls authority " + folder_.file("text.crt") + ": "),
                    HasSubstr(at(3) + "tls.key: tls key " + folder_.file("text.crt") + ": "), HasSubstr("hint: ")));
  EXPECT_THAT(problems(with(ingress(), "lab.ca.crt", "path-selector-f1.crt")),
              HasSubstr("has no certificate of an authority"));
}

TEST_F(Configuration, directory_in_place_of_a_file_is_said_so) {
  const auto folder = folder_.file("folder");
  std::filesystem::create_directory(folder);
  const auto whole = load_config(folder);
  ASSERT_FALSE(whole);
  EXPECT_THAT(whole.error().text(),
              AllOf(HasSubstr("cannot read " + folder + ": Is a directory"), HasSubstr("hint: name the file")));
  for (const char *file : {"path-selector-f1.crt", "path-selector-f1.key", "lab.ca.crt"})
    EXPECT_THAT(problems(with(ingress(), file, "folder")), HasSubstr("cannot read " + folder + ": Is a directory"));
  EXPECT_THAT(problems(with(ingress(), "rate_per_source: 5", "token_file: folder")),
              HasSubstr(at(17) + "requests.token_file: cannot read " + folder + ": Is a directory"));
}

TEST_F(Configuration, pipe_in_place_of_a_file_is_said_so_and_not_waited_for) {
  const auto pipe = folder_.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(load_config(pipe).error().text(),
            "cannot read " + pipe + ": it is no regular file\nhint: name the file with --config FILE");
  EXPECT_THAT(load_config("/dev/zero").error().what, HasSubstr("cannot read /dev/zero: it is no regular file"));
  EXPECT_THAT(problems(with(ingress(), "path-selector-f1.crt", "pipe")),
              HasSubstr("tls.certificate: cannot read " + pipe + ": it is no regular file"));
}

TEST_F(Configuration, names_and_addresses_must_differ) {
  EXPECT_THAT(problems(with(ingress(), "name: f3", "name: f2")),
              HasSubstr(at(10) + "forwarders[1]: name f2 is also that of forwarders[0]"));
  EXPECT_THAT(problems(with(ingress(), "10.255.0.3", "10.255.0.2")),
              HasSubstr("forwarders[1]: address 10.255.0.2 is also that of forwarders[0]"));
  EXPECT_THAT(problems(with(ingress(), "10.255.0.3", "10.255.0.1")),
              HasSubstr("forwarders[1]: has this agent's own tunnel address"));
  EXPECT_THAT(problems(with(ingress(), "name: f3", "name: f1")), HasSubstr("forwarders[1]: is this agent itself"));
  EXPECT_THAT(problems(with(ingress(), "name: core0", "name: client0")),
              HasSubstr("interfaces[1]: name client0 is also that of interfaces[0]"));
  EXPECT_THAT(problems(with(ingress(), "name: core0", "name: ../../x")),
              HasSubstr("'../../x' is no name of an interface"));
}

TEST_F(Configuration, platform_in_the_clear_is_for_this_host_only) {
  EXPECT_THAT(problems(with(ingress(), "https://172.16.9.1:8443", "http://172.16.9.1:8443")),
              HasSubstr("is neither https nor of this host"));
  EXPECT_TRUE(load(with(ingress(), "https://172.16.9.1:8443", "http://127.0.0.1:8443")));
  EXPECT_THAT(problems(with(ingress(), "https://172.16.9.1:8443", "172.16.9.1:8443")), HasSubstr("is not a URL"));
  for (const char *broken : {"https://", "https://a:b@c", "https://[::1", "https://a/b"})
    EXPECT_THAT(problems(with(ingress(), "https://172.16.9.1:8443", broken)), HasSubstr("platform.url: ")) << broken;
}

TEST_F(Configuration, freeze_comes_before_hold_time) {
  EXPECT_THAT(problems(with(ingress(), "freeze_after: 500ms", "freeze_after: 20s")),
              HasSubstr(at(15) + "path_selector.freeze_after: must be shorter than hold_time"));
}

TEST_F(Configuration, token_is_read_from_its_file_and_must_be_long) {
  std::ofstream(folder_.file("token")) << "0123456789abcdef\n";
  const auto config = load(with(ingress(), "rate_per_source: 5", "token_file: token"));
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->requests->token, "0123456789abcdef");
  std::ofstream(folder_.file("token")) << "secret\n";
  EXPECT_THAT(problems(with(ingress(), "rate_per_source: 5", "token_file: token")),
              AllOf(HasSubstr("fewer than 16 characters"), Not(HasSubstr("secret"))));
}

TEST_F(Configuration, broken_yaml_says_where) {
  EXPECT_THAT(problems("node: f1\nroles: [egress\nx: y\n"), HasSubstr("not YAML: "));
  EXPECT_THAT(problems("- a\n- b\n"), HasSubstr(":1: the file has no fields"));
  EXPECT_THAT(problems(""), HasSubstr(":1: the file has no fields"));
  EXPECT_THAT(problems(ingress() + "---\nnode: f2\n"), HasSubstr("a second document begins here"));
  const auto none = load_config(folder_.file("none.yaml"));
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("cannot read " + folder_.file("none.yaml") + ": No such file"));
}

TEST_F(Configuration, reload_tells_what_needs_a_restart) {
  const auto running = load(ingress());
  ASSERT_TRUE(running);
  auto wanted = *running;
  EXPECT_THAT(needs_restart(*running, wanted), ElementsAre());
  wanted.log_level = "debug";
  wanted.requests->rate_per_source = 7;
  EXPECT_THAT(needs_restart(*running, wanted), ElementsAre());
  wanted.forwarders.pop_back();
  wanted.path_selector->hold_time = 5s;
  wanted.requests->listen = "10.0.0.1:1";
  EXPECT_THAT(needs_restart(*running, wanted), ElementsAre("forwarders", "path_selector", "requests"));
}

TEST(ExampleConfiguration, differs_from_a_good_one_only_by_certificates_that_are_not_there) {
  const auto config =
      load_config((std::filesystem::path(__FILE__).parent_path() / "../../agent/catsbpfd.yaml").string());
  ASSERT_FALSE(config);
  std::istringstream lines(config.error().text());
  for (std::string line; std::getline(lines, line);)
    EXPECT_TRUE(line.find(": tls.") != std::string::npos || line.rfind("hint: relative paths", 0) == 0) << line;
}

}  // namespace
